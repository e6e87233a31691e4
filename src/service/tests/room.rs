//! A disk without room: nothing is taken, the service lives on however long that lasts, and soon
//! after there is room it takes updates again, by its own timers.

use super::*;
use crate::model::TimestampMs;
use crate::store::redb::tests::machine::Machine;
use crate::store::redb::tests::power::Home;

const NOW: TimestampMs = TimestampMs(1_764_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
/// DESIGN, section 4: writes are back so soon after there is room.
const BACK_WITHIN: Duration = Duration::from_secs(15);

const HANG: Duration = Duration::from_mins(5);

/// A service on a machine, with time in the hand of the test.
struct Host {
    service: Service,
    machine: Machine,
    clock: ManualClock,
    /// Updates that were acknowledged.
    taken: u64,
    _home: Home,
}

impl Host {
    fn new(disk_reserve_bytes: u64) -> Self {
        let (home, before) = Home::new();
        let (machine, clock) = (Machine::with(before), ManualClock::at(NOW));
        let store = StoreOptions { disk_reserve_bytes, ..home.options() };
        let of_clock = Clock::Manual(clock.clone());
        let options = ServiceOptions { clock: of_clock, store, ..ServiceOptions::default() };
        let open = |store, hooks| Home::open_with(store, hooks, &machine);
        let service = Service::start(options, Arc::new(|_| ()), open).unwrap();
        let mut host = Self { service, machine, clock, taken: 0, _home: home };
        assert!(host.is_taken());
        host
    }

    /// Asks for one update.
    fn is_taken(&mut self) -> bool {
        let update = request(&[&format!("job-{}", self.taken)], Ack::Durable);
        match self.service.submit_blocking(update) {
            Ok(_) => {
                self.taken += 1;
                true
            }
            Err(SubmitError::StoreFailed { source: StoreError::Full(_), .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Lets time pass; the writer does what is due then.
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        let (turns, begun) = (self.service.turns(), std::time::Instant::now());
        while self.service.turns() < turns + 3 {
            assert!(begun.elapsed() < HANG, "the writer hangs");
            self.service.inner.queue.wake();
            std::thread::yield_now();
        }
    }

    /// After how much time an update is taken; `None` if it is not within `most`.
    fn taken_after(&mut self, most: Duration) -> Option<Duration> {
        let mut passed = Duration::ZERO;
        while !self.is_taken() {
            if passed >= most {
                return None;
            }
            self.pass(SECOND);
            passed += SECOND;
        }
        Some(passed)
    }

    /// Asks until an update is refused for want of room.
    fn fill(&mut self) {
        let before = self.taken;
        while self.is_taken() {
            assert!(self.taken < before + 100_000, "the disk is never full");
        }
    }

    /// Lets an hour pass without room.
    fn live_without_room(&mut self, capacity: usize) {
        self.machine.bound(Some(capacity), 0);
        self.service.poke();
        self.fill();
        (0..360).for_each(|_| self.pass(10 * SECOND));
        self.fill();
    }

    /// Gives the room back: updates are taken soon after, and none is lost.
    fn regain_room(mut self) {
        self.machine.bound(None, 0);
        let after = self.taken_after(2 * BACK_WITHIN).expect("there is room");
        println!("taken again after {after:?}");
        assert!(after <= BACK_WITHIN, "{after:?}");
        assert_eq!(self.service.counts().0.total(), self.taken);
        self.service.drain_blocking().unwrap();
    }
}

#[test]
fn a_disk_below_its_reserve_is_waited_for_and_updates_are_taken_soon_after() {
    let reserve = StoreOptions::default().disk_reserve_bytes;
    let mut host = Host::new(reserve);
    let capacity = host.machine.used() + reserve as usize - 1;
    host.live_without_room(capacity);
    // The control: as long as there is no room, nothing is taken.
    assert_eq!(host.taken_after(2 * BACK_WITHIN), None);
    assert_eq!(host.service.health(), HealthState::Full);
    // Nor is it who asks that finds the room, but the timer.
    host.machine.bound(None, 0);
    assert!(!host.is_taken());
    host.regain_room();
}

/// Some batches fit into what the files have; no reserve is kept that would refuse them.
#[test]
fn a_disk_that_takes_no_byte_more_is_waited_for_and_updates_are_taken_soon_after() {
    let mut host = Host::new(0);
    let capacity = host.machine.used();
    host.live_without_room(capacity);
    host.regain_room();
}
