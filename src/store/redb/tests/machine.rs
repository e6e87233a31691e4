//! A machine whose disk a test has in its hand: the bytes of a store's two files in memory,
//! everything that was done to them, and what of it fails.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, DatabaseError, StorageBackend};

pub use super::bytes::{Bytes, Change};
use crate::store::redb::disk::Backend;
use crate::store::redb::media::Media;

pub const NAMES: [&str; 2] = ["journal.redb", "tables.redb"];

/// Numbers that look random and are the same for the same seed (SplitMix64; Steele, Lea, Flood:
/// Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// What is counted to let one of it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Change,
    /// A change that is said to be done, and is not.
    LostChange,
    Read,
    /// What the protocol of the open does before it reads: a sync of the file, or that its pages
    /// are dropped from memory.
    Settling,
}

/// What the fault of a machine met first, by its kind; to be added up over machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    pub writes: u64,
    pub lengths: u64,
    pub syncs: u64,
    pub reads: u64,
}

impl Met {
    pub fn add(&mut self, other: Self) {
        self.writes += other.writes;
        self.lengths += other.lengths;
        self.syncs += other.syncs;
        self.reads += other.reads;
    }

    fn count(&mut self, change: &Change) {
        *match change {
            Change::Write(..) => &mut self.writes,
            Change::SetLength(_) => &mut self.lengths,
            Change::Sync => &mut self.syncs,
        } += 1;
    }
}

/// What happens to a file, as far as its order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The protocol of the open synced it.
    Synced,
    /// Its pages were dropped from memory.
    Forgotten,
    Read,
    Changed,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub of: Kind,
    /// The change, or the read, from 0, that fails.
    pub at: usize,
    /// True if all later ones fail too.
    pub is_lasting: bool,
}

impl Fault {
    fn is_due(self, of: Kind, place: usize) -> bool {
        self.of == of && (self.at == place || self.is_lasting && self.at < place)
    }
}

impl Inner {
    fn note(&mut self, file: usize, event: Event) {
        if self.events[file].last() != Some(&event) {
            self.events[file].push(event);
        }
    }

    fn settle(&mut self, name: &str, event: Event) -> io::Result<()> {
        let place = self.settlings;
        self.settlings += 1;
        if self.fault.is_some_and(|fault| fault.is_due(Kind::Settling, place)) {
            return Err(io::Error::other("the disk fails"));
        }
        self.note(place_of(name), event);
        Ok(())
    }
}

fn place_of(name: &str) -> usize {
    NAMES.iter().position(|it| *it == name).unwrap()
}

/// A machine that runs.
#[derive(Clone, Debug)]
pub struct Machine(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: [Bytes; 2],
    /// Everything that was done, and to which file.
    log: Vec<(usize, Change)>,
    reads: usize,
    settlings: usize,
    /// What happened to each file; what happens again and again is there once.
    events: [Vec<Event>; 2],
    fault: Option<Fault>,
    met: Met,
    /// Most bytes of both files, if there is a bound.
    capacity: Option<usize>,
    /// What is said to be free beside that.
    reserved: usize,
}

impl Machine {
    /// A machine whose disk holds `files`.
    pub fn with(files: [Bytes; 2]) -> Self {
        Self(Arc::new(Mutex::new(Inner { files, ..Inner::default() })))
    }

    pub fn failing(self, fault: Fault) -> Self {
        self.lock().fault = Some(fault);
        self
    }

    /// Nothing fails from now on.
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    /// The disk takes no more than `bytes`, and says that `reserved` less are free.
    pub fn bound(&self, bytes: Option<usize>, reserved: usize) {
        let mut inner = self.lock();
        (inner.capacity, inner.reserved) = (bytes, reserved);
    }

    /// Turns a bit of any byte of a file, as a disk does that nobody asked to; where, and which.
    pub fn turn(&self, file: usize, random: &mut Random) -> (usize, u8) {
        let offset = random.below(self.length(file) as u64) as usize;
        let bits = 1 << random.below(8);
        self.flip(file, offset, bits);
        (offset, bits)
    }

