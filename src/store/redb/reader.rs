//! The read side: tail, then tables. Never waits for a commit or a fold.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTable as _;

use super::age::AgeClock;
use super::backup::copy;
use super::check::check;
use super::codec::{decode_feed_block, decode_kept, decode_segment};
use super::folder::FolderStatus;
use super::page::page;
use super::schema::{FEED, KEYS, seq_of};
use super::scrub;
use super::site::Site;
use super::snapshot::or_damaged;
use super::tail::{Appendix, Held, Tail, View, unreadable};
use super::timeline::timeline;
use crate::model::{
    Counts, Expectations, FeedPage, JobId, JobRecord, Lookup, Operation, Page, PageQuery, Timeline,
    TimelineQuery, TimestampMs,
};
use crate::store::{
    BackupError, BackupSummary, CheckReport, KeptAnswer, ReadStore, ScrubPlace, ScrubStep,
    StoreError, StoreStats,
};

/// The shared read side of a store on disk.
#[derive(Debug)]
pub struct RedbReader {
    pub(super) tail: Arc<Tail>,
    pub(super) folder: FolderStatus,
    /// Its directory stays locked as long as somebody may read it.
    pub(super) site: Arc<Site>,
    pub(super) store_id: String,
    pub(super) age: Arc<AgeClock>,
}

impl ReadStore for RedbReader {
    fn get(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        self.tail.record(job_id)
    }

    fn lookup(&self, job_ids: &[JobId]) -> Result<Lookup, StoreError> {
        let (view, held) = self.tail.view_of(job_ids)?;
        let record = |(job_id, held): (&JobId, Option<Held>)| match held {
            Some(held) => Ok(held),
            None => view.snapshot.record(job_id),
        };
        let records = job_ids.iter().zip(held).map(record).collect::<Result<_, _>>()?;
        Ok(Lookup { records, as_of_seq: view.as_of_seq })
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let view = self.tail.view()?;
        or_damaged("records", &[], || page(&view, query, &self.site.options.kinds))
    }

    fn counts(&self) -> (Arc<Counts>, u64) {
        self.tail.counts()
    }

    fn expectations(&self) -> Arc<Expectations> {
        self.tail.expectations()
    }

    fn updated_at(&self) -> TimestampMs {
        self.tail.updated_at()
    }

    fn seq_older_than(&self, age: Duration) -> u64 {
        self.age.seq_older_than(age)
    }

    fn feed(&self, after: u64, limit: usize) -> Result<FeedPage, StoreError> {
        let view = self.tail.view()?;
        or_damaged("feed", &after.to_be_bytes(), || feed(&view, after, limit))
    }

    fn timeline(&self, query: &TimelineQuery) -> Result<Timeline, StoreError> {
        let view = self.tail.view()?;
        or_damaged("timeline", &[], || timeline(&view, query))
    }

    fn kept_answer(&self, key: &str, now: TimestampMs) -> Result<Option<KeptAnswer>, StoreError> {
        let view = self.tail.view()?;
        let in_tail = view.generations.iter().find_map(|it| it.read().keys.get(key).cloned());
        let kept = match in_tail {
            Some(kept) => Some(KeptAnswer::clone(&kept)),
            None => or_damaged("keys", key.as_bytes(), || {
                let row = view.table(KEYS)?.get(key.as_bytes()).map_err(unreadable)?;
                let decode = |value: &[u8]| decode_kept(key.as_bytes(), value);
                let kept = row.map(|value| decode(value.value())).transpose();
                Ok(kept.map_err(|it| it.at("keys", key.as_bytes()))?.map(|(_, kept)| kept))
            })?,
        };
        let now = self.age.now(now);
        let age_max = self.site.options.idempotency_age_max;
        Ok(kept.filter(|kept| !kept.is_expired(now, age_max)))
    }

    fn check(&self) -> Result<CheckReport, StoreError> {
        check(&self.tail.view()?)
    }

    fn scrub(&self, place: &ScrubPlace, rows_max: usize) -> Result<ScrubStep, StoreError> {
        Ok(scrub::step(&self.tail.view()?.snapshot, place, rows_max))
    }

    fn backup(
        &self,
        out: &mut dyn Write,
        made_at: TimestampMs,
    ) -> Result<BackupSummary, BackupError> {
        let view = self.tail.view()?;
        let copied = || Ok(copy(view, &self.store_id, made_at, out));
        or_damaged("tables", &[], copied)?
    }

    fn scratch(&self) -> std::io::Result<File> {
        self.site.directory.scratch().map_err(std::io::Error::other)
    }

    fn stats(&self) -> StoreStats {
        let (tail_jobs, tail_updates, tail_bytes) = self.tail.size();
        let fold = self.folder.state();
        let [journal, tables] = &self.site.counters;
        StoreStats {
            last_seq: self.tail.counts().1,
            tail_jobs: tail_jobs as u64,
            tail_updates,
            tail_bytes: tail_bytes as u64,
            folds: fold.folds,
            is_folding: fold.is_busy,
            moments_held: self.tail.moments_held(),
            fold_ms_last: fold.fold_ms_last,
            fold_ms_max: fold.fold_ms_max,
            fold_waits: fold.waits,
            fold_wait_ms: fold.wait_ms,
            journal_bytes: journal.length_bytes(),
            tables_bytes: tables.length_bytes(),
            written_bytes: journal.written_bytes() + tables.written_bytes(),
            syncs: journal.syncs() + tables.syncs(),
        }
    }

