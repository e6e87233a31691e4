//! The rows of one or more index ranges, merged in the order of their seqs.

use std::ops::Range;

use super::by_seq::Way;
use crate::model::{JobFilter, JobId, Kinds, Status, TimestampMs};
use crate::store::StoreError;
use crate::store::redb::schema::{
    BY_PIPELINE, BY_STATUS, SnapshotTable, parse_index_value, pipeline_prefix, seq_of,
    status_prefix, with_seq,
};
use crate::store::redb::snapshot::Snapshot;
use crate::store::redb::tail::{View, unreadable};

/// The rows of every status that a filter asks for.
pub struct Rows {
    table_name: &'static str,
    streams: Vec<Stream>,
    way: Way,
}

/// One range and the row that it stands at.
struct Stream {
    range: redb::Range<'static, &'static [u8], &'static [u8]>,
    head: Option<IndexRow>,
}

/// A row of an index: the seq of a job's newest change, and where the job stands.
pub struct IndexRow {
    pub seq: u64,
    pub slot: u64,
}

impl Rows {
    /// The ranges that hold every job with the pipeline, a status and the time window of the
    /// filter, and no other.
    ///
    /// # Errors
    /// [`StoreError`] if the tables do not answer, or answer wrongly.
    pub fn open(
        view: &View,
        filter: &JobFilter,
        kinds: &Kinds,
        seqs: Range<u64>,
        way: Way,
    ) -> Result<Self, StoreError> {
        let is_asked = |status: &&Status| filter.takes_status(**status, kinds);
        // The statuses of jobs that only the tables have are among the counted ones.
        let (definition, table_name, prefixes): (_, _, Vec<Vec<u8>>) = match &filter.pipeline {
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
        let index = Index { table: view.table(definition)?, table_name, jobs: &view.snapshot };
        let mut rows = Self { table_name, streams: Vec::new(), way };
        for prefix in prefixes {
            let seqs = index.window(&prefix, filter, seqs.clone())?;
            if seqs.is_empty() {
                continue;
            }
            let mut stream = Stream { range: index.range(&prefix, seqs)?, head: None };
            stream.step(way, table_name)?;
            rows.streams.push(stream);
        }
        Ok(rows)
    }

    /// The next row.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn next(&mut self) -> Result<Option<IndexRow>, StoreError> {
        let (way, table_name) = (self.way, self.table_name);
        let Some(stream) = self.first() else { return Ok(None) };
        let row = stream.head.take();
        stream.step(way, table_name)?;
        Ok(row)
    }

    /// The stream whose row is next.
    fn first(&mut self) -> Option<&mut Stream> {
        let seq = |stream: &&mut Stream| stream.head.as_ref().map(|row| row.seq);
        match self.way {
            Way::Down => self.streams.iter_mut().max_by_key(seq),
            Way::Up => self.streams.iter_mut().min_by_key(|it| seq(it).unwrap_or(u64::MAX)),
        }
    }

    /// For a row whose record is another.
    pub fn corrupt(&self, seq: u64, job_id: &JobId) -> StoreError {
        StoreError::CorruptRecord {
            table: self.table_name,
            key: job_id.to_string(),
            what: format!("the record does not belong to the index row of seq {seq}"),
        }
    }
}

impl Stream {
    fn step(&mut self, way: Way, table: &'static str) -> Result<(), StoreError> {
        let row = match way {
            Way::Down => self.range.next_back(),
            Way::Up => self.range.next(),
        };
        let Some(row) = row else { return Ok(()) };
        let (key, value) = row.map_err(unreadable)?;
        self.head = Some(parse(table, key.value(), value.value())?);
        Ok(())
    }
}

fn parse(table: &'static str, key: &[u8], value: &[u8]) -> Result<IndexRow, StoreError> {
    let row = seq_of(key).zip(parse_index_value(value));
    row.map(|(seq, slot)| IndexRow { seq, slot }).ok_or_else(|| {
        let key = String::from_utf8_lossy(key).escape_debug().collect();
        StoreError::CorruptRecord { table, key, what: "it is not an index row".to_owned() }
    })
}

/// One index table, and the records to look at.
struct Index<'a> {
    table: SnapshotTable,
    table_name: &'static str,
    jobs: &'a Snapshot,
}

impl Index<'_> {
    fn range(
        &self,
        prefix: &[u8],
        seqs: Range<u64>,
    ) -> Result<redb::Range<'static, &'static [u8], &'static [u8]>, StoreError> {
        let from = with_seq(prefix.to_vec(), seqs.start);
        let to = with_seq(prefix.to_vec(), seqs.end);
        self.table.range(from.as_slice()..to.as_slice()).map_err(unreadable)
    }

    /// The part of `seqs` whose jobs changed within the time window of the filter.
    fn window(
        &self,
        prefix: &[u8],
        filter: &JobFilter,
        seqs: Range<u64>,
    ) -> Result<Range<u64>, StoreError> {
        let (mut start, mut end) = (seqs.start, seqs.end);
        if let Some(begin) = filter.begin() {
            start = self.seq_at(prefix, start..end, begin)?;
        }
        if let Some(too_late) = filter.end() {
            end = self.seq_at(prefix, start..end, too_late)?;
        }
        Ok(start..end.max(start))
    }

    /// The first seq of the range whose job changed at `moment` or later; its end if there is none.
    /// A binary search: `updated_at` rises with seq.
    fn seq_at(
        &self,
        prefix: &[u8],
        seqs: Range<u64>,
        moment: TimestampMs,
    ) -> Result<u64, StoreError> {
        let (mut low, mut high) = (seqs.start, seqs.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.range(prefix, middle..high)?.next() {
                None => high = middle,
                Some(row) => {
                    let (key, value) = row.map_err(unreadable)?;
                    let IndexRow { seq, slot } =
                        parse(self.table_name, key.value(), value.value())?;
                    let (job_id, record) = self.jobs.job_at(slot)?;
                    let record = Some(record).filter(|it| it.seq == seq);
                    let record = record.ok_or_else(|| StoreError::CorruptRecord {
                        table: self.table_name,
                        key: job_id.to_string(),
                        what: format!("no record has the seq {seq} of the index row"),
                    })?;
                    if record.updated_at >= moment {
                        high = middle;
                    } else {
                        low = seq + 1;
                    }
                }
            }
        }
        Ok(low)
    }
}
