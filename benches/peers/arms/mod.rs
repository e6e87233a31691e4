//! The ways to make a batch durable in-process that are compared.
//!
//! All but the last two keep the same facts: the current record with the newest update winning by
//! `at`, the transitions of each job, an index by status. The last two write as many bytes as the
//! store's segment of the same batch has, so that only the work around the bytes differs.

mod jobslate;
mod plain;
mod redb_tables;
mod sqlite;

use std::path::Path;

use ::jobslate::model::{Request, Update};

/// One batch, ready to be made durable.
pub struct Batch {
    pub request: Request,
    /// What the byte arms write: as long as the store's segment, and not compressible.
    pub bytes: Vec<u8>,
}

impl Batch {
    pub fn new(updates: Vec<Update>, segment_bytes: usize) -> Self {
        Self { request: Request::new(updates), bytes: noise(segment_bytes) }
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut word = length as u64 + 1;
    let next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// One way.
pub trait Arm {
    /// Makes the batch durable before it returns; the length of the segment, if the arm makes one.
    fn append(&mut self, batch: Batch) -> usize;
    /// Ends cleanly.
    fn close(self: Box<Self>);
    /// What is known of a job; `None` also if the arm keeps no jobs.
    fn look(&mut self, job_id: &str) -> Option<Facts>;
    /// How many jobs have this status, by the index; `None` if the arm keeps no jobs.
    fn count(&mut self, status: &str) -> Option<usize>;
}

/// What every arm that keeps jobs must know of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub status: String,
    /// When the status was reported, in Unix milliseconds.
    pub at: u64,
    /// Changes of status or error.
    pub transitions: usize,
}

/// The arms, in the order of the report. The store comes first: the byte arms need the lengths of
/// its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmKind {
    Store,
    Service,
    Sqlite,
    SqliteTuned,
    RedbTables,
    RedbAppend,
    /// As `RedbAppend`, in two phases; not among the peers.
    #[allow(dead_code, reason = "the spine alone measures it")]
    RedbAppendTwice,
    File,
}

impl ArmKind {
    /// Those that are measured beside each other.
    pub const ALL: [Self; 7] = [
        Self::Store,
        Self::Service,
        Self::Sqlite,
        Self::SqliteTuned,
        Self::RedbTables,
        Self::RedbAppend,
        Self::File,
    ];

    /// A short id that stays.
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "jobslate-store",
            Self::Service => "jobslate",
            Self::Sqlite => "sqlite",
            Self::SqliteTuned => "sqlite-tuned",
            Self::RedbTables => "redb-tables",
            Self::RedbAppend => "redb-append",
            Self::RedbAppendTwice => "redb-append-two-phase",
            Self::File => "file",
        }
    }

    /// Opens the arm in an empty directory.
    pub fn open(self, directory: &Path) -> Box<dyn Arm> {
        match self {
            Self::Store => Box::new(jobslate::StoreArm::open(directory)),
            Self::Service => Box::new(jobslate::ServiceArm::open(directory)),
            Self::Sqlite => Box::new(sqlite::SqliteArm::open(directory, sqlite::PLAIN)),
            Self::SqliteTuned => Box::new(sqlite::SqliteArm::open(directory, sqlite::TUNED)),
            Self::RedbTables => Box::new(redb_tables::RedbTablesArm::open(directory)),
            Self::RedbAppend => Box::new(plain::RedbAppendArm::open(directory, false)),
            Self::RedbAppendTwice => Box::new(plain::RedbAppendArm::open(directory, true)),
            Self::File => Box::new(plain::FileArm::open(directory)),
        }
    }
}
