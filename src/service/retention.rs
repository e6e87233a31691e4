//! Retention: finished jobs go when they are old or many, if the operator wants that.
//!
//! One round prunes each kind by age, then by number; a task of the server makes one now and then.
//! Nothing of it is on unless it is configured.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Prune, Service, SubmitError};
use crate::model::{Kind, TimestampMs};
use crate::telemetry::{RETENTION_DONE, RETENTION_FAILED};

/// Longest wait for the first round of a process, so that one that is started often has its rounds.
const FIRST_WAIT_MAX: Duration = Duration::from_mins(1);

/// How long jobs of a kind stay; each bound holds by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Removed when unchanged for this long, in time that a server ran; zero: never.
    pub age: Duration,
    /// So many stay, the last changed ones; 0: all.
    pub jobs_max: u64,
}

/// What is removed without being asked for. Waiting and running jobs never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionOptions {
    pub succeeded: Keep,
    pub failed: Keep,
    pub cancelled: Keep,
    /// From the end of one round to the next.
    pub interval: Duration,
}

impl RetentionOptions {
    /// The kinds with their bounds.
    fn kept(&self) -> [(Kind, Keep); 3] {
        [
            (Kind::Succeeded, self.succeeded),
            (Kind::Failed, self.failed),
            (Kind::Cancelled, self.cancelled),
        ]
    }

    /// True if anything is ever to be removed.
    pub fn is_on(&self) -> bool {
        self.kept().iter().any(|(_, keep)| *keep != Keep::default())
    }

    /// What one round removes.
    fn prunes(&self) -> impl Iterator<Item = Prune> {
        self.kept().into_iter().flat_map(|(kind, keep)| {
            let of_kind = || Prune { kinds: vec![kind], ..Prune::default() };
            let by_age =
                (!keep.age.is_zero()).then(|| Prune { older_than: Some(keep.age), ..of_kind() });
            let by_number = (keep.jobs_max > 0)
                .then(|| Prune { keep_newest: Some(keep.jobs_max), ..of_kind() });
            by_age.into_iter().chain(by_number)
        })
    }
}

/// What retention did since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionTotals {
    pub is_on: bool,
    pub runs: u64,
    /// Rounds that met an error of the store.
    pub failed: u64,
    /// When the last round ended, by the wall clock.
    pub last_at: Option<TimestampMs>,
    /// Jobs that the last round removed, and all.
    pub removed_last: u64,
    pub removed: u64,
}

/// The totals, shared by the schedule and the statistics.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<RetentionTotals>);

impl Totals {
    /// A plain mutex: held for a few assignments.
    pub fn lock(&self) -> MutexGuard<'_, RetentionTotals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Makes rounds of retention as `options` say, until the service stops; none if nothing is to
    /// be removed. Dropping the future ends it. Needs a tokio runtime.
    pub async fn run_retention(&self, options: RetentionOptions) {
        if !options.is_on() {
            return;
        }
        self.inner.retention.lock().is_on = true;
        let mut wait = options.interval.min(FIRST_WAIT_MAX);
        loop {
            tokio::time::sleep(wait).await;
            if let Err(SubmitError::Draining) = self.retain(&options).await {
                return;
            }
            wait = options.interval;
        }
    }

    /// Makes one round of retention now; the number of jobs that it removed.
    ///
    /// # Errors
    /// The last [`SubmitError`], which is logged and counted; some may have been removed.
    pub async fn retain(&self, options: &RetentionOptions) -> Result<u64, SubmitError> {
        let mut removed = 0;
        let mut ended = Ok(());
        for prune in options.prunes() {
            match self.prune(&prune).await {
                Ok(pruned) => removed += pruned.removed,
                // What holds up one kind holds up no other.
                Err(error) => ended = Err(error),
            }
        }
        self.note_round(removed, ended.is_err());
        match &ended {
            Err(SubmitError::Draining) => (),
            Err(error) => tracing::warn!(
                event = RETENTION_FAILED,
                removed,
                %error,
                "Retention removed {removed} jobs and could not go on"
            ),
            Ok(()) if removed > 0 => {
                tracing::info!(event = RETENTION_DONE, removed, "Retention removed {removed} jobs");
            }
            Ok(()) => tracing::debug!(event = RETENTION_DONE, removed, "Retention removed no job"),
        }
        ended.map(|()| removed)
    }

    fn note_round(&self, removed: u64, has_failed: bool) {
        let mut totals = self.inner.retention.lock();
        totals.runs += 1;
        totals.failed += u64::from(has_failed);
        totals.last_at = Some(self.inner.options.clock.wall());
        totals.removed_last = removed;
        totals.removed += removed;
    }
}

#[cfg(test)]
mod tests;
