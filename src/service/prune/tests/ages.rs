//! Jobs grow old by the time that servers ran: whatever the wall clock said, over stops and kills,
//! and nothing that is younger ever goes.

use std::collections::BTreeMap;

use super::*;
use crate::service::retention::{Keep, RetentionOptions};

const YEAR_1973: u64 = 100_000_000_000;
const DAY_MS: u64 = 86_400_000;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A machine with one data directory, and how long its servers ran in all.
struct Machine {
    directory: tempfile::TempDir,
    service: Service,
    clock: ManualClock,
    ran: Duration,
    /// What stops and kills may have taken of the ages.
    lost: Duration,
}

/// How one life ends and the next begins, whose clock shows another time.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// The clock is set while the server runs.
    Jump,
    Stop,
    /// The files are as a kill leaves them.
    Kill,
}

impl Machine {
    fn new(wall: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (service, clock) = on_disk(directory.path(), wall);
        Self { directory, service, clock, ran: Duration::ZERO, lost: Duration::ZERO }
    }

    fn report(&self, name: &str, jobs: usize) {
        report(&self.service, name, jobs, "completed", "pdf");
    }

    /// Lets time pass, and a minute in which what is then due can be folded.
    fn pass(&mut self, by: Duration) {
        for by in [by, MINUTE] {
            self.clock.advance(by);
            self.ran += by;
            self.look();
        }
    }

    /// Waits until the writer has looked at the clock and no fold goes on.
    fn look(&self) {
        let turns = self.service.turns();
        self.service.poke();
        while self.service.turns() < turns + 2 || self.service.stats().store.is_folding {
            std::thread::yield_now();
        }
    }

    fn go_on(&mut self, how: Break, wall: u64) {
        match how {
            Break::Jump => return self.clock.set_wall(TimestampMs(wall)),
            Break::Stop => {
                self.service.drain_blocking().unwrap();
                self.lost += MINUTE;
            }
            Break::Kill => {
                self.look();
                let left = tempfile::tempdir().unwrap();
                for file in std::fs::read_dir(&self.directory).unwrap().map(Result::unwrap) {
                    std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
                }
                self.service.drain_blocking().unwrap();
                self.directory = left;
                // An hour until an empty batch takes the age along, and what its fold waits for.
                self.lost += HOUR + 2 * MINUTE;
            }
        }
        // Gone before the next opens the same directory.
        self.service = in_memory().0;
        (self.service, self.clock) = on_disk(self.directory.path(), wall);
    }

    fn prune_older_than(&self, age: Duration) -> u64 {
        let (removed, more) = prune(&self.service, &older_than(age));
        assert!(!more);
        removed
    }
}

fn older_than(age: Duration) -> Prune {
    Prune { older_than: Some(age), ..Prune::default() }
}

fn retain(service: &Service, age: Duration) -> u64 {
    let succeeded = Keep { age, jobs_max: 0 };
    run(service.retain(&RetentionOptions { succeeded, ..RetentionOptions::default() })).unwrap()
}

#[test]
fn jobs_go_once_servers_ran_so_long_whatever_the_clock_says() {
    let age = 30 * DAY;
    for walls in [
        // A box without a battery, whose clock is set later.
        [YEAR_1973, NOW, NOW, NOW],
        // A visit to 2100, and a beginning there.
        [NOW, YEAR_2100, NOW, NOW],
        [YEAR_2100, NOW, NOW, NOW],
        // Forth and back a day.
        [NOW, NOW + DAY_MS, NOW - DAY_MS, NOW],
        // Off for ten days at a time.
        [NOW, NOW + 11 * DAY_MS, NOW + 49 * DAY_MS, NOW + 61 * DAY_MS],
    ] {
        for how in [Break::Jump, Break::Stop, Break::Kill] {
            let mut machine = Machine::new(walls[0]);
            machine.report("early", 10);
            machine.pass(DAY);
            machine.go_on(how, walls[1]);
            machine.report("late", 10);
            machine.pass(28 * DAY);
            assert_eq!(machine.prune_older_than(age), 0, "{walls:?}, {how:?}: 29 days");
            machine.go_on(how, walls[2]);
            machine.report("young", 10);
            machine.pass(DAY + HOUR);
            assert_eq!(machine.prune_older_than(age), 10, "{walls:?}, {how:?}: 30 days");
            machine.go_on(how, walls[3]);
            machine.pass(DAY);
            assert_eq!(retain(&machine.service, age), 10, "{walls:?}, {how:?}: 31 days");
            let young = JobId::parse("young-0").unwrap();
            assert!(machine.service.get(&young).unwrap().is_some());
            assert_eq!(machine.service.counts().0.total(), 10);
        }
    }
}

#[test]
fn the_oracle_judges_alike() {
    let directory = tempfile::tempdir().unwrap();
    for (service, clock) in [in_memory(), on_disk(directory.path(), NOW)] {
        for wall in [YEAR_2100, NOW, YEAR_1973] {
            report(&service, &format!("before-{wall}"), 10, "completed", "pdf");
            clock.advance(DAY);
            clock.set_wall(TimestampMs(wall));
        }
        assert_eq!(prune(&service, &older_than(2 * DAY)), (10, false));
        assert_eq!(prune(&service, &older_than(2 * DAY - MINUTE)), (10, false));
        assert_eq!(retain(&service, DAY - MINUTE), 10);
        service.drain_blocking().unwrap();
    }
}

