//! `jobslate wait`: until a job is finished, or has a given status.
//!
//! ```text
//! remember where the feed is -> read the job -> follow the feed from there
//! ```
//!
//! In this order nothing falls between the read and the feed; what the feed tells up to the update
//! that the read showed is passed over.

use serde::Serialize;

use super::args::WaitArgs;
use super::exit::{Exit, Failure};
use super::output::{self, shown, shown_short};
use super::retry;
use super::signals::Signals;
use super::watch::next_entry;
use crate::client::{Client, FeedQuery, WatchOptions};
use crate::model::{JobId, Kind};

/// How much of an error is shown.
const ERROR_CHARS_MAX: usize = 200;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Reached,
    FinishedOtherwise,
    Removed,
    UnknownJob,
    TimedOut,
}

/// What was last seen of the job; all `null` if it never was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Seen {
    status: Option<String>,
    kind: Option<String>,
    error: Option<String>,
    /// The update that made it so.
    seq: Option<u64>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Ended<'a> {
    job_id: &'a str,
    outcome: Outcome,
    #[serde(flatten)]
    seen: &'a Seen,
}

/// Waits, and says how it ended.
///
/// # Errors
/// [`Failure`]: it ended otherwise than asked, by the timeout or a signal, or there is no server.
pub async fn run(args: WaitArgs) -> Result<(), Failure> {
    JobId::parse(&args.job)?;
    let client = Client::new(&args.server.url)?;
    let mut signals = Signals::new().map_err(Failure::no_runtime)?;
    let mut seen = Seen::default();
    let outcome = tokio::select! {
        outcome = wait(&client, &args, &mut seen) => outcome?,
        () = is_over(args.timeout) => Outcome::TimedOut,
        exit = signals.next() => return Err(Failure::new(exit, "stopped by a signal")),
    };
    let exit = match outcome {
        Outcome::Reached => Exit::Done,
        Outcome::FinishedOtherwise | Outcome::Removed | Outcome::UnknownJob => Exit::No,
        Outcome::TimedOut => Exit::TryLater,
    };
    let sentence = sentence(&args, outcome, &seen);
    if args.server.json {
        output::json(&Ended { job_id: &args.job, outcome, seen: &seen })?;
        return if exit == Exit::Done { Ok(()) } else { Err(Failure::silent(exit)) };
    }
    if exit == Exit::Done {
        return Ok(output::text_line(&sentence)?);
    }
    Err(Failure::new(exit, sentence))
}

async fn is_over(timeout: Option<std::time::Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

/// Waits without an end of its own; `seen` is what is known when it is dropped.
async fn wait(client: &Client, args: &WaitArgs, seen: &mut Seen) -> Result<Outcome, Failure> {
    let query = FeedQuery { job: Some(args.job.clone()), ..FeedQuery::default() };
    let mut watch = client.watch(query, None, WatchOptions::default()).await?;
    let retry_for = std::time::Duration::MAX;
    let read = || client.job(&args.job);
    match retry::until_answered(retry_for, retry::say_once(), read).await {
        Ok(job) => {
            *seen = Seen {
                status: Some(job.status.into_owned()),
                kind: Some(job.kind.into_owned()),
                error: job.error.map(|error| error.into_owned()),
                seq: Some(job.seq),
            };
        }
        Err(error) if error.code() == Some("unknown_job") && !args.existing => (),
        Err(error) if error.code() == Some("unknown_job") => return Ok(Outcome::UnknownJob),
        Err(error) => return Err(error.into()),
    }
    loop {
        if let Some(outcome) = judge(args, seen) {
            return Ok(outcome);
        }
        let entry = next_entry(&mut watch).await?;
        if !entry.applied || seen.seq.is_some_and(|seq| entry.seq <= seq) {
            continue;
        }
        // A heartbeat leaves the error as it is, unless it gives one.
        let kept = seen.error.take().filter(|_| entry.heartbeat);
        let error = entry.error.map(|error| error.into_owned()).or(kept);
        *seen = Seen {
            status: entry.status.map(|status| status.into_owned()),
            kind: entry.kind.map(|kind| kind.into_owned()),
            error,
            seq: Some(entry.seq),
        };
        if entry.deleted {
            return Ok(Outcome::Removed);
        }
    }
}

/// Whether the wait is over with what was seen. No status is final, but a job that is finished is
/// not expected to go on.
fn judge(args: &WaitArgs, seen: &Seen) -> Option<Outcome> {
    let status = seen.status.as_deref()?;
    let kind = seen.kind.as_deref().and_then(Kind::parse);
    let is_finished = kind.is_some_and(Kind::is_finished);
    let asks_any_end = args.statuses.is_empty() && args.kinds.is_empty();
    let is_reached = args.statuses.iter().any(|asked| asked.as_str() == status)
        || kind.is_some_and(|kind| args.kinds.contains(&kind))
        || (asks_any_end && is_finished);
    match (is_reached, is_finished) {
        (true, _) => Some(Outcome::Reached),
        (false, true) => Some(Outcome::FinishedOtherwise),
        (false, false) => None,
    }
}

fn sentence(args: &WaitArgs, outcome: Outcome, seen: &Seen) -> String {
    let job = shown(&args.job);
    let statuses = args.statuses.iter().map(|status| status.as_str());
    let asked: Vec<&str> = statuses.chain(args.kinds.iter().map(|kind| kind.as_str())).collect();
    let asked = if asked.is_empty() { "finished".to_owned() } else { asked.join(" or ") };
    let status = seen.status.as_deref().map_or_else(|| "unknown".to_owned(), shown);
    let seq = seen.seq.map_or_else(String::new, |seq| format!(" (update {seq})"));
    let error = seen
        .error
        .as_deref()
        .map_or_else(String::new, |error| format!(": {}", shown_short(error, ERROR_CHARS_MAX)));
    match outcome {
        Outcome::Reached => format!("{job}: {status}{seq}{error}"),
        Outcome::FinishedOtherwise => format!("{job} is {status}, not {asked}{seq}{error}"),
        Outcome::Removed => format!("{job} was removed{seq}"),
        Outcome::UnknownJob => format!("no job {job}"),
        Outcome::TimedOut => match &seen.status {
            Some(_) => format!("{job} is still {status}, not {asked}{seq}"),
            None => format!("no status of {job} was seen in time"),
        },
    }
}
