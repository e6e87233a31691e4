//! The tables as the last fold left them: one snapshot, shared by all readers, and its jobs by id,
//! through the runs of ids, or by slot.
//!
//! Opening a transaction and its tables for each question would cost more than most answers do. So
//! the folder opens one after each fold, and readers share it until the next. What a fold frees is
//! kept for one fold longer by it, and no longer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition};

use super::codec::{Broken, decode_job};
use super::ids::{Runs, find, open_run};
use super::schema::{FILTERS, RECORDS, RUNS, SnapshotTable};
use super::tail::unreadable;
use crate::model::{JobId, JobRecord};
use crate::store::{StoreError, panic_text};

/// The tables as one fold left them.
pub struct Snapshot {
    txn: ReadTransaction,
    records: SnapshotTable,
    runs: Runs,
    /// The tables of the runs, in their order.
    ids: Vec<SnapshotTable>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("runs", &self.runs).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// The tables as the open finds them; reads their runs.
    ///
    /// # Errors
    /// [`StoreError`] if they do not answer, or what they say of the runs is damaged.
    pub fn load(tables: &Database) -> Result<Self, StoreError> {
        let txn = tables.begin_read().map_err(unreadable)?;
        let runs = Runs::load(&open_table(&txn, RUNS)?, &open_table(&txn, FILTERS)?)?;
        Self::of(txn, runs)
    }

    /// The tables as a fold left them, with the runs that it left.
    ///
    /// # Errors
    /// [`StoreError`] if they do not answer.
    pub fn after_fold(tables: &Database, runs: Runs) -> Result<Self, StoreError> {
        Self::of(tables.begin_read().map_err(unreadable)?, runs)
    }

    fn of(txn: ReadTransaction, runs: Runs) -> Result<Self, StoreError> {
        let records = open_table(&txn, RECORDS)?;
        let ids = runs.iter().map(|run| open_run(&txn, run.number)).collect::<Result<_, _>>()?;
        Ok(Self { txn, records, runs, ids })
    }

    /// Another of its tables.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the tables do not answer.
    pub fn table(
        &self,
        definition: TableDefinition<'static, &'static [u8], &'static [u8]>,
    ) -> Result<SnapshotTable, StoreError> {
        open_table(&self.txn, definition)
    }

    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// The tables of the runs of ids.
    pub fn ids(&self) -> &[SnapshotTable] {
        &self.ids
    }

    /// The slot of a job; `None` if the tables do not have it. Most ids that they do not have cost
    /// no read.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the file does not answer, `CorruptRecord` if it answers wrongly.
    pub fn slot(&self, job_id: &JobId) -> Result<Option<u64>, StoreError> {
        for place in self.runs.candidates(job_id.as_str()) {
            let Some(table) = self.ids.get(place) else { continue };
            let slot = find(table, job_id.as_str())?;
            if slot.is_some() {
                return Ok(slot);
            }
        }
        Ok(None)
    }

    /// The record of a job.
    ///
    /// # Errors
    /// As for [`slot`](Self::slot).
    pub fn record(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        let look = || self.slot(job_id)?.map(|slot| self.record_at(slot, job_id)).transpose();
        or_damaged("records", job_id.as_str().as_bytes(), look)
    }

    /// The record of the job that a run says stands at `slot`.
    ///
    /// # Errors
    /// As for [`slot`](Self::slot); a slot with no job or another one is `CorruptRecord`.
    pub fn record_at(&self, slot: u64, job_id: &JobId) -> Result<Arc<JobRecord>, StoreError> {
        let (found, record) = self.at(slot, job_id.as_str().as_bytes())?;
        if found != *job_id {
            let what = "another job stands at its slot".to_owned();
            return Err(Broken(what).at("records", job_id.as_str().as_bytes()));
        }
        Ok(record)
    }

    /// The job at a slot, as an index names it: whoever asks compares the seq.
    ///
    /// # Errors
    /// As for [`slot`](Self::slot); a slot with no job is `CorruptRecord`.
    pub fn job_at(&self, slot: u64) -> Result<(JobId, Arc<JobRecord>), StoreError> {
        self.at(slot, &slot.to_be_bytes())
    }

    /// `name` is what an error calls the job.
    fn at(&self, slot: u64, name: &[u8]) -> Result<(JobId, Arc<JobRecord>), StoreError> {
        let key = slot.to_be_bytes();
        let value = self.records.get(key.as_slice()).map_err(unreadable)?;
        let empty = || Broken("the slot of the job is empty".to_owned()).at("records", name);
        let value = value.ok_or_else(empty)?;
        let decoded = decode_job(&key, value.value()).map_err(|it| it.at("records", name))?;
        Ok((decoded.0, Arc::new(decoded.1)))
    }
}

/// What `look` finds, where redb panics if a page on the way there is blank, or says what cannot
/// be.
///
/// # Errors
/// Those of `look`; for a panic `CorruptRecord` of the key in the table.
pub fn or_damaged<T>(
    table: &'static str,
    key: &[u8],
    look: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        Err(Broken(format!("a page on the way to it is damaged: {text}")).at(table, key))
    })
}

/// A table of a transaction.
///
/// # Errors
/// [`StoreError::Failed`] if the tables do not answer.
pub fn open_table(
    txn: &ReadTransaction,
    definition: TableDefinition<'static, &'static [u8], &'static [u8]>,
) -> Result<SnapshotTable, StoreError> {
    txn.open_table(definition).map_err(unreadable)
}
