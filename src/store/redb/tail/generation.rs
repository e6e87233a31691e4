//! The batches since the last rotation, as readers and the folder need them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::ids::IdRuns;
use super::index::Index;
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
    /// The jobs by status and pipeline, made when somebody asks. Never locked by the writer.
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
pub struct Content {
    pub records: NameMap<JobId, Held>,
    /// The keys of `records`, in the order in which they came.
    pub ids: Vec<JobId>,
    /// What changed jobs, with the seqs, which rise.
    pub changes: Vec<(u64, JobId)>,
    pub segments: Vec<Appendix>,
    pub keys: HashMap<Box<str>, Arc<KeptAnswer>>,
    pub timeline: Minutes,
    /// What is expected of the pipelines that were changed; `None`: nothing any more.
    pub expected: BTreeMap<PipelineName, Option<Expected>>,
    /// Bytes of segments, records, changes, index, timeline and keys.
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
    /// The jobs that are another after it, each once, with what they were before.
    pub jobs: Vec<(JobId, Held)>,
    /// For each operation the place of its job in `jobs`; `None` if it changes none of them.
    pub places: Vec<Option<usize>>,
    pub keys: Vec<(Box<str>, KeptAnswer)>,
}

/// What a job costs beside its id and its record, in bytes: its places among the records, among the
/// ids, in the index and in two streams of it, where as many dead rows may stand; and the counters
/// of two `Arc`s. Vectors and maps that grow by doubling are three quarters full on the mean.
pub const JOB_BYTES: usize = {
    let places = size_of::<(JobId, Held)>() + size_of::<JobId>() + Index::JOB_BYTES;
    places * 4 / 3 + 4 * size_of::<usize>()
};
/// What a change costs beside its segment and its job, in bytes.
const CHANGE_BYTES: usize = size_of::<(u64, JobId)>() * 4 / 3;

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

    /// Calls `look` with the index, which has all that was published before the call.
    pub fn with_index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        let is_covered = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.covers(&self.read())
        };
        if !is_covered {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            // In slices, so that the writer never waits long for the lock.
            while index.add_slice(&self.read()) {}
        }
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
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
    /// Adds a batch of these operations.
    pub(super) fn add(
        &mut self,
        batch: Publication,
        operations: &[Operation],
        tallies: &Tallies<'_>,
    ) {
        let updated_at = batch.appendix.updated_at;
        self.weight_bytes += batch.appendix.bytes.len();
        self.segments.push(batch.appendix);
        let mut jobs = batch.jobs;
        for (operation, place) in operations.iter().zip(batch.places) {
            if let Some((job_id, before)) = place.and_then(|place| jobs.get_mut(place)) {
                let name = self.change(job_id, before.take(), operation, updated_at);
                self.changes.push((operation.seq(), name));
                self.weight_bytes += CHANGE_BYTES;
            }
        }
        for (key, answer) in batch.keys {
            self.weight_bytes += key.len() + answer.weight_bytes();
            self.keys.insert(key, Arc::new(answer));
        }
        self.weight_bytes += tallies.add_to(&mut self.timeline);
    }

    /// Changes the record of a job, which is in its place already, or is `before`. The id that the
    /// records have, as that of the operation would keep its text alone.
    fn change(
        &mut self,
        job_id: &JobId,
        before: Held,
        it: &Operation,
        updated_at: TimestampMs,
    ) -> JobId {
        let weight = |held: &Held| held.as_ref().map_or(0, |record| record.weight_bytes());
        let (name, held) = match self.records.entry(job_id.clone()) {
            Entry::Occupied(place) => {
                // Else the record would be copied for it.
                drop(before);
                let name = place.key().clone();
                let held = place.into_mut();
                self.weight_bytes -= weight(held);
                (name, held)
            }
            Entry::Vacant(place) => {
                self.weight_bytes += JOB_BYTES + job_id.as_str().len();
                self.ids.push(job_id.clone());
                (job_id.clone(), place.insert(before))
            }
        };
        *held = it.apply(held.take(), updated_at);
        self.weight_bytes += weight(held);
        name
    }
}
