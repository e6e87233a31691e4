//! The batches since the last rotation, as readers and the folder need them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::ids::IdRuns;
use super::index::{Index, Row};
use super::tallies::{Minutes, Tallies};
use crate::model::{Expected, JobId, JobRecord, NameMap, Operation, PipelineName, TimestampMs};
use crate::store::KeptAnswer;

/// What the tail knows of a job: its record, or (`None`) that it was removed.
pub type Held = Option<Arc<JobRecord>>;

/// The batches since the last rotation.
#[derive(Debug, Default)]
pub struct Generation {
    content: RwLock<Content>,
    /// The ids in their order, made when somebody asks. Never locked by the writer.
    ids: Mutex<IdRuns>,
}

#[derive(Debug, Default)]
pub struct Content {
    pub records: NameMap<JobId, Held>,
    /// The keys of `records`, in the order in which they came.
    pub ids: Vec<JobId>,
    pub index: Index,
    pub segments: Vec<Appendix>,
    pub keys: HashMap<Box<str>, Arc<KeptAnswer>>,
    pub timeline: Minutes,
    /// What is expected of the pipelines that were changed; `None`: nothing any more.
    pub expected: BTreeMap<PipelineName, Option<Expected>>,
    /// Bytes of segments, records, index, timeline and keys.
    pub weight_bytes: usize,
}

/// A segment as it stands in the journal.
#[derive(Clone, Debug)]
pub struct Appendix {
    pub batch_no: u64,
    pub first_seq: u64,
    /// `first_seq - 1` if the segment holds no operation.
    pub last_seq: u64,
    pub updated_at: TimestampMs,
    pub bytes: Arc<[u8]>,
}

/// One durable batch, ready to be seen.
#[derive(Debug)]
pub struct Publication {
    pub appendix: Appendix,
    pub operations: Vec<Operation>,
    /// Each job once.
    pub records: Vec<(JobId, Held)>,
    pub keys: Vec<(Box<str>, KeptAnswer)>,
}

/// What a job costs beside its id and its record, in bytes: its places among the records, among the
/// ids and in two streams of the index, where as many dead rows may stand; and the counters of two
/// `Arc`s. Vectors and maps that grow by doubling are three quarters full on the mean.
const JOB_BYTES: usize = {
    let places = size_of::<(JobId, Held)>() + size_of::<JobId>() + 4 * size_of::<Row>();
    places * 4 / 3 + 4 * size_of::<usize>()
};

impl Generation {
    pub fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// All ids, in sorted runs. The first call of a generation sorts what there is; a later one
    /// only what came since.
    pub fn sorted_ids(&self) -> Vec<Arc<[JobId]>> {
        let mut runs = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // In slices, so that the writer never waits long for the lock.
            let slice: Vec<JobId> = {
                let content = self.read();
                content.ids.iter().skip(runs.covered()).take(IdRuns::SLICE_IDS).cloned().collect()
            };
            if slice.is_empty() {
                return runs.runs();
            }
            runs.add(slice);
        }
    }

    /// The seqs of the operations at or after `moment`, as far as this generation goes: the first
    /// seq of the first batch that became durable then. `None` if none did.
    pub fn seq_at(&self, moment: TimestampMs) -> Option<u64> {
        let content = self.read();
        let place = content.segments.partition_point(|it| it.updated_at < moment);
        content.segments.get(place).map(|it| it.first_seq)
    }
}

impl Content {
    /// Adds a batch, whose records are in the order of their seqs.
    pub(super) fn add(&mut self, batch: Publication, tallies: &Tallies<'_>) {
        self.weight_bytes += batch.appendix.bytes.len();
        self.segments.push(batch.appendix);
        for (job_id, held) in batch.records {
            self.hold(job_id, held);
        }
        for (key, answer) in batch.keys {
            self.weight_bytes += key.len() + answer.weight_bytes();
            self.keys.insert(key, Arc::new(answer));
        }
        self.weight_bytes += tallies.add_to(&mut self.timeline);
    }

    /// Takes the newest record of a job, or that it was removed.
    fn hold(&mut self, job_id: JobId, held: Held) {
        let weight = |held: &Held| held.as_ref().map_or(0, |record| record.weight_bytes());
        self.weight_bytes += weight(&held);
        if let Some(record) = &held {
            self.index.add(&job_id, record);
        }
        let id = job_id.clone();
        match self.records.insert(job_id, held) {
            None => {
                self.weight_bytes += JOB_BYTES + id.as_str().len();
                self.ids.push(id);
            }
            Some(old) => {
                self.weight_bytes -= weight(&old);
                if let Some(old) = old {
                    self.index.bury(&old);
                }
            }
        }
    }
}