#[test]
fn seconds_count_after_days_without_a_server() {
    let mut machine = Machine::new(NOW);
    machine.report("a", 1);
    machine.go_on(Break::Stop, NOW + 10 * DAY_MS);
    machine.report("b", 1);
    machine.clock.advance(Duration::from_secs(2));
    assert_eq!(machine.prune_older_than(Duration::from_secs(2)), 0, "not longer than that");
    machine.clock.advance(Duration::from_millis(1));
    assert_eq!(machine.prune_older_than(Duration::from_secs(2)), 2);
}

#[test]
fn time_in_which_nothing_came_counts_over_stops_and_kills() {
    for how in [Break::Stop, Break::Kill] {
        let mut machine = Machine::new(NOW);
        machine.report("doc", 10);
        for _ in 0..3 {
            machine.pass(11 * DAY);
            machine.go_on(how, NOW);
        }
        assert_eq!(machine.prune_older_than(34 * DAY), 0);
        assert_eq!(machine.prune_older_than(32 * DAY), 10, "{how:?}");
    }
}

/// Jobs of a machine, by their numbers: how long servers had run at their last change, and what
/// was lost then.
#[derive(Default)]
struct Known(BTreeMap<u64, (Duration, Duration)>);

/// What other rules would have done: young jobs removed, old ones kept.
#[derive(Debug, Default)]
struct Controls {
    /// `updated_at` against the wall clock.
    lost_by_wall: u64,
    stuck_by_wall: u64,
    /// `updated_at` against the clock of ages, which the wall clock leaves behind.
    stuck_by_ages: u64,
}

impl Known {
    /// Prunes, and compares what is left with the time that servers ran.
    fn prune(
        &mut self,
        machine: &Machine,
        age: Duration,
        by_retention: bool,
        controls: &mut Controls,
    ) {
        let before = |now: Duration| {
            TimestampMs(u64::try_from(now.saturating_sub(age).as_millis()).unwrap())
        };
        let by_wall = before(Duration::from_millis(machine.service.now().0));
        let by_ages = before(Duration::from_millis(YEAR_1973) + machine.ran);
        let job = |number: &u64| {
            let job_id = JobId::parse(&format!("doc-{number}-0")).unwrap();
            machine.service.get(&job_id).unwrap()
        };
        let updated: Vec<_> = self.0.keys().map(|number| job(number).unwrap().updated_at).collect();
        let known = self.0.len() as u64;
        let removed = if by_retention {
            retain(&machine.service, age)
        } else {
            machine.prune_older_than(age)
        };
        let mut updated = updated.into_iter();
        self.0.retain(|number, (changed, lost)| {
            let (ran, lost) = (machine.ran - *changed, machine.lost - *lost);
            let updated_at = updated.next().unwrap();
            let is_there = job(number).is_some();
            let surely = age + age / 31 + lost + Duration::from_secs(1);
            assert!(is_there || ran > age, "doc-{number} ran {ran:?} and went at {age:?}");
            assert!(!is_there || ran <= surely, "doc-{number} ran {ran:?}, stays at {age:?}");
            controls.lost_by_wall += u64::from(updated_at < by_wall && ran <= age);
            controls.stuck_by_wall += u64::from(updated_at >= by_wall && ran > surely);
            controls.stuck_by_ages += u64::from(updated_at >= by_ages && ran > surely);
            is_there
        });
        assert_eq!(removed, known - self.0.len() as u64);
    }
}

/// Reports, time, clocks that jump, stops, kills and prunes in any order; with
/// `JOBSLATE_AGE_ROUNDS` for longer.
#[test]
fn in_any_history_old_jobs_go_and_no_younger_one() {
    const STEPS: u64 = 60;
    let (rounds, first) = (number_of("JOBSLATE_AGE_ROUNDS", 8), number_of("JOBSLATE_SEED", 1));
    let (mut controls, mut breaks, mut removed, mut judged) = (Controls::default(), 0, 0, 0);
    for seed in first..first + rounds {
        println!("seed: JOBSLATE_SEED={seed}");
        let mut random = Random(seed);
        let mut machine = Machine::new(YEAR_1973);
        let mut known = Known::default();
        for _ in 0..STEPS {
            match random.below(10) {
                0..=3 => {
                    let number = random.below(30);
                    machine.report(&format!("doc-{number}"), 1);
                    known.0.insert(number, (machine.ran, machine.lost));
                }
                4..=6 => machine.pass(Duration::from_secs(1 << random.below(20))),
                7 => {
                    let how = random.one_of([Break::Jump, Break::Stop, Break::Kill]);
                    let walls = [YEAR_1973, NOW, NOW + DAY_MS, NOW - DAY_MS, YEAR_2100];
                    machine.go_on(how, random.one_of(walls));
                    breaks += 1;
                }
                _ => {
                    let age = Duration::from_secs(1 << random.below(22));
                    let before = known.0.len();
                    known.prune(&machine, age, random.below(2) == 0, &mut controls);
                    judged += before;
                    removed += before - known.0.len();
                }
            }
        }
        machine.service.drain_blocking().unwrap();
    }
    println!("{rounds} rounds, {breaks} breaks, {judged} judged, {removed} removed, {controls:?}");
    assert!(removed > 0);
    // By the wall clock young jobs would go, and old ones stay for ever, by a mix of both, too.
    assert!(controls.lost_by_wall > 0 && controls.stuck_by_wall > 0, "{controls:?}");
    assert!(controls.stuck_by_ages > 0, "{controls:?}");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_of<T: Copy, const COUNT: usize>(&mut self, values: [T; COUNT]) -> T {
        values[self.below(COUNT as u64) as usize]
    }
}
