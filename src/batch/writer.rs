//! The one writer: a thread that takes batches, appends them, and only then releases tickets.
//!
//! It decides nothing: the policy closes a batch, the store decides what each update does. After
//! a failure of the store the callers of that batch hear "unknown", all others "not applied", and
//! nothing is acknowledged before the store was opened again, which [`recovery`] tries. What nobody
//! waits for was accepted, and waits here. A panic ends the writer, and hangs nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;

use super::Drained;
use super::policy::Reason;
use super::queue::{Batch, Fatal, Next, Phase, Queue};
use super::stats::BatchStats;
use super::ticket::{Outcome, Ticket, Tickets};
use crate::model::{Ack, Answer, Clock, RejectionCode, Request};
use crate::store::{AppendError, Appended, StoreError, Upkeep, WriteStore, panic_text};
use crate::telemetry::batch_log::{BatchLine, BatchLog};
use crate::telemetry::{DISK_FULL, DISK_HAS_ROOM, DRAINED, STORE_FAILED};

/// Least time between two calls for maintenance that is due at once, so that a store that always
/// has work cannot occupy a processor.
const MAINTAIN_GAP: Duration = Duration::from_millis(5);

mod recovery;

use recovery::{InFlight, Tries};

/// What the writer thread owns, besides the store.
#[derive(Debug)]
pub(crate) struct Writer {
    pub queue: Arc<Queue>,
    pub clock: Clock,
    pub stats: BatchStats,
    /// The last durable seq; at the start, that of the store.
    pub durable_seq: u64,
    /// Tells readers of the feed, after a batch can be seen.
    pub durable: watch::Sender<u64>,
    pub log_job_starts: bool,
}

/// A writer at work.
struct Loop {
    writer: Writer,
    log: BatchLog,
    in_flight: InFlight,
    /// True while there is too little room on the disk.
    is_full: bool,
    tries: Tries,
}

impl Writer {
    /// Starts the thread `jobslate-writer`. It ends after a drain or a failure; whoever spawned it
    /// joins it.
    ///
    /// # Errors
    /// The system has no thread to give; the store is dropped.
    pub fn spawn(self, store: Box<dyn WriteStore>) -> std::io::Result<JoinHandle<()>> {
        let name = "jobslate-writer".to_owned();
        thread::Builder::new().name(name).spawn(move || self.work(store))
    }

    /// What the thread does.
    fn work(self, store: Box<dyn WriteStore>) {
        let queue = Arc::clone(&self.queue);
        // Held until the queue says why: whoever sees it closed asks there.
        let _durable = self.durable.clone();
        // `run` guards each call of the store itself; this is for a bug in between.
        if let Err(source) = guarded(|| {
            self.run(store);
            Ok(())
        }) {
            latch(&queue, Fatal { source, must_end: true }, InFlight::default());
        }
    }

    fn run(self, mut store: Box<dyn WriteStore>) {
        let queue = Arc::clone(&self.queue);
        let (log, in_flight) = (BatchLog::default(), InFlight::default());
        let mut work =
            Loop { writer: self, log, in_flight, is_full: false, tries: Tries::default() };
        let served = work.serve(store.as_mut());
        work.log.write_rest();
        match served {
            Ok(drains) => match guarded(|| store.close()) {
                Ok(()) => drained(&queue, drains, work.writer.durable_seq),
                Err(source) => {
                    let in_flight = InFlight::of_drains(drains);
                    latch(&queue, Fatal { source, must_end: true }, in_flight);
                }
            },
            // The store is dropped after that: nobody need wait for it.
            Err(fatal) => latch(&queue, fatal, work.in_flight),
        }
    }
}

impl Loop {
    /// Works until a drain marker came; returns those who wait for the end.
    fn serve(&mut self, store: &mut dyn WriteStore) -> Result<Vec<Ticket<Drained>>, Fatal> {
        loop {
            match self.turn(store) {
                Ok(drains) if drains.is_empty() => {}
                Ok(drains) => return Ok(drains),
                Err(failure) => self.recover(store, failure)?,
            }
        }
    }

    /// Does what is due, and writes the next batch; returns those who wait for the end.
    fn turn(&mut self, store: &mut dyn WriteStore) -> Result<Vec<Ticket<Drained>>, StoreError> {
        let maintain_at = self.maintain(store)?;
        self.log.write_due(self.writer.clock.monotonic());
        let wake_at = maintain_at.into_iter().chain(self.log.due_at()).min();
        match self.writer.queue.next(wake_at) {
            Next::Batch(batch) => self.write(store, batch),
            Next::Tick => Ok(vec![]),
        }
    }

    fn maintain(&mut self, store: &mut dyn WriteStore) -> Result<Option<Duration>, StoreError> {
        let now = self.writer.clock.monotonic();
        let Upkeep { again_at, full } = guarded(|| store.maintain(now))?;
        if full.is_some() != self.is_full {
            self.is_full = full.is_some();
            log_room(full.as_ref());
            self.writer.queue.refuse(full);
        }
        Ok(again_at.map(|at| at.max(now.saturating_add(MAINTAIN_GAP))))
    }

