//! A store that has lived, for what is done to it afterwards.

use std::sync::Arc;

use super::machine::{Bytes, Machine, Random};
use super::power::{Home, Script, first_seed};
use super::*;
use crate::model::JobRecord;
use crate::store::memory;

pub const JOBS: u64 = 800;

pub fn name(number: u64) -> JobId {
    JobId::parse(&format!("job-{:016x}", Random(number).next())).unwrap()
}

/// A store whose jobs are all in the tables, and what it knows of them.
pub struct Lived {
    pub home: Home,
    files: [Bytes; 2],
    pub jobs: Vec<(JobId, Arc<JobRecord>)>,
    /// The oracle, which lived the same.
    pub known: Arc<dyn ReadStore>,
}

impl Lived {
    pub fn new() -> Self {
        let (home, before) = Home::new();
        let machine = Machine::with(before);
        let (mut write, read) = home.open(&machine).unwrap();
        let (mut oracle, known) = memory::open(home.options());
        let mut script = Script::new(first_seed());
        for status in ["queued", "processing", "error"] {
            let update = |number| Update::status(name(number).as_str(), status).unwrap();
            for part in 0..4 {
                let all = (0..JOBS).filter(|number| number % 4 == part).map(update).collect();
                let batch = [Request::new(all)];
                write.append(&batch, TimestampMs(NOW)).unwrap();
                oracle.append(&batch, TimestampMs(NOW)).unwrap();
                script.rest(&mut *write, &*read);
            }
        }
        let jobs = (0..JOBS).map(name).map(|id| (id.clone(), read.get(&id).unwrap().unwrap()));
        let jobs = jobs.collect();
        drop(read);
        write.close().unwrap();
        Self { home, files: machine.files(), jobs, known }
    }

    /// A running store that keeps next to nothing in memory.
    pub fn open(&self) -> (Sides, Machine) {
        self.open_with(16 << 10)
    }

    /// The same, with so much memory for pages.
    pub fn open_with(&self, cache_bytes: usize) -> (Sides, Machine) {
        let machine = Machine::with(self.files.clone());
        let options = StoreOptions { cache_bytes, ..self.home.options() };
        (Home::open_with(options, OpenHooks::default(), &machine).unwrap(), machine)
    }
}

/// Looks all jobs up, and says how often the disk was read for it.
fn reads_of_a_walk(read: &dyn ReadStore, machine: &Machine) -> usize {
    let before = machine.reads();
    for number in 0..JOBS {
        assert!(read.get(&name(number)).unwrap().is_some());
    }
    machine.reads() - before
}

#[test]
fn pages_in_memory_stay_within_their_bound() {
    let lived = Lived::new();
    let ((write, read), machine) = lived.open();
    let (first, second) = (reads_of_a_walk(&*read, &machine), reads_of_a_walk(&*read, &machine));
    assert!(second > JOBS as usize / 2, "{first} reads, then {second}");
    drop((write, read));
    // The control: with room for all of them they are read once.
    let ((_write, read), machine) = lived.open_with(64 << 20);
    let _ = reads_of_a_walk(&*read, &machine);
    assert_eq!(reads_of_a_walk(&*read, &machine), 0);
}
