//! Everything compared with everything: the proof that what is kept equals a scan.
//!
//! * tables: each record has its id in a run and its row in both indexes, and nothing else is in
//!   them; the stored counts equal a scan; no record is newer than the fold mark;
//! * tail: replaying its segments over the tables gives its records;
//! * feed: its seqs run without a gap from the first held to the last durable one;
//! * counts: the ones that readers get equal a scan of tail over tables;
//! * timeline: each step of an hour or day adds up to that of its pipelines; its size is as noted;
//! * ages: when which seq was the last one rises, and ends before what the tables do not have;
//! * keys: every kept answer has its place in the order of age.

mod timeline;

use std::ops::Bound;

use redb::{ReadableTable, ReadableTableMetadata};

use super::age::stored_ages;
use super::codec::{
    Mark, decode_expected, decode_job, decode_kept, decode_mark, decode_number, decode_segment,
};
use super::ids::Ids;
use super::reader::walk_feed;
use super::schema::{
    BY_PIPELINE, BY_STATUS, COUNTS, EXPECTED, FEED, KEYS, KEYS_BY_AGE, MARK_KEY, META, RECORDS,
    SLOTS_KEY, parse_counts_key, parse_index_value, pipeline_prefix, seq_of, status_prefix,
    with_seq,
};
use super::snapshot::{Snapshot, or_damaged};
use super::tail::{Held, View, unreadable};
use crate::model::{Counts, Expectations, JobId, NameMap, Operation, PipelineName};
use crate::store::{CheckReport, StoreError};

/// Checks one moment of the store. Reads all of it.
///
/// # Errors
/// [`StoreError::Failed`] if the file does not answer; damage is in the report.
pub fn check(view: &View) -> Result<CheckReport, StoreError> {
    let mut check = Check { view, report: CheckReport::default(), mark: Mark::default() };
    check.report.last_seq = view.as_of_seq;
    let Some(mark) = check.part(|check| mark_of(&check.view.table(META)?))? else {
        return Ok(check.report);
    };
    check.mark = mark;
    let in_tables = check.part(Check::tables)?;
    let in_tail = check.part(Check::tail)?;
    if let (Some(in_tables), Some(in_tail)) = (in_tables, in_tail) {
        check.part(|check| check.counts(in_tables, &in_tail))?;
    }
    check.part(Check::feed)?;
    check.part(|check| timeline::check(check.view, &mut check.report))?;
    check.part(Check::ages)?;
    check.part(Check::keys)?;
    Ok(check.report)
}

/// How far tables reach, by their table `meta`.
///
/// # Errors
/// [`StoreError`] if it cannot be read.
pub fn mark_of(
    meta: &impl ReadableTable<&'static [u8], &'static [u8]>,
) -> Result<Mark, StoreError> {
    let row = meta.get(MARK_KEY).map_err(unreadable)?;
    let Some(value) = row else { return Ok(Mark::default()) };
    decode_mark(MARK_KEY, value.value()).map_err(|it| it.at("meta", MARK_KEY))
}

/// The slot of the next new job, by the table `meta`.
///
/// # Errors
/// [`StoreError`] if it cannot be read.
pub fn next_slot(
    meta: &impl ReadableTable<&'static [u8], &'static [u8]>,
) -> Result<u64, StoreError> {
    let Some(value) = meta.get(SLOTS_KEY).map_err(unreadable)? else { return Ok(0) };
    decode_number(SLOTS_KEY, value.value()).map_err(|it| it.at("meta", SLOTS_KEY))
}

struct Check<'a> {
    view: &'a View,
    report: CheckReport,
    mark: Mark,
}

