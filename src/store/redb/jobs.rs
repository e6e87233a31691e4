//! The jobs of the tables: by id, through the runs of ids, or by slot.

use std::sync::Arc;

use redb::ReadTransaction;

use super::codec::{Broken, decode_job};
use super::ids::Runs;
use super::schema::{RECORDS, SnapshotTable};
use super::tail::{open_table, unreadable};
use crate::model::{JobId, JobRecord};
use crate::store::StoreError;

/// The jobs of one snapshot.
pub struct Jobs<'a> {
    snapshot: &'a ReadTransaction,
    runs: &'a Runs,
    records: SnapshotTable,
}

impl<'a> Jobs<'a> {
    /// # Errors
    /// [`StoreError::Failed`] if the tables do not answer.
    pub fn open(snapshot: &'a ReadTransaction, runs: &'a Runs) -> Result<Self, StoreError> {
        Ok(Self { snapshot, runs, records: open_table(snapshot, RECORDS)? })
    }

    /// The record of a job. Most ids that the tables do not have cost no read.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the file does not answer, `CorruptRecord` if it answers wrongly.
    pub fn record(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        let slot = self.runs.slot(self.snapshot, job_id.as_str())?;
        slot.map(|slot| self.record_at(slot, job_id)).transpose()
    }

    /// The record of the job that a run or an index says stands at `slot`.
    ///
    /// # Errors
    /// As for [`record`](Self::record); a slot with no job or another one is `CorruptRecord`.
    pub fn record_at(&self, slot: u64, job_id: &JobId) -> Result<Arc<JobRecord>, StoreError> {
        let key = slot.to_be_bytes();
        let value = self.records.get(key.as_slice()).map_err(unreadable)?;
        let corrupt =
            |what: &str| Broken(what.to_owned()).at("records", job_id.as_str().as_bytes());
        let value = value.ok_or_else(|| corrupt("its slot is empty"))?;
        let decoded = decode_job(&key, value.value());
        let (found, record) = decoded.map_err(|it| it.at("records", job_id.as_str().as_bytes()))?;
        if found != *job_id {
            return Err(corrupt("another job stands at its slot"));
        }
        Ok(Arc::new(record))
    }
}
