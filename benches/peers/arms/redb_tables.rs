//! redb by hand: three tables, changed in every batch.
//!
//! What one writes with redb's guide open: records by job id, transitions by job id and seq, an
//! index by status and seq. The cache has the size of ours, each batch is one durable transaction.

use std::path::Path;

use jobslate::model::{TimestampMs, Update};
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use super::{Arm, Batch, Facts};

const CACHE_BYTES: usize = 128 << 20;

const JOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("jobs");
const HISTORY: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("history");
const BY_STATUS: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("by_status");

/// The database, and the number of the last update.
pub struct RedbTablesArm {
    database: Database,
    seq: u64,
}

impl RedbTablesArm {
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("tables.redb");
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let mut arm = Self { database: database.expect("redb opens"), seq: 0 };
        let txn = arm.begin();
        Tables::open(&txn);
        txn.commit().expect("redb commits");
        arm
    }

    fn begin(&mut self) -> WriteTransaction {
        let mut txn = self.database.begin_write().expect("redb begins");
        txn.set_durability(Durability::Immediate).expect("no savepoint hinders it");
        txn
    }
}

impl Arm for RedbTablesArm {
    fn append(&mut self, batch: Batch) -> usize {
        let txn = self.begin();
        let mut tables = Tables::open(&txn);
        for (_, update) in &batch.request.updates {
            self.seq += 1;
            tables.take(update, self.seq);
        }
        drop(tables);
        txn.commit().expect("redb commits");
        0
    }

    fn close(self: Box<Self>) {}

    fn look(&mut self, job_id: &str) -> Option<Facts> {
        let txn = self.database.begin_read().expect("redb begins");
        let jobs = txn.open_table(JOBS).expect("the table is there");
        let record = Record::decode(jobs.get(job_id).expect("redb reads")?.value());
        let history = txn.open_table(HISTORY).expect("the table is there");
        let rows = history.range((job_id, 0)..=(job_id, u64::MAX)).expect("redb reads");
        Some(Facts { status: record.status, at: record.at, transitions: rows.count() })
    }

    fn count(&mut self, status: &str) -> Option<usize> {
        let txn = self.database.begin_read().expect("redb begins");
        let by_status = txn.open_table(BY_STATUS).expect("the table is there");
        Some(by_status.range((status, 0)..=(status, u64::MAX)).expect("redb reads").count())
    }
}

/// The three tables within a transaction.
struct Tables<'txn> {
    jobs: Table<'txn, &'static str, &'static [u8]>,
    history: Table<'txn, (&'static str, u64), &'static [u8]>,
    by_status: Table<'txn, (&'static str, u64), &'static str>,
}

impl<'txn> Tables<'txn> {
    fn open(txn: &'txn WriteTransaction) -> Self {
        Self {
            jobs: txn.open_table(JOBS).expect("the table opens"),
            history: txn.open_table(HISTORY).expect("the table opens"),
            by_status: txn.open_table(BY_STATUS).expect("the table opens"),
        }
    }

    /// Newest wins, by `at`.
    fn take(&mut self, update: &Update, seq: u64) {
        let job_id = update.job_id.as_str();
        let before = self.jobs.get(job_id).expect("redb reads");
        let before = before.map(|row| Record::decode(row.value()));
        let record = Record::of(update, seq, before.as_ref());
        if before.as_ref().is_some_and(|before| record.at < before.at) {
            return;
        }
        self.jobs.insert(job_id, &*record.encode()).expect("redb inserts");
        if let Some(before) = &before {
            let key = (before.status.as_str(), before.seq);
            self.by_status.remove(key).expect("redb removes");
        }
        self.by_status.insert((record.status.as_str(), seq), job_id).expect("redb inserts");
        let is_transition = before
            .is_none_or(|before| before.status != record.status || before.error != record.error);
        if is_transition {
            let transition = record.encode_transition();
            self.history.insert((job_id, seq), &*transition).expect("redb inserts");
        }
    }
}

/// The current record of a job.
struct Record {
    seq: u64,
    created_at: u64,
    at: u64,
    attempt: u32,
    progress: f64,
    status: String,
    pipeline: String,
    error: String,
}

impl Record {
    /// What `update` makes of `before`.
    fn of(update: &Update, seq: u64, before: Option<&Self>) -> Self {
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
        let TimestampMs(at) = update.at.expect("the workload says when");
        let status = update.status.expect("the workload has no heartbeats");
        Self {
            seq,
            created_at: before.map_or(at, |before| before.created_at),
            at,
            attempt: update.attempt.unwrap_or(1),
            progress: update.progress.or(before.map(|it| it.progress)).unwrap_or_default(),
            status: status.as_str().to_owned(),
            pipeline: update.pipeline.as_ref().map_or("", |name| name.as_str()).to_owned(),
            error: text(&update.error),
        }
    }

    /// Five numbers, then three texts, each after its length.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        for number in [self.seq, self.created_at, self.at] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        bytes.extend_from_slice(&self.progress.to_le_bytes());
        for text in [&self.status, &self.pipeline, &self.error] {
            push_text(&mut bytes, text);
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Self {
        Self {
            seq: u64::from_le_bytes(take(&mut bytes)),
            created_at: u64::from_le_bytes(take(&mut bytes)),
            at: u64::from_le_bytes(take(&mut bytes)),
            attempt: u32::from_le_bytes(take(&mut bytes)),
            progress: f64::from_le_bytes(take(&mut bytes)),
            status: take_text(&mut bytes),
            pipeline: take_text(&mut bytes),
            error: take_text(&mut bytes),
        }
    }

    fn encode_transition(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&self.at.to_le_bytes());
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        push_text(&mut bytes, &self.status);
        push_text(&mut bytes, &self.error);
        bytes
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn take<const LENGTH: usize>(bytes: &mut &[u8]) -> [u8; LENGTH] {
    let (head, rest) = bytes.split_first_chunk().expect("the record is whole");
    *bytes = rest;
    *head
}

fn take_text(bytes: &mut &[u8]) -> String {
    let length = u16::from_le_bytes(take(bytes));
    let (text, rest) = bytes.split_at(usize::from(length));
    *bytes = rest;
    String::from_utf8(text.to_vec()).expect("the text is UTF-8")
}
