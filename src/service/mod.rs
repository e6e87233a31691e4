//! The one API of the program: submit updates, flush, ask, drain. Works in-process, without HTTP.
//!
//! No axum and no redb here: [`Service`] joins a queue, a writer thread and a store. What is judged
//! before a request is queued is in `admission`, repeats of a call in `idempotency`, questions in
//! `read`; everything that changes the store happens on the writer thread.

mod admission;
mod backup;
mod error;
mod idempotency;
mod options;
mod pipelines;
mod prune;
mod read;
mod retention;
mod scrub;
mod stats;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use crate::batch::{BatchStats, Failure, Fatal, Phase, Queue, Ticket, Writer};
use crate::model::{Ack, Answer, Kinds, Request, TimestampMs, Update};
use crate::store::{self, OpenError, OpenHooks, ReadStore, Sides, StoreError, StoreOptions};
use crate::telemetry::DROPPED_WITHOUT_DRAIN;
use crate::telemetry::pressure::Pressure;

pub use crate::batch::{ClosedBy, Drained, InvalidLimits, Outcome};
pub use backup::{BackupOptions, BackupTotals, LastBackup};
pub use error::SubmitError;
pub use options::{HealthState, ServiceOptions};
pub use pipelines::{PipelineSummary, PipelinesPage};
pub use prune::{Prune, Pruned};
pub use retention::{Keep, RetentionOptions, RetentionTotals};
pub use scrub::ScrubTotals;
pub use stats::ServiceStats;

use admission::Admission;

/// The status of every job, open for updates and questions. Clones share one store.
///
/// Stop it with [`drain`](Self::drain). If the last clone goes away without one, it stores what was
/// accepted all the same, blocks meanwhile, and says so in the log.
///
/// ```
/// use std::sync::Arc;
/// use jobslate::model::{JobId, Request, Update};
/// use jobslate::service::{Service, ServiceOptions};
///
/// let directory = std::env::temp_dir().join(format!("jobslate-example-{}", std::process::id()));
/// let mut options = ServiceOptions::default();
/// options.store.directory = directory.clone();
/// let service = Service::open(options, Arc::new(|_percent| ()))?;
///
/// // Returns when the update is on disk.
/// let request = Request::new(vec![Update::status("doc-0001", "processing")?]);
/// let receipt = service.submit_blocking(request)?;
/// assert!(receipt.answer.durable);
///
/// // Returns at once; the update becomes durable with the next batch, here by the flush.
/// service.queue(Update::status("doc-0001", "completed")?)?;
/// service.flush_blocking()?;
/// let record = service.get(&JobId::parse("doc-0001")?)?.expect("the job is known");
/// assert_eq!(record.status.as_str(), "completed");
///
/// service.drain_blocking()?;
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Service {
    inner: Arc<Inner>,
}

/// What a submitter gets back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub answer: Answer,
    /// True if this is the first answer to the same call made before, by its idempotency key.
    pub replayed: bool,
}

#[derive(Debug)]
struct Inner {
    options: ServiceOptions,
    queue: Arc<Queue>,
    read: Arc<dyn ReadStore>,
    reservations: idempotency::Reservations,
    counters: stats::Counters,
    batches: BatchStats,
    backups: backup::Totals,
    scrub: scrub::Scrub,
    retention: retention::Totals,
    /// Held by who removes many jobs, for one request at a time.
    pruning: tokio::sync::Mutex<()>,
    /// Told by the writer after each batch.
    durable: watch::Receiver<u64>,
    pressure: Pressure,
    /// Taken by whoever joins it.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Service {
    /// Opens the store in `options.store.directory` and starts the writer. Blocks; `progress` is
    /// called with 0 to 100.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is in use, or a file is not what it should be, or the bounds of
    /// `options` contradict each other; the operator acts.
    pub fn open(
        options: ServiceOptions,
        progress: Arc<dyn Fn(u8) + Send + Sync>,
    ) -> Result<Self, OpenError> {
        Self::start(options, progress, store::redb::open)
    }

    /// A service that keeps nothing: the same decisions over a store in memory. For tests.
    ///
    /// # Errors
    /// [`OpenError`]: the bounds of `options` contradict each other.
    pub fn in_memory(options: ServiceOptions) -> Result<Self, OpenError> {
        Self::start(options, Arc::new(|_| ()), |options, _| Ok(store::memory::open(options)))
    }

