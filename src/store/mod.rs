//! The two doors of a store: one side writes, the other reads; both block.
//!
//! [`WriteStore`] is owned by one thread and cannot be cloned; [`ReadStore`] is shared by everybody
//! and never waits for a commit or a fold. [`redb`] keeps jobs on disk; [`memory`] is the oracle of
//! the tests, under the same decisions. No type of an engine, and no assumption that there is one
//! process, leaves this room: a distributed store can stand behind the same two traits.

mod ages;
mod backup;
mod batch;
mod care;
#[cfg(test)]
mod conformance;
pub mod memory;
pub mod redb;

use std::any::Any;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Answer, Clock, Counts, Expectations, FeedPage, JobId, JobRecord, Kinds, Lookup, Page,
    PageQuery, Rejection, Request, Timeline, TimelineQuery, TimestampMs,
};

use backup::free_bytes_of;
pub use backup::{BackupError, BackupFault, BackupSummary, Reserved, RestoreError};
pub use care::{CheckReport, Compacted, ScrubPlace, ScrubStep};

/// The write side. Its owner is the one writer thread.
pub trait WriteStore: Send {
    /// Decides what each update does, makes the whole batch durable in one write transaction, and
    /// publishes it to the read side. One sync; waits if a fold is behind.
    ///
    /// A batch that changes nothing and keeps no key makes no transaction.
    ///
    /// # Errors
    /// [`AppendError`]: nothing of the batch may be acknowledged; it says whether the batch may be
    /// on disk. The write side refuses everything until it is [reopened](Self::reopen).
    fn append(&mut self, batch: &[Request], now: TimestampMs) -> Result<Appended, AppendError>;

    /// Does what is due besides batches: starts a fold of an old tail, removes folded segments,
    /// looks how much room there is.
    ///
    /// # Errors
    /// [`StoreError`], as for [`append`](Self::append); also what a reader met in between.
    fn maintain(&mut self, now: Duration) -> Result<Upkeep, StoreError>;

    /// Opens again what failed, after an error of any other call but [`close`](Self::close): what
    /// was written is synced, read from the disk again and verified. Blocks; may be tried again.
    ///
    /// # Errors
    /// [`ReopenError`]: the store is as it was, and reads what it can.
    fn reopen(&mut self) -> Result<Reopened, ReopenError>;

