//! The command that removes many jobs.

use std::time::Duration;

use clap::Args;

use super::jobs::{kind, moment, pipeline, status};
use super::{RetryArgs, Server, duration};
use crate::model::limits::PRUNE_KEEP_MAX;
use crate::model::{Kind, Status, TimestampMs};

/// Remove jobs by what they are: kind, status, pipeline, age, number
///
/// Counts them, asks, and removes them, the longest unchanged first. Waiting and running jobs go
/// only if their kind or status is named; a job that changes meanwhile stays. Returns when all is
/// on disk. The feed keeps the past of the jobs and says that they were removed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate prune --kind succeeded --older-than 30d --dry-run
  jobslate prune --kind succeeded --older-than 30d --yes
  jobslate prune --kind failed --keep 10000              (all but the last 10,000)
  jobslate prune --pipeline pdf --updated-before 2025-11-01T00:00:00Z
Without a terminal to ask on, it wants --yes or --dry-run, else it ends with 64.")]
pub struct PruneArgs {
    /// Only count them
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub retry: RetryArgs,
    #[command(flatten)]
    pub server: Server,
    // Last, as its heading stands over everything that follows.
    #[command(flatten)]
    pub filter: PruneFilterArgs,
}

/// Which jobs; at least one must be given.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which jobs (at least one of these)")]
#[group(required = true, multiple = true)]
pub struct PruneFilterArgs {
    /// Only statuses that mean this; several separated by commas [default: the finished ones]
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind())]
    pub kind: Vec<Kind>,
    /// Only these statuses, separated by commas; may be repeated
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub status: Vec<Status>,
    /// Only this pipeline
    #[arg(long, value_name = "NAME", value_parser = pipeline)]
    pub pipeline: Option<String>,
    /// Not changed for this long, in time that a server ran
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// Not changed since this time: RFC 3339, Unix milliseconds, or 1h (an hour ago)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub updated_before: Option<TimestampMs>,
    /// All but so many, the last changed of those with these kinds, statuses and pipeline
    #[arg(long, value_name = "N", value_parser = keep)]
    pub keep: Option<usize>,
}

fn keep(text: &str) -> Result<usize, String> {
    let jobs = text.parse().ok().filter(|jobs| (1..=PRUNE_KEEP_MAX).contains(jobs));
    jobs.ok_or_else(|| format!("give a number from 1 to {PRUNE_KEEP_MAX}"))
}
