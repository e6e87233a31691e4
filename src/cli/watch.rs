//! `jobslate watch`: updates as they become durable.

use owo_colors::OwoColorize;

use super::args::{FeedFilterArgs, WatchArgs};
use super::exit::Failure;
use super::output::{self, grouped, painted, shown, shown_short};
use super::retry;
use super::signals::Signals;
use crate::api::FeedEntryBody;
use crate::client::{Client, ClientError, FeedQuery, Watch, WatchOptions, Watched};

/// How much of an error or message a line shows.
const TEXT_CHARS_MAX: usize = 200;

/// Prints one line for each update, for ever, or `--count` of them.
///
/// # Errors
/// [`Failure`]: no server at the begin, the feed no longer holds what comes next, or a signal.
pub async fn run(args: WatchArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server.url)?;
    let mut signals = Signals::new().map_err(Failure::no_runtime)?;
    let query = query_of(&args.filter);
    let mut watch = tokio::select! {
        watch = start(&client, &query, args.after) => watch?,
        exit = signals.next() => return Err(Failure::silent(exit)),
    };
    tokio::select! {
        shown = show(&mut watch, args.count, args.server.json) => shown,
        exit = signals.next() => {
            output::note(&format!("go on with --after {}", watch.after()));
            Err(Failure::silent(exit))
        }
    }
}

/// Connects; a server that is not open yet is waited for.
///
/// # Errors
/// Nobody is there, or refuses.
async fn start(
    client: &Client,
    query: &FeedQuery,
    after: Option<u64>,
) -> Result<Watch, ClientError> {
    retry::until_open(|| client.watch(query.clone(), after, WatchOptions::default())).await
}

/// The query of a filter.
pub fn query_of(filter: &FeedFilterArgs) -> FeedQuery {
    FeedQuery {
        job: filter.job.clone(),
        pipeline: filter.pipeline.clone(),
        statuses: filter.status.iter().map(|status| status.as_str().to_owned()).collect(),
        kinds: filter.kind.clone(),
    }
}

async fn show(watch: &mut Watch, count: Option<u64>, is_json: bool) -> Result<(), Failure> {
    let mut left = count;
    loop {
        match next_entry(watch).await? {
            entry if is_json => output::json_line(&entry)?,
            entry => output::text_line(&line(&entry))?,
        }
        left = left.map(|left| left - 1);
        if left == Some(0) {
            return Ok(());
        }
    }
}

/// The next entry; a lost and regained connection is said on standard error.
///
/// # Errors
/// The watch is over.
pub async fn next_entry(watch: &mut Watch) -> Result<FeedEntryBody<'static>, Failure> {
    loop {
        match watch.next().await? {
            Watched::Entry(entry) => return Ok(*entry),
            Watched::Lost(error) => {
                output::note(&format!(
                    "connection lost, trying again: {}",
                    shown(&error.to_string())
                ));
            }
            Watched::Regained => output::note("connected again, nothing was missed"),
        }
    }
}

/// `2025-11-24T16:00:00.123Z  doc-0001  processing -> error  ocr timed out`
fn line(it: &FeedEntryBody<'_>) -> String {
    let at = it.at.0.to_string();
    let subject = match &it.job_id {
        Some(job_id) => shown(job_id),
        None => format!("pipeline {}", shown(&it.pipeline)),
    };
    let line = [at.dimmed().to_string(), subject, change(it)].join("  ");
    let about = about(it);
    if about.is_empty() { line } else { [line, about].join("  ") }
}

fn change(it: &FeedEntryBody<'_>) -> String {
    if let Some(total) = it.expected_total {
        return match total {
            0 => "no number of jobs expected".to_owned(),
            total => format!("{} jobs expected", grouped(total)),
        };
    }
    let kind = it.kind.as_deref().unwrap_or_default();
    let status = match &it.status {
        Some(status) => painted(status, kind),
        None => "removed".bold().to_string(),
    };
    match &it.previous {
        // Such an update has the status that the job has: it changes none.
        Some(_) if it.heartbeat || !it.applied => status,
        Some(previous) => format!("{} -> {status}", shown(previous)),
        None => status,
    }
}

/// What there is to say beside the change.
fn about(it: &FeedEntryBody<'_>) -> String {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| {
        text.as_deref().map(|text| shown_short(text, TEXT_CHARS_MAX))
    };
    let attempt = it.attempt.filter(|attempt| *attempt > 1 && !it.heartbeat);
    let moved = it.previous_pipeline.as_deref();
    let parts = [
        (!it.applied).then(|| "(an update that came too late, not applied)".to_owned()),
        attempt.map(|attempt| format!("attempt {attempt}")),
        it.progress.map(|part| format!("{:.0} %", part * 100.0)),
        text(&it.error),
        text(&it.message),
        moved.map(|from| format!("moved from {} to {}", shown(from), shown(&it.pipeline))),
        it.pipeline_finished.then(|| format!("pipeline {} is finished", shown(&it.pipeline))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(json: &str) -> String {
        let whole = format!(
            r#"{{"seq":7,"pipeline":"pdf","previous_pipeline":null,"status":null,"kind":null,
                "previous":null,"applied":true,"at":"2025-11-24T16:00:00.123Z","attempt":null,
                "error":null,{json}}}"#
        );
        // The later of two members counts.
        let value: serde_json::Value = serde_json::from_str(&whole).unwrap();
        let entry: FeedEntryBody<'static> = serde_json::from_value(value).unwrap();
        anstream::adapter::strip_str(&line(&entry)).to_string()
    }

    #[test]
    fn a_line_says_what_changed() {
        let at = "2025-11-24T16:00:00.123Z  ";
        for (json, text) in [
            (r#""job_id":"a","status":"queued","kind":"waiting","attempt":1"#, "a  queued"),
            (
                r#""job_id":"a\u001b[2J","status":"error","kind":"failed","previous":"processing",
                   "attempt":2,"error":"no\ntext""#,
                r"a\u{1b}[2J  processing -> error  attempt 2  no\ntext",
            ),
            (
                r#""job_id":"a","status":"processing","kind":"running","previous":"processing",
                   "heartbeat":true,"progress":0.4,"message":"page 12""#,
                "a  processing  40 %  page 12",
            ),
            (r#""job_id":"a","previous":"error","deleted":true"#, "a  error -> removed"),
            (r#""job_id":null,"expected_total":3957"#, "pipeline pdf  3,957 jobs expected"),
            (
                r#""job_id":"a","status":"done","kind":"succeeded","previous":"done",
                   "applied":false,"attempt":1,"error":"no text""#,
                "a  done  (an update that came too late, not applied)  no text",
            ),
            (
                r#""job_id":"a","status":"done","kind":"succeeded","pipeline_finished":true"#,
                "a  done  pipeline pdf is finished",
            ),
        ] {
            assert_eq!(plain(json), format!("{at}{text}"));
        }
    }
}
