//! What a batch does, decided before anything is written. Shared by all stores.
//!
//! [`decide`] walks the requests in order over an overlay of the records that they touch, merges
//! heartbeats, numbers what remains, and makes the answers. It reads records through a closure and
//! writes nothing, so a store can throw the result away when its transaction fails.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{KeptAnswer, StoreError};
use crate::model::limits::KEPT_ANSWER_BYTES_MAX;
use crate::model::{
    Ack, Answer, Change, Counts, JobId, JobRecord, Kinds, PipelineName, Rejection, RejectionCode,
    Request, Status, TimestampMs, Update, apply, decide as decide_update,
};

/// What the store knows when a batch is decided.
pub struct Ground<'a> {
    pub kinds: &'a Kinds,
    pub counts: &'a Counts,
    pub pipelines_max: usize,
    pub statuses_max: usize,
    /// The last seq in use.
    pub last_seq: u64,
    pub now: TimestampMs,
    /// When the batch becomes durable: never before the last batch.
    pub updated_at: TimestampMs,
}

/// A decided batch: nothing of it is visible or durable yet.
#[derive(Debug, Default)]
pub struct Decided {
    /// In the order of their seqs, which have no gaps.
    pub changes: Vec<Change>,
    /// The records after the batch.
    pub records: HashMap<JobId, Arc<JobRecord>>,
    /// One per request.
    pub answers: Vec<Answer>,
    /// New idempotency keys with the answers to keep.
    pub keys: Vec<(Box<str>, KeptAnswer)>,
    pub started: Vec<JobId>,
}

impl Decided {
    /// True if there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.keys.is_empty()
    }
}

/// Decides a batch. `lookup` gives the record of a job as it is before the batch.
///
/// # Errors
/// What `lookup` fails with; the batch is then undecided as a whole.
pub fn decide(
    requests: &[Request],
    ground: &Ground<'_>,
    lookup: impl FnMut(&JobId) -> Result<Option<Arc<JobRecord>>, StoreError>,
) -> Result<Decided, StoreError> {
    let mut draft = Draft::new(ground, lookup);
    let mut parts = Vec::with_capacity(requests.len());
    for request in requests {
        parts.push(draft.request(request)?);
    }
    let is_merged = draft.merge_heartbeats();
    draft.number(is_merged);
    Ok(draft.finish(requests, parts))
}

/// What one request came to: its changes are `start..end` of the draft.
struct Part {
    start: usize,
    end: usize,
    rejections: Vec<Rejection>,
}

/// A job that the batch touches.
struct Slot {
    base: Option<Arc<JobRecord>>,
    now: Option<Arc<JobRecord>>,
}

struct Draft<'a, L> {
    ground: &'a Ground<'a>,
    lookup: L,
    slots: HashMap<JobId, Slot>,
    /// `None`: a heartbeat that was merged into a later one.
    changes: Vec<Option<Change>>,
    /// Whether the change at the same place may merge with others of its job.
    mergeable: Vec<bool>,
    new_pipelines: HashSet<PipelineName>,
    new_statuses: HashSet<Status>,
}

