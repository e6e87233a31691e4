//! The data directory: what is done to its files before redb sees them.
//!
//! ```text
//! LOCK           held by flock for the life of the process; says `clean` after a clean stop
//! STORE          store id and format; written and synced last, marks the directory as initialised
//! STORE.new      the same of a later format, until it takes the place of the old
//! INITIALISING   there while a new store is being made: what lies beside it holds no update
//! journal.redb   the recovery log
//! tables.redb    the folded state
//! ```
//!
//! What restores and backups leave there for a time is in [`placing`].
//!
//! Nothing is ever created over an initialised store: a file that is missing, empty or not a plain
//! file is refused, untouched, and the message names the way back.

mod placing;

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

pub use placing::Before;

use super::media::Media;
use crate::store::OpenError;

/// The layout of the two redb files; another number where another build could not read them. 5 has
/// shorter records, index rows and blocks of ids; folds write these beside those of format 4.
pub const FORMAT_VERSION: u32 = 5;
/// What this build reads. 1 to 3 are of builds before the first release, and not read.
pub const FORMATS_READ: std::ops::RangeInclusive<u32> = 4..=FORMAT_VERSION;
pub const JOURNAL: &str = "journal.redb";
pub const TABLES: &str = "tables.redb";
const LOCK: &str = "LOCK";
/// What `LOCK` says when the last stop was clean; while a process runs, it holds its number.
const CLEAN: &str = "clean\n";
const STORE: &str = "STORE";
const NEW_STORE: &str = "STORE.new";
const INITIALISING: &str = "INITIALISING";
const OWN_FILES: [&str; 5] = [LOCK, STORE, INITIALISING, JOURNAL, TABLES];

const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);

/// A locked data directory. Dropping it releases the lock.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: OwnedFd,
    lock: File,
    /// False if the last process did not stop cleanly.
    pub was_clean: bool,
}

