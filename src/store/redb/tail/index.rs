//! The tail's index: the jobs by status and by pipeline and status, each in the order of seqs.
//!
//! A row whose job changed again is dead. Dead rows stay until they are half of a stream; so adding
//! a row costs the same at any size, and a reader meets at most about as many dead rows as live
//! ones.

use std::collections::BTreeMap;

use crate::model::{JobFilter, JobId, JobRecord, Kinds, NameMap, PipelineName, Status};

#[derive(Debug, Default)]
pub struct Index {
    by_status: BTreeMap<Status, Stream>,
    by_pipeline: NameMap<PipelineName, BTreeMap<Status, Stream>>,
}

/// A seq, and the job whose newest change it is; `None`: the job changed again.
pub type Row = (u64, Option<JobId>);

/// The rows of one status, the oldest seq first.
#[derive(Debug, Default)]
pub struct Stream {
    rows: Vec<Row>,
    dead: usize,
}

/// A stream shorter than this is never cleared of dead rows.
const ROWS_CLEARED_FROM: usize = 64;

impl Stream {
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Marks the row of `seq` dead.
    fn bury(&mut self, seq: u64) {
        let Some(row) = self.place_of(seq).and_then(|place| self.rows.get_mut(place)) else {
            return;
        };
        self.dead += usize::from(row.1.take().is_some());
        if self.rows.len() >= ROWS_CLEARED_FROM && self.dead * 2 > self.rows.len() {
            self.rows.retain(|(_, job_id)| job_id.is_some());
            self.dead = 0;
        }
    }

    /// Where `seq` stands. In growing steps from the end, as jobs mostly change again soon.
    fn place_of(&self, seq: u64) -> Option<usize> {
        let length = self.rows.len();
        let mut step = 1;
        while step < length && self.rows.get(length - step).is_some_and(|row| row.0 > seq) {
            step *= 2;
        }
        let start = length.saturating_sub(step);
        let tail = self.rows.get(start..).unwrap_or_default();
        let place = tail.binary_search_by_key(&seq, |row| row.0).ok()?;
        Some(start + place)
    }
}

impl Index {
    /// Adds the newest row of a job. Seqs must rise from call to call.
    pub fn add(&mut self, job_id: &JobId, record: &JobRecord) {
        let row = || (record.seq, Some(job_id.clone()));
        self.by_status.entry(record.status).or_default().rows.push(row());
        let statuses = match self.by_pipeline.get_mut(&record.pipeline) {
            Some(statuses) => statuses,
            None => self.by_pipeline.entry(record.pipeline.clone()).or_default(),
        };
        statuses.entry(record.status).or_default().rows.push(row());
    }

    /// Notes that the rows of `old` are dead.
    pub fn bury(&mut self, old: &JobRecord) {
        let of_pipeline = self.by_pipeline.get_mut(&old.pipeline);
        let of_pipeline = of_pipeline.and_then(|statuses| statuses.get_mut(&old.status));
        for stream in self.by_status.get_mut(&old.status).into_iter().chain(of_pipeline) {
            stream.bury(old.seq);
        }
    }

    /// The streams that hold every job with the pipeline and a status of the filter, and no other.
    pub fn streams<'a>(&'a self, filter: &JobFilter, kinds: &Kinds) -> Vec<&'a Stream> {
        let statuses = match &filter.pipeline {
            Some(pipeline) => self.by_pipeline.get(pipeline),
            None => Some(&self.by_status),
        };
        let asked = statuses.into_iter().flatten();
        let asked = asked.filter(|(status, _)| filter.takes_status(**status, kinds));
        asked.map(|(_, stream)| stream).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_rows_are_found_wherever_they_stand_and_go_when_they_are_half() {
        let mut stream = Stream::default();
        let seqs: Vec<u64> = (1..=1_000).map(|number| number * 3).collect();
        for seq in &seqs {
            stream.rows.push((*seq, JobId::parse(&seq.to_string()).ok()));
        }
        for seq in &seqs {
            let place = stream.place_of(*seq).unwrap();
            assert_eq!(stream.rows[place].0, *seq);
            assert_eq!(stream.place_of(seq + 1), None);
        }
        assert_eq!(stream.place_of(0), None);
        // Forwards, backwards, and twice.
        seqs.iter().take(300).for_each(|seq| stream.bury(*seq));
        seqs.iter().rev().take(200).for_each(|seq| stream.bury(*seq));
        stream.bury(3);
        assert_eq!((stream.rows.len(), stream.dead), (1_000, 500));
        stream.bury(seqs[500]);
        assert_eq!((stream.rows.len(), stream.dead), (499, 0));
        assert!(stream.rows.iter().all(|row| row.1.is_some()) && stream.rows.is_sorted());
    }
}
