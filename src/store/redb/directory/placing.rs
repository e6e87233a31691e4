//! How a restored store takes the place of what a data directory held: whole, or not at all.
//!
//! ```text
//! jobslate.restoring/    the new store while it is made and checked; the next open removes it
//! jobslate.restored/     the same, once it is whole. The rename is the one moment that decides:
//!                        from then on each open moves its files to their places, until it is empty
//! jobslate-backup.tmp    the file of a backup, which has a name for a moment only
//! ```
//!
//! They are made under the lock, so that they stand beside `LOCK` alone: in a directory without one
//! such a name is somebody else's, and refused.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::{
    Directory, INITIALISING, JOURNAL, LOCK, STORE, TABLES, WAY_BACK, damaged, failed, open_plain,
};
use crate::store::OpenError;

const RESTORING: &str = "jobslate.restoring";
const RESTORED: &str = "jobslate.restored";
const SCRATCH: &str = "jobslate-backup.tmp";

impl Directory {
    /// Removes what a killed process left of a backup or an unfinished restore, and finishes a
    /// restore that was decided. Call it before anything else looks at the files.
    ///
    /// # Errors
    /// [`OpenError::Failed`]; the next open tries again.
    pub fn settle(&self) -> Result<(), OpenError> {
        self.remove(SCRATCH)?;
        self.remove_tree(RESTORING)?;
        if !self.path.join(RESTORED).exists() {
            return Ok(());
        }
        // A start that was interrupted would take the new files for its own.
        self.remove(INITIALISING)?;
        for name in [JOURNAL, TABLES, STORE] {
            let from = format!("{RESTORED}/{name}");
            match rustix::fs::renameat(&self.handle, &from, &self.handle, name) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(failed(&self.path.join(from), error)),
            }
        }
        self.sync()?;
        self.remove_tree(RESTORED)?;
        self.sync()
    }

    /// Where a new store is to be made that will take the place of the present one.
    pub fn restoring(&self) -> PathBuf {
        self.path.join(RESTORING)
    }

    /// Lets the store in [`restoring`](Self::restoring), which is whole, closed and synced, take
    /// the place of what is here. The first step decides; what it decided, the next open finishes.
    ///
    /// # Errors
    /// [`OpenError::Failed`]: nothing has changed, unless the system refused what follows the first
    /// step; then the next open finishes it.
    pub fn replace(&self) -> Result<(), OpenError> {
        let made = File::open(self.restoring()).and_then(|made| made.sync_all());
        made.map_err(|error| failed(&self.restoring(), error))?;
        let renamed = rustix::fs::renameat(&self.handle, RESTORING, &self.handle, RESTORED);
        renamed.map_err(|error| failed(&self.restoring(), error))?;
        self.sync()?;
        self.settle()
    }

    /// Removes what is left of a restore that was refused; of a directory that was not there
    /// before, everything.
    ///
    /// # Errors
    /// [`OpenError::Failed`]: something is left.
    pub fn withdraw(self, was: Before) -> Result<(), OpenError> {
        self.settle()?;
        match was {
            // What the last stop was, stays said.
            Before::Locked if self.was_clean => self.release(),
            Before::Locked => Ok(()),
            Before::Unlocked => self.remove(LOCK),
            Before::Missing => {
                self.remove(LOCK)?;
                let removed = std::fs::remove_dir(&self.path);
                removed.map_err(|error| failed(&self.path, error))
            }
        }
    }

    /// An empty file without a name.
    ///
    /// # Errors
    /// [`OpenError`]: the system gives none.
    pub fn scratch(&self) -> Result<File, OpenError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = open_plain(&self.handle, &self.path, SCRATCH, flags)?;
        let removed = rustix::fs::unlinkat(&self.handle, SCRATCH, AtFlags::empty());
        removed.map_err(|error| failed(&self.path.join(SCRATCH), error))?;
        Ok(File::from(file))
    }

    fn remove_tree(&self, name: &str) -> Result<(), OpenError> {
        let path = self.path.join(name);
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&path, error)),
            Ok(found) if !found.is_dir() => {
                return Err(damaged(&path, "it is not a directory", WAY_BACK));
            }
            Ok(_) => {}
        }
        std::fs::remove_dir_all(&path).map_err(|error| failed(&path, error))
    }
}

/// What a data directory was before it was locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Missing,
    /// There, and no store was ever opened in it.
    Unlocked,
    Locked,
}

impl Before {
    pub fn of(directory: &Path) -> Self {
        match (directory.exists(), directory.join(LOCK).exists()) {
            (false, _) => Self::Missing,
            (true, false) => Self::Unlocked,
            (true, true) => Self::Locked,
        }
    }
}
