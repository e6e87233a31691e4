//! `jobslate export`: a whole walk over the jobs or the updates, as NDJSON or CSV.
//!
//! Pages are asked for one after the other and written as they come, so that a million rows need no
//! more memory than a thousand. A server that is busy or restarts is asked again: a walk goes on
//! where it was.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{
    ExportArgs, ExportJobsArgs, ExportTarget, ExportUpdatesArgs, ExportWhat, FileFormat,
};
use super::exit::{Exit, Failure};
use super::output::{self, grouped};
use super::progress::{Measure, Position, Progress, Task};
use super::signals::Signals;
use super::target::Target;
use super::{list, retry, watch};
use crate::api::{CountsBody, FeedBody, entries_csv, jobs_csv};
use crate::client::{Client, ClientError, FeedQuery, ListQuery};
use crate::model::limits::{PAGE_JOBS_MAX, PAGE_UPDATES_MAX};

/// What was written, beside the data.
#[derive(Debug, Serialize)]
struct Summary {
    rows: u64,
    /// The last update that the rows reflect.
    as_of_seq: u64,
    seconds: f64,
}

/// Exports jobs or updates.
///
/// # Errors
/// [`Failure`]: no server for long enough, an output that cannot be made or written, or a signal;
/// then no file is made.
pub async fn run(args: ExportArgs) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(Failure::no_runtime)?;
    tokio::select! {
        done = export(args) => done,
        exit = signals.next() => Err(Failure::new(exit, "stopped by a signal")),
    }
}

async fn export(args: ExportArgs) -> Result<(), Failure> {
    match args.what {
        ExportWhat::Jobs(args) => jobs(args).await,
        ExportWhat::Updates(args) => updates(args).await,
    }
}

async fn jobs(args: ExportJobsArgs) -> Result<(), Failure> {
    let mut export = Export::open(args.target, "jobs")?;
    let mut query = list::query_of(&args.filter);
    query.limit = Some(PAGE_JOBS_MAX);
    let counts = export.ask(async |client| client.counts().await).await?;
    export.progress.set_whole(total(&counts, &query));
    loop {
        let page = export.ask(async |client| client.list(&query).await).await?;
        let is_first = query.cursor.is_none();
        export.write(
            page.jobs.len(),
            match export.format {
                FileFormat::Ndjson => output::ndjson(&page.jobs),
                FileFormat::Csv => jobs_csv(&page.jobs, is_first),
            },
        )?;
        export.show(export.rows);
        query.cursor = page.next;
        if query.cursor.is_none() {
            return export.finish(page.as_of_seq);
        }
    }
}

async fn updates(args: ExportUpdatesArgs) -> Result<(), Failure> {
    let mut export = Export::open(args.target, "updates")?;
    let query = watch::query_of(&args.filter);
    let (mut after, first) = first_page(&mut export, &query, args.after).await?;
    let (begin, end) = (after, first.as_of_seq);
    export.progress.set_whole(Some(end.saturating_sub(begin)));
    let (mut page, mut is_first) = (first, true);
    loop {
        page.updates.retain(|entry| entry.seq <= end);
        export.write(
            page.updates.len(),
            match export.format {
                FileFormat::Ndjson => output::ndjson(&page.updates),
                FileFormat::Csv => entries_csv(&page.updates, is_first),
            },
        )?;
        is_first = false;
        let is_moving = page.next_after > after;
        after = page.next_after;
        export.show(after.min(end) - begin);
        if after >= end {
            return export.finish(end);
        }
        if !is_moving {
            let what = format!("the feed does not go on after update {after}, though it has {end}");
            return Err(Failure::new(Exit::Unavailable, what));
        }
        page = export.page(&query, after).await?;
    }
}

/// The page after `after`, or the first that the feed holds, and what it is after.
async fn first_page(
    export: &mut Export,
    query: &FeedQuery,
    after: Option<u64>,
) -> Result<(u64, FeedBody<'static>), Failure> {
    let mut place = after.unwrap_or(0);
    loop {
        let error = match export.page(query, place).await {
            Ok(page) => return Ok((place, page)),
            Err(error) => error,
        };
        let held = error.problem().filter(|it| it.code == "gone").and_then(|it| it.first_seq_held);
        match held.map(|first| first.saturating_sub(1)) {
            // The feed may lose its oldest part between two calls.
            Some(before) if after.is_none() && before > place => place = before,
            _ => return Err(error.into()),
        }
    }
}

