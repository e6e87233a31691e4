//! The commands about jobs and pipelines.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{RetryArgs, Server, duration};
use crate::model::limits::{EXPECTED_TOTAL_MAX, JOB_ID_BYTES_MAX};
use crate::model::{
    Clock, InvalidName, InvalidStatus, InvalidTime, Kind, Order, PipelineName, Status, TimestampMs,
    parse_duration,
};

/// Report the status of one job
///
/// Returns when it is on disk. Without STATUS it is a heartbeat: it sets what the flags give and
/// leaves the status as it is.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate set doc-1 processing
  jobslate set doc-1 error --error 'no text found' --attempt 2
  jobslate set doc-1 --progress 0.4 --message 'page 12'
  jobslate set doc-1 processing --if-status queued    (fails unless it is queued: claim a job)")]
pub struct SetArgs {
    /// Id of the job
    pub job: String,
    /// Its new status: queued, processing, completed, error, cancelled, or a word of your own
    pub status: Option<String>,
    /// Why it failed
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// When it happened: RFC 3339 or Unix milliseconds [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Which attempt this is; a lower one than the job has is stale
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// How much is done, from 0 to 1
    #[arg(long, value_name = "PART")]
    pub progress: Option<f64>,
    /// What it is doing
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// A label; may be repeated, and replaces all labels of the job
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Pipeline of the job [default: the one it has, or `default`]
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// Only if this is the job's status now
    #[arg(long, value_name = "STATUS", conflicts_with = "queued")]
    pub if_status: Option<String>,
    /// Return once it is admitted, before it is on disk
    #[arg(long)]
    pub queued: bool,
    #[command(flatten)]
    pub server: Server,
}

/// Show one job
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate get doc-1
  jobslate get doc-1 --json | jq -r .status
Ends with 1 if there is no such job.")]
pub struct GetArgs {
    /// Id of the job
    pub job: String,
    #[command(flatten)]
    pub server: Server,
}

/// List jobs, the last changed first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate list --kind failed --updated-after 1h           (failed in the last hour)
  jobslate list --status error,timeout --pipeline pdf
  jobslate list --stalled-for 10m --order oldest           (what is stuck, the worst first)
  jobslate list --prefix 2025/11/ --limit 1000
  jobslate list --all --json | jq -r .job_id
With --json, one job a line.")]
pub struct ListArgs {
    /// Most jobs to list
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all")]
    #[arg(value_parser = jobs_max)]
    pub limit: u64,
    /// List them all
    #[arg(long)]
    pub all: bool,
    /// Print CSV, with a header line
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    #[command(flatten)]
    pub server: Server,
    // Last, as its heading stands over everything that follows.
    #[command(flatten)]
    pub filter: JobFilterArgs,
}

/// Which jobs, and in which order.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which jobs")]
pub struct JobFilterArgs {
    /// Only these statuses, separated by commas; may be repeated
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub status: Vec<Status>,
    /// Only statuses that mean this; several separated by commas
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind())]
    pub kind: Vec<Kind>,
    /// Only this pipeline
    #[arg(long, value_name = "NAME", value_parser = pipeline)]
    pub pipeline: Option<String>,
    /// Only ids that begin so
    #[arg(long, value_name = "TEXT", value_parser = prefix)]
    pub prefix: Option<String>,
    /// Changed at this time or after it: RFC 3339, Unix milliseconds, or 1h (an hour ago)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub updated_after: Option<TimestampMs>,
    /// Changed before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub updated_before: Option<TimestampMs>,
    /// Not finished, and not changed for this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub stalled_for: Option<Duration>,
    /// By last change, or by id [default: newest; id with --prefix]
    #[arg(long, value_name = "ORDER", value_parser = order())]
    pub order: Option<Order>,
}

/// Show how a job came to its status: its last 32 changes, oldest first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate history doc-1
  jobslate history doc-1 --json | jq -r '.transitions[].status'
Ends with 1 if there is no such job.")]
pub struct HistoryArgs {
    /// Id of the job
    pub job: String,
    #[command(flatten)]
    pub server: Server,
}

/// Look many jobs up by their ids
///
/// Any number of ids: they are asked for by the thousand.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate lookup doc-1 doc-2 doc-3
  jobslate lookup - < ids.txt                     (one id a line)
  ls | jobslate lookup - --json | jq -r 'select(.kind != \"succeeded\").job_id'
With --json, one job a line. Ends with 1 if there is no job for an id; these are named on standard
error.")]
pub struct LookupArgs {
    /// Ids of jobs, or - for those on standard input, one a line
    #[arg(value_name = "ID", required = true)]
    pub jobs: Vec<String>,
    #[command(flatten)]
    pub server: Server,
}

/// Remove a job
///
/// Returns when that is on disk. The feed keeps the past of the job and says that it was removed. A
/// later update with the same id makes a new job.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate delete doc-1
Ends with 1 if there is no such job.")]
pub struct DeleteArgs {
    /// Id of the job
    pub job: String,
    #[command(flatten)]
    pub retry: RetryArgs,
    #[command(flatten)]
    pub server: Server,
}

