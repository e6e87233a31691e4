//! The commands that read the feed, and those that take whole walks along.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::jobs::{JobFilterArgs, kind, pipeline, status};
use super::{Server, duration};
use crate::model::{InvalidName, JobId, Kind, Status};

/// Watch updates as they become durable, one line each
///
/// Goes on for ever: a lost connection is made again, also to a server that was restarted, and no
/// update is shown twice or left out. It ends with Ctrl-C, and says with which --after another
/// watch goes on.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate watch
  jobslate watch --pipeline pdf --kind failed
  jobslate watch --job doc-1 --json | jq -r .status
  jobslate watch --after 0 --count 100    (the first 100 that the store has)
With --json, one update a line. Ends with 66 if the feed no longer holds what follows --after, or if
the server comes back with another store.")]
pub struct WatchArgs {
    /// Begin after this update [default: begin now]
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
    /// End after so many updates
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    #[command(flatten)]
    pub server: Server,
    // Last, as its heading stands over everything that follows.
    #[command(flatten)]
    pub filter: FeedFilterArgs,
}

/// Which updates.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which updates")]
pub struct FeedFilterArgs {
    /// Only of this job
    #[arg(long, value_name = "ID", value_parser = job)]
    pub job: Option<String>,
    /// Only of this pipeline
    #[arg(long, value_name = "NAME", value_parser = pipeline)]
    pub pipeline: Option<String>,
    /// Only to these statuses, separated by commas; may be repeated
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub status: Vec<Status>,
    /// Only to statuses that mean this; several separated by commas
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind())]
    pub kind: Vec<Kind>,
}

/// Wait until a job is finished, or has a given status
///
/// It is told by the server and does not ask again and again. A job that does not exist yet is
/// waited for. A job that finishes, but not as was asked, ends the wait as well: whoever waits for
/// `completed` hears of an error at once. The exit code tells:
///    0  it is as asked
///    1  it finished otherwise, it was removed, or (with --existing) there is no such job
///   75  --timeout is over
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  jobslate wait doc-1 && echo finished, one way or another
  jobslate wait doc-1 --for completed --timeout 5m || echo failed or too slow
  jobslate wait doc-1 --for-kind succeeded,failed
  jobslate wait doc-1 --for processing --json | jq -r .outcome
--json prints an object with job_id, outcome, status, kind, error and seq at the end; outcome is
reached, finished_otherwise, removed, unknown_job or timed_out."
)]
pub struct WaitArgs {
    /// Id of the job
    pub job: String,
    /// One of these statuses, separated by commas [default: any that means finished]
    #[arg(long = "for", value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub statuses: Vec<Status>,
    /// A status that means one of these; several separated by commas
    #[arg(long = "for-kind", value_name = "KIND", value_delimiter = ',', value_parser = kind())]
    pub kinds: Vec<Kind>,
    /// Longest wait [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// End with 1 at once if there is no such job
    #[arg(long)]
    pub existing: bool,
    #[command(flatten)]
    pub server: Server,
}

/// Write all jobs, or all updates, to a file or to standard output
///
/// A file is written under another name beside it and gets its own name when it is whole: it is
/// never half there. Only its owner may read it, as errors of jobs may be private; a file that is
/// replaced keeps its mode.
#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  jobslate export jobs --output jobs.csv
  jobslate export jobs --kind failed --updated-after 1d | jq -r .error
  jobslate export updates --output updates.ndjson"
)]
pub struct ExportArgs {
    #[command(subcommand)]
    pub what: ExportWhat,
}

#[derive(Debug, Subcommand)]
pub enum ExportWhat {
    Jobs(ExportJobsArgs),
    Updates(ExportUpdatesArgs),
}

/// Write jobs, the last changed first
///
/// It reflects the moment at which it began: a job that changes before its turn is left out, and
/// `jobslate export updates --after` the update that the last line on standard error names has it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate export jobs > jobs.ndjson
  jobslate export jobs --output failed.csv --kind failed --updated-after 1h")]
pub struct ExportJobsArgs {
    #[command(flatten)]
    pub target: ExportTarget,
    #[command(flatten)]
    pub filter: JobFilterArgs,
}

/// Write the updates that the feed holds, in order, up to the last that is durable when it begins
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate export updates --output updates.csv
  jobslate export updates --after 918273 --pipeline pdf > new.ndjson
Ends with 66 if the feed no longer holds what follows --after.")]
pub struct ExportUpdatesArgs {
    /// Begin after this update [default: begin with the first that the feed holds]
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
    #[command(flatten)]
    pub target: ExportTarget,
    #[command(flatten)]
    pub filter: FeedFilterArgs,
}

/// Where to, and how.
#[derive(Args, Clone, Debug)]
pub struct ExportTarget {
    /// [default: csv for a FILE.csv, else ndjson]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<FileFormat>,
    /// File to make, or - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
    /// No progress, and no last line that says how many rows and as of which update
    #[arg(long, short)]
    pub quiet: bool,
    /// How long to try again when the server is busy or away
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub retry_for: Duration,
    #[command(flatten)]
    pub server: Server,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// One JSON object a line
    Ndjson,
    /// A header line, then rows (RFC 4180)
    Csv,
}

fn job(text: &str) -> Result<String, InvalidName> {
    JobId::parse(text).map(|job_id| job_id.as_str().to_owned())
}
