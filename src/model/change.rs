//! Newest wins: what an update does to a job.
//!
//! [`decide`] looks at the update, the record and the kinds, and says what happens, as a
//! [`Change`]. [`apply`] turns a record and a change into the next record and looks at nothing
//! else, so that replaying a journal gives the same records under another configuration.

use std::sync::Arc;

use super::id::{JobId, PipelineName};
use super::limits::{TRANSITION_ERROR_BYTES_MAX, TRANSITIONS_MAX};
use super::record::{JobRecord, Transition};
use super::request::RejectionCode;
use super::status::{Kind, Kinds, Status};
use super::time::TimestampMs;
use super::update::{Labels, Update, cut};

/// What one update did: an operation of the journal and of the feed.
///
/// `status`, `pipeline` and `attempt` are absolute: what the job has after it. The fields from
/// `error` on are what the update gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub seq: u64,
    pub job_id: JobId,
    /// False for a stale update, which changes nothing.
    pub applied: bool,
    pub is_heartbeat: bool,
    /// The time that counts: as given, or chosen by the rules.
    pub at: TimestampMs,
    pub status: Status,
    pub kind: Kind,
    /// The status before; `None` for the first update of a job.
    pub previous: Option<Status>,
    pub previous_kind: Option<Kind>,
    pub pipeline: PipelineName,
    /// The pipeline before, if this update moved the job.
    pub previous_pipeline: Option<PipelineName>,
    pub attempt: u32,
    pub attempt_given: Option<u32>,
    pub error: Option<Box<str>>,
    pub message: Option<Box<str>>,
    pub progress: Option<f64>,
    pub labels: Option<Labels>,
    /// True if with it as many jobs of its pipeline have finished as are expected.
    pub finishes_pipeline: bool,
}

impl Change {
    /// True if an applied update moved the job from a finished kind back to work.
    pub fn is_restart(&self) -> bool {
        self.applied
            && !self.is_heartbeat
            && self.previous_kind.is_some_and(Kind::is_finished)
            && !self.kind.is_finished()
    }

    /// True if an applied update made the job start running.
    pub fn is_start(&self) -> bool {
        self.applied && self.kind == Kind::Running && self.previous_kind != Some(Kind::Running)
    }

    /// True if a later heartbeat of the same job in the same batch may take this one in.
    pub fn is_mergeable(&self) -> bool {
        self.applied
            && self.is_heartbeat
            && self.attempt_given.is_none()
            && self.previous_pipeline.is_none()
            && self.error.is_none()
    }

    /// What it may add to the weight of its job's record, in bytes: its texts, error and all, and a
    /// transition with the place beside it.
    pub fn weight_bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        2 * text(&self.error)
            + text(&self.message)
            + self.labels.as_ref().map_or(0, Labels::weight_bytes)
            + 2 * size_of::<Transition>()
    }

    /// Takes the fields of an earlier heartbeat of the same job into this one.
    pub fn merge(&mut self, earlier: Self) {
        assert!(self.is_mergeable() && earlier.is_mergeable(), "only plain heartbeats merge");
        self.at = self.at.max(earlier.at);
        self.message = self.message.take().or(earlier.message);
        self.progress = self.progress.or(earlier.progress);
        self.labels = self.labels.take().or(earlier.labels);
    }
}

/// What of a job decides what an update does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    pub pipeline: &'a PipelineName,
    pub status: Status,
    pub status_at: TimestampMs,
    pub attempt: u32,
    pub attempt_given: Option<u32>,
}

impl<'a> Standing<'a> {
    pub fn of(record: &'a JobRecord) -> Self {
        let JobRecord { status, status_at, attempt, attempt_given, .. } = *record;
        Self { pipeline: &record.pipeline, status, status_at, attempt, attempt_given }
    }

    /// After an applied `change` of a job; `before`: what decided it. As [`apply`] makes it.
    pub fn after(change: &'a Change, before: Option<Standing<'_>>) -> Self {
        let kept = before.filter(|_| change.is_heartbeat);
        Self {
            pipeline: &change.pipeline,
            status: change.status,
            status_at: kept.map_or(change.at, |it| it.status_at),
            attempt: change.attempt,
            attempt_given: before.and_then(|it| it.attempt_given).max(change.attempt_given),
        }
    }
}

