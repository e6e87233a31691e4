//! One step of the scrub: some rows of the tables are read and decoded, also those that nobody asks
//! for.
//!
//! Rows with a checksum say themselves whether they are what was written. Those without one, in the
//! indexes and the order of age, are compared with what they name; a job must be found by its id.
//! Keys must rise, so that a damaged page cannot lead the walk in a circle.

use std::ops::Bound;

use redb::{ReadableTableMetadata as _, TableDefinition, TableHandle as _};

use super::codec::{
    Broken, decode_ages, decode_expected, decode_filter, decode_ids, decode_job, decode_kept,
    decode_mark, decode_number, decode_run, decode_segment, decode_tally, decode_timeline_mark,
};
use super::ids::Filter;
use super::reader::segments;
use super::schema::{
    AGES_KEY, BY_PIPELINE, BY_STATUS, COUNTS, EXPECTED, FEED, FILTERS, KEYS, KEYS_BY_AGE, MARK_KEY,
    META, OF_TABLES, RECORDS, RUNS, SnapshotTable, TIMELINE, TIMELINE_KEY, parse_counts_key,
    parse_index_value, parse_tally_key, pipeline_prefix, seq_of, status_prefix, with_seq,
};
use super::snapshot::{Snapshot, or_damaged};
use super::tail::unreadable;
use crate::model::{JobRecord, PipelineName};
use crate::store::{ScrubPlace, ScrubStep, StoreError};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
/// Whether a row is what was written.
type Verify = fn(&Snapshot, &[u8], &[u8]) -> Result<(), StoreError>;

/// The tables of the catalogue; a place counts them, and then the runs of ids by their numbers: one
/// that is merged meanwhile gets a higher one.
const SECTIONS: [(Definition, Verify); OF_TABLES.len()] = [
    (RECORDS, records),
    (RUNS, |_, key, value| sealed("runs", key, decode_run(key, value))),
    (FILTERS, |_, key, value| {
        sealed("filters", key, decode_filter(key, value).and_then(Filter::from_bytes))
    }),
    (BY_STATUS, |snapshot, key, value| {
        let prefix = |record: &JobRecord| status_prefix(record.status);
        index("by_status", snapshot, key, value, prefix)
    }),
    (BY_PIPELINE, |snapshot, key, value| {
        let prefix = |record: &JobRecord| pipeline_prefix(&record.pipeline, record.status);
        index("by_pipeline", snapshot, key, value, prefix)
    }),
    (FEED, feed),
    (COUNTS, |_, key, value| {
        let has_key = parse_counts_key(key).is_some();
        sealed("counts", key, decode_number(key, value).and_then(|_| keyed(has_key)))
    }),
    (TIMELINE, |_, key, value| {
        let has_key = parse_tally_key(key).is_some();
        sealed("timeline", key, decode_tally(key, value).and_then(|_| keyed(has_key)))
    }),
    (EXPECTED, |_, key, value| {
        let has_key = std::str::from_utf8(key).is_ok_and(|it| PipelineName::parse(it).is_ok());
        sealed("expected", key, decode_expected(key, value).and_then(|_| keyed(has_key)))
    }),
    (KEYS, |_, key, value| sealed("keys", key, decode_kept(key, value))),
    (KEYS_BY_AGE, age),
    (META, |_, key, value| match key {
        MARK_KEY => sealed("meta", key, decode_mark(key, value)),
        TIMELINE_KEY => sealed("meta", key, decode_timeline_mark(key, value)),
        AGES_KEY => sealed("meta", key, decode_ages(key, value)),
        _ => sealed("meta", key, decode_number(key, value)),
    }),
];

/// A step ends after so many bytes of values, too: blocks of the feed are long.
const STEP_BYTES_MAX: usize = 1 << 20;

/// Reads at most `rows_max` rows from `place` on. A table that cannot be read further is a problem,
/// and the next step goes on behind it.
pub fn step(snapshot: &Snapshot, place: &ScrubPlace, rows_max: usize) -> ScrubStep {
    let mut step = ScrubStep::default();
    let done = or_damaged("tables", &[], || read(snapshot, place, rows_max, &mut step));
    if let Err(problem) = done {
        step.problems.push(problem.to_string());
        step.next = after(snapshot, place.table);
    }
    step
}