    /// Folds what is not folded, syncs, and closes the files. The clean stop.
    ///
    /// # Errors
    /// [`StoreError`]: what was acknowledged is still in the journal.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// The read side: a durable state, the newest there is.
pub trait ReadStore: Send + Sync + std::fmt::Debug {
    /// The record of a job. At most one lookup in the tables.
    ///
    /// # Errors
    /// [`StoreError`]: the job may exist; never answer "unknown" for it.
    fn get(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError>;

    /// The records of some jobs, all of one moment.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    fn lookup(&self, job_ids: &[JobId]) -> Result<Lookup, StoreError>;

    /// One page of a list; it examines at most `query.scan_max` entries.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    fn page(&self, query: &PageQuery) -> Result<Page, StoreError>;

    /// The numbers of jobs, and the last update that they reflect. They are kept, not counted.
    fn counts(&self) -> (Arc<Counts>, u64);

    /// What is expected of pipelines. Kept, not read.
    fn expectations(&self) -> Arc<Expectations>;

    /// When the last batch became durable; it never goes back.
    fn updated_at(&self) -> TimestampMs;

    /// The last seq that became durable longer ago than `age`, in time that processes ran,
    /// whatever the wall clock says; 0 if none did. Never one that is younger; one that is older
    /// by less than a 32nd of `age` and a second may not be told yet. A store that knows no ages
    /// says that nothing is old.
    fn seq_older_than(&self, age: Duration) -> u64 {
        let _ = age;
        0
    }

    /// The operations after seq `after`, in order: about `limit` of them, as a batch is read whole.
    /// If `after` is below the first seq held less one, the page begins at the first held.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    fn feed(&self, after: u64, limit: usize) -> Result<FeedPage, StoreError>;

    /// Updates and changes of numbers over time. Reads the steps that are asked for alone.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    fn timeline(&self, query: &TimelineQuery) -> Result<Timeline, StoreError>;

    /// The first answer kept under an idempotency key, unless it is older than 24 hours at `now`.
    ///
    /// # Errors
    /// [`StoreError`]: the call must be refused, as it may have been made before.
    fn kept_answer(&self, key: &str, now: TimestampMs) -> Result<Option<KeptAnswer>, StoreError>;

    /// Compares everything with everything: counts and indexes with records, seqs with the feed.
    /// Reads the whole store.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read; what was found wrong is in the report.
    fn check(&self) -> Result<CheckReport, StoreError>;

    /// One step of a scrub: reads and verifies at most `rows_max` rows from `place` on, of the
    /// newest moment, which it holds no longer than that. A store in memory has nothing to read.
    ///
    /// # Errors
    /// [`StoreError`] if the store is closed; damage is in the step.
    fn scrub(&self, place: &ScrubPlace, rows_max: usize) -> Result<ScrubStep, StoreError> {
        let _ = (place, rows_max);
        Ok(ScrubStep::default())
    }

    /// Writes one moment to `out`, while updates go on. Reads the whole store, and holds on to the
    /// moment until it is done: `out` must be as fast as a disk, never a client.
    ///
    /// # Errors
    /// [`BackupError`]: what was written is no backup. A store in memory has none.
    fn backup(
        &self,
        out: &mut dyn Write,
        made_at: TimestampMs,
    ) -> Result<BackupSummary, BackupError> {
        let _ = (out, made_at);
        Err(StoreError::Failed("this store has no backup".to_owned()).into())
    }

    /// An empty file beside the data that has no name any more: it is gone when it is dropped, or
    /// the process killed.
    ///
    /// # Errors
    /// The system's, or that the store has no place for one.
    fn scratch(&self) -> std::io::Result<File> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn stats(&self) -> StoreStats;

    /// The name of this store, made when it was: a cursor of another one means nothing here.
    fn store_id(&self) -> &str;
}

/// What a batch came to.
#[derive(Clone, Debug, Default)]
pub struct Appended {
    /// One per request of the batch, in its order.
    pub answers: Vec<Answer>,
    /// The jobs that this batch made start running.
    pub started: Vec<JobId>,
    /// The last seq that is durable now.
    pub durable_seq: u64,
    /// Different jobs in the batch.
    pub jobs: usize,
    /// Length of the segment, in bytes.
    pub segment_bytes: usize,
    /// True if the batch made a write transaction.
    pub is_committed: bool,
}

/// What a store wants besides batches.
#[derive(Clone, Debug, Default)]
pub struct Upkeep {
    /// The monotonic time at which it wants to be called again, if nothing else happens.
    pub again_at: Option<Duration>,
    /// [`StoreError::Full`] while updates must be refused, for there is too little room for more.
    /// What was accepted still fits.
    pub full: Option<StoreError>,
}

/// What a store that was opened again holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reopened {
    pub durable_seq: u64,
    /// True if the batch whose outcome was unknown is there; else nothing of it is.
    pub has_batch: bool,
}

/// Why a store that failed could not be opened again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{source}")]
pub struct ReopenError {
    pub source: StoreError,
    /// False if the process that has the store reads more of it than a new one could.
    pub may_restart_help: bool,
}

/// The first answer to a call with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub fingerprint: [u8; 32],
    /// When it became durable: in time that the store's processes ran, if it is on disk.
    pub at: TimestampMs,
    pub answer: Answer,
}

impl KeptAnswer {
    /// What the answer weighs in memory, in bytes.
    pub fn weight_bytes(&self) -> usize {
        let text = |it: &Rejection| it.detail.len() + it.job_id.as_ref().map_or(0, |id| id.len());
        let errors = self.answer.errors.iter().map(|it| size_of::<Rejection>() + text(it));
        size_of::<Self>() + errors.sum::<usize>()
    }

    /// True once the key may be used for another call.
    pub fn is_expired(&self, now: TimestampMs, age_max: Duration) -> bool {
        u128::from(now.0.saturating_sub(self.at.0)) > age_max.as_millis()
    }
}

/// Numbers of the store, for the statistics page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStats {
    pub last_seq: u64,
    /// Jobs, updates and bytes that are not yet folded into the tables.
    pub tail_jobs: u64,
    pub tail_updates: u64,
    pub tail_bytes: u64,
    /// Folds since the start, and how long they took, in milliseconds.
    pub folds: u64,
    /// True while one goes on.
    pub is_folding: bool,
    /// Moments of the tables that are held: the present one, and older ones that a long read has.
    pub moments_held: u64,
    pub fold_ms_last: f64,
    pub fold_ms_max: f64,
    /// How often, and for how long in all, the writer waited for a fold.
    pub fold_waits: u64,
    pub fold_wait_ms: f64,
    pub journal_bytes: u64,
    pub tables_bytes: u64,
    /// `write`s that the store asked the system for, in bytes, and its syncs.
    pub written_bytes: u64,
    pub syncs: u64,
}

