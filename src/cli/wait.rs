//! `jobslate wait`: until a job is finished, or has a given status.
//!
//! ```text
//! remember where the feed is -> read the job -> follow the feed from there
//! ```
//!
//! In this order nothing falls between the read and the feed; what the feed tells up to the update
//! that the read showed is passed over. A timeout, also one of zero, leaves time for one read.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

use super::args::WaitArgs;
use super::exit::{Exit, Failure};
use super::output::{self, shown, shown_short};
use super::retry;
use super::signals::Signals;
use super::watch::next_entry;
use crate::client::{Client, ClientError, FeedQuery, WatchOptions};
use crate::model::{JobId, Kind};

/// How much of an error is shown.
const ERROR_CHARS_MAX: usize = 200;
/// How long the first read may take, however short the timeout is.
const FIRST_READ_MAX: Duration = Duration::from_secs(5);

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
    let (mut seen, has_read) = (Seen::default(), Notify::new());
    let outcome = tokio::select! {
        // In this order: what the read tells goes before the end of the time.
        biased;
        outcome = wait(&client, &args, &mut seen, &has_read) => outcome.map_err(not_in_time)?,
        () = is_over(args.timeout, &has_read) => Outcome::TimedOut,
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

/// The timeout is over, and the job was read once, or that takes too long.
async fn is_over(timeout: Option<Duration>, has_read: &Notify) {
    let Some(timeout) = timeout else { return std::future::pending().await };
    tokio::time::sleep(timeout).await;
    let rest = FIRST_READ_MAX.saturating_sub(timeout);
    // Either way it is over.
    let _ = tokio::time::timeout(rest, has_read.notified()).await;
}

/// The exit code that says "the time is over" says nothing else here.
fn not_in_time(failure: Failure) -> Failure {
    match failure.exit {
        Exit::TryLater => Failure { exit: Exit::Unavailable, ..failure },
        _ => failure,
    }
}

/// Where the feed is, and then the job, if there is one.
async fn read(client: &Client, job_id: &str) -> Result<(u64, Option<Seen>), ClientError> {
    let place = client.feed(&FeedQuery::default(), None, Some(1), None).await?.body.as_of_seq;
    match client.job(job_id).await {
        Ok(job) => {
            let seen = Seen {
                status: Some(job.status.into_owned()),
                kind: Some(job.kind.into_owned()),
                error: job.error.map(|error| error.into_owned()),
                seq: Some(job.seq),
            };
            Ok((place, Some(seen)))
        }
        Err(error) if error.code() == Some("unknown_job") => Ok((place, None)),
        Err(error) => Err(error),
    }
}

/// Waits without an end of its own; `seen` is what is known when it is dropped, and `has_read` is
/// told of each try to read the job.
async fn wait(
    client: &Client,
    args: &WaitArgs,
    seen: &mut Seen,
    has_read: &Notify,
) -> Result<Outcome, Failure> {
    let try_read = async || {
        let tried = read(client, &args.job).await;
        has_read.notify_one();
        tried
    };
    let (place, found) = retry::until_open(try_read).await?;
    match found {
        Some(found) => *seen = found,
        None if args.existing => return Ok(Outcome::UnknownJob),
        None => (),
    }
    if let Some(outcome) = judge(args, seen) {
        return Ok(outcome);
    }
    let query = FeedQuery { job: Some(args.job.clone()), ..FeedQuery::default() };
    let connect = || client.watch(query.clone(), Some(place), WatchOptions::default());
    let mut watch = retry::until_answered(Duration::MAX, retry::say_once(), connect).await?;
    loop {
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
        if let Some(outcome) = judge(args, seen) {
            return Ok(outcome);
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
