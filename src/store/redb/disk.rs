//! The file under redb: every write and sync counted, and nothing written before it is sure.
//!
//! redb repairs and commits while it opens a file. So that a file which is refused in the end stays
//! untouched, the disk holds back all changes while the store opens, and [`Hold::release`] lets
//! them through in their order, syncs included, once everything was found whole.

mod blocks;
mod held;

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use redb::{BackendError, StorageBackend};

use self::blocks::Blocks;
use self::held::{Held, Operation};
use crate::store::StoreError;
use crate::telemetry::BLOCK_CHANGED;

/// What the store asked the system for, since it was opened. Clones share their numbers.
#[derive(Clone, Debug, Default)]
pub struct DiskCounters {
    written_bytes: Arc<AtomicU64>,
    syncs: Arc<AtomicU64>,
    length_bytes: Arc<AtomicU64>,
}

impl DiskCounters {
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// The length of the file; it may hold holes.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes.load(Ordering::Relaxed)
    }
}

/// The first thing that a file refused, which fences it off: after it, nothing more is written or
/// synced through this handle. Clones share it.
#[derive(Clone)]
pub struct Trouble {
    cause: Arc<OnceLock<StoreError>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trouble").field("cause", &self.cause).finish_non_exhaustive()
    }
}

impl Trouble {
    /// `wake` is called when something was refused.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { cause: Arc::default(), wake }
    }

    pub fn cause(&self) -> Option<&StoreError> {
        self.cause.get()
    }

    /// Notes why the file is not to be used any more.
    pub fn note(&self, error: StoreError) {
        if self.cause.set(error).is_ok() {
            (self.wake)();
        }
    }

    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            self.note(refused(error));
        })
    }

    /// For everything that changes the file.
    fn fence(&self) -> io::Result<()> {
        match self.cause() {
            None => Ok(()),
            Some(cause) => Err(io::Error::other(format!("fenced off: {cause}"))),
        }
    }
}

/// What the system refused.
pub fn refused(error: &io::Error) -> StoreError {
    let what = error.to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(what),
        _ => StoreError::Failed(what),
    }
}

/// Whether redb's own locks of the file are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    Taken,
    /// The handle that failed has them until it is dropped; `LOCK` keeps other processes out.
    Skipped,
}

/// A backend that counts, can hold changes back, and hands everything else on, locks too.
#[derive(Debug)]
pub struct Disk {
    inner: Backend,
    counters: DiskCounters,
    trouble: Trouble,
    locks: Locks,
    hold: Arc<Hold>,
    /// If what is read must be what was written.
    blocks: Option<Blocks>,
}

/// Where the bytes of a file are: the file itself, or what a test puts in its place.
pub type Backend = Arc<dyn StorageBackend>;

impl Disk {
    /// A disk that holds back its changes until the second value lets them through.
    ///
    /// # Errors
    /// If the length of the file cannot be read.
    pub fn holding(
        inner: Backend,
        counters: DiskCounters,
        trouble: Trouble,
        locks: Locks,
    ) -> io::Result<(Self, Arc<Hold>)> {
        let held = RwLock::new(Some(Held::new(inner.len()?)));
        let is_held = AtomicBool::new(true);
        #[cfg(test)]
        is_held.store(!tests::HOLDS_NOTHING.get(), Ordering::Relaxed);
        let (of_hold, noted) = (inner.clone(), trouble.clone());
        let hold = Arc::new(Hold { inner: of_hold, trouble: noted, is_held, held });
        Ok((Self { inner, counters, trouble, locks, hold: hold.clone(), blocks: None }, hold))
    }

    /// From now on a block that the disk changed by itself reads as a blank one.
    ///
    /// # Errors
    /// If the length of the file cannot be read.
    pub fn verifying(self) -> io::Result<Self> {
        #[cfg(test)]
        if tests::BELIEVES_BLOCKS.get() {
            return Ok(self);
        }
        let blocks = Some(Blocks::new(self.inner.len()?));
        Ok(Self { blocks, ..self })
    }

    fn read_any(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.hold.look(|held| held.read(&*self.inner, offset, out))? {
            Some(()) => Ok(()),
            None => self.trouble.watch(self.inner.read(offset, out)),
        }
    }
}

