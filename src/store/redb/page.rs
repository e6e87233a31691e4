//! One page of a list: the tail first, then the index, from the newest seq down.
//!
//! Every seq in the tail is above every seq in the tables, so the two parts need no merging. A job
//! of the tables that the tail has too is skipped: it was met above, or it changed after the walk
//! began.

use std::sync::Arc;

use redb::Range;

use super::schema::{
    BY_PIPELINE, BY_STATUS, JOBS, pipeline_prefix, seq_of, status_prefix, with_seq,
};
use super::tail::{SnapshotTable, View, read_record, unreadable};
use crate::model::{Cursor, JobId, JobRecord, Page, PageQuery, Status};
use crate::store::StoreError;

/// Reads a page. Examines at most `query.scan_max` entries.
///
/// # Errors
/// [`StoreError`] if the tables do not answer or an index and its record disagree.
pub fn page(view: &View, query: &PageQuery) -> Result<Page, StoreError> {
    let as_of_seq = query.cursor.map_or(view.as_of_seq, |cursor| cursor.as_of_seq);
    let below = query.cursor.map_or(u64::MAX, |cursor| cursor.last_seq);
    let mut walk = Walk {
        view,
        query,
        as_of_seq,
        below: below.min(as_of_seq.saturating_add(1)),
        examined: 0,
        jobs: Vec::new(),
        stop: None,
    };
    walk.tail();
    if walk.stop.is_none() {
        walk.tables()?;
    }
    let next = walk.stop.map(|last_seq| Cursor { last_seq, as_of_seq });
    Ok(Page { jobs: walk.jobs, next, as_of_seq })
}

/// Entries of the tail's log that are examined under one hold of its lock.
const SLICE_ENTRIES: usize = 256;

struct Walk<'a> {
    view: &'a View,
    query: &'a PageQuery,
    as_of_seq: u64,
    /// The walk goes on below this seq.
    below: u64,
    examined: usize,
    jobs: Vec<(JobId, Arc<JobRecord>)>,
    /// The last seq that this page is done with, once it is full.
    stop: Option<u64>,
}

