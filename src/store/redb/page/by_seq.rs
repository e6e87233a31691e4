//! Lists in the order of changes.
//!
//! Every seq in the tail is above every seq in the tables, so the parts stand one behind the other
//! and need no merging. A job of the tables that the tail has too is skipped: it is met there, or
//! it changed after the walk began.

use std::ops::Range;

use super::Draft;
use super::rows::{IndexRow, Rows};
use crate::model::{JobFilter, Order, Place};
use crate::store::StoreError;
use crate::store::redb::tail::{Generation, Row, View};

/// Rows of the tail that are looked at under one hold of its index, so that other readers never
/// wait long for it.
const SLICE_ROWS: usize = 256;

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Down,
    Up,
}

/// From the newest down; true if the walk is at its end.
///
/// # Errors
/// As for [`page`](super::page).
pub fn newest(view: &View, draft: &mut Draft<'_>) -> Result<bool, StoreError> {
    let seqs = seqs(draft);
    for age in 0..view.generations.len() {
        if !tail(view, draft, age, seqs.clone(), Way::Down) {
            return Ok(false);
        }
    }
    tables(view, draft, seqs, Way::Down)
}

/// From the oldest up; true if the walk is at its end.
///
/// # Errors
/// As for [`page`](super::page).
pub fn oldest(view: &View, draft: &mut Draft<'_>) -> Result<bool, StoreError> {
    let seqs = seqs(draft);
    if !tables(view, draft, seqs.clone(), Way::Up)? {
        return Ok(false);
    }
    let mut ages = (0..view.generations.len()).rev();
    Ok(ages.all(|age| tail(view, draft, age, seqs.clone(), Way::Up)))
}

/// The seqs that are still to be looked at.
fn seqs(draft: &Draft<'_>) -> Range<u64> {
    let end = draft.as_of_seq.saturating_add(1);
    match (&draft.query.cursor, draft.query.order) {
        (Some(cursor), order) => match (&cursor.place, order) {
            (Place::Seq(seq), Order::Newest) => 0..end.min(*seq),
            (Place::Seq(seq), _) => seq.saturating_add(1)..end,
            // A cursor of another order; whoever decodes cursors refuses it.
            (Place::Id(_), _) => 0..0,
        },
        (None, _) => 0..end,
    }
}

/// Goes through one generation; false if the page was full before its end.
fn tail(view: &View, draft: &mut Draft<'_>, age: usize, seqs: Range<u64>, way: Way) -> bool {
    let Some(generation) = view.generations.get(age) else { return true };
    let newer = view.generations.get(..age).unwrap_or_default();
    let mut left = window(generation, &draft.query.filter, seqs);
    loop {
        let slice = slice(generation, draft, left.clone(), way);
        let Some((last, _)) = slice.last() else { return true };
        left = match way {
            Way::Down => left.start..*last,
            Way::Up => *last + 1..left.end,
        };
        for (seq, job_id) in slice {
            if draft.is_full() {
                return false;
            }
            let Some(job_id) = job_id else {
                draft.examine(Place::Seq(seq), None);
                continue;
            };
            let is_newer = newer.iter().any(|it| it.read().records.contains_key(&job_id));
            let record = generation.read().records.get(&job_id).cloned().flatten();
            let record = record.filter(|it| it.seq == seq && !is_newer);
            draft.examine(Place::Seq(seq), record.as_ref().map(|it| (&job_id, it)));
        }
    }
}

/// The part of `seqs` that became durable within the time window of the filter.
fn window(generation: &Generation, filter: &JobFilter, seqs: Range<u64>) -> Range<u64> {
    let at = |moment| generation.seq_at(moment).unwrap_or(u64::MAX);
    let start = filter.begin().map_or(seqs.start, |begin| seqs.start.max(at(begin)));
    let end = filter.end().map_or(seqs.end, |end| seqs.end.min(at(end)));
    start..end.max(start)
}

/// The next rows of the streams that the filter asks for, in the order of the walk: the live ones,
/// and in any case the last one that was looked at, which says how far the slice goes.
fn slice(generation: &Generation, draft: &Draft<'_>, seqs: Range<u64>, way: Way) -> Vec<Row> {
    generation.with_index(|index| {
        let streams = index.streams(&draft.query.filter, draft.kinds);
        let mut heads: Vec<&[Row]> = streams.into_iter().map(|it| part(it.rows(), &seqs)).collect();
        let mut rows = Vec::new();
        let mut looked_at = 0;
        while looked_at < SLICE_ROWS
            && let Some(row) = next(&mut heads, way)
        {
            looked_at += 1;
            if row.1.is_some() || looked_at == SLICE_ROWS {
                rows.push(row.clone());
            }
        }
        rows
    })
}

fn part<'a>(rows: &'a [Row], seqs: &Range<u64>) -> &'a [Row] {
    let start = rows.partition_point(|(seq, _)| *seq < seqs.start);
    let end = rows.partition_point(|(seq, _)| *seq < seqs.end);
    rows.get(start..end).unwrap_or_default()
}

fn next<'a>(heads: &mut [&'a [Row]], way: Way) -> Option<&'a Row> {
    let head = match way {
        Way::Down => heads.iter_mut().max_by_key(|rows| rows.last().map(|(seq, _)| *seq))?,
        Way::Up => {
            let first = |rows: &&mut &[Row]| rows.first().map_or(u64::MAX, |(seq, _)| *seq);
            heads.iter_mut().min_by_key(first)?
        }
    };
    let (row, rest) = match way {
        Way::Down => head.split_last()?,
        Way::Up => head.split_first()?,
    };
    *head = rest;
    Some(row)
}

/// Goes through the tables; true if it came to their end.
fn tables(
    view: &View,
    draft: &mut Draft<'_>,
    seqs: Range<u64>,
    way: Way,
) -> Result<bool, StoreError> {
    let mut rows = Rows::open(view, &draft.query.filter, draft.kinds, seqs, way)?;
    loop {
        let Some(IndexRow { seq, slot }) = rows.next()? else { return Ok(true) };
        if draft.is_full() {
            return Ok(false);
        }
        if seq > draft.as_of_seq {
            draft.examine(Place::Seq(seq), None);
            continue;
        }
        let (job_id, record) = view.snapshot.job_at(slot)?;
        if view.tail_record(&job_id).is_some() {
            draft.examine(Place::Seq(seq), None);
            continue;
        }
        let record = Some(record).filter(|record| record.seq == seq);
        let filter = &draft.query.filter;
        let belongs = record.filter(|it| {
            filter.takes_status(it.status, draft.kinds)
                && filter.pipeline.as_ref().is_none_or(|pipeline| *pipeline == it.pipeline)
        });
        let record = belongs.ok_or_else(|| rows.corrupt(seq, &job_id))?;
        draft.examine(Place::Seq(seq), Some((&job_id, &record)));
    }
}
