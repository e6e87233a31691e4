//! The command line: arguments, configuration, and the commands themselves.
//!
//! [`run`] is the whole program; `main` only hands it the arguments. `serve` joins all rooms and is
//! the one place where they meet; every other command is a client of a running server, except
//! `check` and `backup` with `--data-dir`, `restore` and `compact`, which open a store that nobody
//! else has open.

mod args;
mod backup;
mod check;
mod compact;
mod config;
mod counts;
mod delete;
mod exit;
mod expect;
mod export;
mod flush;
mod get;
mod history;
mod import;
mod list;
mod lookup;
mod open_files;
mod output;
mod pipelines;
mod progress;
mod prune;
mod restore;
mod retry;
mod serve;
mod set;
mod signals;
mod stats;
mod supervisor;
mod target;
mod wait;
mod watch;

pub use exit::{Exit, Failure};

use std::ffi::OsString;
use std::io::Write;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command, CompletionsArgs, ConfigArgs};
use config::{Config, Layers, effective_json, effective_toml, markdown, sample};

/// Runs the program with these arguments, the program's name first. Blocks until it is done; what
/// it has to say about a failure is on standard error when it returns.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let done = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => dispatch(arguments.command),
        Err(message) => print_message(&message),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(failure) => {
            if !failure.message.is_empty() {
                use owo_colors::OwoColorize;
                let mut stderr = anstream::stderr().lock();
                // If nobody can read it, the exit code still says it.
                let _ = writeln!(stderr, "{} {failure}", "error:".red().bold());
            }
            failure.exit
        }
    }
}

/// Prints what the parser says: help and version are messages too, for standard output.
fn print_message(message: &clap::Error) -> Result<(), Failure> {
    let printed = message.print();
    if message.use_stderr() {
        // If nobody can read it, the exit code still says it.
        return Err(Failure::silent(Exit::Usage));
    }
    Ok(printed?)
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Backup(args) => ask(backup::run(args)),
        Command::Restore(args) => restore::run(args),
        Command::Compact(args) => compact::run(&args),
        Command::Config(args) => print_config(&args),
        Command::Completions(args) => print_completions(&args),
        Command::Import(args) => ask(import::run(args)),
        Command::Set(args) => ask(set::run(args)),
        Command::Get(args) => ask(get::run(args)),
        Command::List(args) => ask(list::run(args)),
        Command::History(args) => ask(history::run(args)),
        Command::Lookup(args) => ask(lookup::run(args)),
        Command::Delete(args) => ask(delete::run(args)),
        Command::Prune(args) => ask(prune::run(args)),
        Command::Wait(args) => ask(wait::run(args)),
        Command::Watch(args) => ask(watch::run(args)),
        Command::Counts(args) => ask(counts::run(args)),
        Command::Pipelines(args) => ask(pipelines::run(args)),
        Command::Expect(args) => ask(expect::run(args)),
        Command::Export(args) => ask(export::run(args)),
        Command::Stats(args) => ask(stats::run(args)),
        Command::Flush(args) => ask(flush::run(args)),
        Command::Check(args) => ask(check::run(args)),
    }
}

/// Runs a command that talks to a server.
fn ask(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::no_runtime)?;
    let result = runtime.block_on(command);
    // What blocks on a disk or on a reader of the output does not hold up the end.
    runtime.shutdown_background();
    result
}

fn print_config(args: &ConfigArgs) -> Result<(), Failure> {
    if args.sample {
        return Ok(output::text(&sample())?);
    }
    if args.markdown {
        return Ok(output::text(&markdown())?);
    }
    let layers = Layers::read(&args.config, std::env::vars_os())?;
    layers.notices().iter().for_each(|notice| output::note(notice));
    Config::from_layers(&layers)?;
    if args.json {
        return Ok(output::json(&effective_json(&layers)?)?);
    }
    Ok(output::text(&effective_toml(&layers)?)?)
}

fn print_completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "jobslate", &mut script);
    Ok(output::text(&String::from_utf8_lossy(&script))?)
}