fn read(
    snapshot: &Snapshot,
    place: &ScrubPlace,
    rows_max: usize,
    step: &mut ScrubStep,
) -> Result<(), StoreError> {
    step.rows_in_all = rows_in_all(snapshot)?;
    let of_catalogue = section(place.table);
    let opened = of_catalogue.map(|(definition, _)| snapshot.table(definition)).transpose()?;
    let Some(table) = opened.as_ref().or_else(|| run(snapshot, place.table)) else {
        // It was merged into another since the last step.
        step.next = after(snapshot, place.table);
        return Ok(());
    };
    let verify = of_catalogue.map_or(ids as Verify, |(_, verify)| verify);
    let (mut last, mut bytes) = (place.after.clone(), 0);
    let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let rows = table.range::<&[u8]>((from, Bound::Unbounded)).map_err(unreadable)?;
    for row in rows {
        let (key, value) = row.map_err(unreadable)?;
        let (key, value) = (key.value(), value.value());
        if last.as_deref().is_some_and(|last| key <= last) {
            let what = format!("the keys of {} do not rise", table.name());
            return Err(Broken(what).at("tables", key));
        }
        step.rows += 1;
        bytes += key.len() + value.len();
        if let Err(problem) = verify(snapshot, key, value) {
            step.problems.push(problem.to_string());
        }
        last = Some(key.to_vec());
        if step.rows >= rows_max as u64 || bytes >= STEP_BYTES_MAX {
            step.next = Some(ScrubPlace { table: place.table, after: last });
            return Ok(());
        }
    }
    step.next = after(snapshot, place.table);
    Ok(())
}

fn section(place: u64) -> Option<(Definition, Verify)> {
    SECTIONS.get(usize::try_from(place).ok()?).copied()
}

fn place_of_run(number: u32) -> u64 {
    SECTIONS.len() as u64 + u64::from(number)
}

fn run(snapshot: &Snapshot, place: u64) -> Option<&SnapshotTable> {
    let mut tables = snapshot.runs().iter().zip(snapshot.ids());
    tables.find(|(run, _)| place_of_run(run.number) == place).map(|(_, table)| table)
}

/// The beginning of the next table.
fn after(snapshot: &Snapshot, place: u64) -> Option<ScrubPlace> {
    let runs = snapshot.runs().iter().map(|run| place_of_run(run.number));
    let named = 0..SECTIONS.len() as u64;
    let next = named.chain(runs).filter(|it| *it > place).min();
    next.map(|table| ScrubPlace { table, after: None })
}

fn rows_in_all(snapshot: &Snapshot) -> Result<u64, StoreError> {
    let mut rows = 0;
    for definition in OF_TABLES {
        rows += snapshot.table(definition)?.len().map_err(unreadable)?;
    }
    for table in snapshot.ids() {
        rows += table.len().map_err(unreadable)?;
    }
    Ok(rows)
}

fn sealed<T>(table: &'static str, key: &[u8], row: Result<T, Broken>) -> Result<(), StoreError> {
    row.map(|_| ()).map_err(|broken| broken.at(table, key))
}

fn keyed(is_key: bool) -> Result<(), Broken> {
    let broken = || Broken("the key is none of this table".to_owned());
    if is_key { Ok(()) } else { Err(broken()) }
}

/// A job, which must be found by its id and stand in both indexes.
fn records(snapshot: &Snapshot, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let slot = seq_of(key).unwrap_or(u64::MAX);
    let (job_id, record) = decode_job(key, value).map_err(|it| it.at("records", key))?;
    let at_job = |what: &str| Broken(what.to_owned()).at("records", job_id.as_str().as_bytes());
    if snapshot.slot(&job_id)? != Some(slot) {
        return Err(at_job("its id leads elsewhere"));
    }
    let status_key = with_seq(status_prefix(record.status), record.seq);
    let pipeline_key = with_seq(pipeline_prefix(&record.pipeline, record.status), record.seq);
    for (definition, key) in [(BY_STATUS, status_key), (BY_PIPELINE, pipeline_key)] {
        let row = snapshot.table(definition)?.get(key.as_slice()).map_err(unreadable)?;
        if row.and_then(|row| parse_index_value(row.value())) != Some(slot) {
            return Err(at_job("an index lacks it"));
        }
    }
    Ok(())
}

/// A row of an index, whose job must be as it says.
fn index(
    table: &'static str,
    snapshot: &Snapshot,
    key: &[u8],
    value: &[u8],
    prefix: impl Fn(&JobRecord) -> Vec<u8>,
) -> Result<(), StoreError> {
    let broken = |what: &str| Broken(what.to_owned()).at(table, key);
    let slot = parse_index_value(value).ok_or_else(|| broken("it names no job"))?;
    let (_, record) = snapshot.job_at(slot)?;
    let is_same = with_seq(prefix(&record), record.seq) == key;
    if is_same { Ok(()) } else { Err(broken("its job is not as it says")) }
}

fn feed(_: &Snapshot, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let (_, segments) = segments(key, value, 0)?;
    for (batch_no, bytes) in segments {
        sealed("feed", key, decode_segment(batch_no, &bytes))?;
    }
    Ok(())
}

/// A row in the order of age, whose answer must name it.
fn age(snapshot: &Snapshot, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let row = snapshot.table(KEYS)?.get(value).map_err(unreadable)?;
    let broken = || Broken("no answer names it".to_owned()).at("keys_by_age", key);
    let row = row.ok_or_else(broken)?;
    let kept = decode_kept(value, row.value()).map_err(|it| it.at("keys", value))?;
    if kept.0.to_be_bytes() == key { Ok(()) } else { Err(broken()) }
}

fn ids(_: &Snapshot, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    sealed("ids", key, decode_ids(key, value))
}