impl Directory {
    /// Creates the directory if it is missing, checks that it is ours, and locks it.
    ///
    /// # Errors
    /// [`OpenError`]: in use, not a place for a store, or refused by the system.
    pub fn lock(path: &Path) -> Result<Self, OpenError> {
        let is_new = create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(path, e))?;
        let is_initialised = path.join(STORE).exists() || path.join(LOCK).exists();
        if !is_new && !is_initialised {
            refuse_foreign(path)?;
        }
        rustix::fs::fchmod(&handle, DIRECTORY_MODE).map_err(|e| failed(path, e))?;
        let flags = OFlags::RDWR | OFlags::CREATE;
        let mut lock = File::from(open_plain(&handle, path, LOCK, flags)?);
        let mut pid = String::new();
        let unreadable = |e: std::io::Error| failed(&path.join(LOCK), e);
        lock.read_to_string(&mut pid).map_err(unreadable)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let directory = path.display().to_string();
                return Err(OpenError::Locked { directory, pid: pid.trim().to_owned() });
            }
            Err(error) => return Err(failed(&path.join(LOCK), error)),
        }
        let was_clean = pid == CLEAN;
        let directory = Self { path: path.to_owned(), handle, lock, was_clean };
        directory.write_lock(&format!("{}\n", std::process::id()))?;
        Ok(directory)
    }

    /// Replaces the text of `LOCK`. A full disk is no reason not to open: an empty `LOCK` is
    /// allowed, and does not say `clean`.
    fn write_lock(&self, text: &str) -> Result<(), OpenError> {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        use std::os::unix::fs::FileExt;
        let emptied = self.lock.set_len(0);
        let written = emptied.and_then(|()| self.lock.write_all_at(text.as_bytes(), 0));
        match written {
            Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded) => Ok(()),
            written => written.map_err(|error| failed(&self.path.join(LOCK), error)),
        }
    }

    /// Marks the stop as clean and lets the next process in. Call it when both files are closed.
    ///
    /// # Errors
    /// [`OpenError::Failed`]; the next start then only takes more care.
    pub fn release(&self) -> Result<(), OpenError> {
        self.write_lock(CLEAN)?;
        let unlocked = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
        unlocked.map_err(|error| failed(&self.path.join(LOCK), error))
    }

    /// The id of the store that lives here; `None` in a directory that never held one.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] if there is a store without its `STORE` file, or a foreign one.
    pub fn store_id(&self) -> Result<Option<String>, OpenError> {
        let file = self.path.join(STORE);
        if self.path.join(INITIALISING).exists() || !file.exists() {
            return self.leftovers().map(|()| None);
        }
        let mut text = String::new();
        let mut store = File::from(open_plain(&self.handle, &self.path, STORE, OFlags::RDONLY)?);
        let damaged = |what: &str| damaged(&file, what, WAY_BACK);
        store.read_to_string(&mut text).map_err(|_| damaged("it is not text"))?;
        let mut lines = text.lines();
        let (title, format, id) = (lines.next(), lines.next(), lines.next());
        if title != Some("jobslate store") {
            return Err(damaged("it is not the mark of a jobslate store"));
        }
        let version = format.and_then(|it| it.strip_prefix("format ")).unwrap_or("missing");
        if !version.parse().is_ok_and(|it| FORMATS_READ.contains(&it)) {
            return Err(other_format(&file, version));
        }
        let id = id.and_then(|it| it.strip_prefix("id ")).filter(|it| !it.is_empty());
        id.map(|id| Some(id.to_owned())).ok_or_else(|| damaged("it names no store id"))
    }

    /// Clears what an interrupted first start left; refuses a store that lost its `STORE` file.
    fn leftovers(&self) -> Result<(), OpenError> {
        let is_interrupted = self.path.join(INITIALISING).exists();
        for name in [JOURNAL, TABLES, STORE] {
            let file = self.path.join(name);
            match (file.symlink_metadata().is_ok(), is_interrupted) {
                (false, _) => {}
                (true, true) => self.remove(name)?,
                (true, false) => {
                    let what = "it is here, but the STORE file that belongs to it is missing";
                    return Err(damaged(&file, what, WAY_BACK));
                }
            }
        }
        Ok(())
    }

    /// Notes that a store is being made, so that a crash before [`finish`](Self::finish) leaves
    /// nothing that looks like one.
    pub fn begin(&self) -> Result<(), OpenError> {
        self.write_small(INITIALISING, "a new store is being made here\n")
    }

    /// Marks the directory as initialised: from now on its files are expected. Until the last step,
    /// a start finds `INITIALISING`, and begins anew.
    pub fn finish(&self, store_id: &str) -> Result<(), OpenError> {
        self.write_small(STORE, &mark_of(store_id))?;
        self.remove(INITIALISING)
    }

    /// Marks a store of an older format as one of the present, before anything is written that only
    /// builds of the present format read. The files of the store keep the number that they were
    /// made with.
    ///
    /// # Errors
    /// [`OpenError::Failed`]: the mark is the old one or the new one.
    pub fn raise_format(&self, store_id: &str) -> Result<(), OpenError> {
        let (file, mark) = (self.path.join(STORE), mark_of(store_id));
        let before = std::fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
        if before == mark {
            return Ok(());
        }
        self.write_small(NEW_STORE, &mark)?;
        let renamed = rustix::fs::renameat(&self.handle, NEW_STORE, &self.handle, STORE);
        renamed.map_err(|error| failed(&file, error))?;
        self.sync()
    }

    /// Creates an empty file for a new store.
    pub fn create_file(&self, name: &str) -> Result<File, OpenError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        open_plain(&self.handle, &self.path, name, flags).map(File::from)
    }

    /// Opens a file of an initialised store: plain, not empty, synced, and read from the disk again
    /// as `reread` says.
    pub fn open_file(
        &self,
        name: &str,
        reread: Reread,
        media: &dyn Media,
    ) -> Result<File, OpenError> {
        let path = self.path.join(name);
        let file = match open_plain(&self.handle, &self.path, name, OFlags::RDWR) {
            Err(_) if path.symlink_metadata().is_err() => {
                return Err(damaged(&path, "it is missing", WAY_BACK));
            }
            file => File::from(file?),
        };
        let metadata = file.metadata().map_err(|e| failed(&path, e))?;
        if metadata.len() == 0 {
            return Err(damaged(&path, "it is empty", WAY_BACK));
        }
        rustix::fs::fchmod(&file, FILE_MODE).map_err(|e| failed(&path, e))?;
        let settled = self.settle_file(name, &file, reread, media);
        #[cfg(test)]
        let settled = if IGNORES_UNSETTLED_FILES.get() { Ok(()) } else { settled };
        settled.map_err(|e| failed(&path, e))?;
        // All of it is read in a moment, in the order of its trees: that is to say, in none. A
        // system that does not take the advice is slower, no more.
        let ahead = NonZeroU64::new(metadata.len().min(READ_AHEAD_BYTES_MAX));
        let _ = rustix::fs::fadvise(&file, 0, ahead, Advice::WillNeed);
        Ok(file)
    }

    /// Syncs a file, and has it read from the disk from then on, as `reread` says.
    fn settle_file(
        &self,
        name: &str,
        file: &File,
        reread: Reread,
        media: &dyn Media,
    ) -> std::io::Result<()> {
        media.sync(name, file)?;
        if !self.was_clean || reread == Reread::Always {
            media.forget(name, file)?;
        }
        Ok(())
    }

    /// Makes created and renamed names durable.
    pub fn sync(&self) -> Result<(), OpenError> {
        rustix::fs::fsync(&self.handle).map_err(|e| failed(&self.path, e))
    }

    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write_small(&self, name: &str, text: &str) -> Result<(), OpenError> {
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = File::from(open_plain(&self.handle, &self.path, name, flags)?);
        file.write_all(text.as_bytes()).map_err(|e| failed(&path, e))?;
        file.sync_all().map_err(|e| failed(&path, e))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        match rustix::fs::unlinkat(&self.handle, name, rustix::fs::AtFlags::empty()) {
            Ok(()) => self.sync(),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(&self.path.join(name), error)),
        }
    }
}

