//! What a batch does, decided before anything is written. Shared by all stores.
//!
//! [`decide`] walks the requests in order over an overlay of the records that they touch, merges
//! heartbeats, numbers what remains, and makes the answers. It reads records through a closure and
//! writes nothing, so a store can throw the result away when its transaction fails.

mod command;
mod finish;
mod merge;
mod slot;

use std::collections::HashSet;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use self::slot::{Now, Slot};
use super::{KeptAnswer, StoreError};
use crate::model::limits::{KEPT_ANSWER_BYTES_MAX, PIPELINE_BYTES_MAX};
use crate::model::{
    Ack, Answer, Change, Counts, Expectations, JobId, JobRecord, Kinds, NameMap, Operation,
    PipelineName, Rejection, RejectionCode, Request, Standing, Status, TimestampMs, Transition,
    Update, decide as decide_update,
};

/// What the store knows when a batch is decided.
pub struct Ground<'a> {
    pub kinds: &'a Kinds,
    pub counts: &'a Counts,
    pub expectations: &'a Expectations,
    pub pipelines_max: usize,
    pub statuses_max: usize,
    /// The last seq in use.
    pub last_seq: u64,
    pub now: TimestampMs,
    /// When the batch becomes durable: never before the last batch.
    pub updated_at: TimestampMs,
}

/// What a new record weighs before its texts and transitions, in bytes.
const RECORD_BYTES: usize = size_of::<JobRecord>() + PIPELINE_BYTES_MAX;

/// A decided batch: nothing of it is visible or durable yet.
#[derive(Debug, Default)]
pub struct Decided {
    /// In the order of their seqs, which have no gaps.
    pub operations: Vec<Operation>,
    /// The jobs that are another after the batch, each once, with their records before it.
    pub jobs: Vec<(JobId, Option<Arc<JobRecord>>)>,
    /// For each operation the place of its job in `jobs`; `None` if it changes none of them.
    pub places: Vec<Option<usize>>,
    /// One per request.
    pub answers: Vec<Answer>,
    /// New idempotency keys with the answers to keep.
    pub keys: Vec<(Box<str>, KeptAnswer)>,
    pub started: Vec<JobId>,
}

impl Decided {
    /// True if there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.keys.is_empty()
    }

    /// What the records weigh after the batch at most, in bytes.
    pub fn weight_bytes(&self) -> usize {
        // A list of transitions that grows has four places, then twice as many as before.
        let grown = |count: usize| count.max(4) * size_of::<Transition>();
        let weight =
            |record: &Arc<JobRecord>| record.weight_bytes() + grown(record.transitions.len());
        let new = RECORD_BYTES + grown(0);
        let before = self.jobs.iter().map(|(_, it)| it.as_ref().map_or(new, weight));
        let changes = self.operations.iter().filter_map(Operation::change);
        before.sum::<usize>() + changes.map(Change::weight_bytes).sum::<usize>()
    }

    /// The records after the batch, each job once; `None`: the job was removed.
    pub fn records(&self, updated_at: TimestampMs) -> Vec<(JobId, Option<Arc<JobRecord>>)> {
        let mut records = self.jobs.clone();
        for (operation, place) in self.operations.iter().zip(&self.places) {
            if let Some((_, record)) = place.and_then(|place| records.get_mut(place)) {
                *record = operation.apply(record.take(), updated_at);
            }
        }
        records
    }
}

/// Decides a batch. `lookup` gives the record of a job as it is before the batch.
///
/// # Errors
/// What `lookup` fails with; the batch is then undecided as a whole.
pub fn decide<'a>(
    requests: &'a [Request],
    ground: &'a Ground<'a>,
    lookup: impl FnMut(&JobId) -> Result<Option<Arc<JobRecord>>, StoreError>,
) -> Result<Decided, StoreError> {
    let updates = requests.iter().map(|request| request.updates.len()).sum();
    let mut draft = Draft::new(ground, lookup, updates);
    let mut parts = Vec::with_capacity(requests.len());
    for request in requests {
        parts.push(draft.request(request)?);
    }
    let is_merged = draft.merge_heartbeats();
    draft.number(is_merged);
    finish::mark_finishes(&mut draft.operations, ground);
    Ok(draft.finish(requests, parts))
}

/// Why one update or command is refused.
type Refused = (RejectionCode, String);

/// What one request came to: its operations are `start..end` of the draft.
struct Part {
    start: usize,
    end: usize,
    rejections: Vec<Rejection>,
}

/// What is not journalled of an operation.
#[derive(Clone, Copy)]
struct Note {
    /// The slot of the job that it changes.
    slot: Option<usize>,
    /// True if it may merge with others of its job.
    is_mergeable: bool,
}

struct Draft<'a, L> {
    ground: &'a Ground<'a>,
    lookup: L,
    slots: Vec<Slot<'a>>,
    /// Where the slot of a job is.
    places: NameMap<&'a JobId, usize>,
    /// `None`: a heartbeat that was merged into a later one.
    operations: Vec<Option<Operation>>,
    /// Of the operations at the same places.
    notes: Vec<Note>,
    new_pipelines: HashSet<PipelineName>,
    new_statuses: HashSet<Status>,
    /// Pipelines that are given an expected total and had none.
    new_expected: HashSet<PipelineName>,
}

