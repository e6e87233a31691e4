//! The folder thread: it writes a generation of the tail into the tables, in one transaction.
//!
//! Rows go in the order of their keys, so that a fold of many jobs writes each page once. The
//! transaction ends with the mark "folded through batch N"; a crash before its commit leaves the
//! old tables and the whole journal.

mod jobs;
mod timeline;

use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::age::AgeClock;
use super::check::mark_of;
use super::codec::{
    Mark, decode_feed_block, decode_kept, encode_expected, encode_feed_block, encode_kept,
    encode_mark,
};
use super::ids::{Merges, Runs};
use super::schema::{AGES_KEY, EXPECTED, FEED, KEYS, KEYS_BY_AGE, MARK_KEY, META, seq_of};
use super::tail::{Appendix, Content, Generation, unreadable};
use crate::model::TimestampMs;
use crate::store::{StoreError, StoreOptions};

/// Folds `generation` into the tables; the mark and the runs of ids after it. Blocks for one or two
/// syncs.
///
/// # Errors
/// [`StoreError`]: the tables are as before; redb refuses everything until it is opened again.
pub fn fold(
    tables: &Database,
    generation: &Generation,
    options: &StoreOptions,
    age: &AgeClock,
    ids: (&Runs, &mut Merges),
) -> Result<(Mark, Runs), StoreError> {
    let content = generation.read();
    let Some(last) = content.segments.last() else {
        unreachable!("only a generation with a segment is folded");
    };
    let mut txn = tables.begin_write().map_err(unreadable)?;
    // A restart after a kill must not walk a large file.
    txn.set_quick_repair(true);
    let mut mark = mark_of(&open(&txn, META)?)?;
    let first = content.segments.first().map_or(0, |it| it.batch_no);
    assert_eq!(first, mark.batch_no + 1, "a fold goes on where the last one ended");
    let runs = jobs::fold_jobs(&txn, &content, ids.0, ids.1)?;
    timeline::fold(&txn, &content.timeline, options.timeline_rows_max)?;
    fold_expected(&txn, &content)?;
    let now = age.now(last.updated_at);
    fold_feed(&txn, &content.segments, options, now, &mut mark)?;
    fold_keys(&txn, &content, options, now, &mut mark)?;
    mark.batch_no = last.batch_no;
    mark.last_seq = last.last_seq;
    mark.updated_at = last.updated_at.0;
    put(&mut open(&txn, META)?, MARK_KEY, &encode_mark(MARK_KEY, &mark))?;
    put(&mut open(&txn, META)?, AGES_KEY, &age.row(last.last_seq, now))?;
    txn.commit().map_err(unreadable)?;
    age.set_stored(now);
    Ok((mark, runs))
}

type Definition = redb::TableDefinition<'static, &'static [u8], &'static [u8]>;
pub(super) type Rows<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// A table to be written.
pub(super) fn open(txn: &WriteTransaction, definition: Definition) -> Result<Rows<'_>, StoreError> {
    txn.open_table(definition).map_err(unreadable)
}

pub(super) fn put(rows: &mut Rows<'_>, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    rows.insert(key, value).map(|_| ()).map_err(unreadable)
}

fn take(rows: &mut Rows<'_>, key: &[u8]) -> Result<(), StoreError> {
    rows.remove(key).map(|_| ()).map_err(unreadable)
}

fn fold_expected(txn: &WriteTransaction, content: &Content) -> Result<(), StoreError> {
    let mut rows = open(txn, EXPECTED)?;
    for (pipeline, expected) in &content.expected {
        let key = pipeline.as_str().as_bytes();
        match expected {
            Some(expected) => put(&mut rows, key, &encode_expected(key, *expected))?,
            None => take(&mut rows, key)?,
        }
    }
    Ok(())
}

