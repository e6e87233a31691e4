//! The batches since the last rotation, as readers and the folder need them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::ids::IdRuns;
use super::index::Index;
use crate::model::{
    Expectations, Expected, JobId, JobRecord, Operation, PipelineName, Status, Tally, TimestampMs,
    minute_of, tally,
};
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
    pub records: HashMap<JobId, Held>,
    /// The keys of `records`, in the order in which they came.
    pub ids: Vec<JobId>,
    pub index: Index,
    pub segments: Vec<Appendix>,
    pub keys: HashMap<Box<str>, Arc<KeptAnswer>>,
    pub timeline: Tallies,
    /// What is expected of the pipelines that were changed; `None`: nothing any more.
    pub expected: BTreeMap<PipelineName, Option<Expected>>,
    /// Bytes of segments, records, index, timeline and keys.
    pub weight_bytes: usize,
}

/// What updates add to the timeline, by minute since 1970, then by pipeline and status.
pub type Tallies = BTreeMap<u32, HashMap<(PipelineName, Status), Tally>>;

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
    pub records: HashMap<JobId, Held>,
    pub keys: Vec<(Box<str>, KeptAnswer)>,
}

/// What a row of the tail's index costs, in bytes: two entries of the index and one id.
const ROW_BYTES: usize = 64;
/// What a minute of the timeline costs before it has entries, in bytes.
const MINUTE_BYTES: usize = 400;
/// Sums of a batch that are looked through before any is hashed.
const RECENT_MAX: usize = 16;
/// What an entry of the timeline costs, in bytes.
const TALLY_BYTES: usize = size_of::<((PipelineName, Status), Tally)>() + 16;

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

/// What a batch adds to the timeline, worked out before any lock is taken.
pub(super) fn tallies(operations: &[Operation], updated_at: TimestampMs) -> Tallies {
    // Few statuses of few pipelines make up most batches: looking through a few is faster than
    // hashing their names.
    let mut recent: Vec<(u32, &PipelineName, Status, Tally)> = Vec::with_capacity(RECENT_MAX);
    let mut tallies = Tallies::new();
    for operation in operations {
        let minute = minute_of(operation, updated_at);
        tally(operation, |pipeline, status, it| {
            let same = recent
                .iter()
                .position(|(a, b, c, _)| *a == minute && *c == status && *b == pipeline);
            let sum = same.and_then(|place| recent.get_mut(place));
            if let Some((.., sum)) = sum {
                sum.add(it);
            } else if recent.len() < RECENT_MAX {
                recent.push((minute, pipeline, status, it));
            } else {
                add_tally(&mut tallies, (minute, pipeline, status, it));
            }
        });
    }
    recent.into_iter().for_each(|it| add_tally(&mut tallies, it));
    tallies
}

fn add_tally(tallies: &mut Tallies, it: (u32, &PipelineName, Status, Tally)) {
    let (minute, pipeline, status, tally) = it;
    let of_minute = tallies.entry(minute).or_default();
    of_minute.entry((pipeline.clone(), status)).or_default().add(tally);
}

impl Content {
    /// Adds a batch. `rows` are its records in the order of their seqs.
    pub(super) fn add(
        &mut self,
        batch: Publication,
        rows: Vec<(JobId, Held)>,
        tallies: Tallies,
        expectations: &Expectations,
    ) {
        self.weight_bytes += batch.appendix.bytes.len() + rows.len() * ROW_BYTES;
        self.segments.push(batch.appendix);
        for (job_id, held) in rows {
            self.hold(job_id, held);
        }
        for (key, answer) in batch.keys {
            self.weight_bytes += key.len() + answer.weight_bytes();
            self.keys.insert(key, Arc::new(answer));
        }
        for (minute, tallies) in tallies {
            let of_minute = self.timeline.entry(minute).or_insert_with(|| {
                self.weight_bytes += MINUTE_BYTES;
                HashMap::new()
            });
            let before = of_minute.len();
            for (key, tally) in tallies {
                of_minute.entry(key).or_default().add(tally);
            }
            self.weight_bytes += (of_minute.len() - before) * TALLY_BYTES;
        }
        for operation in batch.operations.iter().filter(|it| Expectations::are_changed_by(it)) {
            let pipeline = operation.pipeline();
            self.expected.insert(pipeline.clone(), expectations.get(pipeline));
        }
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
                self.weight_bytes += id.as_str().len();
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