impl<'a, L> Draft<'a, L>
where
    L: FnMut(&JobId) -> Result<Option<Arc<JobRecord>>, StoreError>,
{
    fn new(ground: &'a Ground<'a>, lookup: L, updates: usize) -> Self {
        Self {
            ground,
            lookup,
            slots: Vec::with_capacity(updates),
            places: NameMap::with_capacity_and_hasher(updates, FxBuildHasher),
            operations: Vec::with_capacity(updates),
            notes: Vec::with_capacity(updates),
            new_pipelines: HashSet::new(),
            new_statuses: HashSet::new(),
            new_expected: HashSet::new(),
        }
    }

    /// Decides one request; an atomic one is kept whole or undone whole.
    fn request(&mut self, request: &'a Request) -> Result<Part, StoreError> {
        let start = self.operations.len();
        let mut rejections = request.rejections.clone();
        let refused_before = rejections.len();
        let mut undo = Vec::new();
        let names = request.atomic.then(|| (self.new_pipelines.clone(), self.new_statuses.clone()));
        for (index, update) in &request.updates {
            let now = request.received_at.unwrap_or(self.ground.now);
            if request.atomic {
                let slot = self.places.get(&update.job_id).and_then(|place| self.slots.get(*place));
                undo.push((&update.job_id, slot.map(|slot| slot.now)));
            }
            if let Err((code, detail)) = self.update(update, now)? {
                let job_id = Some(update.job_id.as_str());
                rejections.push(Rejection::new(*index, job_id, code, detail));
            }
        }
        if let Some(command) = &request.command {
            let now = request.received_at.unwrap_or(self.ground.now);
            rejections.extend(self.command(command, now)?);
        }
        if request.atomic && rejections.len() > refused_before {
            self.undo(start, undo);
            (self.new_pipelines, self.new_statuses) = names.unwrap_or_default();
            reject_neighbours(request, &mut rejections);
        }
        Ok(Part { start, end: self.operations.len(), rejections })
    }

    fn undo(&mut self, start: usize, undo: Vec<(&JobId, Option<Now>)>) {
        self.operations.truncate(start);
        self.notes.truncate(start);
        for (job_id, before) in undo.into_iter().rev() {
            let place = self.places.get(job_id).copied();
            if let Some(slot) = place.and_then(|place| self.slots.get_mut(place)) {
                // A job that the batch had not touched goes back to its record in the store; one
                // that it had removed stays removed.
                slot.now = before.unwrap_or(Now::AsBefore);
            }
        }
    }

    /// Decides one update on the overlay, and adds what it does. The seq of the change is set
    /// provisionally, as if no heartbeat were merged.
    fn update(
        &mut self,
        update: &'a Update,
        now: TimestampMs,
    ) -> Result<Result<(), Refused>, StoreError> {
        let place = match self.open_slot(&update.job_id)? {
            Ok(place) => place,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let slot = self.slots.get(place).expect("a place is that of a slot");
        let present = slot.standing(&self.operations);
        let mut change = match decide_update(present, update, self.ground.kinds, now) {
            Ok(change) => change,
            Err(refusal) => return Ok(Err((refusal.code(), refusal.to_string()))),
        };
        let Standing { status_at, attempt_given, .. } = Standing::after(&change, present);
        if let Err(refusal) = self.admit_names(&change) {
            return Ok(Err(refusal));
        }
        change.seq = self.next_seq();
        if change.applied {
            let operation = self.operations.len();
            self.slot(place).now = Now::Changed { operation, status_at, attempt_given };
        }
        // One that names its pipeline is not merged, even if that is the present one.
        let is_mergeable = change.is_mergeable() && update.pipeline.is_none();
        self.notes.push(Note { slot: change.applied.then_some(place), is_mergeable });
        self.operations.push(Some(Operation::Update(change)));
        Ok(Ok(()))
    }

    fn slot(&mut self, place: usize) -> &mut Slot<'a> {
        self.slots.get_mut(place).expect("a place is that of a slot")
    }

    /// The seq of the next operation, as if no heartbeat were merged.
    fn next_seq(&self) -> u64 {
        self.ground.last_seq + self.operations.len() as u64 + 1
    }

    /// The place of the job's slot; reads its record, if the batch has not touched it yet.
    fn open_slot(&mut self, job_id: &'a JobId) -> Result<Result<usize, Refused>, StoreError> {
        if let Some(place) = self.places.get(job_id) {
            return Ok(Ok(*place));
        }
        let base = match (self.lookup)(job_id) {
            // One damaged record must not fail its neighbours.
            Err(StoreError::CorruptRecord { .. }) => {
                let detail = "what the store holds of this job is damaged; see `check`";
                return Ok(Err((RejectionCode::CorruptRecord, detail.to_owned())));
            }
            base => base?,
        };
        let place = self.slots.len();
        self.slots.push(Slot { job_id, base, now: Now::AsBefore });
        self.places.insert(job_id, place);
        Ok(Ok(place))
    }

    /// Keeps the numbers of pipelines and of status words within their bounds.
    fn admit_names(&mut self, change: &Change) -> Result<(), Refused> {
        // Where the job is counted, nothing is new.
        let stays = change.previous.is_some() && change.previous_pipeline.is_none();
        if stays && change.previous == Some(change.status) {
            return Ok(());
        }
        let Ground { counts, pipelines_max, statuses_max, .. } = *self.ground;
        let (pipelines, statuses) = (counts.by_pipeline(), counts.by_status());
        let is_new_pipeline = !stays
            && !pipelines.contains_key(&change.pipeline)
            && !self.new_pipelines.contains(&change.pipeline);
        let is_new_status =
            !statuses.contains_key(&change.status) && !self.new_statuses.contains(&change.status);
        if is_new_pipeline && pipelines.len() + self.new_pipelines.len() >= pipelines_max {
            let detail = format!("there are {pipelines_max} pipelines, which is the most");
            return Err((RejectionCode::TooManyPipelines, detail));
        }
        if is_new_status && statuses.len() + self.new_statuses.len() >= statuses_max {
            let detail = format!("there are {statuses_max} status words, which is the most");
            return Err((RejectionCode::TooManyStatuses, detail));
        }
        // Noted when the update is sure to apply: a refused one uses up nothing.
        if is_new_pipeline {
            self.new_pipelines.insert(change.pipeline.clone());
        }
        if is_new_status {
            self.new_statuses.insert(change.status);
        }
        Ok(())
    }

    fn finish(self, requests: &[Request], parts: Vec<Part>) -> Decided {
        let mut decided = Decided::default();
        for (request, part) in requests.iter().zip(parts) {
            let operations = self.operations.get(part.start..part.end).unwrap_or_default();
            let mut answer = answer(operations);
            answer.set_rejections(part.rejections);
            if let Some(idempotency) = &request.idempotency {
                let (fingerprint, at) = (idempotency.fingerprint, self.ground.updated_at);
                let answer = kept(request, &answer);
                decided
                    .keys
                    .push((idempotency.key.clone(), KeptAnswer { fingerprint, at, answer }));
            }
            decided.answers.push(answer);
        }
        let changes = self.operations.iter().flatten().filter_map(Operation::change);
        let started = changes.filter(|change| change.is_start());
        decided.started = started.map(|it| it.job_id.clone()).collect();
        // Where the jobs of slots that are another now come to stand.
        let mut places = Vec::with_capacity(self.slots.len());
        decided.jobs.reserve(self.slots.len());
        for slot in self.slots {
            let is_changed = slot.is_changed();
            places.push(is_changed.then_some(decided.jobs.len()));
            if is_changed {
                decided.jobs.push((slot.job_id.clone(), slot.base));
            }
        }
        decided.places.reserve(self.operations.len());
        for (_, note) in self.operations.iter().zip(&self.notes).filter(|(it, _)| it.is_some()) {
            decided.places.push(note.slot.and_then(|slot| places.get(slot).copied().flatten()));
        }
        decided.operations = self.operations.into_iter().flatten().collect();
        decided
    }
}