/// The changes that a disk holds back.
#[derive(Debug)]
pub struct Hold {
    inner: Backend,
    /// That of the disk: redb sees nothing of a release, and would write and sync on through the
    /// same handle when it is dropped.
    trouble: Trouble,
    /// Spares the lock once nothing is held any more.
    is_held: AtomicBool,
    held: RwLock<Option<Held>>,
}

impl Hold {
    /// Does what was held back, in its order, and holds nothing back from now on.
    ///
    /// # Errors
    /// What the file refuses, which fences it off; it is then as after a crash at that point.
    pub fn release(&self) -> io::Result<()> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let operations = held.take().map(|held| held.operations).unwrap_or_default();
        for operation in operations {
            let done = match operation {
                Operation::Write(offset, data) => self.inner.write(offset, &data),
                Operation::SetLength(length) => self.inner.set_len(length),
                Operation::Sync => self.inner.sync_data(),
            };
            #[cfg(test)]
            if tests::RELEASE_NOTES_NOTHING.get() {
                done?;
                continue;
            }
            self.trouble.watch(done)?;
        }
        self.is_held.store(false, Ordering::Release);
        Ok(())
    }

    /// Calls `act` with what is held, or gives `None` if nothing is held back any more.
    fn look<T>(&self, act: impl FnOnce(&Held) -> io::Result<T>) -> io::Result<Option<T>> {
        if !self.is_held.load(Ordering::Acquire) {
            return Ok(None);
        }
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(act).transpose()
    }

    /// As [`look`](Self::look), to change it.
    fn change<T>(&self, act: impl FnOnce(&mut Held) -> io::Result<T>) -> io::Result<Option<T>> {
        if !self.is_held.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.as_mut().map(act).transpose()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let held = self.hold.look(|held| Ok(held.length))?;
        let length = held.map_or_else(|| self.trouble.watch(self.inner.len()), Ok)?;
        self.counters.length_bytes.store(length, Ordering::Relaxed);
        Ok(length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_any(offset, out)?;
        let Some(blocks) = &self.blocks else { return Ok(()) };
        if blocks.are_whole(offset, out) {
            return Ok(());
        }
        // It may have been misread.
        self.read_any(offset, out)?;
        if !blocks.are_whole(offset, out) && blocks.blank(offset, out) {
            tracing::error!(
                event = BLOCK_CHANGED,
                offset_bytes = offset,
                "The disk changed a page of the tables: what needs it is refused"
            );
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.trouble.fence()?;
        if self.hold.change(|held| held.set_length(length))?.is_none() {
            self.trouble.watch(self.inner.set_len(length))?;
        }
        if let Some(blocks) = &self.blocks {
            blocks.set_length(length);
        }
        self.counters.length_bytes.store(length, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.trouble.fence()?;
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        match self.hold.change(Held::sync)? {
            Some(()) => Ok(()),
            None => self.trouble.watch(self.inner.sync_data()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.trouble.fence()?;
        self.counters.written_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        if let Some(blocks) = &self.blocks {
            blocks.note_written(offset, data);
        }
        match self.hold.change(|held| held.write(&*self.inner, offset, data))? {
            Some(()) => Ok(()),
            None => self.trouble.watch(self.inner.write(offset, data)),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match self.locks {
            Locks::Taken => self.inner.try_lock_range(start, end),
            Locks::Skipped => Ok(true),
        }
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        match self.locks {
            Locks::Taken => self.inner.try_lock_shared_range(start, end),
            Locks::Skipped => Ok(true),
        }
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match self.locks {
            Locks::Taken => self.inner.lock_range(start, end),
            Locks::Skipped => Ok(()),
        }
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match self.locks {
            Locks::Taken => self.inner.lock_shared_range(start, end),
            Locks::Skipped => Ok(()),
        }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match self.locks {
            Locks::Taken => self.inner.unlock_range(start, end),
            Locks::Skipped => Ok(()),
        }
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match self.locks {
            Locks::Taken => self.inner.query_lock_range(start, end),
            Locks::Skipped => Ok(false),
        }
    }
}

#[cfg(test)]
pub mod tests;
