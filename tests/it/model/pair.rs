//! The two services: the oracle in memory, which is never stopped, and the one on disk, which is
//! stopped in every way. Both have one clock, which stands still between calls.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jobslate::model::{
    Ack, Clock, FeedPage, JobId, ManualClock, PageQuery, Request, TimelineQuery, TimestampMs,
    Update,
};
use jobslate::service::{Prune, Service, ServiceOptions, ServiceStats};
use jobslate::store::StoreOptions;

use super::broken::{self, Rule};
use super::draw::{Call, NOW, Stop};

/// Updates that may be queued: so few that calls find the queue full.
const QUEUE_UPDATES_MAX: usize = 30;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The two services, and what the one on disk told in its earlier lives.
pub struct Pair {
    oracle: Service,
    /// `None` only while it is restarted.
    subject: Option<Service>,
    options: ServiceOptions,
    clock: ManualClock,
    /// For prunes.
    runtime: tokio::runtime::Runtime,
    /// Removed with everything in it at the end.
    _directory: tempfile::TempDir,
    told: Told,
}

/// Numbers of a service over its lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub accepted: u64,
    pub applied: u64,
    pub stale: u64,
    pub merged: u64,
    pub rejected: u64,
    pub replayed: u64,
    pub reused: u64,
    pub queue_full: u64,
    /// Of the store on disk.
    pub folds: u64,
    pub restarts: u64,
    pub pruned: u64,
}

impl Told {
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.applied += other.applied;
        self.stale += other.stale;
        self.merged += other.merged;
        self.rejected += other.rejected;
        self.replayed += other.replayed;
        self.reused += other.reused;
        self.queue_full += other.queue_full;
        self.folds += other.folds;
        self.restarts += other.restarts;
        self.pruned += other.pruned;
    }

    fn of(stats: &ServiceStats) -> Self {
        Self {
            accepted: stats.accepted,
            applied: stats.applied,
            stale: stats.stale,
            merged: stats.merged,
            rejected: stats.rejected,
            replayed: stats.idempotent_replayed,
            reused: stats.idempotent_reused,
            queue_full: stats.queue_full,
            folds: stats.store.folds,
            restarts: 0,
            pruned: 0,
        }
    }

    /// What both services must agree on.
    fn comparable(self) -> Self {
        Self { folds: 0, restarts: 0, pruned: 0, ..self }
    }
}

/// The first difference, for people.
type Difference = String;