/// In an atomic request that is refused, everybody else is refused for their neighbour.
fn reject_neighbours(request: &Request, rejections: &mut Vec<Rejection>) {
    let refused: HashSet<u32> = rejections.iter().map(|it| it.index).collect();
    let detail = "another update of this atomic request was rejected";
    for (index, update) in request.updates.iter().filter(|(index, _)| !refused.contains(index)) {
        let job_id = Some(update.job_id.as_str());
        let code = RejectionCode::AtomicNeighbour;
        rejections.push(Rejection::new(*index, job_id, code, detail.to_owned()));
    }
}

fn answer(operations: &[Option<Operation>]) -> Answer {
    let mut answer = Answer { durable: true, ..Answer::default() };
    for operation in operations {
        match operation {
            None => answer.merged += 1,
            Some(operation) => {
                let is_stale = operation.change().is_some_and(|change| !change.applied);
                answer.applied += u64::from(!is_stale);
                answer.stale += u64::from(is_stale);
                let seq = operation.seq();
                let first = answer.seqs.map_or(seq, |(first, _)| first);
                answer.seqs = Some((first, seq));
            }
        }
    }
    answer.accepted = answer.applied + answer.stale + answer.merged;
    answer
}

/// The answer to keep under the request's key: what its first caller was or will be told.
fn kept(request: &Request, answer: &Answer) -> Answer {
    let mut kept = match request.ack {
        Ack::Durable => answer.clone(),
        Ack::Queued => request.queued_answer(),
    };
    let text = |it: &Rejection| it.detail.len() + it.job_id.as_ref().map_or(0, |id| id.len()) + 64;
    if kept.errors.iter().map(text).sum::<usize>() > KEPT_ANSWER_BYTES_MAX {
        kept.errors.clear();
        kept.errors_truncated = true;
    }
    kept
}

#[cfg(test)]
mod tests;