impl Check<'_> {
    /// Runs a part of the check. Damage that ends it early is a problem of the report.
    fn part<T>(
        &mut self,
        part: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match or_damaged("tables", &[], || part(self)) {
            Ok(done) => Ok(Some(done)),
            Err(StoreError::CorruptRecord { table, key, what }) => {
                self.report.note(format!("{table}, {key}: {what}"));
                Ok(None)
            }
            Err(failed) => Err(failed),
        }
    }

    /// Records against indexes and ids. Returns the counts of a scan of the tables.
    fn tables(&mut self) -> Result<Counts, StoreError> {
        let view = self.view;
        let (by_status, by_pipeline) = (view.table(BY_STATUS)?, view.table(BY_PIPELINE)?);
        let next_slot = next_slot(&view.table(META)?)?;
        let mut scanned = Counts::default();
        let mut rows = 0;
        for row in view.table(RECORDS)?.iter().map_err(unreadable)? {
            let (key, value) = row.map_err(unreadable)?;
            rows += 1;
            let slot = seq_of(key.value()).unwrap_or(u64::MAX);
            let (job_id, record) = match decode_job(key.value(), value.value()) {
                Ok(job) => job,
                Err(broken) => {
                    self.report.note(format!("records, slot {slot}: {}", broken.0));
                    continue;
                }
            };
            if record.seq > self.mark.last_seq {
                self.report
                    .note(format!("records, {job_id:?}: seq {} is above the mark", record.seq));
            }
            scanned.add(&record.pipeline, record.status, 1);
            if slot >= next_slot {
                self.report.note(format!("records: slot {slot} is in use, next is {next_slot}"));
            }
            if view.snapshot.slot(&job_id)? != Some(slot) {
                self.report.note(format!("ids: {job_id:?} is not at its slot {slot}"));
            }
            let status_key = with_seq(status_prefix(record.status), record.seq);
            let prefix = pipeline_prefix(&record.pipeline, record.status);
            let pipeline_key = with_seq(prefix, record.seq);
            for (name, index, index_key) in
                [("by_status", &by_status, status_key), ("by_pipeline", &by_pipeline, pipeline_key)]
            {
                let row = index.get(index_key.as_slice()).map_err(unreadable)?;
                if row.and_then(|row| parse_index_value(row.value())) != Some(slot) {
                    self.report.note(format!("{name}: no row for {job_id:?}"));
                }
            }
        }
        let mut ids = 0;
        for (run, table) in view.snapshot.runs().iter().zip(view.snapshot.ids()) {
            let (mut of_run, mut count) = (Ids::of_snapshot(table, Bound::Unbounded)?, 0);
            while of_run.take()?.is_some() {
                count += 1;
            }
            if count != run.ids {
                let (number, noted) = (run.number, run.ids);
                self.report.note(format!("runs: {number} has {count} ids, noted are {noted}"));
            }
            ids += count;
        }
        let indexes = [by_status, by_pipeline].map(|index| index.len().map_err(unreadable));
        let lengths = [Ok(ids)].into_iter().chain(indexes);
        for (name, length) in ["ids", "by_status", "by_pipeline"].into_iter().zip(lengths) {
            let length = length?;
            if length != rows {
                self.report.note(format!("{name}: {length} rows for {rows} jobs"));
            }
        }
        if stored_counts(&view.snapshot)? != scanned {
            self.report.note("counts: the stored counts differ from a scan".to_owned());
        }
        Ok(scanned)
    }

    /// Replays the segments of the tail over the tables. Returns the records that they give.
    fn tail(&mut self) -> Result<NameMap<JobId, Held>, StoreError> {
        let jobs = &self.view.snapshot;
        let mut replayed: NameMap<JobId, Held> = NameMap::default();
        let mut expectations = stored_expectations(&self.view.snapshot)?;
        for generation in self.view.generations.iter().rev() {
            let segments: Vec<_> = generation.read().segments.clone();
            // Another batch may have been published since the view was taken.
            let is_ours = |last_seq: u64| last_seq <= self.view.as_of_seq;
            for segment in segments.iter().filter(|it| is_ours(it.last_seq)) {
                let decoded = decode_segment(segment.batch_no, &segment.bytes);
                let decoded = decoded.map_err(|it| it.at("tail", &segment.first_seq.to_be_bytes()));
                for operation in decoded?.operations {
                    expectations.apply(&operation);
                    let Some(job_id) = operation.job_id() else { continue };
                    let before = match replayed.remove(job_id) {
                        Some(held) => held,
                        None => jobs.record(job_id)?,
                    };
                    let after = operation.apply(before, segment.updated_at);
                    replayed.insert(job_id.clone(), after);
                }
            }
        }
        if expectations != *self.view.expectations {
            self.report.note("expected: the journal gives other expected totals".to_owned());
        }
        for (job_id, record) in &replayed {
            let held = self.view.tail_record(job_id);
            let is_later = is_later(held.as_ref(), self.view.as_of_seq);
            let is_same = held.as_ref() == Some(record)
                // A stale change of a job leaves no record in the tail.
                || held.is_none() && jobs.record(job_id)? == *record;
            if !is_later && !is_same {
                self.report.note(format!("tail, {job_id:?}: the journal gives another record"));
            }
        }
        for generation in &self.view.generations {
            let unexplained = |(job_id, held): &(&JobId, &Held)| {
                let seq = held.as_ref().map(|record| record.seq);
                let is_ours = seq.is_some_and(|seq| seq <= self.view.as_of_seq);
                is_ours && !replayed.contains_key(*job_id)
            };
            for (job_id, _) in generation.read().records.iter().filter(unexplained) {
                self.report.note(format!("tail, {job_id:?}: no segment explains its record"));
            }
        }
        Ok(replayed)
    }

    /// The counts that readers get against a scan.
    fn counts(
        &mut self,
        mut scanned: Counts,
        in_tail: &NameMap<JobId, Held>,
    ) -> Result<(), StoreError> {
        let jobs = &self.view.snapshot;
        for (job_id, record) in in_tail {
            if let Some(old) = jobs.record(job_id)? {
                scanned.shift(&old.pipeline, old.status, -1).map_err(|error| {
                    let (table, key) = ("counts", job_id.to_string());
                    StoreError::CorruptRecord { table, key, what: error.to_string() }
                })?;
            }
            if let Some(record) = record {
                scanned.add(&record.pipeline, record.status, 1);
            }
        }
        self.report.jobs = scanned.total();
        if scanned != *self.view.counts {
            self.report.note("counts: the counts in use differ from a scan".to_owned());
        }
        Ok(())
    }

    fn feed(&mut self) -> Result<(), StoreError> {
        let (mut last, mut updates, mut gaps) = (None, 0, Vec::new());
        walk_feed(self.view, 0, &mut |operations| {
            for seq in operations.iter().map(Operation::seq) {
                if let Some(last) = last
                    && seq != last + 1
                {
                    gaps.push(format!("feed: seq {seq} follows {last}"));
                }
                last = Some(seq);
                updates += 1;
            }
            true
        })?;
        gaps.into_iter().for_each(|gap| self.report.note(gap));
        self.report.updates = updates;
        // An empty feed was trimmed; what was trimmed is not in the sum of its bytes.
        let (last, last_seq) = (last.unwrap_or(self.view.as_of_seq), self.view.as_of_seq);
        if last != last_seq {
            self.report.note(format!("feed: it ends at {last}, the last seq is {last_seq}"));
        }
        let mut bytes = 0;
        for row in self.view.table(FEED)?.iter().map_err(unreadable)? {
            bytes += row.map_err(unreadable)?.1.value().len() as u64;
        }
        if bytes != self.mark.feed_bytes {
            let noted = self.mark.feed_bytes;
            self.report.note(format!("feed: it holds {bytes} bytes, the mark says {noted}"));
        }
        Ok(())
    }

    fn ages(&mut self) -> Result<(), StoreError> {
        // That they rise is looked at where they are decoded.
        let stored = stored_ages(self.view)?;
        let last_seq = stored.map_or(0, |(_, ages)| ages.last_seq());
        if last_seq > self.mark.last_seq {
            let marked = self.mark.last_seq;
            self.report.note(format!("ages: they end at {last_seq}, the mark says {marked}"));
        }
        Ok(())
    }

    fn keys(&mut self) -> Result<(), StoreError> {
        let (keys, by_age) = (self.view.table(KEYS)?, self.view.table(KEYS_BY_AGE)?);
        let (count, aged) = (keys.len().map_err(unreadable)?, by_age.len().map_err(unreadable)?);
        if count != aged {
            self.report.note(format!("keys: {count} answers, {aged} in the order of age"));
        }
        let Mark { keys_first, keys_next, .. } = self.mark;
        for row in by_age.iter().map_err(unreadable)? {
            let ordinal = seq_of(row.map_err(unreadable)?.0.value()).unwrap_or(u64::MAX);
            if !(keys_first..keys_next).contains(&ordinal) {
                let note = format!("keys: ordinal {ordinal} is not in {keys_first}..{keys_next}");
                self.report.note(note);
            }
        }
        for row in keys.iter().map_err(unreadable)? {
            let (key, value) = row.map_err(unreadable)?;
            match decode_kept(key.value(), value.value()) {
                Ok((ordinal, _)) => {
                    let aged = by_age.get(ordinal.to_be_bytes().as_slice()).map_err(unreadable)?;
                    if aged.is_none_or(|aged| aged.value() != key.value()) {
                        self.report.note(format!("keys: ordinal {ordinal} is not in its place"));
                    }
                }
                Err(broken) => self.report.note(format!("keys: {}", broken.0)),
            }
        }
        Ok(())
    }
}

