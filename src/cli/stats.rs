//! `jobslate stats`: the numbers of the server since its start.

use comfy_table::Table;

use super::args::StatsArgs;
use super::config::{format_bytes, format_duration};
use super::exit::Failure;
use super::output::{self, grouped};
use crate::api::{
    BackupsBody, BatchesBody, ClosedByBody, CommitMsBody, FilesBody, FoldBody, HttpBody,
    IdempotencyBody, ProcessBody, QueueBody, RetentionBody, ScrubBody, StatsBody, TailBody,
    UpdatesBody,
};
use crate::client::Client;

/// Shows the numbers.
///
/// # Errors
/// [`Failure`]: there is no server.
pub async fn run(args: StatsArgs) -> Result<(), Failure> {
    let stats = Client::new(&args.server.url)?.stats().await?;
    if args.server.json {
        return Ok(output::json(&stats)?);
    }
    Ok(output::table(table(&stats))?)
}

fn table(stats: &StatsBody) -> Table {
    let rows = [
        ("updates", updates(&stats.updates)),
        ("batches", batches(&stats.batches)),
        ("closed by", closed_by(&stats.batches.closed_by)),
        ("commit", commit(&stats.commit_ms)),
        ("queue", queue(&stats.queue)),
        ("keys", keys(&stats.idempotency)),
        ("tail", tail(&stats.tail)),
        ("folds", folds(&stats.fold)),
        ("files", files(&stats.files)),
        ("backups", backups(&stats.backups)),
        ("scrub", scrub(&stats.scrub)),
        ("retention", retention(&stats.retention)),
        ("http", http(&stats.http)),
        ("process", process(&stats.process)),
    ];
    let mut table = output::new_table(&[]);
    for (name, text) in rows {
        table.add_row([name, &text]);
    }
    table
}

fn updates(updates: &UpdatesBody) -> String {
    format!(
        "{} accepted: {} applied, {} stale, {} merged, {} queued now; {} rejected",
        grouped(updates.accepted),
        grouped(updates.applied),
        grouped(updates.stale),
        grouped(updates.merged),
        grouped(updates.queued_now),
        grouped(updates.rejected),
    )
}

fn batches(batches: &BatchesBody) -> String {
    let committed = grouped(batches.committed);
    format!("{committed} committed, {} % of the transactions saved", batches.saved_percent)
}

fn closed_by(closed: &ClosedByBody) -> String {
    format!(
        "waiter {}, size {}, interval {}, flush {}, drain {}",
        grouped(closed.waiter),
        grouped(closed.size),
        grouped(closed.interval),
        grouped(closed.flush),
        grouped(closed.drain),
    )
}

fn commit(ms: &CommitMsBody) -> String {
    format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", ms.p50, ms.p99, ms.max)
}

fn queue(queue: &QueueBody) -> String {
    format!(
        "{} of {} updates, {} of {}; peak {}, full {} times",
        grouped(queue.updates),
        grouped(queue.updates_max),
        about_bytes(queue.bytes),
        about_bytes(queue.bytes_max),
        grouped(queue.peak),
        grouped(queue.full),
    )
}

fn keys(keys: &IdempotencyBody) -> String {
    let (calls, replayed) = (grouped(keys.calls), grouped(keys.replayed));
    let (hits, reused) = (keys.hit_percent, grouped(keys.reused));
    format!("{calls} calls, {replayed} ({hits} %) replayed, {reused} refused for another body")
}

fn tail(tail: &TailBody) -> String {
    let (jobs, updates) = (grouped(tail.jobs), grouped(tail.updates));
    format!("{jobs} jobs, {updates} updates, {}", about_bytes(tail.bytes))
}

fn folds(fold: &FoldBody) -> String {
    format!(
        "{}, last {:.0} ms, longest {:.0} ms; waited for {} times, {:.0} ms",
        grouped(fold.count),
        fold.ms_last,
        fold.ms_max,
        grouped(fold.waits),
        fold.wait_ms,
    )
}

fn scrub(scrub: &ScrubBody) -> String {
    let (rounds, problems) = (grouped(scrub.rounds), grouped(scrub.problems));
    let now = match (scrub.scheduled, scrub.running) {
        (false, _) => "off".to_owned(),
        (true, false) => "waiting".to_owned(),
        (true, true) => format!("{} % of a round", scrub.percent),
    };
    format!("{now}; {rounds} rounds, {problems} problems")
}

fn files(files: &FilesBody) -> String {
    format!(
        "journal {}, tables {}; {} written, {} syncs; last update {}",
        about_bytes(files.journal_bytes),
        about_bytes(files.tables_bytes),
        about_bytes(files.written_bytes),
        grouped(files.syncs),
        grouped(files.last_seq),
    )
}

fn backups(backups: &BackupsBody) -> String {
    if !backups.scheduled {
        return "none at intervals; see --backup-dir of serve".to_owned();
    }
    let last = match (&backups.last_at, &backups.last_bytes) {
        (Some(at), Some(bytes)) => format!("last {}, {}", at.0, about_bytes(*bytes)),
        _ => "none yet".to_owned(),
    };
    let (made, failed) = (grouped(backups.made), grouped(backups.failed));
    let now = if backups.failing { "; FAILING" } else { "" };
    format!("{made} made, {failed} failed, {last}{now}")
}

fn retention(retention: &RetentionBody) -> String {
    if !retention.on {
        return "off; see --retain-succeeded-for of serve".to_owned();
    }
    let last = retention.last_at.as_ref();
    let last = last.map_or_else(|| "none yet".to_owned(), |at| format!("last {}", at.0));
    let (removed, of_last) = (grouped(retention.removed), grouped(retention.removed_last));
    let (runs, failed) = (grouped(retention.runs), grouped(retention.failed));
    format!("{removed} jobs removed, {of_last} of them last; {runs} runs, {failed} failed, {last}")
}

fn http(http: &HttpBody) -> String {
    format!(
        "{} requests ({} now): {} answered, {} refused, {} failed; {} of {} connections, \
         {} watchers",
        grouped(http.requests),
        http.in_flight,
        grouped(http.responses.success + http.responses.redirect),
        grouped(http.responses.client_error),
        grouped(http.responses.server_error),
        http.connections.now,
        grouped(http.connections.max),
        grouped(http.watchers),
    )
}

fn process(process: &ProcessBody) -> String {
    let memory = process
        .resident_bytes
        .map_or_else(String::new, |bytes| format!(", {} of memory", about_bytes(bytes)));
    let uptime = format_duration(std::time::Duration::from_secs(process.uptime_s));
    format!("jobslate {}, pid {}, up {uptime}{memory}", process.version, process.pid)
}

/// One decimal of the largest unit: `3.2 MiB`.
pub fn about_bytes(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit =
        units.into_iter().find(|(_, scale)| bytes >= *scale && !bytes.is_multiple_of(*scale));
    unit.map_or_else(
        || format_bytes(bytes),
        |(name, scale)| format!("{:.1} {name}", bytes as f64 / scale as f64),
    )
}