impl<'a, L> Draft<'a, L>
where
    L: FnMut(&JobId) -> Result<Option<Arc<JobRecord>>, StoreError>,
{
    fn new(ground: &'a Ground<'a>, lookup: L) -> Self {
        Self {
            ground,
            lookup,
            slots: HashMap::new(),
            changes: Vec::new(),
            mergeable: Vec::new(),
            new_pipelines: HashSet::new(),
            new_statuses: HashSet::new(),
        }
    }

    /// Decides one request; an atomic one is kept whole or undone whole.
    fn request(&mut self, request: &Request) -> Result<Part, StoreError> {
        let start = self.changes.len();
        let mut rejections = request.rejections.clone();
        let refused_before = rejections.len();
        let mut undo = Vec::new();
        let names = request.atomic.then(|| (self.new_pipelines.clone(), self.new_statuses.clone()));
        for (index, update) in &request.updates {
            let now = request.received_at.unwrap_or(self.ground.now);
            if request.atomic {
                let present = self.slots.get(&update.job_id).and_then(|slot| slot.now.clone());
                undo.push((update.job_id.clone(), present));
            }
            match self.update(update, now)? {
                Ok(change) => {
                    // One that names its pipeline is not merged, even if that is the present one.
                    self.mergeable.push(change.is_mergeable() && update.pipeline.is_none());
                    self.changes.push(Some(change));
                }
                Err((code, detail)) => {
                    let job_id = Some(update.job_id.as_str());
                    rejections.push(Rejection::new(*index, job_id, code, detail));
                }
            }
        }
        if request.atomic && rejections.len() > refused_before {
            self.undo(start, undo);
            (self.new_pipelines, self.new_statuses) = names.unwrap_or_default();
            reject_neighbours(request, &mut rejections);
        }
        Ok(Part { start, end: self.changes.len(), rejections })
    }

    fn undo(&mut self, start: usize, undo: Vec<(JobId, Option<Arc<JobRecord>>)>) {
        self.changes.truncate(start);
        self.mergeable.truncate(start);
        for (job_id, before) in undo.into_iter().rev() {
            if let Some(slot) = self.slots.get_mut(&job_id) {
                // A job that the batch had not touched goes back to its record in the store.
                slot.now = before.or_else(|| slot.base.clone());
            }
        }
    }

    /// Decides one update on the overlay. The seq of the change is set provisionally, as if no
    /// heartbeat were merged.
    fn update(
        &mut self,
        update: &Update,
        now: TimestampMs,
    ) -> Result<Result<Change, (RejectionCode, String)>, StoreError> {
        if !self.slots.contains_key(&update.job_id) {
            let base = match (self.lookup)(&update.job_id) {
                // One damaged record must not fail its neighbours.
                Err(StoreError::CorruptRecord { .. }) => {
                    let detail = "what the store holds of this job is damaged; see `check`";
                    return Ok(Err((RejectionCode::CorruptRecord, detail.to_owned())));
                }
                base => base?,
            };
            let slot = Slot { now: base.clone(), base };
            self.slots.insert(update.job_id.clone(), slot);
        }
        let present = self.slots.get(&update.job_id).and_then(|slot| slot.now.as_deref());
        let change = match decide_update(present, update, self.ground.kinds, now) {
            Ok(change) => change,
            Err(refusal) => return Ok(Err((refusal.code(), refusal.to_string()))),
        };
        if let Err(refusal) = self.admit_names(&change) {
            return Ok(Err(refusal));
        }
        let seq = self.ground.last_seq + self.changes.len() as u64 + 1;
        let change = Change { seq, ..change };
        if change.applied {
            let slot = self.slots.get_mut(&update.job_id);
            let slot = slot.expect("the slot was filled above");
            let record = slot.now.take().map(Arc::unwrap_or_clone);
            slot.now = Some(Arc::new(apply(record, &change, self.ground.updated_at)));
        }
        Ok(Ok(change))
    }

    /// Keeps the numbers of pipelines and of status words within their bounds.
    fn admit_names(&mut self, change: &Change) -> Result<(), (RejectionCode, String)> {
        let Ground { counts, pipelines_max, statuses_max, .. } = *self.ground;
        let (pipelines, statuses) = (counts.by_pipeline(), counts.by_status());
        let is_new_pipeline = !pipelines.contains_key(&change.pipeline)
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

    /// Folds each heartbeat into the next one of its job, if nothing else of the job is between.
    fn merge_heartbeats(&mut self) -> bool {
        if self.mergeable.iter().filter(|it| **it).count() < 2 {
            return false;
        }
        let mut is_merged = false;
        // Where the next mergeable heartbeat of a job stands, seen from the back.
        let mut later: HashMap<JobId, usize> = HashMap::new();
        for place in (0..self.changes.len()).rev() {
            let Some(slot) = self.changes.get_mut(place) else { continue };
            let Some(change) = slot.take() else { continue };
            if self.mergeable.get(place) != Some(&true) {
                later.remove(&change.job_id);
                *slot = Some(change);
            } else if let Some(&into) = later.get(&change.job_id) {
                let into = self.changes.get_mut(into).and_then(Option::as_mut);
                into.expect("a later heartbeat stands at its place").merge(change);
                is_merged = true;
            } else {
                later.insert(change.job_id.clone(), place);
                *slot = Some(change);
            }
        }
        is_merged
    }

    /// Gives the final seqs. After a merge they differ from the provisional ones, and the records
    /// are made anew from what the store has.
    fn number(&mut self, is_merged: bool) {
        if !is_merged {
            return;
        }
        for slot in self.slots.values_mut() {
            slot.now.clone_from(&slot.base);
        }
        let mut seq = self.ground.last_seq;
        for change in self.changes.iter_mut().flatten() {
            seq += 1;
            change.seq = seq;
            let slot = self.slots.get_mut(&change.job_id).expect("a change has a slot");
            let record = slot.now.take().map(Arc::unwrap_or_clone);
            slot.now = Some(Arc::new(apply(record, change, self.ground.updated_at)));
        }
    }

    fn finish(self, requests: &[Request], parts: Vec<Part>) -> Decided {
        let mut decided = Decided::default();
        for (request, part) in requests.iter().zip(parts) {
            let changes = self.changes.get(part.start..part.end).unwrap_or_default();
            let mut answer = answer(changes);
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
        decided.changes = self.changes.into_iter().flatten().collect();
        let is_start = |change: &&Change| change.is_start();
        decided.started =
            decided.changes.iter().filter(is_start).map(|it| it.job_id.clone()).collect();
        let changed = |(job_id, slot): (JobId, Slot)| {
            let is_changed = slot.now.as_ref().map(|it| it.seq) != slot.base.map(|it| it.seq);
            slot.now.filter(|_| is_changed).map(|record| (job_id, record))
        };
        decided.records = self.slots.into_iter().filter_map(changed).collect();
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

fn answer(changes: &[Option<Change>]) -> Answer {
    let mut answer = Answer { durable: true, ..Answer::default() };
    for change in changes {
        match change {
            None => answer.merged += 1,
            Some(change) => {
                answer.applied += u64::from(change.applied);
                answer.stale += u64::from(!change.applied);
                let first = answer.seqs.map_or(change.seq, |(first, _)| first);
                answer.seqs = Some((first, change.seq));
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
