//! A machine whose power can be cut: the bytes of a store's two files in memory, everything that
//! was done to them, and what of it a disk may keep.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, DatabaseError, StorageBackend};

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

const PAGE_BYTES: usize = 4_096;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

type Page = [u8; PAGE_BYTES];

/// The bytes of a file, in pages that copies share.
#[derive(Clone, Debug, Default)]
pub struct Bytes {
    pages: HashMap<usize, Arc<Page>>,
    length: usize,
}

impl Bytes {
    fn read(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (place, byte_range) in pieces(offset, out.len()) {
            let out = &mut out[byte_range];
            let start = place % PAGE_BYTES;
            match self.pages.get(&(place / PAGE_BYTES)) {
                Some(page) => out.copy_from_slice(&page[start..start + out.len()]),
                None => out.fill(0),
            }
        }
        Ok(())
    }

    /// A write behind the end makes the file longer, as it does on a disk.
    fn write(&mut self, offset: usize, data: &[u8]) {
        for (place, byte_range) in pieces(offset, data.len()) {
            let data = &data[byte_range];
            let page = self.pages.entry(place / PAGE_BYTES);
            let page = Arc::make_mut(page.or_insert_with(|| Arc::new([0; PAGE_BYTES])));
            let start = place % PAGE_BYTES;
            page[start..start + data.len()].copy_from_slice(data);
        }
        self.length = self.length.max(offset + data.len());
    }

    fn set_length(&mut self, length: usize) {
        self.pages.retain(|number, _| number * PAGE_BYTES < length);
        if let Some(page) = self.pages.get_mut(&(length / PAGE_BYTES)) {
            Arc::make_mut(page)[length % PAGE_BYTES..].fill(0);
        }
        self.length = length;
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, data) => self.write(*offset, data),
            Change::SetLength(length) => self.set_length(*length),
            Change::Sync => {}
        }
    }

    /// As [`apply`](Self::apply), as far as a disk that loses its power in the middle comes.
    fn apply_in_part(&mut self, change: &Change, random: &mut Random) {
        let Change::Write(offset, data) = change else { return self.apply(change) };
        for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
            if random.below(2) == 0 {
                self.write(offset + number * SECTOR_BYTES, sector);
            }
        }
    }
}

/// Where the parts of a range of a file begin that lie in one page each; and their places in the
/// range.
fn pieces(offset: usize, length: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = offset + done;
        let size = (PAGE_BYTES - place % PAGE_BYTES).min(length - done);
        let range = done..done + size;
        done += size;
        (size > 0).then_some((place, range))
    })
}

/// What is done to a file.
#[derive(Clone, Debug)]
pub enum Change {
    Write(usize, Arc<[u8]>),
    SetLength(usize),
    Sync,
}

/// What is counted to let one of it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Change,
    Read,
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

/// A machine that runs.
#[derive(Clone, Debug)]
pub struct Machine(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: [Bytes; 2],
    /// Everything that was done, and to which file.
    log: Vec<(usize, Change)>,
    reads: usize,
    fault: Option<Fault>,
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

    /// Turns bits of one byte of a file, as a disk does that nobody asked to.
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

    /// How much was read so far.
    pub fn reads(&self) -> usize {
        self.lock().reads
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Media for Machine {
    /// The real file is only there to be found.
    fn backend(&self, name: &str, _file: File) -> Result<Backend, DatabaseError> {
        let file = NAMES.iter().position(|it| *it == name).unwrap();
        Ok(Arc::new(Drive { machine: self.clone(), file }))
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
        if is_failing {
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
        if inner.fault.is_some_and(|fault| fault.is_due(Kind::Read, place)) {
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

/// How a disk takes a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// What was written before is there to stay.
    Kept,
    /// It says so, and nothing was done: the control that a test must find out.
    Lied,
}

/// Walks through what was done to a disk, and tells at each place what it may hold.
pub struct Disks<'a> {
    log: &'a [(usize, Change)],
    place: usize,
    syncs: Syncs,
    durable: [Bytes; 2],
    /// Changes that no sync has followed yet.
    pending: [Vec<&'a Change>; 2],
}

impl<'a> Disks<'a> {
    /// `before` is what the disk held before the first change of `log`.
    pub fn new(before: [Bytes; 2], log: &'a [(usize, Change)], syncs: Syncs) -> Self {
        Self { log, place: 0, syncs, durable: before, pending: [Vec::new(), Vec::new()] }
    }

    /// Goes on to the moment after `place` changes.
    pub fn go_to(&mut self, place: usize) {
        for (file, change) in &self.log[self.place..place] {
            let (durable, pending) = (&mut self.durable[*file], &mut self.pending[*file]);
            match change {
                Change::Sync if self.syncs == Syncs::Lied => {}
                Change::Sync => pending.drain(..).for_each(|change| durable.apply(change)),
                change => pending.push(change),
            }
        }
        self.place = place;
    }

    /// What is there if the power is cut now: all that was synced; of the rest everything, nothing,
    /// or any part, in any order of sectors.
    pub fn after_cut(&self, random: &mut Random) -> [Bytes; 2] {
        let mut files = self.durable.clone();
        let manner = random.below(4);
        for (bytes, pending) in files.iter_mut().zip(&self.pending) {
            for change in pending {
                match manner {
                    0 => {}
                    1 => bytes.apply(change),
                    _ => match random.below(3) {
                        0 => {}
                        1 => bytes.apply(change),
                        _ => bytes.apply_in_part(change, random),
                    },
                }
            }
        }
        files
    }
}
