//! The ways to make a batch durable that are compared.
//!
//! The store's arms take updates; the others write as many bytes as the store's segment of the same
//! batch has, so that only the work around the bytes differs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use jobslate::model::{Clock, Request, Update};
use jobslate::service::{Service, ServiceOptions};
use jobslate::store::{OpenHooks, StoreOptions, WriteStore};
use redb::{Database, Durability, TableDefinition};

/// One batch, ready to be made durable.
pub struct Batch {
    pub request: Request,
    /// What the byte arms write: as long as the store's segment.
    pub bytes: Vec<u8>,
}

impl Batch {
    pub fn new(updates: Vec<Update>, bytes: Vec<u8>) -> Self {
        Self { request: Request::new(updates), bytes }
    }
}

/// One way.
pub trait Arm {
    /// Makes the batch durable before it returns; the length of the segment, if the arm makes one.
    fn append(&mut self, batch: Batch) -> usize;
    /// Ends cleanly; for the store this includes the last fold.
    fn close(self: Box<Self>);
}

/// How the arms are called in the report, in the order of the columns' comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmKind {
    Store,
    Service,
    RedbAppend,
    FileAppend,
}

impl ArmKind {
    pub const ALL: [Self; 4] = [Self::Store, Self::Service, Self::RedbAppend, Self::FileAppend];

    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store, `WriteStore::append`",
            Self::Service => "service, `submit_blocking`",
            Self::RedbAppend => "redb, segment appended",
            Self::FileAppend => "plain file, append and fdatasync",
        }
    }

    /// Opens the arm in an empty directory.
    pub fn open(self, directory: &Path) -> Box<dyn Arm> {
        match self {
            Self::Store => Box::new(StoreArm::open(directory)),
            Self::Service => Box::new(ServiceArm::open(directory)),
            Self::RedbAppend => Box::new(RedbArm::open(directory)),
            Self::FileAppend => Box::new(FileArm::open(directory)),
        }
    }
}

fn store_options(directory: &Path) -> StoreOptions {
    StoreOptions { directory: directory.join("data"), ..StoreOptions::default() }
}

/// The store through its own door, as the writer thread uses it.
struct StoreArm {
    writer: Box<dyn WriteStore>,
    clock: Clock,
}

impl StoreArm {
    fn open(directory: &Path) -> Self {
        let options = store_options(directory);
        let (writer, _reader) =
            jobslate::store::redb::open(options, OpenHooks::default()).expect("the store opens");
        Self { writer, clock: Clock::System }
    }
}

impl Arm for StoreArm {
    fn append(&mut self, batch: Batch) -> usize {
        let appended = self.writer.append(&[batch.request], self.clock.wall()).expect("it appends");
        assert_eq!(appended.answers[0].rejected, 0, "the workload is accepted");
        self.writer.maintain(self.clock.monotonic()).expect("it is maintained");
        appended.segment_bytes
    }

    fn close(self: Box<Self>) {
        self.writer.close().expect("the store closes");
    }
}

/// The whole program without HTTP: one caller that waits for each batch.
struct ServiceArm {
    service: Service,
}

impl ServiceArm {
    fn open(directory: &Path) -> Self {
        let store = store_options(directory);
        let options = ServiceOptions { store, ..ServiceOptions::default() };
        Self { service: Service::open(options, Arc::new(|_| ())).expect("the service opens") }
    }
}

impl Arm for ServiceArm {
    fn append(&mut self, batch: Batch) -> usize {
        let receipt = self.service.submit_blocking(batch.request).expect("it is accepted");
        assert!(receipt.answer.durable, "a durable answer");
        0
    }

    fn close(self: Box<Self>) {
        self.service.drain_blocking().expect("the service drains");
    }
}

const SEGMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("segments");

/// The least that a redb store can do: one ordered insert and one commit.
struct RedbArm {
    database: Database,
    batch_no: u64,
}

impl RedbArm {
    fn open(directory: &Path) -> Self {
        let database = Database::create(directory.join("segments.redb")).expect("redb opens");
        Self { database, batch_no: 0 }
    }
}

impl Arm for RedbArm {
    fn append(&mut self, batch: Batch) -> usize {
        let mut txn = self.database.begin_write().expect("redb begins");
        txn.set_durability(Durability::Immediate).expect("no savepoint hinders it");
        let mut segments = txn.open_table(SEGMENTS).expect("the table opens");
        segments.insert(self.batch_no, &*batch.bytes).expect("redb inserts");
        drop(segments);
        txn.commit().expect("redb commits");
        self.batch_no += 1;
        0
    }

    fn close(self: Box<Self>) {}
}

/// The least that any store can do.
struct FileArm {
    file: File,
}

impl FileArm {
    fn open(directory: &Path) -> Self {
        Self { file: File::create(directory.join("segments")).expect("the file opens") }
    }
}

impl Arm for FileArm {
    fn append(&mut self, batch: Batch) -> usize {
        self.file.write_all(&batch.bytes).expect("the file is written");
        self.file.sync_data().expect("the file is synced");
        0
    }

    fn close(self: Box<Self>) {}
}