/// When a file is read from the disk instead of from pages that the kernel may wrongly believe
/// clean, as they are after a failed sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    AfterUncleanStop,
    Always,
}

/// As much of a file is read ahead: a box with little memory could not keep more until it is used.
const READ_AHEAD_BYTES_MAX: u64 = 1 << 30;

/// What to do about a store that is not whole.
pub const WAY_BACK: &str = "restore a backup with `jobslate restore FILE --data-dir DIR --force`, \
    or a copy of the whole data directory, or move it away and start with an empty one";

/// What to do about a store of another format.
const OTHER_BUILD: &str = "open it with the build that wrote it";

pub fn damaged(file: &Path, what: &str, way_back: &str) -> OpenError {
    let (file, what, way_back) = (file.display().to_string(), what.into(), way_back.into());
    OpenError::Damaged { file, what, way_back }
}

/// A store of another build.
pub fn other_format(file: &Path, version: impl std::fmt::Display) -> OpenError {
    let (oldest, newest) = (FORMATS_READ.start(), FORMATS_READ.end());
    let what = format!("the store's format is {version}, this build reads {oldest} to {newest}");
    damaged(file, &what, OTHER_BUILD)
}

/// The text of `STORE`.
fn mark_of(store_id: &str) -> String {
    format!("jobslate store\nformat {FORMAT_VERSION}\nid {store_id}\n")
}

pub fn failed(file: &Path, error: impl std::fmt::Display) -> OpenError {
    OpenError::Failed { file: file.display().to_string(), what: error.to_string() }
}

/// Makes the directory and its parents; true if it was not there.
fn create(path: &Path) -> Result<bool, OpenError> {
    use std::io::ErrorKind;
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(false);
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            failed(path, "data_dir or a part of it is not a directory")
        }
        _ => failed(path, error),
    })?;
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| failed(parent, error))?;
    Ok(true)
}

/// A directory of somebody else must not get our files, nor our permissions.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    let names = std::fs::read_dir(path).map_err(|error| failed(path, error))?;
    for name in names {
        let name = name.map_err(|error| failed(path, error))?.file_name();
        let is_ours = OWN_FILES.iter().any(|own| name == *own) || name == "lost+found";
        if !is_ours {
            let what = format!("it holds {name:?} and no jobslate store");
            return Err(damaged(path, &what, "choose an empty or a new directory"));
        }
    }
    Ok(())
}

/// Opens a plain file of the directory, without following a link.
fn open_plain(
    handle: &OwnedFd,
    directory: &Path,
    name: &str,
    flags: OFlags,
) -> Result<OwnedFd, OpenError> {
    let path = directory.join(name);
    // Without O_NONBLOCK a pipe in the file's place would hang the open.
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(handle, name, flags, FILE_MODE) {
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
            return Err(damaged(&path, "it is not a plain file", WAY_BACK));
        }
        file => file.map_err(|error| failed(&path, error))?,
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| failed(&path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(damaged(&path, "it is not a plain file", WAY_BACK));
    }
    Ok(file)
}

#[cfg(test)]
std::thread_local! {
    /// For a control: a file that cannot be synced, or dropped from memory, is read all the same.
    pub static IGNORES_UNSETTLED_FILES: std::cell::Cell<bool> =
        const { std::cell::Cell::new(false) };
}