/// True if the job changed after the moment that is checked. A removal has no seq to tell.
fn is_later(held: Option<&Held>, as_of_seq: u64) -> bool {
    match held {
        Some(Some(record)) => record.seq > as_of_seq,
        Some(None) => true,
        None => false,
    }
}

/// What is expected of pipelines, as the last fold left it.
///
/// # Errors
/// [`StoreError`] if it cannot be read.
pub fn stored_expectations(tables: &Snapshot) -> Result<Expectations, StoreError> {
    let mut expectations = Expectations::default();
    for row in tables.table(EXPECTED)?.iter().map_err(unreadable)? {
        let (key, value) = row.map_err(unreadable)?;
        let key = key.value();
        let expected = decode_expected(key, value.value()).map_err(|it| it.at("expected", key))?;
        let name = std::str::from_utf8(key).ok().and_then(|it| PipelineName::parse(it).ok());
        let name = name.ok_or_else(|| {
            super::codec::Broken("the key is not a pipeline".to_owned()).at("expected", key)
        })?;
        expectations.set(name, Some(expected));
    }
    Ok(expectations)
}

/// The counts as the last fold left them.
///
/// # Errors
/// [`StoreError`] if they cannot be read.
pub fn stored_counts(tables: &Snapshot) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    for row in tables.table(COUNTS)?.iter().map_err(unreadable)? {
        let (key, value) = row.map_err(unreadable)?;
        let (key, value) = (key.value(), value.value());
        let number = decode_number(key, value).map_err(|it| it.at("counts", key))?;
        let (pipeline, status) = parse_counts_key(key).ok_or_else(|| {
            super::codec::Broken("the key is not a pipeline and a status".to_owned())
                .at("counts", key)
        })?;
        counts.add(&pipeline, status, number);
    }
    Ok(counts)
}
