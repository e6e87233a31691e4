//! What a backup is to those who make one, read one, or make a store of one. Its bytes are the
//! business of the store that wrote it.

use std::fs::File;
use std::io::{self, Write};

use super::{OpenError, StoreError};
use crate::model::TimestampMs;

/// What a whole backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// The store that it was made of. A store made of the backup has another id.
    pub store_id: String,
    pub made_at: TimestampMs,
    /// The last update that it reflects.
    pub as_of_seq: u64,
    pub jobs: u64,
    /// Rows of all tables, and batches that were not yet folded.
    pub rows: u64,
    /// Bytes before compression, and of the backup itself.
    pub content_bytes: u64,
    pub bytes: u64,
}

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was closed meanwhile.
    #[error("the store was closed before the backup was whole")]
    Closed,
    /// The backup could not be written; `StorageFull` also if only the reserve is left.
    #[error("the backup cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl BackupError {
    /// True if a disk has no room for it.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Output(error) if matches!(error.kind(), StorageFull | QuotaExceeded))
    }
}

/// Why bytes are not a whole backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFault {
    /// It cannot be read.
    #[error("the backup cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is no backup, it is cut, or a byte is another.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// It is of another build.
    #[error("the backup's format is {found}, this build reads {known}")]
    OtherFormat { found: String, known: String },
}

/// Why no store was made of a backup. What was there before is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    #[error(transparent)]
    Fault(#[from] BackupFault),
    /// There is a store already, whole or damaged.
    #[error("there is a store in {directory} already; --force replaces it")]
    Exists { directory: String },
    /// The directory is in use, is not a place for a store, or the system refused.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new store is not what the backup says, or contradicts itself.
    #[error("the backup holds no sound store: {0}")]
    Unsound(String),
}

/// Bytes that may still be written, by whoever runs this process. A file system without a size says
/// nothing of its room.
pub(super) fn free_bytes_of(disk: &rustix::fs::StatVfs) -> u64 {
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    if disk.f_blocks > 0 { free_bytes } else { u64::MAX }
}

/// A file that stops growing before its disk is full, so that a backup takes no room that the
/// journal needs.
#[derive(Debug)]
pub struct Reserved {
    file: File,
    reserve_bytes: u64,
    /// Bytes that may be written before it looks again.
    allowed: u64,
}

impl Reserved {
    /// It looks how much room there is each time that so much was written.
    const LOOK_BYTES: u64 = 4 << 20;

    pub fn new(file: File, reserve_bytes: u64) -> Self {
        Self { file, reserve_bytes, allowed: 0 }
    }

    pub fn into_file(self) -> File {
        self.file
    }

    fn look(&mut self) -> io::Result<()> {
        let free_bytes = free_bytes_of(&rustix::fs::fstatvfs(&self.file)?);
        let needed_bytes = self.reserve_bytes.saturating_add(Self::LOOK_BYTES);
        if free_bytes < needed_bytes {
            let reserve_bytes = self.reserve_bytes;
            let what = format!("{free_bytes} bytes are free, {reserve_bytes} stay for the store");
            return Err(io::Error::new(io::ErrorKind::StorageFull, what));
        }
        self.allowed = Self::LOOK_BYTES;
        Ok(())
    }
}

impl Write for Reserved {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.allowed < bytes.len() as u64 {
            self.look()?;
        }
        let written = self.file.write(bytes)?;
        self.allowed = self.allowed.saturating_sub(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
