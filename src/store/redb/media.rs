//! Where the bytes of a store's two files are, what is done to them before they are read, and how
//! much room there is for more.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::DatabaseError;
use redb::backends::FileBackend;
use rustix::fs::Advice;

use super::disk::Backend;
use crate::store::free_bytes_of;

/// What a store is kept on: files, or what a test puts in their place.
pub trait Media: Debug + Send + Sync {
    /// Makes durable what was ever written to a file.
    ///
    /// # Errors
    /// The system's: nobody knows what the file holds, so it must not be read.
    fn sync(&self, name: &str, file: &File) -> io::Result<()>;

    /// Drops the pages of a file from memory, so that they are read from the disk.
    ///
    /// # Errors
    /// The system's.
    fn forget(&self, name: &str, file: &File) -> io::Result<()>;

    /// The bytes of a file that the directory opened.
    ///
    /// # Errors
    /// [`DatabaseError`] if it cannot be used.
    fn backend(&self, name: &str, file: File) -> Result<Backend, DatabaseError>;

    /// Bytes that may still be written below `directory`, by whoever runs this process.
    ///
    /// # Errors
    /// If the system does not say.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;
}

/// The files themselves.
#[derive(Debug)]
pub struct Files;

impl Media for Files {
    fn sync(&self, _name: &str, file: &File) -> io::Result<()> {
        Ok(rustix::fs::fsync(file)?)
    }

    fn forget(&self, _name: &str, file: &File) -> io::Result<()> {
        Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
    }

    fn backend(&self, _name: &str, file: File) -> Result<Backend, DatabaseError> {
        Ok(Arc::new(FileBackend::new(file)?))
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        Ok(free_bytes_of(&rustix::fs::statvfs(directory)?))
    }
}