/// Decides what `update` does to a job as it is (`None`: it is unknown). The seq is set later.
///
/// `now` is the time of receipt as the writer sees it.
///
/// # Errors
/// [`Refusal`] of this update alone: an unknown job, or a status that is not the demanded one.
pub fn decide(
    job: Option<Standing<'_>>,
    update: &Update,
    kinds: &Kinds,
    now: TimestampMs,
) -> Result<Change, Refusal> {
    let present = job.map(|job| job.status);
    if let Some(demanded) = update.if_status
        && present != Some(demanded)
    {
        return Err(Refusal::StatusConflict { demanded, present });
    }
    let (applied, at) = compare(job, update, now);
    let reported = if applied { update.status.or(present) } else { present };
    let status = reported.ok_or(Refusal::UnknownJob)?;
    let kind = kinds.kind(status);
    let previous_kind = present.map(|it| if it == status { kind } else { kinds.kind(it) });
    let present_pipeline = job.map(|job| job.pipeline);
    // The name that is there already, if it is the same, so that the records share one.
    let is_other = |it: &&PipelineName| applied && present_pipeline != Some(*it);
    let named = update.pipeline.as_ref().filter(is_other);
    let pipeline = named.or(present_pipeline).cloned().unwrap_or_default();
    let mut change = Change {
        seq: 0,
        job_id: update.job_id.clone(),
        applied,
        is_heartbeat: update.is_heartbeat(),
        at,
        status,
        kind,
        previous: present,
        previous_kind,
        previous_pipeline: present_pipeline.filter(|present| **present != pipeline).cloned(),
        pipeline,
        attempt: 1,
        attempt_given: update.attempt,
        error: update.error.clone(),
        message: update.message.clone(),
        progress: update.progress,
        labels: update.labels.clone(),
        finishes_pipeline: false,
    };
    change.attempt = next_attempt(job, &change);
    Ok(change)
}

/// Newest wins: whether the update applies, and the time that counts.
fn compare(job: Option<Standing<'_>>, update: &Update, now: TimestampMs) -> (bool, TimestampMs) {
    let Some(job) = job else { return (true, update.at.unwrap_or(now)) };
    // The highest attempt given so far decides first. A job that was never given one counts as
    // being in its first: then a given 2 is later, and a given 0 or 1 is neither.
    let is_later = update.attempt.is_some_and(|it| it > job.attempt_given.unwrap_or(1));
    let is_earlier = update.attempt.is_some_and(|it| it < job.attempt_given.unwrap_or(0));
    let floor = job.status_at;
    match (update.if_status, update.at) {
        _ if update.is_heartbeat() => {
            (update.if_status.is_some() || !is_earlier, update.at.unwrap_or(now))
        }
        (Some(_), at) => (true, at.unwrap_or(now).max(floor)),
        (None, None) => (!is_earlier, now.max(floor)),
        (None, Some(at)) => (is_later || (!is_earlier && at >= floor), at),
    }
}

/// The attempt that the job shows after `change`.
fn next_attempt(job: Option<Standing<'_>>, change: &Change) -> u32 {
    let Some(job) = job else { return change.attempt_given.unwrap_or(1) };
    match change.attempt_given {
        Some(given) if change.applied => given.max(job.attempt_given.unwrap_or(0)),
        _ if change.is_restart() => job.attempt.saturating_add(1),
        _ => job.attempt,
    }
}

/// Why the writer refuses one update.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("no such job; a heartbeat needs a job that has a status")]
    UnknownJob,
    #[error("if_status is {demanded}, the job has {}", word(.present))]
    StatusConflict { demanded: Status, present: Option<Status> },
}

fn word(present: &Option<Status>) -> &str {
    present.as_ref().map_or("no status", Status::as_str)
}

impl Refusal {
    pub fn code(&self) -> RejectionCode {
        match self {
            Self::UnknownJob => RejectionCode::UnknownJob,
            Self::StatusConflict { .. } => RejectionCode::StatusConflict,
        }
    }
}