impl Pair {
    pub fn new(rule: Option<Rule>) -> Self {
        // Syncs are not what is tested here, and a file system in memory has cheap ones.
        let in_memory = Path::new("/dev/shm");
        let directory = tempfile::Builder::new();
        let directory =
            if in_memory.is_dir() { directory.tempdir_in(in_memory) } else { directory.tempdir() };
        let directory = directory.unwrap();
        let clock = ManualClock::at(TimestampMs(NOW));
        let store = StoreOptions {
            directory: directory.path().join("data"),
            tail_jobs_max: 20,
            cache_bytes: 1 << 20,
            feed_block_bytes: 2_000,
            merge_ids_min: 5,
            trim_segments_max: 8,
            // The wall clock goes forth and back by days.
            idempotency_age_max: YEAR,
            feed_age_max: YEAR,
            ..StoreOptions::default()
        };
        let options = ServiceOptions {
            // With a clock that stands still, a batch closes when the test says so, in both.
            batch_size: QUEUE_UPDATES_MAX,
            batch_updates_max: QUEUE_UPDATES_MAX,
            queue_updates_max: QUEUE_UPDATES_MAX,
            clock: Clock::Manual(clock.clone()),
            store,
            ..ServiceOptions::default()
        };
        let open = |options, _| Ok(broken::open(options, rule));
        let oracle = Service::start(options.clone(), Arc::new(|_| ()), open).unwrap();
        let subject = Some(Service::open(options.clone(), Arc::new(|_| ())).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let told = Told::default();
        Self { oracle, subject, options, clock, runtime, _directory: directory, told }
    }

    /// Makes the call on both, and compares what they answer and what can be seen after it.
    pub fn play(&mut self, call: &Call) -> Result<(), Difference> {
        match call {
            Call::Submit(request) => self.submit(request)?,
            Call::Queue(updates) => updates.iter().try_for_each(|it| self.queue(it))?,
            Call::Flush => self.flush()?,
            Call::Get(job_id) => self.get(job_id)?,
            Call::Lookup(job_ids) => self.same(|it| it.lookup(job_ids).unwrap())?,
            Call::List(query) => self.list(query)?,
            Call::Pipelines { after, limit } => {
                self.same(|it| it.pipelines(after.as_ref(), *limit).unwrap())?;
            }
            Call::Pipeline(name) => self.same(|it| it.pipeline(name).unwrap())?,
            Call::Feed { after_percent, limit } => self.feed(*after_percent, *limit)?,
            Call::Timeline(query) => self.timeline(query)?,
            Call::Prune(prune) => self.prune(prune)?,
            Call::Check => self.check()?,
            Call::LetPass(time) => {
                self.clock.advance(*time);
                self.both(Service::poke);
                self.flush()?;
            }
            Call::SetWall(wall) => self.clock.set_wall(*wall),
            Call::Restart(stop) => self.restart(*stop)?,
        }
        self.same(|it| (it.counts(), it.now(), *it.durable().borrow(), it.health()))
    }

    /// Stops both; what was told in all.
    pub fn end(mut self) -> Result<Told, Difference> {
        self.flush()?;
        self.check()?;
        self.same(|it| it.drain_blocking().unwrap().durable_seq)?;
        self.stats()?;
        self.told.add(&Told::of(&self.subject().stats()));
        Ok(self.told)
    }

    fn subject(&self) -> &Service {
        self.subject.as_ref().expect("it is open")
    }

    fn both(&self, call: impl Fn(&Service)) {
        call(&self.oracle);
        call(self.subject());
    }

    fn same<T: Debug>(&self, ask: impl Fn(&Service) -> T) -> Result<(), Difference> {
        equal(&ask(&self.oracle), &ask(self.subject()))
    }

    fn submit(&self, request: &Request) -> Result<(), Difference> {
        self.same(|it| it.submit_blocking(request.clone()))?;
        if request.ack == Ack::Queued {
            self.empty_full_queues()?;
        }
        request.updates.iter().try_for_each(|(_, update)| self.get(&update.job_id))
    }

    fn queue(&self, update: &Update) -> Result<(), Difference> {
        self.same(|it| it.queue(update.clone()))?;
        self.empty_full_queues()?;
        self.get(&update.job_id)
    }

    /// A batch that closes by its size closes some time; from here on it has.
    fn empty_full_queues(&self) -> Result<(), Difference> {
        let is_full = |it: &Service| {
            let queued = it.stats().queued_now;
            queued == 0 || queued >= QUEUE_UPDATES_MAX as u64
        };
        if is_full(&self.oracle) || is_full(self.subject()) { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), Difference> {
        self.same(|it| it.flush_blocking().unwrap())
    }

    fn get(&self, job_id: &JobId) -> Result<(), Difference> {
        self.same(|it| it.get(job_id).unwrap())
    }

    /// The whole walk: a page of the store on disk may be short.
    fn list(&self, query: &PageQuery) -> Result<(), Difference> {
        self.same(|it| {
            let (mut query, mut jobs) = (query.clone(), Vec::new());
            for _ in 0..1_000 {
                let page = it.page(&query).unwrap();
                jobs.extend(page.jobs);
                match page.next {
                    Some(next) => query.cursor = Some(next),
                    None => return (jobs, page.as_of_seq),
                }
            }
            panic!("the walk does not end");
        })
    }

    /// A page holds whole batches on disk, so it may be longer than was asked for.
    fn feed(&self, after_percent: u64, limit: usize) -> Result<(), Difference> {
        let (_, last_seq) = self.oracle.counts();
        let after = last_seq * after_percent / 100;
        let page = self.subject().feed(after, limit).unwrap();
        let FeedPage { operations, .. } = &page;
        let expected = self.oracle.feed(after, operations.len().max(limit)).unwrap();
        let is_short = operations.len() < limit && operations.len() < expected.operations.len();
        if is_short {
            return Err(format!("{} operations of {limit} after {after}", operations.len()));
        }
        equal(&expected, &page)
    }

    fn timeline(&self, query: &TimelineQuery) -> Result<(), Difference> {
        // From when it is held may differ: a step whose changes cancel out may be kept or not.
        self.same(|it| {
            let timeline = it.timeline(query).unwrap();
            (timeline.steps, timeline.as_of_seq)
        })
    }

    /// Counts, then removes; the queues are emptied before, for a prune waits while they are full.
    fn prune(&mut self, prune: &Prune) -> Result<(), Difference> {
        self.flush()?;
        self.same(|it| self.runtime.block_on(it.count_prunable(prune)).unwrap())?;
        let removed = |it: &Service| self.runtime.block_on(it.prune(prune)).unwrap();
        let (expected, told) = (removed(&self.oracle), removed(self.subject()));
        self.told.pruned += told.removed;
        equal(&expected, &told)
    }

    fn check(&self) -> Result<(), Difference> {
        self.same(|it| it.check().unwrap().problems)?;
        self.stats()
    }

    /// What was told in all lives together is what the oracle told in its one.
    fn stats(&self) -> Result<(), Difference> {
        let mut told = self.told;
        told.add(&Told::of(&self.subject().stats()));
        equal(&Told::of(&self.oracle.stats()).comparable(), &told.comparable())
    }

    fn restart(&mut self, stop: Stop) -> Result<(), Difference> {
        if matches!(stop, Stop::Killed) {
            self.flush()?;
            self.come_to_rest();
        }
        let subject = self.subject.take().expect("it is open");
        let directory = &self.options.store.directory;
        match stop {
            Stop::Drained => drop(subject.drain_blocking().unwrap()),
            Stop::Dropped => {}
            Stop::Killed => copy(directory, &copied(directory)),
        }
        // What a drop stores is not seen in the numbers of this life, so the oracle says it.
        let before = Told::of(&self.oracle.stats());
        let drained = Told::of(&subject.stats());
        drop(subject);
        self.oracle.flush_blocking().unwrap();
        self.told.add(&drained);
        if matches!(stop, Stop::Dropped) {
            let mut missed = Told::of(&self.oracle.stats()).comparable();
            missed.accepted -= before.accepted;
            missed.applied -= before.applied;
            missed.stale -= before.stale;
            missed.merged -= before.merged;
            missed.rejected -= before.rejected;
            let (replayed, reused, queue_full) = (0, 0, 0);
            self.told.add(&Told { replayed, reused, queue_full, ..missed });
        }
        if matches!(stop, Stop::Killed) {
            std::fs::remove_dir_all(directory).unwrap();
            std::fs::rename(copied(directory), directory).unwrap();
        }
        self.told.restarts += 1;
        self.subject = Some(Service::open(self.options.clone(), Arc::new(|_| ())).unwrap());
        self.check()
    }

    /// Waits until nothing is written any more, so that the files can be copied as of one moment:
    /// each flush shows that the writer is done with what the one before gave it to do.
    fn come_to_rest(&self) {
        for _ in 0..5 {
            self.subject().poke();
            self.subject().flush_blocking().unwrap();
            while self.subject().stats().store.is_folding {
                std::thread::yield_now();
            }
        }
    }
}

fn copied(directory: &Path) -> PathBuf {
    directory.with_extension("copy")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn equal<T: Debug>(expected: &T, told: &T) -> Result<(), Difference> {
    let (expected, told) = (format!("{expected:?}"), format!("{told:?}"));
    if expected == told {
        return Ok(());
    }
    Err(format!("the oracle says\n  {expected}\nand the store on disk\n  {told}"))
}
