//! Backups: one at once for a caller, and those that a server makes by itself at intervals.
//!
//! ```text
//! due -> lock the directory -> a part, synced -> its name -> directory synced -> remove the oldest
//! ```
//!
//! A failure is logged and counted, and tried again; nothing else waits for a backup.

mod name;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{HealthState, Service};
use crate::model::TimestampMs;
use crate::store::{BackupError, BackupSummary, Reserved};
use crate::telemetry::{BACKUP_FAILED, BACKUP_MADE};
use name::{Name, names, part_of, remove_oldest, remove_parts};

/// After a failure it is tried again that soon, unless the interval is shorter.
const RETRY_INTERVAL: Duration = Duration::from_secs(600);
/// Characters of a store's id in the names of its backups.
const STORE_CHARS: usize = 12;

/// What backups a server makes by itself.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Made if it is missing. Several stores may have theirs there, one at a time makes one.
    pub directory: PathBuf,
    /// From the end of one backup to the next.
    pub interval: Duration,
    /// So many of this store are kept, at least one: those that hold the most.
    pub keep: usize,
}

/// What became of the backups that the server made by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackupTotals {
    /// True if it makes any.
    pub is_scheduled: bool,
    pub made: u64,
    pub failed: u64,
    /// True if the last try failed.
    pub is_failing: bool,
    /// The last that was made.
    pub last: Option<LastBackup>,
}

/// A backup that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LastBackup {
    pub made_at: TimestampMs,
    pub as_of_seq: u64,
    pub bytes: u64,
    pub ms: f64,
}

/// The totals, shared by the schedule and the statistics.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<BackupTotals>);

impl Totals {
    pub fn lock(&self) -> MutexGuard<'_, BackupTotals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Writes one moment of the store to `out`, while updates go on. Blocks; reads the whole store.
    /// `out` must be as fast as a disk: as long as it takes, nothing that folds free is used again.
    ///
    /// # Errors
    /// [`BackupError`]: what was written is no backup.
    pub fn backup(&self, out: &mut dyn Write) -> Result<BackupSummary, BackupError> {
        self.inner.read.backup(out, self.now()).map_err(|error| match error {
            // Its tables were closed under it.
            BackupError::Store(_) if self.health() == HealthState::Draining => BackupError::Closed,
            error => error,
        })
    }

    /// A backup in a file beside the data that has no name and is gone when it is dropped; it
    /// stands at its beginning. Blocks.
    ///
    /// # Errors
    /// As for [`backup`](Self::backup); full also if only the reserve would be left of the disk.
    pub fn backup_for_sending(&self) -> Result<(File, BackupSummary), BackupError> {
        let mut file = self.reserved(self.inner.read.scratch()?);
        let summary = self.backup(&mut file)?;
        let mut file = file.into_file();
        file.rewind()?;
        Ok((file, summary))
    }

    /// Makes backups as `options` say, until the store is closed. Dropping the future ends it; a
    /// backup that is being made then is finished or fails by itself.
    pub async fn run_backups(&self, options: BackupOptions) {
        self.inner.backups.lock().is_scheduled = true;
        let (_, last_seq) = self.counts();
        let mut wait = first_wait(&options, &self.backup_name(), self.now(), last_seq);
        loop {
            tokio::time::sleep(wait).await;
            let (service, to) = (self.clone(), options.clone());
            let tried = tokio::task::spawn_blocking(move || service.make_backup(&to)).await;
            wait = match tried {
                Ok(Ok(())) => options.interval,
                Ok(Err(BackupError::Closed)) => return,
                Ok(Err(_)) => options.interval.min(RETRY_INTERVAL),
                Err(error) => {
                    self.note_failure(&options, &error);
                    options.interval.min(RETRY_INTERVAL)
                }
            };
        }
    }

    /// Makes one backup in the directory of `options`, and removes those that are too many.
    ///
    /// # Errors
    /// [`BackupError`]: it is logged and counted, and those that were there are there.
    pub fn make_backup(&self, options: &BackupOptions) -> Result<(), BackupError> {
        let begin = Instant::now();
        let made = self.make_in(options);
        let ms = begin.elapsed().as_secs_f64() * 1000.0;
        match &made {
            Ok(summary) => {
                let mut totals = self.inner.backups.lock();
                totals.made += 1;
                totals.is_failing = false;
                let BackupSummary { made_at, as_of_seq, bytes, jobs, .. } = *summary;
                totals.last = Some(LastBackup { made_at, as_of_seq, bytes, ms });
                tracing::info!(event = BACKUP_MADE, bytes, jobs, as_of_seq, ms, "Backup made");
            }
            Err(BackupError::Closed) => {}
            Err(error) => self.note_failure(options, error),
        }
        made.map(|_| ())
    }

    fn note_failure(&self, options: &BackupOptions, error: &dyn std::fmt::Display) {
        let mut totals = self.inner.backups.lock();
        totals.failed += 1;
        totals.is_failing = true;
        let directory = options.directory.display();
        tracing::error!(event = BACKUP_FAILED, %error, "No backup was made in {directory}");
    }

    fn make_in(&self, options: &BackupOptions) -> Result<BackupSummary, BackupError> {
        let directory = &*options.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = File::open(directory)?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                io::Error::other("another process makes backups in this directory")
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        let (store, moment) = (self.backup_name(), self.now());
        remove_parts(directory, &store);
        let part = Part(directory.join(part_of(&store, moment)));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part.0)?;
        let mut out = self.reserved(file);
        let summary = self.backup(&mut out)?;
        out.into_file().sync_all()?;
        let name = Name { store, seq: summary.as_of_seq, moment };
        std::fs::rename(&part.0, directory.join(name.to_string()))?;
        lock.sync_all()?;
        // Only now that the new one is there to stay.
        remove_oldest(directory, &name, options.keep);
        Ok(summary)
    }

    /// This store, in the names of its backups.
    fn backup_name(&self) -> String {
        let id: Vec<char> = self.store_id().chars().filter(char::is_ascii_alphanumeric).collect();
        // The end of a UUID is what tells two of one minute apart.
        id.iter().skip(id.len().saturating_sub(STORE_CHARS)).collect()
    }

    fn reserved(&self, file: File) -> Reserved {
        // With the reserve alone left, no update would be taken.
        Reserved::new(file, self.inner.options.store.disk_reserve_bytes.saturating_mul(2))
    }
}

/// A file that is removed unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // What stays is removed before the next backup.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The time until the first backup of a process: the interval counts from the last one that there
/// is of this store, so that a process that is started often does not make many.
fn first_wait(options: &BackupOptions, store: &str, now: TimestampMs, last_seq: u64) -> Duration {
    let newest = names(&options.directory, store).ok().and_then(|mut names| names.pop());
    let Some(newest) = newest else { return Duration::ZERO };
    let age = Duration::from_millis(now.0.saturating_sub(newest.moment.0));
    // Where no time passed since then the clock was wrong, or is; then what was written counts.
    if age.is_zero() && newest.seq != last_seq {
        return Duration::ZERO;
    }
    options.interval.saturating_sub(age)
}

#[cfg(test)]
mod tests;