    fn store_id(&self) -> &str {
        &self.store_id
    }
}

/// The operations after seq `after`, at most some more than `limit`.
fn feed(view: &View, after: u64, limit: usize) -> Result<FeedPage, StoreError> {
    let mut operations = Vec::new();
    walk_feed(view, after, &mut |mut more| {
        operations.append(&mut more);
        operations.len() < limit
    })?;
    let page = FeedPage { operations, first_held: first_held(view)?, as_of_seq: view.as_of_seq };
    in_a_row(page, after, limit)
}

/// The first seq that the feed holds; one above the last if it holds none.
fn first_held(view: &View) -> Result<u64, StoreError> {
    let feed = view.table(FEED)?;
    if let Some((key, _)) = feed.first().map_err(unreadable)? {
        return Ok(seq_of(key.value()).unwrap_or(u64::MAX));
    }
    let is_full = |it: &&Appendix| it.last_seq >= it.first_seq;
    let oldest = view.generations.iter().rev().find_map(|generation| {
        generation.read().segments.iter().find(is_full).map(|it| it.first_seq)
    });
    // What is published later than this view is not in it.
    Ok(oldest.unwrap_or(u64::MAX).min(view.as_of_seq + 1))
}

/// The page, if its seqs have no gap: redb verifies no page on the way to a block, so a turned bit
/// there may hide one.
fn in_a_row(page: FeedPage, after: u64, limit: usize) -> Result<FeedPage, StoreError> {
    let from = after.max(page.first_held.saturating_sub(1));
    let last = page.operations.last().map_or(from, Operation::seq);
    let is_in_a_row = page.operations.iter().map(Operation::seq).eq((from..=last).skip(1));
    if is_in_a_row && (page.operations.len() >= limit || last >= page.as_of_seq) {
        return Ok(page);
    }
    let what = format!("the seqs after {from} up to {} have a gap", page.as_of_seq);
    Err(StoreError::CorruptRecord { table: "feed", key: from.to_string(), what })
}

/// Hands on the operations after seq `after`, in order and by segments, until `take` says no.
///
/// # Errors
/// [`StoreError`] if a block or a segment cannot be read.
pub fn walk_feed(
    view: &View,
    after: u64,
    take: &mut dyn FnMut(Vec<Operation>) -> bool,
) -> Result<(), StoreError> {
    // Moves on with the walk.
    let mut after = after;
    let feed = view.table(FEED)?;
    let key = after.saturating_add(1).to_be_bytes();
    // The block that holds the first operation wanted begins at or before it.
    let from = feed.range(..=key.as_slice()).map_err(unreadable)?.next_back().transpose();
    let from = from.map_err(unreadable)?.map_or(key.to_vec(), |(key, _)| key.value().to_vec());
    for row in feed.range(from.as_slice()..).map_err(unreadable)? {
        let (key, value) = row.map_err(unreadable)?;
        let (last_seq, segments) = segments(key.value(), value.value(), after)?;
        if last_seq <= after {
            continue;
        }
        for (batch_no, segment) in segments {
            if !hand_on(batch_no, &segment, &mut after, take)? {
                return Ok(());
            }
        }
    }
    for generation in view.generations.iter().rev() {
        // The lock is not held while segments are decoded.
        let segments: Vec<Appendix> = {
            let content = generation.read();
            // Sorted by seq, so that a reader at the head looks at the last ones alone.
            let place = content.segments.partition_point(|it| it.last_seq <= after);
            let later = content.segments.get(place..).unwrap_or_default();
            let is_wanted =
                |it: &&Appendix| it.last_seq >= it.first_seq && it.last_seq <= view.as_of_seq;
            later.iter().filter(is_wanted).cloned().collect()
        };
        for segment in segments {
            if !hand_on(segment.batch_no, &segment.bytes, &mut after, take)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn hand_on(
    batch_no: u64,
    bytes: &[u8],
    after: &mut u64,
    take: &mut dyn FnMut(Vec<Operation>) -> bool,
) -> Result<bool, StoreError> {
    let segment = decode_segment(batch_no, bytes);
    let segment = segment.map_err(|it| it.at("feed", &batch_no.to_be_bytes()))?;
    let mut operations = segment.operations;
    operations.retain(|it| it.seq() > *after);
    let Some(last) = operations.last() else { return Ok(true) };
    *after = last.seq();
    Ok(take(operations))
}

/// The last seq of a block of the feed, and its segments with their batch numbers; none if all of
/// them end at or before `after`.
pub(super) fn segments(key: &[u8], block: &[u8], after: u64) -> Result<Block, StoreError> {
    let corrupt =
        |what: String| StoreError::CorruptRecord { table: "feed", key: format!("{key:?}"), what };
    let (_, last_seq, frame) = decode_feed_block(key, block).map_err(|it| it.at("feed", key))?;
    if last_seq <= after {
        return Ok((last_seq, Vec::new()));
    }
    let raw = zstd::stream::decode_all(frame).map_err(|error| corrupt(error.to_string()))?;
    let mut rest = raw.as_slice();
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let cut = || corrupt("the block ends in the middle of a segment".to_owned());
        let (batch_no, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (length, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut())?;
        let (segment, after) = after.split_at_checked(length).ok_or_else(cut)?;
        segments.push((u64::from_le_bytes(*batch_no), segment.to_vec()));
        rest = after;
    }
    Ok((last_seq, segments))
}

/// The last seq of a block, and its segments with their batch numbers.
pub(super) type Block = (u64, Vec<(u64, Vec<u8>)>);