    /// Turns bits of one byte of a file.
    pub fn flip(&self, file: usize, offset: usize, bits: u8) {
        let mut inner = self.lock();
        let mut byte = [0];
        inner.files[file].read(offset, &mut byte).unwrap();
        inner.files[file].write(offset, &[byte[0] ^ bits]);
    }

    /// Bytes that a file has.
    pub fn length(&self, file: usize) -> usize {
        self.lock().files[file].length
    }

    /// Bytes that both files have.
    pub fn used(&self) -> usize {
        self.lock().files.iter().map(|it| it.length).sum()
    }

    pub fn files(&self) -> [Bytes; 2] {
        self.lock().files.clone()
    }

    pub fn log(&self) -> Vec<(usize, Change)> {
        self.lock().log.clone()
    }

    /// How much was done so far.
    pub fn changes(&self) -> usize {
        self.lock().log.len()
    }

    /// The changes of the file that refused the change `at`, which came after it.
    pub fn changes_behind(&self, at: usize) -> usize {
        let log = &self.lock().log;
        log[at + 1..].iter().filter(|(file, _)| *file == log[at].0).count()
    }

    /// What the fault met first.
    pub fn met(&self) -> Met {
        self.lock().met
    }

    /// What happened to a file.
    pub fn events(&self, file: usize) -> Vec<Event> {
        self.lock().events[file].clone()
    }

    /// How much was read so far.
    pub fn reads(&self) -> usize {
        self.lock().reads
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Media for Machine {
    fn sync(&self, name: &str, _file: &File) -> io::Result<()> {
        self.lock().settle(name, Event::Synced)
    }

    fn forget(&self, name: &str, _file: &File) -> io::Result<()> {
        self.lock().settle(name, Event::Forgotten)
    }

    /// The real file is only there to be found: an empty one would be no store's.
    fn backend(&self, name: &str, mut file: File) -> Result<Backend, DatabaseError> {
        if file.metadata().unwrap().len() == 0 {
            file.write_all(b"see the machine").unwrap();
        }
        Ok(Arc::new(Drive { machine: self.clone(), file: place_of(name) }))
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        let (used, inner) = (self.used(), self.lock());
        let free = |capacity: usize| capacity.saturating_sub(used + inner.reserved) as u64;
        Ok(inner.capacity.map_or(u64::MAX, free))
    }
}

/// One of the files.
#[derive(Debug)]
struct Drive {
    machine: Machine,
    file: usize,
}

impl Drive {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut inner = self.machine.lock();
        let place = inner.log.len();
        let is_failing = inner.fault.is_some_and(|fault| fault.is_due(Kind::Change, place));
        let end = match &change {
            Change::Write(offset, data) => offset + data.len(),
            Change::SetLength(length) => *length,
            Change::Sync => 0,
        };
        let grown = end.saturating_sub(inner.files[self.file].length);
        let used: usize = inner.files.iter().map(|it| it.length).sum();
        if grown > 0 && inner.capacity.is_some_and(|capacity| used + grown > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // What failed is in the log all the same: a disk may have done it.
        inner.log.push((self.file, change.clone()));
        inner.note(self.file, Event::Changed);
        if inner.fault.is_some_and(|fault| fault.is_due(Kind::LostChange, place)) {
            return Ok(());
        }
        if is_failing {
            if inner.fault.is_some_and(|fault| fault.at == place) {
                inner.met.count(&change);
            }
            return Err(io::Error::other("the disk fails"));
        }
        inner.files[self.file].apply(&change);
        Ok(())
    }
}

impl StorageBackend for Drive {
    fn len(&self) -> io::Result<u64> {
        Ok(self.machine.lock().files[self.file].length as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.machine.lock();
        let place = inner.reads;
        inner.reads += 1;
        inner.note(self.file, Event::Read);
        if let Some(fault) = inner.fault
            && fault.is_due(Kind::Read, place)
        {
            inner.met.reads += u64::from(fault.at == place);
            return Err(io::Error::other("the disk fails"));
        }
        inner.files[self.file].read(offset as usize, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::SetLength(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Change::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset as usize, data.into()))
    }

    fn try_lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}
