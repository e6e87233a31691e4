//! The tail's index: the jobs by status and by pipeline and status, each in the order of seqs.
//!
//! A row whose job changed again is dead. Dead rows stay until they are half of a stream; so adding
//! a row costs the same at any size, and a reader meets about as many dead rows as live ones.

use std::collections::{BTreeMap, HashMap};

use super::generation::Held;
use crate::model::{JobFilter, JobId, JobRecord, Kinds, PipelineName, Status};

#[derive(Debug, Default)]
pub struct Index {
    by_status: BTreeMap<Status, Stream>,
    by_pipeline: HashMap<PipelineName, BTreeMap<Status, Stream>>,
}

/// The rows of one status, the oldest seq first.
#[derive(Debug, Default)]
pub struct Stream {
    rows: Vec<(u64, JobId)>,
    dead: usize,
}

/// A stream shorter than this is never cleared of dead rows.
const ROWS_CLEARED_FROM: usize = 64;

impl Stream {
    /// All rows, dead ones too: a row is alive if the record of its job has its seq.
    pub fn rows(&self) -> &[(u64, JobId)] {
        &self.rows
    }

    fn bury(&mut self, records: &HashMap<JobId, Held>) {
        self.dead += 1;
        if self.rows.len() >= ROWS_CLEARED_FROM && self.dead * 2 > self.rows.len() {
            self.rows.retain(|(seq, job_id)| is_alive(records, *seq, job_id));
            self.dead = 0;
        }
    }
}

/// True if the row of `seq` is the newest of its job in this generation.
pub fn is_alive(records: &HashMap<JobId, Held>, seq: u64, job_id: &JobId) -> bool {
    matches!(records.get(job_id), Some(Some(record)) if record.seq == seq)
}

impl Index {
    /// Adds the newest row of a job. Seqs must rise from call to call.
    pub fn add(&mut self, job_id: &JobId, record: &JobRecord) {
        let row = || (record.seq, job_id.clone());
        self.by_status.entry(record.status).or_default().rows.push(row());
        let statuses = match self.by_pipeline.get_mut(&record.pipeline) {
            Some(statuses) => statuses,
            None => self.by_pipeline.entry(record.pipeline.clone()).or_default(),
        };
        statuses.entry(record.status).or_default().rows.push(row());
    }

    /// Notes that the rows of `old` are dead. `records` hold what came instead.
    pub fn bury(&mut self, old: &JobRecord, records: &HashMap<JobId, Held>) {
        let of_pipeline = self.by_pipeline.get_mut(&old.pipeline);
        let of_pipeline = of_pipeline.and_then(|statuses| statuses.get_mut(&old.status));
        for stream in self.by_status.get_mut(&old.status).into_iter().chain(of_pipeline) {
            stream.bury(records);
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
