//! Stores of formats 1 and 2, made into one of now.
//!
//! | format | what was added or changed |
//! | --- | --- |
//! | 2 | timeline and expected totals |
//! | 3 | records stand at slots, ids in runs; before, a record stood under its id |

use redb::{
    Database, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle, WriteTransaction,
};

use super::codec::{Broken, decode_record, encode_job, encode_number};
use super::fold::{open, put};
use super::ids::{BlockWriter, Filter, IdHash, Run, open_to_write};
use super::schema::{
    BY_PIPELINE, BY_STATUS, META, OF_TABLES, RECORDS, RUNS, SLOTS_KEY, index_value,
    pipeline_prefix, status_prefix, with_seq,
};
use super::tail::unreadable;
use crate::model::JobId;
use crate::store::StoreError;

/// Job id to record, as formats 1 and 2 had it.
const JOBS: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("jobs");

/// Makes the tables that are missing and moves the jobs to where they belong now, in one
/// transaction. Does nothing to tables that were raised before.
///
/// # Errors
/// [`StoreError`]: the tables are as before.
pub fn raise(tables: &Database) -> Result<(), StoreError> {
    let mut txn = tables.begin_write().map_err(unreadable)?;
    txn.set_quick_repair(true);
    let has_jobs = has_table(&txn, "jobs")?;
    if has_jobs {
        // Their values named the job alone.
        txn.delete_table(BY_STATUS).map_err(unreadable)?;
        txn.delete_table(BY_PIPELINE).map_err(unreadable)?;
    }
    for definition in OF_TABLES {
        txn.open_table(definition).map_err(unreadable)?;
    }
    if has_jobs {
        move_jobs(&txn)?;
        txn.delete_table(JOBS).map_err(unreadable)?;
    }
    txn.commit().map_err(unreadable)
}

fn has_table(txn: &WriteTransaction, name: &str) -> Result<bool, StoreError> {
    let mut tables = txn.list_tables().map_err(unreadable)?;
    Ok(tables.any(|table| table.name() == name))
}

/// Gives each job a slot, in the order of the ids, which all go into one run.
fn move_jobs(txn: &WriteTransaction) -> Result<(), StoreError> {
    let jobs = open(txn, JOBS)?;
    let ids = jobs.len().map_err(unreadable)?;
    let run = 1;
    let mut records = open(txn, RECORDS)?;
    let (mut by_status, mut by_pipeline) = (open(txn, BY_STATUS)?, open(txn, BY_PIPELINE)?);
    let mut filter = Filter::for_ids(ids);
    let mut table = open_to_write(txn, run)?;
    let mut blocks = BlockWriter::default();
    for (slot, row) in (0..).zip(jobs.iter().map_err(unreadable)?) {
        let (key, value) = row.map_err(unreadable)?;
        let record = decode_record(key.value(), value.value());
        let record = record.map_err(|it| it.at("jobs", key.value()))?;
        let job_id = std::str::from_utf8(key.value()).ok().and_then(|it| JobId::parse(it).ok());
        let broken = || Broken("the key is not a job id".to_owned());
        let job_id = job_id.ok_or_else(|| broken().at("jobs", key.value()))?;
        let at = u64::to_be_bytes(slot);
        put(&mut records, &at, &encode_job(&at, &job_id, &record))?;
        blocks.push(&mut table, job_id.as_str(), slot)?;
        filter.add(IdHash::of(job_id.as_str()));
        let place = index_value(slot, &job_id);
        let prefixes =
            [status_prefix(record.status), pipeline_prefix(&record.pipeline, record.status)];
        for (index, prefix) in [&mut by_status, &mut by_pipeline].into_iter().zip(prefixes) {
            put(index, &with_seq(prefix, record.seq), &place)?;
        }
    }
    blocks.finish(&mut table)?;
    put(&mut open(txn, META)?, SLOTS_KEY, &encode_number(SLOTS_KEY, ids))?;
    let (key, value) = Run { number: run, level: 0, ids, filter: filter.into() }.encode();
    put(&mut open(txn, RUNS)?, &key, &value)
}
