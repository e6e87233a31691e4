//! Backups: one at once for a caller, and those that a server makes by itself at intervals.
//!
//! ```text
//! due -> lock the directory -> NAME.part, synced -> NAME -> directory synced -> remove the oldest
//! ```
//!
//! A failure is logged and counted, and tried again; nothing else waits for a backup.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{HealthState, Service};
use crate::model::TimestampMs;
use crate::store::{BackupError, BackupSummary, Reserved};
use crate::telemetry::{BACKUP_FAILED, BACKUP_MADE};

/// After a failure it is tried again that soon, unless the interval is shorter.
const RETRY_INTERVAL: Duration = Duration::from_secs(600);
const PREFIX: &str = "jobslate-";
const SUFFIX: &str = ".backup";
/// Of a file that is not whole yet.
const PART_SUFFIX: &str = ".backup.part";

/// What backups a server makes by itself.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Made if it is missing. One process at a time makes backups there.
    pub directory: PathBuf,
    /// From the end of one backup to the next.
    pub interval: Duration,
    /// So many are kept, at least one: the newest by the times in their names.
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
        let mut wait = first_wait(&options, self.now());
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
        remove_parts(directory)?;
        let name = name_of(self.now());
        let part = Part(directory.join(format!("{name}{PART_SUFFIX}")));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part.0)?;
        let mut out = self.reserved(file);
        let summary = self.backup(&mut out)?;
        out.into_file().sync_all()?;
        let path = directory.join(format!("{name}{SUFFIX}"));
        std::fs::rename(&part.0, &path)?;
        lock.sync_all()?;
        // Only now that the new one is there to stay.
        remove_oldest(directory, &name, options.keep)?;
        Ok(summary)
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

/// `jobslate-20261125T110203.123Z`: in the order of the names is in the order of the times.
fn name_of(moment: TimestampMs) -> String {
    format!("{PREFIX}{}", moment.to_string().replace(['-', ':'], ""))
}

/// The names of whole backups without their suffix, the oldest first.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        names.extend(stem.filter(|stem| moment_of(stem).is_some()).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

/// The moment that a name of [`name_of`] says; `None` for any other name.
fn moment_of(name: &str) -> Option<TimestampMs> {
    let (date, time) = name.strip_prefix(PREFIX)?.split_once('T')?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let (hour, minute, rest) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{rest}");
    let moment = TimestampMs::from_rfc3339(&text).ok()?;
    (name_of(moment) == name).then_some(moment)
}

/// The time until the first backup of a process: the interval counts from the last one that there
/// is, so that a process that is started often does not make many.
fn first_wait(options: &BackupOptions, now: TimestampMs) -> Duration {
    let newest = names(&options.directory).ok().and_then(|mut names| names.pop());
    let Some(made_at) = newest.and_then(|name| moment_of(&name)) else { return Duration::ZERO };
    // One from the future was made by a wrong clock.
    let age = Duration::from_millis(now.0.saturating_sub(made_at.0));
    options.interval.saturating_sub(age)
}

/// What a killed process left.
fn remove_parts(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(PART_SUFFIX));
        if stem.is_some_and(|stem| moment_of(stem).is_some()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Keeps `newest`, whatever the clock said when others were made, and the last of the others.
fn remove_oldest(directory: &Path, newest: &str, keep: usize) -> io::Result<()> {
    let mut others = names(directory)?;
    others.retain(|name| name != newest);
    let too_many = (others.len() + 1).saturating_sub(keep.max(1));
    for name in others.iter().take(too_many) {
        std::fs::remove_file(directory.join(format!("{name}{SUFFIX}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