    fn write(
        &mut self,
        store: &mut dyn WriteStore,
        batch: Batch,
    ) -> Result<Vec<Ticket<Drained>>, StoreError> {
        let Batch { requests, tickets, reason, wait, .. } = batch;
        if requests.is_empty() {
            return Ok(self.release(vec![], tickets));
        }
        let clock = &self.writer.clock;
        let begun_at = clock.monotonic();
        let (outcome, source) = match guarded(|| Ok(append(store, &requests, clock))) {
            Ok(Ok(appended)) => {
                let commit = clock.monotonic().saturating_sub(begun_at);
                return Ok(self.committed(&requests, tickets, appended, (reason, wait, commit)));
            }
            Ok(Err(AppendError::NotWritten(source))) => (Outcome::NotApplied, source),
            Ok(Err(AppendError::Unknown(source))) | Err(source) => (Outcome::Unknown, source),
        };
        self.in_flight = InFlight::new(requests, tickets, outcome);
        Err(source)
    }

    /// Counts and logs a batch, and tells who waits for it.
    fn committed(
        &mut self,
        requests: &[Request],
        tickets: Tickets,
        appended: Appended,
        (reason, wait, commit): (Reason, Duration, Duration),
    ) -> Vec<Ticket<Drained>> {
        self.seen(appended.durable_seq);
        // Before the tickets: who has an answer finds it in the statistics.
        let accepted = self.count(requests, &appended, reason, commit);
        let Appended { answers, started, jobs, segment_bytes, is_committed, .. } = appended;
        let drains = self.release(answers, tickets);
        if is_committed {
            self.log.batch(&BatchLine {
                updates: accepted,
                jobs: jobs as u64,
                bytes: segment_bytes as u64,
                wait,
                commit,
                reason: reason.as_str(),
                seq: self.writer.durable_seq,
            });
        }
        if self.writer.log_job_starts {
            started.iter().for_each(|job_id| self.log.job_started(job_id.as_str()));
        }
        drains
    }

    /// Tells readers of the feed how far it goes.
    fn seen(&mut self, durable_seq: u64) {
        if durable_seq != self.writer.durable_seq {
            self.writer.durable.send_replace(durable_seq);
        }
        self.writer.durable_seq = durable_seq;
    }

    /// Tells everybody in the batch. The commit returned.
    fn release(&self, answers: Vec<Answer>, tickets: Tickets) -> Vec<Ticket<Drained>> {
        for (ticket, answer) in tickets.answers.into_iter().zip(answers) {
            if let Some(ticket) = ticket {
                ticket.complete(answer);
            }
        }
        tickets.flushes.into_iter().for_each(|ticket| ticket.complete(self.writer.durable_seq));
        tickets.drains
    }

    /// Adds the batch to the statistics; returns its accepted updates.
    fn count(
        &mut self,
        requests: &[Request],
        appended: &Appended,
        reason: Reason,
        commit: Duration,
    ) -> u64 {
        let mut totals = self.writer.stats.lock();
        let mut accepted = 0;
        for (request, answer) in requests.iter().zip(&appended.answers) {
            accepted += answer.accepted;
            totals.applied += answer.applied;
            totals.stale += answer.stale;
            totals.merged += answer.merged;
            let rejected = answer.rejected.saturating_sub(request.rejections.len() as u64);
            totals.rejected_at_commit += rejected;
            if request.ack == Ack::Queued && rejected > 0 {
                self.log.rejected(rejected, rejection_code(answer));
            }
        }
        totals.accepted += accepted;
        if appended.is_committed {
            totals.batches += 1;
            totals.closed_by.count(reason);
            totals.commits.record(commit);
        }
        accepted
    }
}

fn append(
    store: &mut dyn WriteStore,
    requests: &[Request],
    clock: &Clock,
) -> Result<Appended, AppendError> {
    let appended = store.append(requests, clock.wall())?;
    assert_eq!(appended.answers.len(), requests.len(), "each request of a batch has one answer");
    Ok(appended)
}

/// The code of one rejection that was decided at commit.
fn rejection_code(answer: &Answer) -> &'static str {
    let mut codes = answer.errors.iter().map(|rejection| rejection.code);
    let decided = codes.find(|code| code.is_decided_at_commit());
    decided.map_or("not_listed", RejectionCode::as_str)
}

/// Runs one call of the store; a panic in it is a failure of the store.
fn guarded<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What a panic left half done is not used again: every caller latches.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(StoreError::Panicked(panic_text(panic.as_ref()).to_owned())))
}

fn drained(queue: &Queue, drains: Vec<Ticket<Drained>>, durable_seq: u64) {
    let drained = Drained { updates: queue.drain_updates() as u64, durable_seq };
    let (late, _) = queue.end(Phase::Drained(drained));
    tracing::info!(
        event = DRAINED,
        updates = drained.updates,
        seq = drained.durable_seq,
        "Drained: every accepted update is stored"
    );
    drains.into_iter().chain(late.drains).for_each(|ticket| ticket.complete(drained));
}

/// Closes the queue for good, then tells everybody: who hears of the failure finds it latched.
fn latch(queue: &Queue, fatal: Fatal, in_flight: InFlight) {
    let source = fatal.source.clone();
    let (behind, fill) = queue.end(Phase::Failed(fatal));
    tracing::error!(
        event = STORE_FAILED,
        error = %source,
        updates_unknown = in_flight.updates(),
        updates_not_applied = fill.updates,
        "The store failed; writes are refused until a restart"
    );
    in_flight.fail(&source);
    behind.fail(Outcome::NotApplied, &source);
}

fn log_room(full: Option<&StoreError>) {
    match full {
        Some(full) => tracing::error!(
            event = DISK_FULL,
            error = %full,
            "No update is taken until there is room on the disk; reads go on"
        ),
        None => tracing::info!(event = DISK_HAS_ROOM, "There is room again; updates are taken"),
    }
}

#[cfg(test)]
mod orders;
#[cfg(test)]
mod tests;
