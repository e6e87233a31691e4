//! `jobslate prune`: many jobs go, in calls that are short enough to be told of.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Instant;

use super::args::{PruneArgs, PruneFilterArgs};
use super::exit::{Exit, Failure};
use super::output::{self, grouped};
use super::progress::{Measure, Position, Progress, Task};
use super::retry;
use crate::api::PruneBody;
use crate::client::{Client, PruneQuery};

/// Most jobs of one call: a few commits, then there is progress to show.
const CALL_JOBS_MAX: u64 = 5_000;

/// Counts the jobs, asks, and removes as many.
///
/// # Errors
/// [`Failure`]: nobody to ask, no server, or the store failed; some may be gone.
pub async fn run(args: PruneArgs) -> Result<(), Failure> {
    let may_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !args.dry_run && !args.yes && !may_ask {
        let what = "there is no terminal to ask on: add --yes, or --dry-run to count the jobs";
        return Err(Failure::new(Exit::Usage, what));
    }
    let client = Client::new(&args.server.url)?;
    let mut query = query_of(&args.filter);
    let count = || client.prune(&query, true);
    let counted = retry::until_answered(args.retry.retry_for, retry::say_once(), count).await?;
    if args.dry_run {
        return say(&args, &counted);
    }
    if counted.matched > 0 && !args.yes && !is_confirmed(counted.matched)? {
        output::note("nothing was removed");
        return Ok(());
    }
    let done = remove(&client, &mut query, &args, counted).await?;
    say(&args, &done)
}

/// Removes at most as many jobs as were counted: those that come to match meanwhile are another's.
async fn remove(
    client: &Client,
    query: &mut PruneQuery,
    args: &PruneArgs,
    counted: PruneBody,
) -> Result<PruneBody, Failure> {
    let whole = counted.matched;
    let mut done = PruneBody { dry_run: false, matched: 0, more: false, ..counted };
    let task = Task { name: "prune", noun: "jobs", measure: Measure::Things, whole: Some(whole) };
    let mut progress = Progress::new(args.quiet || args.server.json, task);
    let begin = Instant::now();
    while done.matched < whole {
        query.limit = Some((whole - done.matched).min(CALL_JOBS_MAX));
        let call = || client.prune(query, false);
        let waiting = |why: &str| progress.waiting(why);
        let answered = retry::until_answered(args.retry.retry_for, waiting, call).await;
        let part = answered.inspect_err(|_| {
            progress.end();
            output::note(&format!("{} jobs were removed before", grouped(done.removed)));
        })?;
        done.matched += part.matched;
        done.removed += part.removed;
        done.changed += part.changed;
        let (count, elapsed) = (done.removed, begin.elapsed());
        progress.show(Position { done: done.matched, count, elapsed });
        if !part.more {
            break;
        }
    }
    progress.end();
    Ok(done)
}

fn query_of(filter: &PruneFilterArgs) -> PruneQuery {
    PruneQuery {
        statuses: filter.status.iter().map(|status| status.as_str().to_owned()).collect(),
        kinds: filter.kind.clone(),
        pipeline: filter.pipeline.clone(),
        updated_before: filter.updated_before,
        older_than: filter.older_than,
        keep: filter.keep,
        limit: None,
    }
}

/// Asks on the terminal; only `y` and `yes` mean yes.
fn is_confirmed(jobs: u64) -> io::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "Remove {} jobs for good? [y/N] ", grouped(jobs))?;
    stderr.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn say(args: &PruneArgs, done: &PruneBody) -> Result<(), Failure> {
    if args.server.json {
        return Ok(output::json(done)?);
    }
    let line = if done.dry_run {
        format!("{} jobs would be removed", grouped(done.matched))
    } else {
        let changed = match done.changed {
            0 => String::new(),
            changed => format!("; {} changed meanwhile and stay", grouped(changed)),
        };
        format!("{} jobs removed{changed}", grouped(done.removed))
    };
    Ok(output::text_line(&line)?)
}