impl Walk<'_> {
    /// Counts an entry; false if the page must end before it.
    fn examine(&mut self, seq: u64) -> bool {
        if self.examined >= self.query.scan_max {
            self.stop = Some(seq + 1);
            return false;
        }
        self.examined += 1;
        true
    }

    /// Takes a job; false if the page was full before it.
    fn take(&mut self, job_id: JobId, record: Arc<JobRecord>) -> bool {
        if self.jobs.len() >= self.query.limit {
            self.stop = Some(record.seq + 1);
            return false;
        }
        self.jobs.push((job_id, record));
        true
    }

    fn tail(&mut self) {
        for age in 0..self.view.generations.len() {
            let mut below = self.below;
            while self.stop.is_none()
                && let Some(next) = self.tail_slice(age, below)
            {
                below = next;
            }
        }
    }

    /// Goes through a slice of a generation, so that the writer never waits long for the lock.
    /// Returns where the next slice ends; `None` when there is none.
    fn tail_slice(&mut self, age: usize, below: u64) -> Option<u64> {
        let content = self.view.generations.get(age)?.read();
        let end = content.log.partition_point(|(seq, _)| *seq < below);
        let mut next = None;
        for (seq, job_id) in content.log.iter().take(end).rev().take(SLICE_ENTRIES) {
            next = Some(*seq);
            if !self.examine(*seq) {
                break;
            }
            let record = content.records.get(job_id).filter(|it| it.seq == *seq);
            let Some(record) = record.filter(|it| self.query.matches(it)) else { continue };
            let mut newer = self.view.generations.iter().take(age);
            if newer.any(|it| it.read().records.contains_key(job_id)) {
                continue;
            }
            if !self.take(job_id.clone(), record.clone()) {
                break;
            }
        }
        next
    }

    fn tables(&mut self) -> Result<(), StoreError> {
        let (jobs, mut rows) = (self.view.table(JOBS)?, Rows::open(self.view, self.query)?);
        // While a folded generation is not yet dropped, the tables have its jobs too.
        let in_tail = self.view.generations.iter().rev().find_map(|generation| {
            generation.read().segments.first().map(|segment| segment.first_seq)
        });
        rows.seek(in_tail.map_or(self.below, |first_seq| self.below.min(first_seq)))?;
        while let Some((seq, job_id)) = rows.next()? {
            if !self.examine(seq) {
                return Ok(());
            }
            if seq > self.as_of_seq || self.view.tail_record(&job_id).is_some() {
                continue;
            }
            let record = read_record(&jobs, &job_id)?.filter(|record| record.seq == seq);
            let matching = record.filter(|record| self.query.matches(record));
            let record = matching.ok_or_else(|| StoreError::CorruptRecord {
                table: rows.table_name,
                key: job_id.to_string(),
                what: format!("the record does not belong to the index row of seq {seq}"),
            })?;
            if !self.take(job_id, record) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The rows of one or more index ranges, merged, from the newest seq down.
struct Rows {
    table: SnapshotTable,
    table_name: &'static str,
    prefixes: Vec<Vec<u8>>,
    streams: Vec<Stream>,
}

/// One range and the row that it stands at.
struct Stream {
    range: Range<'static, &'static [u8], &'static [u8]>,
    head: Option<(u64, JobId)>,
}

impl Rows {
    /// The ranges that hold every job of the query and no other.
    fn open(view: &View, query: &PageQuery) -> Result<Self, StoreError> {
        let is_asked =
            |status: &&Status| query.statuses.is_empty() || query.statuses.contains(status);
        // The statuses of jobs that only the tables have are among the counted ones.
        let (definition, table_name, prefixes) = match &query.pipeline {
            Some(pipeline) => {
                let statuses = view.counts.by_pipeline().get(pipeline).into_iter().flatten();
                let statuses = statuses.map(|(status, _)| status).filter(is_asked);
                let prefixes = statuses.map(|status| pipeline_prefix(pipeline, *status)).collect();
                (BY_PIPELINE, "by_pipeline", prefixes)
            }
            None => {
                let statuses = view.counts.by_status().keys().filter(is_asked);
                (BY_STATUS, "by_status", statuses.copied().map(status_prefix).collect())
            }
        };
        let table = view.table(definition)?;
        Ok(Self { table, table_name, prefixes, streams: Vec::new() })
    }

    /// Goes to the first rows below `below`.
    fn seek(&mut self, below: u64) -> Result<(), StoreError> {
        for prefix in &self.prefixes {
            let from = with_seq(prefix.clone(), 0);
            let to = with_seq(prefix.clone(), below);
            let range = self.table.range(from.as_slice()..to.as_slice()).map_err(unreadable)?;
            let mut stream = Stream { range, head: None };
            stream.step(self.table_name)?;
            self.streams.push(stream);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(u64, JobId)>, StoreError> {
        let newest = self.streams.iter_mut().max_by_key(|it| it.head.as_ref().map(|(seq, _)| *seq));
        let Some(stream) = newest else { return Ok(None) };
        let row = stream.head.take();
        stream.step(self.table_name)?;
        Ok(row)
    }
}

impl Stream {
    fn step(&mut self, table: &'static str) -> Result<(), StoreError> {
        let Some(row) = self.range.next_back() else { return Ok(()) };
        let (key, value) = row.map_err(unreadable)?;
        let seq = seq_of(key.value());
        let job_id = std::str::from_utf8(value.value()).ok().and_then(|it| JobId::parse(it).ok());
        self.head = seq.zip(job_id);
        if self.head.is_none() {
            let key = String::from_utf8_lossy(key.value()).escape_debug().collect();
            let what = "it is not an index row".to_owned();
            return Err(StoreError::CorruptRecord { table, key, what });
        }
        Ok(())
    }
}
