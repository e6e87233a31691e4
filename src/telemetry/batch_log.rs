//! What the writer logs: `Batch updated N job statuses`, started jobs, rejections nobody waits for.
//!
//! Sums are kept until their line may be written: batches once a second, rejections once in 20 s.
//! The writer asks [`BatchLog::due_at`] how long it may wait, so that no sum is left behind.

use std::time::Duration;

use super::pressure::Limiter;
use super::{BATCH_APPENDED, BATCH_COMMITTED, JOB_STARTED, REJECTED_AT_COMMIT, escaped};

/// Time between two lines of sums.
const BATCHES_GAP: Duration = Duration::from_secs(1);
const REJECTIONS_GAP: Duration = Duration::from_secs(20);

/// One committed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLine {
    /// Accepted updates.
    pub updates: u64,
    /// Different jobs.
    pub jobs: u64,
    /// Length of the segment.
    pub bytes: u64,
    /// Age of the oldest update when the batch closed.
    pub wait: Duration,
    pub commit: Duration,
    pub reason: &'static str,
    /// The last durable seq.
    pub seq: u64,
}

/// Batches since the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    updates: u64,
    /// A job in two batches counts twice.
    jobs: u64,
    batches: u64,
    bytes: u64,
    commit_max: Duration,
    reason: &'static str,
    seq: u64,
}

/// Owned by the writer thread.
#[derive(Debug)]
pub struct BatchLog {
    sums: Sums,
    batches_limiter: Limiter,
    rejections: u64,
    rejection_code: &'static str,
    rejections_limiter: Limiter,
}

impl Default for BatchLog {
    fn default() -> Self {
        Self {
            sums: Sums::default(),
            batches_limiter: Limiter::new(BATCHES_GAP),
            rejections: 0,
            rejection_code: "",
            rejections_limiter: Limiter::new(REJECTIONS_GAP),
        }
    }
}

impl BatchLog {
    /// Logs the batch at debug and, if it updated anything, adds it to the sums.
    pub fn batch(&mut self, line: &BatchLine) {
        tracing::debug!(
            event = BATCH_APPENDED,
            updates = line.updates,
            jobs = line.jobs,
            bytes = line.bytes,
            wait_ms = ms(line.wait),
            commit_ms = ms(line.commit),
            reason = line.reason,
            seq = line.seq,
            "Batch appended"
        );
        // A batch of rejections alone updated nothing.
        if line.updates == 0 {
            return;
        }
        let sums = &mut self.sums;
        sums.updates += line.updates;
        sums.jobs += line.jobs;
        sums.batches += 1;
        sums.bytes += line.bytes;
        sums.commit_max = sums.commit_max.max(line.commit);
        sums.reason = line.reason;
        sums.seq = line.seq;
    }

    /// Adds rejections of queued updates; `code` is the code of one of them.
    pub fn rejected(&mut self, rejections: u64, code: &'static str) {
        self.rejections += rejections;
        if rejections > 0 {
            self.rejection_code = code;
        }
    }

    /// Logs one line for a job that began to run.
    pub fn job_started(&self, job_id: &str) {
        let job_id = escaped(job_id);
        tracing::info!(event = JOB_STARTED, %job_id, "Pipeline-Job {job_id} gestartet");
    }

    /// When [`write_due`](Self::write_due) has something to write; `None` if there are no sums.
    pub fn due_at(&self) -> Option<Duration> {
        let batches = (self.sums.batches > 0).then(|| self.batches_limiter.open_at());
        let rejections = (self.rejections > 0).then(|| self.rejections_limiter.open_at());
        batches.into_iter().chain(rejections).min()
    }

    /// Writes the sums whose time has come. `now` is monotonic.
    pub fn write_due(&mut self, now: Duration) {
        if self.sums.batches > 0 && self.batches_limiter.pass(now) {
            self.write_batches();
        }
        if self.rejections > 0 && self.rejections_limiter.pass(now) {
            self.write_rejections();
        }
    }

    /// Writes all sums, at the stop.
    pub fn write_rest(&mut self) {
        if self.sums.batches > 0 {
            self.write_batches();
        }
        if self.rejections > 0 {
            self.write_rejections();
        }
    }

    fn write_batches(&mut self) {
        let sums = std::mem::take(&mut self.sums);
        tracing::info!(
            event = BATCH_COMMITTED,
            updates = sums.updates,
            jobs = sums.jobs,
            batches = sums.batches,
            bytes = sums.bytes,
            commit_ms_max = ms(sums.commit_max),
            reason = sums.reason,
            seq = sums.seq,
            "Batch updated {} job statuses",
            sums.updates
        );
    }

    fn write_rejections(&mut self) {
        let rejected = std::mem::take(&mut self.rejections);
        tracing::warn!(
            event = REJECTED_AT_COMMIT,
            rejected,
            code = self.rejection_code,
            "Queued updates were rejected at commit"
        );
    }
}

/// Milliseconds with three digits.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