    /// Starts the writer over the store that `open` opens. Blocks as long as `open` does.
    ///
    /// # Errors
    /// [`OpenError`], that of `open` or as for [`open`](Self::open).
    pub fn start(
        options: ServiceOptions,
        progress: Arc<dyn Fn(u8) + Send + Sync>,
        open: impl FnOnce(StoreOptions, OpenHooks) -> Result<Sides, OpenError>,
    ) -> Result<Self, OpenError> {
        let refused = |file: &str, what: String| OpenError::Failed { file: file.to_owned(), what };
        options.validate().map_err(|error| refused("configuration", error.to_string()))?;
        let queue = Arc::new(Queue::new(options.limits(), options.clock.clone()));
        let poked = Arc::clone(&queue);
        let hooks = OpenHooks { progress, wake: Arc::new(move || poked.poke()) };
        let store = StoreOptions { clock: options.clock.clone(), ..options.store.clone() };
        let (write, read) = open(store, hooks)?;
        let batches = BatchStats::default();
        let (durable_tx, durable) = watch::channel(read.counts().1);
        let writer = Writer {
            queue: Arc::clone(&queue),
            clock: options.clock.clone(),
            stats: batches.clone(),
            durable_seq: read.counts().1,
            durable: durable_tx,
            log_job_starts: options.log_job_starts,
        };
        let writer = writer.spawn(write).map_err(|error| refused("thread", error.to_string()))?;
        let inner = Inner {
            options,
            queue,
            read,
            reservations: idempotency::Reservations::default(),
            counters: stats::Counters::default(),
            batches,
            backups: backup::Totals::default(),
            scrub: scrub::Scrub::default(),
            retention: retention::Totals::default(),
            pruning: tokio::sync::Mutex::default(),
            durable,
            pressure: Pressure::default(),
            writer: Mutex::new(Some(writer)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks limits, admits the request and waits as its `ack` says. Cancel-safe: once polled, the
    /// request is admitted or refused; dropping the future only stops the waiting.
    ///
    /// With an idempotency key, a call made before is answered by its first answer. If no update
    /// can be admitted, the answer says so (`accepted` is 0).
    ///
    /// # Errors
    /// [`SubmitError`]; [`SubmitError::outcome`] says what became of the updates.
    pub async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        match self.inner.admit(request)? {
            Admission::Answered(receipt) => Ok(receipt),
            Admission::Waiting(waiting) => waiting.finish(&self.inner).await,
        }
    }

    /// [`submit`](Self::submit) for threads; must not be called on an async worker.
    ///
    /// # Errors
    /// As for [`submit`](Self::submit).
    ///
    /// # Panics
    /// On an async worker.
    pub fn submit_blocking(&self, request: Request) -> Result<Receipt, SubmitError> {
        match self.inner.admit(request)? {
            Admission::Answered(receipt) => Ok(receipt),
            Admission::Waiting(waiting) => waiting.finish_blocking(&self.inner),
        }
    }

    /// Queues one update and returns at once; it becomes durable with the next batch. Never touches
    /// the disk.
    ///
    /// A rejection at the commit (a heartbeat for an unknown job) is counted and logged; to see it,
    /// [`submit`](Self::submit).
    ///
    /// # Errors
    /// [`SubmitError`]: the update was not admitted.
    pub fn queue(&self, update: Update) -> Result<(), SubmitError> {
        let request = Request { ack: Ack::Queued, ..Request::new(vec![update]) };
        match self.inner.admit(request)? {
            Admission::Answered(Receipt { mut answer, .. }) => match answer.errors.pop() {
                Some(rejection) => Err(SubmitError::Rejected(rejection)),
                None => Ok(()),
            },
            // Not reached: a queued call without a key is answered at the door.
            Admission::Waiting(_) => Ok(()),
        }
    }

    /// Waits until everything accepted before is durable; the last durable seq.
    ///
    /// # Errors
    /// [`SubmitError::Draining`] after the drain began; [`SubmitError::StoreFailed`]: what was
    /// queued is lost or unknown.
    pub async fn flush(&self) -> Result<u64, SubmitError> {
        let flushed = self.inner.flush()?;
        flushed.await.unwrap_or_else(|_| Err(lost())).map_err(SubmitError::failed)
    }

    /// [`flush`](Self::flush) for threads; must not be called on an async worker.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    ///
    /// # Panics
    /// On an async worker.
    pub fn flush_blocking(&self) -> Result<u64, SubmitError> {
        let flushed = self.inner.flush()?;
        flushed.blocking_recv().unwrap_or_else(|_| Err(lost())).map_err(SubmitError::failed)
    }

    pub fn stats(&self) -> ServiceStats {
        let Inner { counters, queue, batches, read, .. } = &*self.inner;
        let backups = self.inner.backups.lock().clone();
        let scrub = *self.inner.scrub.lock();
        let retention = *self.inner.retention.lock();
        let numbers = stats::collect(counters, queue, batches, read.stats());
        ServiceStats { backups, scrub, retention, ..numbers }
    }

    /// The configured meaning of statuses, for the kinds in answers.
    pub fn kinds(&self) -> &Kinds {
        &self.inner.options.store.kinds
    }

    pub fn options(&self) -> &ServiceOptions {
        &self.inner.options
    }

    /// True while the store is opened again, which may take long.
    pub fn is_reopening(&self) -> bool {
        self.inner.queue.is_suspended()
    }

    pub fn health(&self) -> HealthState {
        match self.inner.queue.phase() {
            Phase::Open => match self.inner.queue.trouble() {
                None => HealthState::Ready,
                Some(StoreError::Full(_)) => HealthState::Full,
                Some(_) => HealthState::Failed,
            },
            Phase::Draining | Phase::Drained(_) => HealthState::Draining,
            Phase::Failed(_) => HealthState::Failed,
        }
    }

    /// Watches the bounded things of this process; shared with the connections of a server, so that
    /// together they do not flood the log.
    pub fn pressure(&self) -> &Pressure {
        &self.inner.pressure
    }

    /// Makes the writer look at the clock again. Only needed after a
    /// [`ManualClock`](crate::model::ManualClock) was moved.
    pub fn poke(&self) {
        self.inner.queue.poke();
    }

    /// How often the writer has looked for work. It rises after each [`poke`](Self::poke) unless
    /// the writer hangs, in the store or on a disk: what a watchdog wants to know.
    pub fn turns(&self) -> u64 {
        self.inner.queue.turns()
    }

    /// Returns once the writer has ended before a drain and the process must end, for a new one may
    /// do better: after a panic, or if the store could not be opened again. Its callers have been
    /// told, and what is on disk is the truth. Never returns while a process that only reads is
    /// better than none.
    pub async fn failed(&self) -> StoreError {
        let mut durable = self.inner.durable.clone();
        // Closed when the writer has ended.
        while durable.changed().await.is_ok() {}
        match self.inner.queue.phase() {
            Phase::Failed(Fatal { source, must_end: true }) => source,
            _ => std::future::pending().await,
        }
    }

    /// Stops admitting, makes everything accepted durable, folds, closes. The second call waits for
    /// the first and returns the same.
    ///
    /// # Errors
    /// [`StoreError`]: not everything accepted is stored; do not exit with 0.
    pub async fn drain(&self) -> Result<Drained, StoreError> {
        let (ticket, drained) = Ticket::pair();
        self.inner.queue.drain(ticket);
        drained.await.unwrap_or_else(|_| Err(lost())).map_err(|failure| failure.source)
    }

    /// [`drain`](Self::drain) for threads; must not be called on an async worker.
    ///
    /// # Errors
    /// As for [`drain`](Self::drain).
    ///
    /// # Panics
    /// On an async worker.
    pub fn drain_blocking(&self) -> Result<Drained, StoreError> {
        let (ticket, drained) = Ticket::pair();
        self.inner.queue.drain(ticket);
        drained.blocking_recv().unwrap_or_else(|_| Err(lost())).map_err(|failure| failure.source)
    }
}

impl Inner {
    fn now(&self) -> TimestampMs {
        self.options.clock.wall().max(self.read.updated_at())
    }

    fn flush(&self) -> Result<oneshot::Receiver<Result<u64, Failure>>, SubmitError> {
        let (ticket, flushed) = Ticket::pair();
        let limits = self.queue.limits();
        self.queue.flush(ticket).map_err(|refused| SubmitError::refused(refused, limits))?;
        Ok(flushed)
    }
}

impl Drop for Inner {
    /// The fallback for a service that nobody drained: stores what was accepted, and waits for it.
    fn drop(&mut self) {
        let (ticket, drained) = Ticket::pair();
        let fill = self.queue.fill();
        if self.queue.drain(ticket) {
            tracing::warn!(
                event = DROPPED_WITHOUT_DRAIN,
                updates = fill.updates,
                "The service was dropped without a drain; storing what was accepted"
            );
        }
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // The writer catches every panic, tells it, and ends.
            drop(writer.join());
        }
        drop(drained);
    }
}

/// A ticket always tells, even when it is dropped.
fn lost() -> Failure {
    let source = StoreError::Failed("the answer was lost".to_owned());
    Failure { outcome: Outcome::Unknown, source }
}

#[cfg(test)]
mod tests;
