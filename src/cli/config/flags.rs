//! The flags of the configuration, made from the table of keys.
//!
//! Every key is a flag of `serve` and `config`; only flags that were really given count, so that a
//! default never hides the file or the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::keys::{ALL, Key, Shape};

/// What the command line gives of the configuration.
#[derive(Clone, Debug, Default)]
pub struct ConfigFlags {
    /// The file to read, from `--config` or `JOBSLATE_CONFIG`.
    pub config: Option<PathBuf>,
    /// The keys given as flags, with their texts.
    pub values: Vec<(&'static Key, String)>,
}

const CONFIG: &str = "config";

impl Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(CONFIG)
            .long("config")
            .value_name("FILE")
            .env("JOBSLATE_CONFIG")
            .hide_env_values(true)
            .value_parser(clap::value_parser!(OsString))
            .help("TOML file to read; see `jobslate config --sample` [default: none]");
        ALL.iter().fold(command.arg(file), |command, key| command.arg(flag(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn flag(key: &Key) -> Arg {
    let default = if key.default.is_empty() { "none" } else { key.default };
    let short = format!("{} [default: {default}]", key.meaning);
    let long = format!(
        "{}\n({})\n[default: {default}] [{}: {}] [env: {}]",
        key.meaning,
        key.effect,
        key.shape.range_title(),
        key.shape.range(),
        key.variable(),
    );
    let arg = Arg::new(key.name)
        .long(key.flag())
        .value_name(key.shape.placeholder())
        .help_heading(key.group)
        .help(short)
        .long_help(long);
    match key.shape {
        Shape::Flag => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => arg,
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |key: &&'static Key| {
            matches.get_one::<String>(key.name).map(|text| (*key, text.clone()))
        };
        // An empty variable counts as unset; an empty flag is a mistake.
        let is_variable = matches.value_source(CONFIG) == Some(ValueSource::EnvVariable);
        let is_set = |file: &&OsString| !(is_variable && file.is_empty());
        Ok(Self {
            config: matches.get_one::<OsString>(CONFIG).filter(is_set).map(PathBuf::from),
            values: ALL.iter().filter_map(value).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
