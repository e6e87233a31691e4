//! The updates that are measured: four per job, a few thousand jobs in flight, ids like UUIDs.
//!
//! Seeded, so that every arm and every run gets the same. Made batch by batch outside the measured
//! time, as a million jobs' updates do not fit the caches, nor small machines.

use jobslate::model::{TimestampMs, Update, UpdateFields};

pub const UPDATES_PER_JOB: usize = 4;
const JOBS_IN_FLIGHT_MAX: usize = 4_000;
const SEED: u64 = 0x6a6f_6273_6c61_7465;
/// When the first update is reported, in Unix milliseconds.
const START_MS: u64 = 1_764_000_000_000;

/// An endless deck of jobs: each draw is the next update of some job in flight.
pub struct Workload {
    random: u64,
    jobs: usize,
    started: usize,
    /// Jobs in flight: number, and how many updates it has had.
    in_flight: Vec<(usize, usize)>,
    drawn: u64,
}

impl Workload {
    pub fn new(jobs: usize) -> Self {
        Self { random: SEED, jobs, started: 0, in_flight: Vec::new(), drawn: 0 }
    }

    /// The next `length` updates; fewer at the end.
    pub fn batch(&mut self, length: usize) -> Vec<Update> {
        (0..length).map_while(|_| self.draw()).collect()
    }

    fn draw(&mut self) -> Option<Update> {
        while self.in_flight.len() < JOBS_IN_FLIGHT_MAX && self.started < self.jobs {
            self.in_flight.push((self.started, 0));
            self.started += 1;
        }
        if self.in_flight.is_empty() {
            return None;
        }
        let place = self.random() as usize % self.in_flight.len();
        let (job, done) = self.in_flight[place];
        if done + 1 == UPDATES_PER_JOB {
            self.in_flight.swap_remove(place);
        } else {
            self.in_flight[place].1 += 1;
        }
        self.drawn += 1;
        Some(self.update(job, done))
    }

    fn update(&self, job: usize, done: usize) -> Update {
        let (status, error) = match done {
            0 => ("queued", None),
            1 => ("processing", None),
            2 if job.is_multiple_of(50) => ("error", Some("ocr timed out after 30 s on page 12")),
            2 => ("processing", None),
            _ => ("completed", None),
        };
        let progress = (done == 2).then_some(0.5);
        let pipeline = format!("pipeline-{}", job % 16);
        let fields = UpdateFields {
            job_id: &job_id(job),
            status: Some(status),
            error,
            at: Some(TimestampMs(START_MS + self.drawn / 10)),
            progress,
            pipeline: Some(&pipeline),
            ..UpdateFields::default()
        };
        Update::new(fields).expect("the workload is valid")
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }
}

/// The finalizer of SplitMix64.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// As long and as random as a UUID: `8c2a6f0e-1b7d-4c39-9e55-0a1b2c3d4e5f`.
fn job_id(job: usize) -> String {
    let (high, low) = (mix(job as u64 ^ SEED), mix((job as u64) << 1 | 1));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