/// Show how far pipelines are, how fast they go, and when they will be done
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate pipelines
  jobslate pipelines pdf
  jobslate pipelines --json | jq -r 'select(.percent == 100).pipeline'
DONE is a part of EXPECTED where that is known (see `jobslate expect`), else of TOTAL. With --json,
one pipeline a line. Ends with 1 if there is no such pipeline.")]
pub struct PipelinesArgs {
    /// Only this one, with all that is known of it
    pub name: Option<String>,
    #[command(flatten)]
    pub server: Server,
}

/// Say how many jobs of a pipeline will finish
///
/// `jobslate pipelines` then counts against it, and the feed says once when as many have finished.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate expect pdf 3957
  jobslate expect pdf none    (nobody knows any more)")]
pub struct ExpectArgs {
    /// Name of the pipeline
    pub pipeline: String,
    /// How many jobs, from 1 on, or none
    #[arg(value_parser = total)]
    pub total: ExpectedTotal,
    #[command(flatten)]
    pub retry: RetryArgs,
    #[command(flatten)]
    pub server: Server,
}

/// Show how many jobs there are, by status
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate counts
  jobslate counts --by-pipeline
  jobslate counts --json | jq .by_kind.failed")]
pub struct CountsArgs {
    /// One row for each pipeline
    #[arg(long)]
    pub by_pipeline: bool,
    #[command(flatten)]
    pub server: Server,
}

/// A total, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedTotal(pub Option<u64>);

fn jobs_max(text: &str) -> Result<u64, String> {
    let jobs = text.parse().ok().filter(|jobs| *jobs > 0);
    jobs.ok_or_else(|| "give a number from 1; --all lists them all".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "give NAME=VALUE".to_owned())
}

fn total(text: &str) -> Result<ExpectedTotal, String> {
    if text == "none" {
        return Ok(ExpectedTotal(None));
    }
    let total = text.parse().ok().filter(|total| (1..=EXPECTED_TOTAL_MAX).contains(total));
    total
        .map(|total| ExpectedTotal(Some(total)))
        .ok_or_else(|| format!("give a number from 1 to {EXPECTED_TOTAL_MAX}, or none"))
}

/// The kinds by name; an iterator of names for help and completions.
pub(super) fn kind() -> impl TypedValueParser<Value = Kind> {
    let names = PossibleValuesParser::new(Kind::ALL.map(Kind::as_str));
    names.try_map(|name| Kind::parse(&name).ok_or("no such kind"))
}

pub(super) fn status(text: &str) -> Result<Status, InvalidStatus> {
    Status::parse(text)
}

pub(super) fn pipeline(text: &str) -> Result<String, InvalidName> {
    PipelineName::parse(text).map(|name| name.as_str().to_owned())
}

/// As long as an id may be; anything else that no id begins with finds none.
fn prefix(text: &str) -> Result<String, String> {
    match text.len() {
        0..=JOB_ID_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(format!("it is {bytes} bytes, the most is {JOB_ID_BYTES_MAX}")),
    }
}

fn order() -> impl TypedValueParser<Value = Order> {
    let names = PossibleValuesParser::new(Order::ALL.map(Order::as_str));
    names.try_map(|name| Order::parse(&name).ok_or("no such order"))
}

/// A moment: RFC 3339, Unix milliseconds, or a duration back from now.
pub(super) fn moment(text: &str) -> Result<TimestampMs, String> {
    moment_from(text, Clock::System.wall())
}

fn moment_from(text: &str, now: TimestampMs) -> Result<TimestampMs, String> {
    if let Some(ago) = parse_duration(text) {
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        return Ok(TimestampMs(now.0.saturating_sub(ago_ms)));
    }
    let parsed = match text.parse() {
        Ok(ms) => TimestampMs::from_unix_ms(ms),
        Err(_) => TimestampMs::from_rfc3339(text),
    };
    parsed.map_err(|error| match error {
        InvalidTime::NotATime(_) => {
            "give RFC 3339 like 2025-11-24T16:00:00Z, Unix milliseconds, or how long ago, like 1h"
                .to_owned()
        }
        other => other.to_string().trim_start_matches("at ").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = TimestampMs(1_764_000_000_000);
        let ms = |text: &str| moment_from(text, now).map(|at| at.0);
        assert_eq!(ms("1h"), Ok(now.0 - 3_600_000));
        assert_eq!(ms("1h 30m"), Ok(now.0 - 5_400_000));
        assert_eq!(ms("1763999999999"), Ok(1_763_999_999_999));
        assert_eq!(ms("2025-11-24T16:00:00Z"), Ok(now.0));
        assert!(ms("yesterday").unwrap_err().contains("how long ago"));
        assert!(ms("1764000000").unwrap_err().starts_with("is 1764000000, which looks"));
        assert!(ms("-1h").is_err());
    }

    #[test]
    fn a_total_is_a_number_or_none() {
        assert_eq!(total("none"), Ok(ExpectedTotal(None)));
        assert_eq!(total("3957"), Ok(ExpectedTotal(Some(3957))));
        assert!(total("0").is_err() && total("many").is_err());
    }
}