/// Adds the segments to the feed, in blocks, and trims its front by age and size.
fn fold_feed(
    txn: &WriteTransaction,
    segments: &[Appendix],
    options: &StoreOptions,
    now: TimestampMs,
    mark: &mut Mark,
) -> Result<(), StoreError> {
    let mut feed = open(txn, FEED)?;
    let mut rest: Vec<_> = segments.iter().filter(|it| it.last_seq >= it.first_seq).collect();
    rest.reverse();
    while let Some(first) = rest.pop() {
        let mut raw = Vec::with_capacity(options.feed_block_bytes);
        let mut last = first;
        add_segment(&mut raw, first);
        while raw.len() < options.feed_block_bytes
            && let Some(next) = rest.pop()
        {
            add_segment(&mut raw, next);
            last = next;
        }
        let frame = zstd::bulk::compress(&raw, ZSTD_LEVEL).map_err(unreadable)?;
        let key = first.first_seq.to_be_bytes();
        let block = encode_feed_block(&key, now.0, last.last_seq, &frame);
        mark.feed_bytes += block.len() as u64;
        put(&mut feed, &key, &block)?;
    }
    trim_feed(&mut feed, options, now, mark)
}

/// zstd's fastest: measured folds are bound by pages, not by this.
const ZSTD_LEVEL: i32 = 1;

/// `[batch number: 8][length: 4][segment]`, little endian.
fn add_segment(raw: &mut Vec<u8>, segment: &Appendix) {
    let length = u32::try_from(segment.bytes.len()).expect("a segment is far below 4 GiB");
    raw.extend_from_slice(&segment.batch_no.to_le_bytes());
    raw.extend_from_slice(&length.to_le_bytes());
    raw.extend_from_slice(&segment.bytes);
}

fn trim_feed(
    feed: &mut Rows<'_>,
    options: &StoreOptions,
    now: TimestampMs,
    mark: &mut Mark,
) -> Result<(), StoreError> {
    let age_max = u64::try_from(options.feed_age_max.as_millis()).unwrap_or(u64::MAX);
    while let Some((key, block)) = first_row(feed)? {
        let decoded = decode_feed_block(&key, &block).map_err(|it| it.at("feed", &key));
        let (folded_at, ..) = decoded?;
        let is_old = now.0.saturating_sub(folded_at) > age_max;
        if !is_old && mark.feed_bytes <= options.feed_bytes_max {
            break;
        }
        mark.feed_bytes = mark.feed_bytes.saturating_sub(block.len() as u64);
        take(feed, &key)?;
    }
    Ok(())
}

/// Key and value of a row, copied.
type Row = (Vec<u8>, Vec<u8>);

/// A copy of the first row.
fn first_row(rows: &Rows<'_>) -> Result<Option<Row>, StoreError> {
    let row = rows.first().map_err(unreadable)?;
    Ok(row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
}

/// Adds the kept answers and drops the oldest beyond the bounds of age and number.
fn fold_keys(
    txn: &WriteTransaction,
    content: &Content,
    options: &StoreOptions,
    now: TimestampMs,
    mark: &mut Mark,
) -> Result<(), StoreError> {
    let (mut keys, mut by_age) = (open(txn, KEYS)?, open(txn, KEYS_BY_AGE)?);
    let mut sorted: Vec<_> = content.keys.iter().collect();
    sorted.sort_by(|a, b| (a.1.at, a.0).cmp(&(b.1.at, b.0)));
    for (key, answer) in sorted {
        let key = key.as_bytes();
        let value = encode_kept(key, mark.keys_next, answer);
        let old = keys.insert(key, value.as_slice()).map_err(unreadable)?;
        let old = old.map(|it| decode_kept(key, it.value()).map_err(|it| it.at("keys", key)));
        if let Some((ordinal, _)) = old.transpose()? {
            take(&mut by_age, &ordinal.to_be_bytes())?;
        }
        put(&mut by_age, &mark.keys_next.to_be_bytes(), key)?;
        mark.keys_next += 1;
    }
    while let Some((ordinal, key)) = first_row(&by_age)? {
        mark.keys_first = seq_of(&ordinal).unwrap_or(mark.keys_first);
        let is_one_too_many = mark.keys_next - mark.keys_first > options.idempotency_keys_max;
        if !is_one_too_many && !is_expired(&keys, &key, now, options)? {
            break;
        }
        take(&mut keys, &key)?;
        take(&mut by_age, &ordinal)?;
    }
    Ok(())
}

fn is_expired(
    keys: &Rows<'_>,
    key: &[u8],
    now: TimestampMs,
    options: &StoreOptions,
) -> Result<bool, StoreError> {
    let Some(value) = keys.get(key).map_err(unreadable)? else { return Ok(true) };
    let (_, kept) = decode_kept(key, value.value()).map_err(|it| it.at("keys", key))?;
    Ok(kept.is_expired(now, options.idempotency_age_max))
}
