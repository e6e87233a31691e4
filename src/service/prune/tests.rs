//! What goes and what stays, beside writers and under clocks that jump.

mod ages;

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::model::{Clock, ManualClock, Update, UpdateFields};
use crate::store::redb::tests::power::number_of;
use crate::store::{
    self, AppendError, Appended, ReadStore, ReopenError, Reopened, Sides, Upkeep, WriteStore,
};

/// 2025-11-24T16:00:00Z.
const NOW: u64 = 1_764_000_000_000;
const YEAR_2100: u64 = 4_102_444_800_000;
const DAY: Duration = Duration::from_hours(24);

fn options(clock: &ManualClock) -> ServiceOptions {
    ServiceOptions { clock: Clock::Manual(clock.clone()), ..ServiceOptions::default() }
}

fn in_memory() -> (Service, ManualClock) {
    let clock = ManualClock::at(TimestampMs(NOW));
    (Service::in_memory(options(&clock)).unwrap(), clock)
}

fn on_disk(directory: &Path, wall: u64) -> (Service, ManualClock) {
    let clock = ManualClock::at(TimestampMs(wall));
    let mut options = options(&clock);
    options.store.directory = directory.to_owned();
    (Service::open(options, Arc::new(|_| ())).unwrap(), clock)
}

/// Reports jobs `name-0`, `name-1`, ... with one status.
fn report(service: &Service, name: &str, jobs: usize, status: &str, pipeline: &str) {
    let update = |number| {
        let job_id = format!("{name}-{number}");
        let fields = UpdateFields {
            job_id: &job_id,
            status: Some(status),
            pipeline: Some(pipeline),
            ..UpdateFields::default()
        };
        Update::new(fields).unwrap()
    };
    service.submit_blocking(Request::new((0..jobs).map(update).collect())).unwrap();
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

fn prune(service: &Service, prune: &Prune) -> (u64, bool) {
    let counted = run(service.count_prunable(prune)).unwrap();
    let pruned = run(service.prune(prune)).unwrap();
    assert_eq!((counted.matched, counted.more), (pruned.matched, pruned.more), "{prune:?}");
    assert_eq!((pruned.removed, pruned.changed), (pruned.matched, 0));
    assert!(service.check().unwrap().is_clean());
    (pruned.removed, pruned.more)
}

fn finished(kind: Kind) -> Prune {
    Prune { kinds: vec![kind], ..Prune::default() }
}

/// A store that lets a writer in between the page of a prune and its removals: every second job of
/// them starts again. Notes how many removals each request has. `is_conditional` off is the
/// control: what is to be removed is removed, whatever became of it.
struct Between {
    write: Box<dyn WriteStore>,
    read: Arc<dyn ReadStore>,
    is_conditional: bool,
    sizes: Arc<Mutex<Vec<usize>>>,
}

impl WriteStore for Between {
    fn append(&mut self, batch: &[Request], now: TimestampMs) -> Result<Appended, AppendError> {
        let mut batch = batch.to_vec();
        for request in &mut batch {
            let Some(Command::RemoveUnchanged(jobs)) = &mut request.command else { continue };
            self.sizes.lock().unwrap().push(jobs.len());
            let odd = jobs.iter().skip(1).step_by(2);
            let again = odd.map(|it| Update::status(it.0.as_str(), "processing").unwrap());
            self.write.append(&[Request::new(again.collect())], now)?;
            if !self.is_conditional {
                for (job_id, seq) in jobs {
                    *seq = self.read.get(job_id)?.unwrap().seq;
                }
            }
        }
        self.write.append(&batch, now)
    }

    fn maintain(&mut self, now: Duration) -> Result<Upkeep, StoreError> {
        self.write.maintain(now)
    }

    fn reopen(&mut self) -> Result<Reopened, ReopenError> {
        self.write.reopen()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.write.close()
    }
}

/// Prunes 1,200 finished jobs, of which 600 start again on the way; what the prune says, how many
/// of those are there, and how many removals each request had.
fn prune_beside_a_writer(
    is_conditional: bool,
    open: impl FnOnce(store::StoreOptions, store::OpenHooks) -> Result<Sides, store::OpenError>,
) -> (Pruned, u64, Vec<usize>) {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(TimestampMs(NOW));
    let mut options = options(&clock);
    options.store.directory = directory.path().to_owned();
    let sizes = Arc::new(Mutex::default());
    let noted = Arc::clone(&sizes);
    let open = |options, hooks| {
        let (write, read) = open(options, hooks)?;
        let between = Between { write, read: read.clone(), is_conditional, sizes: noted };
        Ok((Box::new(between) as Box<dyn WriteStore>, read))
    };
    let service = Service::start(options, Arc::new(|_| ()), open).unwrap();
    report(&service, "doc", 1_200, "completed", "pdf");
    let pruned = run(service.prune(&finished(Kind::Succeeded))).unwrap();
    let (counts, _) = service.counts();
    let running = counts.by_status().values().sum::<u64>();
    let found = (0..1_200).filter(|number| {
        let job_id = JobId::parse(&format!("doc-{number}")).unwrap();
        service.get(&job_id).unwrap().is_some_and(|it| it.status.as_str() == "processing")
    });
    assert_eq!(found.count() as u64, running, "counts are those of the jobs at once");
    assert!(service.check().unwrap().is_clean());
    let sizes = sizes.lock().unwrap().clone();
    (pruned, running, sizes)
}

#[test]
fn a_job_that_moved_on_after_it_was_seen_stays() {
    let memory = |options, _| Ok(store::memory::open(options));
    for (pruned, running, sizes) in
        [prune_beside_a_writer(true, memory), prune_beside_a_writer(true, store::redb::open)]
    {
        assert_eq!((pruned.matched, pruned.removed, pruned.changed), (1_200, 600, 600));
        assert_eq!(running, 600, "who started again is there");
        assert_eq!(sizes, [500, 500, 200]);
    }
}

#[test]
fn the_control_removal_whatever_happened_loses_jobs_that_moved_on() {
    let memory = |options, _| Ok(store::memory::open(options));
    for (pruned, running, _) in
        [prune_beside_a_writer(false, memory), prune_beside_a_writer(false, store::redb::open)]
    {
        assert_eq!((pruned.removed, running), (1_200, 0));
    }
}

/// Two prunes remove 3,000 finished jobs while three writers let 300 of them start again; how many
/// jobs the prunes removed, and how many of those that started again are not there.
fn prunes_beside_writers() -> (u64, u64) {
    const JOBS: usize = 3_000;
    let directory = tempfile::tempdir().unwrap();
    let (service, _clock) = on_disk(directory.path(), NOW);
    report(&service, "doc", JOBS, "completed", "pdf");
    let service = &service;
    let removed = std::thread::scope(|scope| {
        for writer in 0..3 {
            scope.spawn(move || {
                // From the end on, where the prunes come last.
                for number in (writer..JOBS).step_by(30).rev() {
                    let update = Update::status(&format!("doc-{number}"), "processing").unwrap();
                    service.submit_blocking(Request::new(vec![update])).unwrap();
                }
            });
        }
        let prunes = [(); 2].map(|()| {
            scope.spawn(move || run(service.prune(&finished(Kind::Succeeded))).unwrap().removed)
        });
        prunes.map(|it| it.join().unwrap()).iter().sum()
    });
    let mut lost = 0;
    for number in 0..JOBS {
        let job_id = JobId::parse(&format!("doc-{number}")).unwrap();
        let is_there = service.get(&job_id).unwrap().is_some();
        let has_started = number % 30 < 3;
        lost += u64::from(has_started && !is_there);
        assert!(has_started || !is_there, "doc-{number} is finished");
    }
    assert_eq!(service.counts().0.total(), 300 - lost);
    assert!(service.check().unwrap().is_clean());
    (removed, lost)
}

#[test]
fn prunes_beside_writers_lose_nothing_that_was_acknowledged() {
    let wanted = number_of("JOBSLATE_PRUNE_ROUNDS", 1);
    let (mut rounds, mut removed, mut lost) = (0, 0, 0);
    // Of the 300 of a round that start again, the others had gone before, and are new jobs.
    while rounds < wanted || removed == rounds * 3_000 {
        let of_round = prunes_beside_writers();
        (rounds, removed, lost) = (rounds + 1, removed + of_round.0, lost + of_round.1);
        assert!(removed <= rounds * 3_000 && removed >= rounds * 2_700, "{removed} in {rounds}");
        assert!(rounds <= wanted + 20, "no writer met a prune");
    }
    let met = rounds * 3_000 - removed;
    println!("{rounds} rounds, {removed} removed, {met} started again before, {lost} lost");
    assert_eq!(lost, 0);
}

#[test]
fn only_what_is_meant_goes() {
    let (service, _clock) = in_memory();
    report(&service, "new", 5, "queued", "pdf");
    report(&service, "run", 5, "processing", "pdf");
    report(&service, "ok", 5, "completed", "pdf");
    report(&service, "ko", 5, "error", "scan");
    report(&service, "off", 5, "cancelled", "scan");
    assert!(!Prune::default().is_bounded());
    assert!(!Prune { limit: Some(5), ..Prune::default() }.is_bounded());
    let pdf = Prune { pipeline: PipelineName::parse("pdf").ok(), ..Prune::default() };
    assert!(pdf.is_bounded());
    assert_eq!(prune(&service, &pdf), (5, false), "waiting and running jobs stay");
    let limited = Prune { limit: Some(2), ..finished(Kind::Failed) };
    assert_eq!(prune(&service, &limited), (2, true));
    let keep = Prune { keep_newest: Some(1), ..finished(Kind::Failed) };
    assert_eq!(prune(&service, &keep), (2, false));
    let left = service.get(&JobId::parse("ko-4").unwrap()).unwrap();
    assert!(left.is_some(), "the last changed one stays");
    let status = Prune { statuses: vec![Status::parse("queued").unwrap()], ..Prune::default() };
    assert_eq!(prune(&service, &status), (5, false), "it was named");
    assert_eq!(prune(&service, &finished(Kind::Running)), (5, false));
    assert_eq!(service.counts().0.total(), 6);
    assert_eq!(prune(&service, &Prune { keep_newest: Some(6), ..Prune::default() }), (0, false));
    assert_eq!(prune(&service, &Prune { keep_newest: Some(4), ..Prune::default() }), (2, false));
}

#[test]
fn age_and_number_narrow_each_other_and_a_small_batch_holds_few_removals() {
    let clock = ManualClock::at(TimestampMs(NOW));
    let mut options = options(&clock);
    (options.batch_size, options.batch_updates_max) = (7, 7);
    let service = Service::in_memory(options).unwrap();
    report(&service, "old", 7, "completed", "pdf");
    clock.advance(DAY);
    report(&service, "new", 7, "completed", "pdf");
    report(&service, "newer", 7, "completed", "pdf");
    let old = Prune { older_than: Some(DAY / 2), ..Prune::default() };
    let few = Prune { keep_newest: Some(18), ..old.clone() };
    assert_eq!(prune(&service, &few), (3, false));
    let before = Prune { updated_before: Some(TimestampMs(NOW + 1)), ..Prune::default() };
    assert_eq!(prune(&service, &before), (4, false));
    assert_eq!(prune(&service, &old), (0, false));
    clock.advance(DAY);
    let batches = service.stats().batches;
    assert_eq!(prune(&service, &old), (14, false));
    assert_eq!(service.stats().batches - batches, 2);
}

#[test]
fn no_jump_of_the_clock_makes_a_job_old() {
    let old = Prune { older_than: Some(30 * DAY), ..Prune::default() };
    let directory = tempfile::tempdir().unwrap();
    let killed = directory.path().join("killed");
    let data = directory.path().join("data");
    let (service, clock) = on_disk(&data, NOW);
    assert_eq!(prune(&service, &old), (0, false), "a store without a batch");
    report(&service, "doc", 10, "completed", "pdf");
    // As a kill leaves it: the jobs are in the journal alone.
    std::fs::create_dir(&killed).unwrap();
    for file in std::fs::read_dir(&data).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), killed.join(file.file_name())).unwrap();
    }
    clock.set_wall(TimestampMs(YEAR_2100));
    assert_eq!(prune(&service, &old), (0, false));
    // The control: by the wall clock, all of them are 74 years old.
    let by_wall = TimestampMs(service.now().0 - 30 * 86_400_000);
    let by_wall = Prune { updated_before: Some(by_wall), ..Prune::default() };
    assert_eq!(run(service.count_prunable(&by_wall)).unwrap().matched, 10);
    report(&service, "late", 10, "completed", "pdf");
    assert_eq!(prune(&service, &old), (0, false));
    service.drain_blocking().unwrap();
    drop(service);
    // What the clock of 2100 reported is in the first alone.
    for (data, old_enough) in [(&data, 30), (&killed, 20)] {
        let (service, clock) = on_disk(data, YEAR_2100);
        assert_eq!(prune(&service, &old), (0, false), "{}", data.display());
        report(&service, "later", 10, "completed", "pdf");
        assert_eq!(prune(&service, &old), (0, false), "{}", data.display());
        clock.advance(29 * DAY);
        assert_eq!(prune(&service, &old), (0, false));
        report(&service, "young", 10, "completed", "pdf");
        clock.set_wall(TimestampMs(1_000));
        clock.advance(2 * DAY);
        assert_eq!(prune(&service, &old), (old_enough, false), "time that passed counts");
        assert_eq!(service.counts().0.total(), 10, "the young ones stay");
        service.drain_blocking().unwrap();
    }
}

#[test]
fn a_prune_that_a_stop_meets_says_that_there_is_more_or_that_nothing_was_done() {
    let (service, _clock) = in_memory();
    report(&service, "doc", 10, "completed", "pdf");
    service.drain_blocking().unwrap();
    let refused = run(service.prune(&finished(Kind::Succeeded))).unwrap_err();
    assert!(matches!(refused, SubmitError::Draining), "{refused}");
    assert_eq!(refused.outcome(), Outcome::NotApplied);
}
