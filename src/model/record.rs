//! What the store keeps of a job.

use std::collections::VecDeque;
use std::sync::Arc;

use super::id::PipelineName;
use super::status::Status;
use super::time::TimestampMs;
use super::update::Labels;

/// The present state of a job. Its id is the key, so it is not repeated here.
///
/// `created_at`, `status_at`, `started_at` and `finished_at` are the reporter's time (`at`);
/// `updated_at` is when the change became durable, and rises with `seq`.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    pub pipeline: PipelineName,
    pub status: Status,
    pub error: Option<Box<str>>,
    pub message: Option<Box<str>>,
    pub progress: Option<f64>,
    pub labels: Labels,
    /// The attempt to show: the one given, or counted by restarts from 1.
    pub attempt: u32,
    /// The highest attempt that any applied update gave.
    pub attempt_given: Option<u32>,
    pub created_at: TimestampMs,
    pub status_at: TimestampMs,
    pub seen_at: TimestampMs,
    /// When this attempt began to run; `None` if it has not.
    pub started_at: Option<TimestampMs>,
    /// When the job finished; `None` if it is not finished.
    pub finished_at: Option<TimestampMs>,
    pub updated_at: TimestampMs,
    /// The last applied update.
    pub seq: u64,
    /// How many transitions there ever were.
    pub transition_count: u64,
    /// The last [`TRANSITIONS_MAX`](super::limits::TRANSITIONS_MAX) of them, oldest first.
    pub transitions: VecDeque<Transition>,
}

/// One change of status, given attempt or error.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub seq: u64,
    pub status: Status,
    pub at: TimestampMs,
    pub attempt: u32,
    /// At most 256 bytes.
    pub error: Option<Box<str>>,
}

impl JobRecord {
    /// This record to be changed in its place; first, it becomes a copy if somebody else holds it.
    pub fn to_change(record: &mut Arc<Self>) -> &mut Self {
        if Arc::get_mut(record).is_none() {
            *record = Arc::new(record.to_copy());
        }
        Arc::get_mut(record).expect("nobody else holds a new copy")
    }

    /// A copy with room for one more transition, so that noting it moves nothing.
    fn to_copy(&self) -> Self {
        let mut transitions = VecDeque::with_capacity(self.transitions.len() + 1);
        transitions.extend(self.transitions.iter().cloned());
        Self {
            pipeline: self.pipeline.clone(),
            error: self.error.clone(),
            message: self.message.clone(),
            labels: self.labels.clone(),
            transitions,
            ..*self
        }
    }

    /// What this record weighs in memory, in bytes: texts, transitions and the struct.
    pub fn weight_bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let transitions = self.transitions.iter().map(|t| text(&t.error)).sum::<usize>()
            + self.transitions.capacity() * size_of::<Transition>();
        size_of::<Self>()
            + self.pipeline.as_str().len()
            + text(&self.error)
            + text(&self.message)
            + self.labels.weight_bytes()
            + transitions
    }
}
