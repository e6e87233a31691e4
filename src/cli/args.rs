//! The command line: every command with its flags, its help and its examples.
//!
//! Here are the commands about the store and the program; those about jobs and about the feed have
//! files of their own.

mod backup;
mod feed;
mod jobs;
mod prune;

pub use backup::{BackupArgs, CompactArgs, RestoreArgs};
pub use feed::{
    ExportArgs, ExportJobsArgs, ExportTarget, ExportUpdatesArgs, ExportWhat, FeedFilterArgs,
    FileFormat, WaitArgs, WatchArgs,
};
pub use jobs::{
    CountsArgs, DeleteArgs, ExpectArgs, GetArgs, HistoryArgs, JobFilterArgs, ListArgs, LookupArgs,
    PipelinesArgs, SetArgs,
};
pub use prune::{PruneArgs, PruneFilterArgs};

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::config::{ConfigFlags, parse_duration};

const DEFAULT_URL: &str = "http://127.0.0.1:7411";

const EXIT_CODES: &str = "\
Exit codes:
   0  done                               70  a bug in this program
   1  no: no such job or pipeline, it    73  the output file cannot be made
      finished otherwise, damage found   74  the machine cannot read or write
  64  wrong command line                 75  try again: store in use, queue full,
  65  updates rejected, input broken         wait took longer than --timeout
  66  the input cannot be opened, the    76  the store or backup is damaged
      feed no longer holds it or is      78  wrong configuration
      of another store
  69  no server answers
A command that SIGINT or SIGTERM broke off ends with 130 or 143.";

/// Keeps the status of every job of an ingestion pipeline.
///
/// `jobslate serve` keeps the store; all other commands talk to it over HTTP.
#[derive(Debug, Parser)]
#[command(name = "jobslate", version, arg_required_else_help = true, after_help = EXIT_CODES)]
#[command(after_long_help = EXIT_CODES, propagate_version = true, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(ServeArgs),
    Import(ImportArgs),
    Set(SetArgs),
    Get(GetArgs),
    List(ListArgs),
    History(HistoryArgs),
    Lookup(LookupArgs),
    Delete(DeleteArgs),
    Prune(PruneArgs),
    Wait(WaitArgs),
    Watch(WatchArgs),
    Counts(CountsArgs),
    Pipelines(PipelinesArgs),
    Expect(ExpectArgs),
    Export(ExportArgs),
    Stats(StatsArgs),
    Flush(FlushArgs),
    Check(CheckArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Compact(CompactArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
}

/// Which server to ask, and how to print what it says.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// URL of the server
    #[arg(long, env = "JOBSLATE_URL", default_value = DEFAULT_URL, value_parser = url)]
    #[arg(value_name = "URL", hide_env_values = true)]
    pub url: String,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
}

/// How patient a command is that may be sent again: it counts once.
#[derive(Args, Clone, Debug)]
pub struct RetryArgs {
    /// How long to try again when the server is busy or away
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub retry_for: Duration,
}

/// Keep the store and answer over HTTP, until SIGTERM or SIGINT
///
/// Needs no configuration: it listens on 127.0.0.1:7411 and keeps its data in ./jobslate-data. A
/// value is taken from the flag, else from the environment, else from the file, else the default.
/// At SIGTERM or SIGINT it stops taking updates, stores all that it took, and ends with 0; a second
/// signal ends it at once, which loses what was only queued.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate serve
  jobslate serve --data-dir /var/lib/jobslate --log-format json
  JOBSLATE_FLUSH_INTERVAL=500ms jobslate serve --config /etc/jobslate.toml")]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigFlags,
}

/// Send a file of updates: one JSON object a line, plain, gzip or zstd
///
/// Lines are sent in order, in chunks, each acknowledged when it is on disk. An import that was
/// stopped goes on where it was: run the same command again. Each chunk carries a key made of the
/// content and its line numbers, and the server counts a key once (it remembers keys for a day, see
/// idempotency_age_max). Another --chunk makes other keys, and so does a pipe: one that was stopped
/// goes on if the same bytes are piped again from the beginning. Rejected lines are named at the
/// end, and their neighbours are stored.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate import updates.ndjson.gz
  zcat day1.gz day2.gz | jobslate import -
  jobslate import updates.ndjson --json --quiet
A line: {\"job_id\":\"doc-1\",\"status\":\"error\",\"error\":\"no text\",\"at\":1764000000123}")]
pub struct ImportArgs {
    /// File to read, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Most lines of one request
    #[arg(long, value_name = "LINES", default_value = "1000")]
    #[arg(value_parser = chunk_lines)]
    pub chunk: usize,
    /// How long to try again when the server is busy or away
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub retry_for: Duration,
    /// No progress; the summary only if lines were rejected
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub server: Server,
}

/// Show the numbers of the server: updates, batches, commit times, queue, files
#[derive(Args, Debug)]
pub struct StatsArgs {
    #[command(flatten)]
    pub server: Server,
}

/// Wait until everything that was accepted is on disk
#[derive(Args, Debug)]
pub struct FlushArgs {
    #[command(flatten)]
    pub server: Server,
}

/// Compare everything in the store with everything: counts, indexes, records, updates
///
/// Asks the running server; with --data-dir, opens a store that no server has open. Reads the whole
/// store. Ends with 0 if it is clean, with 1 if not.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate check
  jobslate check --data-dir /var/lib/jobslate    (while the server is stopped)")]
pub struct CheckArgs {
    /// Directory of a store that is not in use
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub server: Server,
}

/// Print the configuration that `serve` would have, and where each value comes from
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate config
  jobslate config --config /etc/jobslate.toml
  jobslate config --sample > jobslate.toml")]
pub struct ConfigArgs {
    /// Print a sample file: every key with its meaning, range and default
    #[arg(long, conflicts_with_all = ["markdown", "json"])]
    pub sample: bool,
    /// Print the table of keys as Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigFlags,
}

/// Print completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate completions bash > /etc/bash_completion.d/jobslate
  jobslate completions fish > ~/.config/fish/completions/jobslate.fish")]
pub struct CompletionsArgs {
    pub shell: Shell,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "give a duration with a unit, such as 60s".to_owned())
}

fn chunk_lines(text: &str) -> Result<usize, String> {
    const LINES_MAX: usize = 100_000;
    let lines = text.parse().ok().filter(|lines| (1..=LINES_MAX).contains(lines));
    lines.ok_or_else(|| format!("give a number from 1 to {LINES_MAX}"))
}

/// An empty variable counts as unset, and a flag cannot be told from a variable here.
fn url(text: &str) -> Result<String, Infallible> {
    Ok(if text.is_empty() { DEFAULT_URL } else { text }.to_owned())
}
