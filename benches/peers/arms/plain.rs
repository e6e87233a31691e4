//! The limits: only the bytes, through redb and without it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use redb::{Database, Durability, TableDefinition};

use super::{Arm, Batch, Facts};

const SEGMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("segments");

/// The least that a redb store can do: one ordered insert and one commit.
pub struct RedbAppendArm {
    database: Database,
    batch_no: u64,
    is_two_phase: bool,
}

impl RedbAppendArm {
    /// With `is_two_phase`, a damaged last commit is told from a torn one, for one more sync.
    pub fn open(directory: &Path, is_two_phase: bool) -> Self {
        let database = Database::create(directory.join("segments.redb")).expect("redb opens");
        Self { database, batch_no: 0, is_two_phase }
    }
}

impl Arm for RedbAppendArm {
    fn append(&mut self, batch: Batch) -> usize {
        let mut txn = self.database.begin_write().expect("redb begins");
        txn.set_durability(Durability::Immediate).expect("no savepoint hinders it");
        txn.set_two_phase_commit(self.is_two_phase);
        let mut segments = txn.open_table(SEGMENTS).expect("the table opens");
        segments.insert(self.batch_no, &*batch.bytes).expect("redb inserts");
        drop(segments);
        txn.commit().expect("redb commits");
        self.batch_no += 1;
        0
    }

    fn close(self: Box<Self>) {}

    fn look(&mut self, _: &str) -> Option<Facts> {
        None
    }

    fn count(&mut self, _: &str) -> Option<usize> {
        None
    }
}

/// The least that any store can do: one write and one `fdatasync`.
pub struct FileArm {
    file: File,
}

impl FileArm {
    pub fn open(directory: &Path) -> Self {
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

    fn look(&mut self, _: &str) -> Option<Facts> {
        None
    }

    fn count(&mut self, _: &str) -> Option<usize> {
        None
    }
}
