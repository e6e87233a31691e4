//! One call of a reporter: its updates, and what became of them.

use super::id::{JobId, PipelineName};
use super::limits::{ANSWER_ERRORS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, JOB_ID_BYTES_MAX};
use super::time::TimestampMs;
use super::update::Update;

/// What a command weighs in the queue: its longest name and the room of the struct.
const COMMAND_BYTES: usize = 512;
/// What a removal of many weighs beside the id, for each.
const REMOVAL_BYTES: usize = 64;

/// When a call returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// After the commit: what was accepted is on disk.
    #[default]
    Durable,
    /// At once: what was accepted becomes durable with the next batch.
    Queued,
}

/// The updates of one call. They become durable together or not at all, and are never split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Valid updates, each with its place in the call (non-empty lines, from 0).
    pub updates: Vec<(u32, Update)>,
    /// What was refused before admission, in the order of the call.
    pub rejections: Vec<Rejection>,
    /// What is asked for besides updates; then there are none.
    pub command: Option<Command>,
    pub ack: Ack,
    /// All or nothing: one rejection rejects the whole call.
    pub atomic: bool,
    pub idempotency: Option<IdempotencyKey>,
    /// When the call arrived: the `at` of updates that give none. `None`: at the decision.
    pub received_at: Option<TimestampMs>,
}

/// What a call may ask for that is no update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Remove a job.
    Remove(JobId),
    /// Remove those of these jobs whose last change still is the one with this seq. The others
    /// stay, and that is no rejection: how many were removed is what was applied.
    RemoveUnchanged(Vec<(JobId, u64)>),
    /// Expect so many jobs of a pipeline to finish; `None`: expect nothing any more.
    Expect { pipeline: PipelineName, total: Option<u64> },
}

impl Request {
    /// A durable request of one command.
    pub fn of_command(command: Command) -> Self {
        Self { command: Some(command), ..Self::default() }
    }

    /// How many operations it may come to: its updates, or those of its command.
    pub fn operations(&self) -> usize {
        self.updates.len() + self.command.as_ref().map_or(0, Command::operations)
    }

    /// A durable request of these updates.
    pub fn new(updates: Vec<Update>) -> Self {
        Self { updates: (0..).zip(updates).collect(), ..Self::default() }
    }

    /// What its caller hears with `ack=queued`: what was admitted and what was refused before that.
    pub fn queued_answer(&self) -> Answer {
        let mut answer = Answer { accepted: self.updates.len() as u64, ..Answer::default() };
        answer.set_rejections(self.rejections.clone());
        answer
    }

    /// What the request weighs in the queue, in bytes.
    pub fn weight_bytes(&self) -> usize {
        let updates = self.updates.iter().map(|(_, update)| update.weight_bytes());
        let command = self.command.as_ref().map_or(0, Command::weight_bytes);
        updates.sum::<usize>()
            + command
            + self.idempotency.as_ref().map_or(0, |key| key.key.len() + 64)
    }
}

impl Command {
    /// How many operations it may come to.
    pub fn operations(&self) -> usize {
        match self {
            Self::Remove(_) | Self::Expect { .. } => 1,
            Self::RemoveUnchanged(jobs) => jobs.len(),
        }
    }

    fn weight_bytes(&self) -> usize {
        match self {
            Self::Remove(_) | Self::Expect { .. } => COMMAND_BYTES,
            Self::RemoveUnchanged(jobs) => {
                jobs.iter().map(|(job_id, _)| job_id.as_str().len() + REMOVAL_BYTES).sum()
            }
        }
    }
}

/// The name of a call, so that its second arrival returns the first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// 1 to 255 bytes.
    pub key: Box<str>,
    /// BLAKE3 of method, path, query and decoded body.
    pub fingerprint: [u8; 32],
}

impl IdempotencyKey {
    /// A key for the call that `fingerprint` stands for; `None` if it is empty or over 255 bytes.
    pub fn new(key: &str, fingerprint: [u8; 32]) -> Option<Self> {
        let is_valid = !key.is_empty() && key.len() <= IDEMPOTENCY_KEY_BYTES_MAX;
        is_valid.then(|| Self { key: key.into(), fingerprint })
    }
}

/// What became of a request. `accepted = applied + stale + merged`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub accepted: u64,
    pub applied: u64,
    pub stale: u64,
    pub merged: u64,
    pub rejected: u64,
    /// True if the accepted updates are on disk; else only `accepted` and `rejected` are known.
    pub durable: bool,
    /// The first and last seq of this request, which are contiguous; `None` if there are none.
    pub seqs: Option<(u64, u64)>,
    /// At most 100, in the order of the request.
    pub errors: Vec<Rejection>,
    pub errors_truncated: bool,
}

impl Answer {
    /// Sets the rejections and their count; lists the first 100 by index.
    pub fn set_rejections(&mut self, mut rejections: Vec<Rejection>) {
        rejections.sort_by_key(|rejection| rejection.index);
        self.rejected = rejections.len() as u64;
        self.errors_truncated = rejections.len() > ANSWER_ERRORS_MAX;
        rejections.truncate(ANSWER_ERRORS_MAX);
        self.errors = rejections;
    }
}

/// Why one update of a request was refused; its neighbours are not affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The place in the request: non-empty lines or array elements, from 0.
    pub index: u32,
    /// As far as it could be read.
    pub job_id: Option<Box<str>>,
    pub code: RejectionCode,
    /// For people: the value that was wrong and the limit that it broke.
    pub detail: Box<str>,
}

impl Rejection {
    pub fn new(index: u32, job_id: Option<&str>, code: RejectionCode, detail: String) -> Self {
        // A longer one is no id; the first characters of it tell which update was meant.
        let shown = |id: &str| id.chars().take(JOB_ID_BYTES_MAX).collect::<String>();
        Self { index, job_id: job_id.map(|id| shown(id).into()), code, detail: detail.into() }
    }
}

macro_rules! rejection_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The stable names of rejections; API for ever.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RejectionCode { $($(#[$doc])* $variant,)* }

        impl RejectionCode {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }
    };
}

rejection_codes! {
    /// The line or element is not a JSON object of an update.
    InvalidUpdate = "invalid_update",
    UnknownField = "unknown_field",
    InvalidJobId = "invalid_job_id",
    InvalidStatus = "invalid_status",
    /// A word that nobody defined, with `strict_statuses`.
    UnknownStatus = "unknown_status",
    InvalidPipeline = "invalid_pipeline",
    InvalidTime = "invalid_time",
    InvalidAttempt = "invalid_attempt",
    InvalidProgress = "invalid_progress",
    InvalidLabels = "invalid_labels",
    /// Decided by the writer: a heartbeat for a job that does not exist.
    UnknownJob = "unknown_job",
    /// Decided by the writer: `if_status` does not match.
    StatusConflict = "status_conflict",
    /// Decided by the writer: one pipeline more than `pipelines_max`.
    TooManyPipelines = "too_many_pipelines",
    /// Decided by the writer: one status word more than `statuses_max`.
    TooManyStatuses = "too_many_statuses",
    /// Decided by the writer: what the store holds of the job is damaged.
    CorruptRecord = "corrupt_record",
    /// A neighbour in an `atomic` request was rejected.
    AtomicNeighbour = "atomic_neighbour",
}

impl RejectionCode {
    /// True if the writer alone can tell, as it needs the present state of the job.
    pub fn is_decided_at_commit(self) -> bool {
        matches!(
            self,
            Self::UnknownJob
                | Self::StatusConflict
                | Self::TooManyPipelines
                | Self::TooManyStatuses
                | Self::CorruptRecord
        )
    }
}
