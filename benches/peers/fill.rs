//! What a child does: fill a store through the service, then what its task says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jobslate::model::{JobId, Request};
use jobslate::service::{Service, ServiceOptions};
use jobslate::store::StoreOptions;

use super::child::{Task, Then, Word, data};
use super::workload::{UPDATES_PER_JOB, Workload};

const BATCH_UPDATES: usize = 1_000;
/// How many steps a store is filled in.
const STEPS: usize = 40;
/// Jobs whose ids the reader keeps.
const IDS_MAX: usize = 100_000;

/// Does `task` to its end, if it has one.
pub fn run(task: &Task) {
    let store = StoreOptions { directory: data(&task.directory), ..StoreOptions::default() };
    let options = ServiceOptions { store, ..ServiceOptions::default() };
    let service = Service::open(options, Arc::new(|_| ())).expect("the service opens");
    // What comes after the store is full goes on with new jobs.
    let jobs_more = if matches!(task.then, Then::Close) { 0 } else { usize::MAX / 8 };
    let mut writer = Writer {
        service: service.clone(),
        workload: Workload::new(task.jobs + jobs_more),
        updates: 0,
        calls: Duration::ZERO,
        ids: Vec::new(),
        ids_every: (task.jobs / IDS_MAX).max(1),
    };
    writer.fill(task.jobs * UPDATES_PER_JOB);
    match task.then {
        Then::Close => Word::Filled.say(),
        Then::Load { ms } => {
            Word::Filled.say();
            writer.load(Duration::from_millis(ms));
        }
        Then::WriteForEver => {
            Word::Filled.say();
            while writer.append() {}
        }
    }
    let start = Instant::now();
    service.drain_blocking().expect("the service drains");
    Word::Closed { seconds: start.elapsed().as_secs_f64() }.say();
}

/// One caller that waits for each batch.
struct Writer {
    service: Service,
    workload: Workload,
    updates: usize,
    /// The time of all calls.
    calls: Duration,
    /// Some of the jobs, from all times.
    ids: Vec<JobId>,
    ids_every: usize,
}

impl Writer {
    /// One batch; false at the end of the workload.
    fn append(&mut self) -> bool {
        let updates = self.workload.batch(BATCH_UPDATES);
        let Some(first) = updates.first() else { return false };
        // One batch in four brings as many new jobs as it is long.
        if self.updates / UPDATES_PER_JOB / self.ids_every >= self.ids.len() {
            self.ids.push(first.job_id.clone());
        }
        self.updates += updates.len();
        let start = Instant::now();
        let receipt = self.service.submit_blocking(Request::new(updates)).expect("it is accepted");
        self.calls += start.elapsed();
        assert!(receipt.answer.durable, "a durable answer");
        true
    }

    fn fill(&mut self, updates: usize) {
        let step = (updates / STEPS).max(1);
        let mut next = step;
        while self.updates < updates {
            assert!(self.append(), "the workload is long enough");
            if self.updates >= next {
                next = self.updates + step;
                self.say_step();
            }
        }
        self.say_step();
    }

    fn say_step(&self) {
        Word::Step { updates: self.updates, seconds: self.calls.as_secs_f64() }.say();
    }

    /// Writes at full speed while another thread reads at full speed.
    fn load(&mut self, time: Duration) {
        let is_over = AtomicBool::new(false);
        let (ids, service) = (std::mem::take(&mut self.ids), self.service.clone());
        let updates_before = self.updates;
        let start = Instant::now();
        let reads = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(&service, &ids, &is_over));
            while start.elapsed() < time {
                self.append();
            }
            is_over.store(true, Ordering::Relaxed);
            reader.join().expect("the reader goes on")
        });
        let seconds = start.elapsed().as_secs_f64();
        let writes = (self.updates - updates_before) as f64 / seconds;
        Word::Loaded { writes, reads: reads as f64 / seconds }.say();
        say_memory();
    }
}

/// Asks for jobs all over the store, and for the counts now and then; how many questions.
fn read(service: &Service, ids: &[JobId], is_over: &AtomicBool) -> usize {
    const COUNTS_EVERY: usize = 100;
    /// Prime, so that the jobs come in no order.
    const STRIDE: usize = 7_919;
    let mut reads = 0_usize;
    while !is_over.load(Ordering::Relaxed) {
        let id = &ids[reads.wrapping_mul(STRIDE) % ids.len()];
        assert!(service.get(id).expect("it reads").is_some(), "the job is known");
        if reads.is_multiple_of(COUNTS_EVERY) {
            assert!(service.counts().0.total() > 0, "there are jobs");
        }
        reads += 1;
    }
    reads
}

/// Tells the memory of this process by `/proc/self/status`.
fn say_memory() {
    let status = std::fs::read_to_string("/proc/self/status").expect("the system says its memory");
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("the system says how much memory it is") << 10
    };
    Word::Memory { peak: bytes("VmHWM:"), resident: bytes("VmRSS:") }.say();
}
