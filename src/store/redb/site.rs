//! What stays when a file of the store is opened again: the directory, the options, the media.

use std::fs::File;
use std::sync::Arc;

use redb::{Builder, Database, ReadableDatabase};

use super::codec::decode_identity;
use super::directory::{
    Directory, FORMATS_READ, JOURNAL, Reread, TABLES, WAY_BACK, damaged, failed, other_format,
};
use super::disk::{Disk, DiskCounters, Hold, Locks, Trouble};
use super::media::Media;
use super::schema::{IDENTITY, IDENTITY_KEY};
use crate::store::{OpenError, OpenHooks, StoreError, StoreOptions};

/// The journal's part of the page cache: its pages are written once and not read again.
const JOURNAL_CACHE_PART: usize = 8;

/// Where a store is, and how its files are opened.
#[derive(Debug)]
pub struct Site {
    pub directory: Arc<Directory>,
    pub options: StoreOptions,
    pub hooks: OpenHooks,
    pub media: Arc<dyn Media>,
    /// Of the journal and of the tables, over all openings.
    pub counters: [DiskCounters; 2],
}

/// One of the two files, open. Nothing is written to it before `hold` lets it through.
#[derive(Debug)]
pub struct StoreFile {
    pub db: Database,
    pub hold: Arc<Hold>,
    pub trouble: Trouble,
}

impl Site {
    pub fn new(
        directory: Arc<Directory>,
        options: StoreOptions,
        hooks: OpenHooks,
        media: Arc<dyn Media>,
    ) -> Self {
        Self { directory, options, hooks, media, counters: Default::default() }
    }

    /// Opens a file of an initialised store with redb, every page verified.
    ///
    /// # Errors
    /// [`OpenError`]: damaged, of another store, or refused by the system; nothing was changed.
    pub fn open(&self, name: &str, store_id: &str) -> Result<StoreFile, OpenError> {
        let file = self.directory.open_file(name, Reread::AfterUncleanStop, &*self.media)?;
        self.with(name, file, Locks::Taken).and_then(|file| self.identified(name, store_id, file))
    }

    /// As [`open`](Self::open), beside a handle that failed and is fenced off: read from the disk,
    /// not from pages that the system wrongly believes clean.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn reopen(&self, name: &str, store_id: &str) -> Result<StoreFile, OpenError> {
        let file = self.directory.open_file(name, Reread::Always, &*self.media)?;
        self.with(name, file, Locks::Skipped).and_then(|file| self.identified(name, store_id, file))
    }

    /// Makes a file of a new store.
    ///
    /// # Errors
    /// [`OpenError::Failed`]: the system refused.
    pub fn create(&self, name: &str) -> Result<StoreFile, OpenError> {
        self.with(name, self.directory.create_file(name)?, Locks::Taken)
    }

    /// `StoreError::Full` while less is free than the reserve. A system that does not say how much
    /// is free is not asked for more.
    pub fn room(&self) -> Result<(), StoreError> {
        let reserve = self.options.disk_reserve_bytes;
        match self.media.free_bytes(&self.options.directory) {
            Ok(free) if free < reserve => Err(StoreError::Full(format!(
                "{free} bytes are free where the store is, and {reserve} are its reserve"
            ))),
            _ => Ok(()),
        }
    }

    fn with(&self, name: &str, file: File, locks: Locks) -> Result<StoreFile, OpenError> {
        let path = self.directory.path_of(name);
        let journal_cache = self.options.cache_bytes / JOURNAL_CACHE_PART;
        let (cache_bytes, counters) = match name {
            JOURNAL => (journal_cache, &self.counters[0]),
            _ => (self.options.cache_bytes - journal_cache, &self.counters[1]),
        };
        let backend = self.media.backend(name, file).map_err(|error| failed(&path, error))?;
        let trouble = Trouble::new(self.hooks.wake.clone());
        let disk = Disk::holding(backend, counters.clone(), trouble.clone(), locks);
        let (disk, hold) = disk.map_err(|error| failed(&path, error))?;
        // The segments of the journal carry sums of their own, and a page of it that nobody needs
        // any more may well be damaged.
        let disk = if name == TABLES { disk.verifying() } else { Ok(disk) };
        let disk = disk.map_err(|error| failed(&path, error))?;
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true);
        #[cfg(test)]
        builder.set_check_integrity_on_open(!tests::READS_UNVERIFIED.get());
        let opened = builder.create_with_backend(disk);
        let db = opened.map_err(|error| self.refused(name, &error.into()))?;
        Ok(StoreFile { db, hold, trouble })
    }

    /// redb's reasons for not opening a file, by who must act.
    fn refused(&self, name: &str, error: &redb::Error) -> OpenError {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        let path = self.directory.path_of(name);
        #[cfg(test)]
        if tests::TAKES_ERRORS_FOR_DAMAGE.get() {
            return damaged(&path, &error.to_string(), WAY_BACK);
        }
        match error {
            // redb reports a file that is not its own as invalid data, and one that ends too early
            // as an unexpected end.
            redb::Error::Io(io) if !matches!(io.kind(), InvalidData | UnexpectedEof) => {
                failed(&path, error)
            }
            redb::Error::PreviousIo | redb::Error::DatabaseAlreadyOpen => failed(&path, error),
            _ => damaged(&path, &error.to_string(), WAY_BACK),
        }
    }

    /// The file, if it says that it belongs to the store.
    fn identified(
        &self,
        name: &str,
        store_id: &str,
        file: StoreFile,
    ) -> Result<StoreFile, OpenError> {
        let path = self.directory.path_of(name);
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let identity = file.db.begin_read()?.open_table(IDENTITY)?;
            Ok(identity.get(IDENTITY_KEY)?.map(|value| value.value().to_vec()))
        };
        let bytes = read().map_err(|error| self.refused(name, &error))?;
        let bytes = bytes.ok_or_else(|| damaged(&path, "it names no store", WAY_BACK))?;
        let identity = decode_identity(IDENTITY_KEY, &bytes);
        let (version, id) = identity.map_err(|it| damaged(&path, &it.0, WAY_BACK))?;
        if !FORMATS_READ.contains(&version) {
            return Err(other_format(&path, version));
        }
        if id != store_id {
            let what = format!("it belongs to store {id}, the directory to store {store_id}");
            return Err(damaged(&path, &what, WAY_BACK));
        }
        Ok(file)
    }
}

/// Opens both files at once: they are verified page by page, which takes a processor each.
///
/// # Errors
/// As `open` has them.
pub fn both(
    open: impl Fn(&str) -> Result<StoreFile, OpenError> + Sync,
) -> Result<[StoreFile; 2], OpenError> {
    #[cfg(test)]
    if tests::OPENS_IN_TURN.get() {
        return Ok([open(JOURNAL)?, open(TABLES)?]);
    }
    let (journal, tables) = std::thread::scope(|scope| {
        let journal = scope.spawn(|| open(JOURNAL));
        let tables = open(TABLES);
        (journal.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), tables)
    });
    Ok([journal?, tables?])
}

#[cfg(test)]
pub mod tests {
    std::thread_local! {
        /// For controls: both files are opened on this thread, whose switches they see.
        pub static OPENS_IN_TURN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
        /// For a control: what the system refused is said to be damage.
        pub static TAKES_ERRORS_FOR_DAMAGE: std::cell::Cell<bool> =
            const { std::cell::Cell::new(false) };
        /// For a control: the pages of a file are not verified when it is opened.
        pub static READS_UNVERIFIED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
}