/// How many jobs a walk will see, if counts can tell.
fn total(counts: &CountsBody<'_>, query: &ListQuery) -> Option<u64> {
    let ListQuery { statuses, kinds, pipeline, prefix, updated_after, updated_before, .. } = query;
    let has_more = prefix.is_some() || updated_after.is_some() || updated_before.is_some();
    if has_more || query.stalled_for.is_some() || !(kinds.is_empty() || statuses.is_empty()) {
        return None;
    }
    let (total, by_status) = match pipeline {
        None if !kinds.is_empty() => {
            let jobs = kinds.iter().map(|kind| counts.by_kind.get(kind.as_str()));
            return Some(jobs.map(|jobs| jobs.copied().unwrap_or(0)).sum());
        }
        None => (counts.total, &counts.by_status),
        Some(_) if !kinds.is_empty() => return None,
        Some(name) => {
            let it = counts.by_pipeline.get(name.as_str())?;
            (it.total, &it.by_status)
        }
    };
    if statuses.is_empty() {
        return Some(total);
    }
    let jobs = statuses.iter().map(|status| by_status.get(&*status.to_ascii_lowercase()));
    Some(jobs.map(|jobs| jobs.copied().unwrap_or(0)).sum())
}

/// One run.
struct Export {
    client: Client,
    /// The store that the updates are of: those of two do not go into one file.
    store_id: Option<String>,
    retry_for: Duration,
    target: Target,
    format: FileFormat,
    progress: Progress,
    is_quiet: bool,
    is_json: bool,
    noun: &'static str,
    started: Instant,
    rows: u64,
}

impl Export {
    fn open(args: ExportTarget, noun: &'static str) -> Result<Self, Failure> {
        let is_csv = args.output.extension() == Some(OsStr::new("csv"));
        let by_name = if is_csv { FileFormat::Csv } else { FileFormat::Ndjson };
        let client = Client::new(&args.server.url)?;
        let target = Target::open(&args.output, args.force)?;
        let is_quiet = args.quiet || args.server.json || target.is_terminal();
        let task = Task { name: "export", noun, measure: Measure::Things, whole: None };
        Ok(Self {
            client,
            store_id: None,
            retry_for: args.retry_for,
            format: args.format.unwrap_or(by_name),
            progress: Progress::new(is_quiet, task),
            is_quiet: args.quiet,
            is_json: args.server.json,
            target,
            noun,
            started: Instant::now(),
            rows: 0,
        })
    }

    /// Reads from the server until it answers.
    async fn ask<T>(
        &mut self,
        read: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let Self { client, progress, .. } = self;
        retry::until_answered(self.retry_for, |why| progress.waiting(why), || read(client)).await
    }

    async fn page(
        &mut self,
        query: &FeedQuery,
        after: u64,
    ) -> Result<FeedBody<'static>, ClientError> {
        let limit = Some(PAGE_UPDATES_MAX);
        let page =
            self.ask(async |client| client.feed(query, Some(after), limit, None).await).await?;
        self.client.same_store(&mut self.store_id, &page)?;
        Ok(page.body)
    }

    fn write(&mut self, rows: usize, bytes: Vec<u8>) -> Result<(), Failure> {
        self.rows += rows as u64;
        self.target.write(&bytes)
    }

    fn show(&mut self, done: u64) {
        let elapsed = self.started.elapsed();
        self.progress.show(Position { done, count: self.rows, elapsed });
    }

    fn finish(self, as_of_seq: u64) -> Result<(), Failure> {
        let Self { target, rows, noun, .. } = self;
        let (is_file, is_terminal) = (target.is_file(), target.is_terminal());
        target.finish()?;
        self.progress.end();
        let seconds = (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        if self.is_json && is_file {
            return Ok(output::json(&Summary { rows, as_of_seq, seconds })?);
        }
        if !self.is_quiet && !is_terminal {
            // The number goes into another command as it is.
            let rows = grouped(rows);
            output::note(&format!("{rows} {noun} in {seconds:.1} s, as of update {as_of_seq}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    #[test]
    fn the_total_is_known_where_counts_tell_it() {
        let counts: CountsBody<'_> = serde_json::from_str(
            r#"{"total":9,"by_status":{"done":7,"error":2},"by_kind":{"failed":2,"succeeded":7},
                "by_pipeline":{"p":{"total":3,"by_status":{"done":3}}},"as_of_seq":1}"#,
        )
        .unwrap();
        let of = |query: ListQuery| total(&counts, &query);
        let all = ListQuery::default;
        assert_eq!(of(all()), Some(9));
        assert_eq!(of(ListQuery { statuses: vec!["Error".into()], ..all() }), Some(2));
        assert_eq!(of(ListQuery { kinds: vec![Kind::Succeeded], ..all() }), Some(7));
        let of_p = || ListQuery { pipeline: Some("p".into()), ..all() };
        assert_eq!(of(of_p()), Some(3));
        assert_eq!(of(ListQuery { statuses: vec!["error".into()], ..of_p() }), Some(0));
        assert_eq!(of(ListQuery { kinds: vec![Kind::Failed], ..of_p() }), None);
        assert_eq!(of(ListQuery { prefix: Some("a".into()), ..all() }), None);
    }
}
