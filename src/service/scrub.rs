//! The scrub: all that the tables hold is read again now and then, slowly; damage is told.
//!
//! A step reads some rows of one moment, which it holds no longer; a pause many times as long
//! follows, so that answers and folds hardly notice. What a step compares stands at
//! [`ReadStore::scrub`](crate::store::ReadStore::scrub). Each start reads all pages anyway, so the
//! first round begins one interval after it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Service;
use crate::model::TimestampMs;
use crate::store::{ScrubPlace, ScrubStep, StoreError};
use crate::telemetry::{SCRUB_DONE, SCRUB_PROBLEM};

/// Rows of one step: some milliseconds of work.
const STEP_ROWS: usize = 256;
/// The pause is so many times as long as the step before it: at most 5 % of a processor.
const PAUSE_STEPS: u32 = 20;
/// And at least this: the four million rows of a million jobs take half an hour.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Problems of one round that are logged one by one.
const LOGGED_MAX: u64 = 100;

/// What the scrub did since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubTotals {
    /// True if there is one: its interval is not zero.
    pub is_on: bool,
    /// True while a round goes on.
    pub is_running: bool,
    /// How far that, or the last one, is, from 0 to 100.
    pub percent: u8,
    /// Rounds that ended, and rows that were read in all.
    pub rounds: u64,
    pub rows: u64,
    /// When the last round ended, by the wall clock, and how many problems it found.
    pub last_at: Option<TimestampMs>,
    pub problems_last: u64,
    /// Problems of all rounds, of the present one too.
    pub problems: u64,
}

/// The totals, shared by the rounds and the statistics.
#[derive(Debug, Default)]
pub(super) struct Scrub(Mutex<ScrubTotals>);

impl Scrub {
    /// A plain mutex: held for a few assignments.
    pub fn lock(&self) -> MutexGuard<'_, ScrubTotals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        let mut totals = self.lock();
        (totals.is_running, totals.percent) = (true, 0);
    }

    fn note(&self, step: &ScrubStep, percent: u8) {
        let mut totals = self.lock();
        totals.percent = percent;
        totals.rows += step.rows;
        totals.problems += step.problems.len() as u64;
    }

    fn finish(&self, now: TimestampMs, problems: u64) {
        let mut totals = self.lock();
        (totals.is_running, totals.percent) = (false, 100);
        totals.rounds += 1;
        (totals.last_at, totals.problems_last) = (Some(now), problems);
    }
}

impl Service {
    /// Makes a round in each `interval`, until the future is dropped; none, if it is zero.
    pub async fn run_scrub(&self, interval: Duration) {
        if interval.is_zero() {
            return;
        }
        self.inner.scrub.lock().is_on = true;
        loop {
            tokio::time::sleep(interval).await;
            self.scrub().await;
        }
    }

    /// Makes one round now, with its pauses; the problems that it found. Each is logged.
    pub async fn scrub(&self) -> u64 {
        self.inner.scrub.begin();
        let (mut place, mut rows, mut found) = (Some(ScrubPlace::default()), 0, 0);
        while let Some(from) = place {
            let begin = tokio::time::Instant::now();
            let step = self.scrub_step(from).await;
            for problem in &step.problems {
                found += 1;
                log_problem(found, problem);
            }
            rows += step.rows;
            self.inner.scrub.note(&step, percent(rows, step.rows_in_all));
            place = step.next;
            tokio::time::sleep((begin.elapsed() * PAUSE_STEPS).max(PAUSE_MIN)).await;
        }
        self.inner.scrub.finish(self.now(), found);
        tracing::info!(event = SCRUB_DONE, rows, problems = found, "All that is stored was read");
        found
    }

    /// One step. A panic over damage that nobody foresaw is a problem that ends the round.
    async fn scrub_step(&self, from: ScrubPlace) -> ScrubStep {
        let service = self.clone();
        let step = move || service.inner.read.scrub(&from, STEP_ROWS);
        let step = tokio::task::spawn_blocking(step).await;
        let step = step.unwrap_or_else(|panic| Err(StoreError::Panicked(panic.to_string())));
        let failed = |error: StoreError| ScrubStep {
            problems: vec![error.to_string()],
            ..ScrubStep::default()
        };
        step.unwrap_or_else(failed)
    }
}

/// Below 100 until all was read; rows may have come meanwhile.
fn percent(rows: u64, rows_in_all: u64) -> u8 {
    let percent = rows.saturating_mul(100).checked_div(rows_in_all).unwrap_or(0).min(99);
    u8::try_from(percent).unwrap_or(99)
}

fn log_problem(number: u64, problem: &str) {
    if number <= LOGGED_MAX {
        tracing::error!(
            event = SCRUB_PROBLEM,
            "What is stored is damaged: {problem}; `jobslate check` compares all of it"
        );
    } else if number == LOGGED_MAX + 1 {
        tracing::error!(event = SCRUB_PROBLEM, "What is stored is damaged in more places");
    }
}

#[cfg(test)]
mod tests;