/// The bounds and periods of a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The data directory.
    pub directory: PathBuf,
    pub kinds: Kinds,
    pub tail_jobs_max: usize,
    pub tail_bytes_max: usize,
    /// Oldest age of an update that is not yet folded.
    pub fold_interval: Duration,
    /// redb's page cache for the tables, in bytes.
    pub cache_bytes: usize,
    pub feed_age_max: Duration,
    pub feed_bytes_max: u64,
    /// Segments are compressed together up to this length, in bytes.
    pub feed_block_bytes: usize,
    /// Most folded segments that one batch's transaction removes from the journal.
    pub trim_segments_max: u64,
    /// A merge of runs of ids copies at least as many ids with a fold.
    pub merge_ids_min: u64,
    /// How long the writer must be idle before folded segments are removed alone.
    pub trim_idle: Duration,
    pub pipelines_max: usize,
    pub statuses_max: usize,
    /// Most rows of the timeline of single pipelines, of hours and of days each; the newest step
    /// always stays whole.
    pub timeline_rows_max: u64,
    pub idempotency_keys_max: u64,
    pub idempotency_age_max: Duration,
    /// While less of the disk is free, in bytes, no update is taken. It is for what was accepted,
    /// for folds, and for the clean stop; a backup beside the data leaves it free, too.
    pub disk_reserve_bytes: u64,
    /// What ages go by; its wall time is not looked at.
    pub clock: Clock,
}

impl Default for StoreOptions {
    /// The defaults of DESIGN, section 5, and the data directory `jobslate-data`.
    fn default() -> Self {
        Self {
            directory: PathBuf::from("jobslate-data"),
            kinds: Kinds::default(),
            tail_jobs_max: 200_000,
            tail_bytes_max: 32 << 20,
            fold_interval: Duration::from_secs(30),
            cache_bytes: 128 << 20,
            feed_age_max: Duration::from_secs(7 * 24 * 3600),
            feed_bytes_max: 1 << 30,
            feed_block_bytes: 256 << 10,
            trim_segments_max: 256,
            merge_ids_min: 20_000,
            trim_idle: Duration::from_secs(1),
            pipelines_max: 10_000,
            statuses_max: 256,
            timeline_rows_max: 1_000_000,
            idempotency_keys_max: 100_000,
            idempotency_age_max: Duration::from_secs(24 * 3600),
            disk_reserve_bytes: 256 << 20,
            clock: Clock::System,
        }
    }
}

/// What an opener is told while it opens, and how it wakes the writer later.
#[derive(Clone)]
pub struct OpenHooks {
    /// Called with 0 to 100.
    pub progress: Arc<dyn Fn(u8) + Send + Sync>,
    /// Called when [`WriteStore::maintain`] has something to do.
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for OpenHooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenHooks").finish_non_exhaustive()
    }
}

impl Default for OpenHooks {
    fn default() -> Self {
        Self { progress: Arc::new(|_| ()), wake: Arc::new(|| ()) }
    }
}

/// The two sides of one open store.
pub type Sides = (Box<dyn WriteStore>, Arc<dyn ReadStore>);

/// Why a store cannot write or read. The operator acts.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Any failed read, write or sync; or the latch after it.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The disk is full, or nearly so. It is tried again for as long as that lasts.
    #[error("the disk is full: {0}")]
    Full(String),
    /// A bug in this program, met while it wrote: the process must end and be started again.
    #[error("the writer panicked: {0}")]
    Panicked(String),
    /// A record that is not what was written.
    #[error("corrupt record in {table}, key {key:?}: {what}")]
    CorruptRecord { table: &'static str, key: String, what: String },
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Why a batch may not be acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// It failed before anything was written: the batch is surely not on disk.
    #[error(transparent)]
    NotWritten(#[from] StoreError),
    /// The write or the sync failed: nobody knows before the journal is read again.
    #[error("{0}")]
    Unknown(StoreError),
}

/// Why a store does not open. `Display` names the file and the way back.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{directory} is in use by another jobslate (process {pid})")]
    Locked { directory: String, pid: String },
    /// A file is not what the directory says it is. Nothing was changed.
    #[error("{file}: {what}; {way_back}")]
    Damaged { file: String, what: String, way_back: String },
    /// The machine refused.
    #[error("{file}: {what}")]
    Failed { file: String, what: String },
}