/// The record after `change`. `record` is what the change was decided on; a stale change gives it
/// back unchanged. Copies it if somebody else holds it.
///
/// # Panics
/// If a change that is not a job's first meets no record: the journal and the tables disagree,
/// which their readers rule out before they call this.
pub fn apply(
    record: Option<Arc<JobRecord>>,
    change: &Change,
    updated_at: TimestampMs,
) -> Arc<JobRecord> {
    let Some(mut record) = record else {
        assert!(change.previous.is_none(), "a change of a job follows its first update");
        let mut first = blank(change, updated_at);
        transit(&mut first, change);
        return Arc::new(first);
    };
    if change.applied {
        alter(JobRecord::to_change(&mut record), change, updated_at);
    }
    record
}

/// [`apply`] for an applied change of a record that is there.
fn alter(next: &mut JobRecord, change: &Change, updated_at: TimestampMs) {
    let is_transition = is_transition(next, change);
    (next.seq, next.updated_at) = (change.seq, updated_at);
    next.seen_at = next.seen_at.max(change.at);
    if change.is_heartbeat {
        set_if_given(&mut next.error, &change.error);
    } else {
        set_status(next, change);
    }
    set_if_given(&mut next.message, &change.message);
    next.progress = change.progress.or(next.progress);
    if let Some(labels) = &change.labels {
        next.labels = labels.clone();
    }
    if change.previous_pipeline.is_some() {
        next.pipeline = change.pipeline.clone();
    }
    next.attempt = change.attempt;
    next.attempt_given = next.attempt_given.max(change.attempt_given);
    if is_transition {
        transit(next, change);
    }
}

fn is_transition(record: &JobRecord, change: &Change) -> bool {
    let error_differs = match &change.error {
        None => !change.is_heartbeat && record.error.is_some(),
        given => *given != record.error,
    };
    let attempt_differs = change.attempt_given.is_some() && change.attempt != record.attempt;
    change.status != record.status || attempt_differs || error_differs
}

fn set_if_given(field: &mut Option<Box<str>>, given: &Option<Box<str>>) {
    if given.is_some() {
        field.clone_from(given);
    }
}

/// The part of [`apply`] that only an update with a status does.
fn set_status(next: &mut JobRecord, change: &Change) {
    let is_new_attempt = change.attempt != next.attempt;
    if change.is_restart() {
        next.progress = None;
        next.message = None;
    }
    next.error.clone_from(&change.error);
    next.created_at = next.created_at.min(change.at);
    next.status_at = change.at;
    match change.kind {
        Kind::Waiting => (next.started_at, next.finished_at) = (None, None),
        Kind::Running => {
            if is_new_attempt || change.previous_kind != Some(Kind::Running) {
                next.started_at = Some(change.at);
            }
            next.finished_at = None;
        }
        Kind::Succeeded | Kind::Failed | Kind::Cancelled => {
            next.finished_at = Some(change.at);
            if is_new_attempt {
                // Nobody said when this attempt began.
                next.started_at = None;
            }
        }
    }
    next.status = change.status;
}

/// The record of a job that was just seen first, before its first transition is noted.
fn blank(change: &Change, updated_at: TimestampMs) -> JobRecord {
    let at = change.at;
    JobRecord {
        pipeline: change.pipeline.clone(),
        status: change.status,
        error: change.error.clone(),
        message: change.message.clone(),
        progress: change.progress,
        labels: change.labels.clone().unwrap_or_default(),
        attempt: change.attempt,
        attempt_given: change.attempt_given,
        created_at: at,
        status_at: at,
        seen_at: at,
        started_at: (change.kind == Kind::Running).then_some(at),
        finished_at: change.kind.is_finished().then_some(at),
        updated_at,
        seq: change.seq,
        transition_count: 0,
        transitions: std::collections::VecDeque::new(),
    }
}

/// Notes the transition that a change made.
fn transit(record: &mut JobRecord, change: &Change) {
    if record.transitions.len() >= TRANSITIONS_MAX {
        record.transitions.pop_front();
    }
    record.transition_count += 1;
    record.transitions.push_back(Transition {
        seq: change.seq,
        status: change.status,
        at: change.at,
        attempt: change.attempt,
        error: record.error.as_ref().map(|error| cut(error, TRANSITION_ERROR_BYTES_MAX)),
    });
}

#[cfg(test)]
mod tests;
