//! The jobs of a generation into the tables: records, ids, both indexes, counts.
//!
//! Records go in the order of their slots, ids and index rows in the order of their keys. A new job
//! takes the next slot, in the order in which the jobs came.

use std::collections::{BTreeMap, HashMap};

use redb::{ReadableTable, WriteTransaction};

use super::{Rows, open, put, take};
use crate::model::{JobId, JobRecord, PipelineName, Status};
use crate::store::StoreError;
use crate::store::redb::check::next_slot;
use crate::store::redb::codec::{Broken, decode_job, decode_number, encode_job, encode_number};
use crate::store::redb::ids::{
    BlockWriter, Filter, IdHash, Merges, Run, Runs, find, miscounted, open_to_write, remove,
};
use crate::store::redb::schema::{
    BY_PIPELINE, BY_STATUS, COUNTS, FILTERS, META, RECORDS, RUNS, SLOTS_KEY, counts_key,
    index_value, pipeline_prefix, status_prefix, with_seq,
};
use crate::store::redb::tail::{Content, Held, unreadable};

/// Folds the jobs of `content`. `runs` are those of before; gives those of after.
///
/// # Errors
/// [`StoreError`]: the transaction must not be committed.
pub fn fold_jobs(
    txn: &WriteTransaction,
    content: &Content,
    runs: &Runs,
    merges: &mut Merges,
) -> Result<Runs, StoreError> {
    merges.sweep(txn, runs)?;
    let places = Places::find(txn, content, runs)?;
    let olds = write_records(txn, &places)?;
    write_indexes(txn, &places, &olds)?;
    count(txn, &places, &olds)?;
    let mut after: Vec<Run> = runs.iter().cloned().collect();
    forget_ids(txn, &places, &mut after, merges)?;
    let number = merges.next_number(&after);
    after.extend(write_run(txn, &places, number)?);
    let after = merges.advance(txn, after, places.new.len() as u64)?;
    name_runs(txn, runs, &after)?;
    Ok(after)
}

/// A job and where it stands.
struct Place<'a> {
    slot: u64,
    job_id: &'a JobId,
    held: &'a Held,
    /// The run that has its id; `None`: it is new.
    run: Option<u32>,
}

/// Every job of a generation with its slot, in the order of the slots.
struct Places<'a> {
    old: Vec<Place<'a>>,
    new: Vec<Place<'a>>,
}

impl<'a> Places<'a> {
    fn find(txn: &WriteTransaction, content: &'a Content, runs: &Runs) -> Result<Self, StoreError> {
        let mut tables: HashMap<u32, Rows<'_>> = HashMap::new();
        let mut meta = open(txn, META)?;
        let mut next_slot = next_slot(&meta)?;
        let mut places = Self { old: Vec::new(), new: Vec::with_capacity(content.ids.len()) };
        for job_id in &content.ids {
            let Some(held) = content.records.get(job_id) else { continue };
            let mut found = None;
            let candidates = runs.candidates(job_id.as_str());
            for run in candidates.filter_map(|place| runs.get(place)) {
                let table = match tables.entry(run.number) {
                    std::collections::hash_map::Entry::Occupied(it) => it.into_mut(),
                    std::collections::hash_map::Entry::Vacant(it) => {
                        it.insert(open_to_write(txn, run.number)?)
                    }
                };
                if let Some(slot) = find(table, job_id.as_str())? {
                    found = Some((run.number, slot));
                    break;
                }
            }
            match found {
                Some((run, slot)) => {
                    places.old.push(Place { slot, job_id, held, run: Some(run) });
                }
                // A job that came and was removed within the generation.
                None if held.is_none() => {}
                None => {
                    places.new.push(Place { slot: next_slot, job_id, held, run: None });
                    next_slot += 1;
                }
            }
        }
        places.old.sort_unstable_by_key(|place| place.slot);
        put(&mut meta, SLOTS_KEY, &encode_number(SLOTS_KEY, next_slot))?;
        Ok(places)
    }

    fn iter(&self) -> impl Iterator<Item = &Place<'a>> {
        self.old.iter().chain(&self.new)
    }
}

/// Writes the records; those that were there before.
fn write_records(
    txn: &WriteTransaction,
    places: &Places<'_>,
) -> Result<Vec<JobRecord>, StoreError> {
    let mut records = open(txn, RECORDS)?;
    let mut olds = Vec::with_capacity(places.old.len());
    for place in places.iter() {
        let key = place.slot.to_be_bytes();
        let old = match place.held {
            Some(record) => {
                let value = encode_job(&key, place.job_id, record);
                records.insert(key.as_slice(), value.as_slice())
            }
            None => records.remove(key.as_slice()),
        };
        let old = old.map_err(unreadable)?;
        let broken = |what: &str| Broken(what.to_owned()).at("records", &key);
        match (place.run, old) {
            (None, None) => {}
            (None, Some(_)) => return Err(broken("the slot of a new job is taken")),
            (Some(_), None) => return Err(broken("the slot of a job is empty")),
            (Some(_), Some(old)) => {
                let (job_id, old) =
                    decode_job(&key, old.value()).map_err(|it| it.at("records", &key))?;
                if job_id != *place.job_id {
                    return Err(broken("another job stands at the slot"));
                }
                olds.push(old);
            }
        }
    }
    Ok(olds)
}

/// A row of an index: pipeline, status, seq, and the job, or `None` for a row to remove.
type IndexRow<'a> = (&'a PipelineName, Status, u64, Option<&'a Place<'a>>);

fn write_indexes(
    txn: &WriteTransaction,
    places: &Places<'_>,
    olds: &[JobRecord],
) -> Result<(), StoreError> {
    let added = places.iter().filter_map(|place| {
        let record = place.held.as_ref()?;
        Some((&record.pipeline, record.status, record.seq, Some(place)))
    });
    let removed = olds.iter().map(|old| (&old.pipeline, old.status, old.seq, None));
    let mut rows: Vec<IndexRow<'_>> = added.chain(removed).collect();
    // A seq belongs to one record, so no key is both added and removed.
    rows.sort_unstable_by_key(|(_, status, seq, _)| (*status, *seq));
    write_index(&mut open(txn, BY_STATUS)?, &rows, |_, status| status_prefix(status))?;
    rows.sort_by(|a, b| a.0.cmp(b.0));
    write_index(&mut open(txn, BY_PIPELINE)?, &rows, pipeline_prefix)
}

fn write_index(
    table: &mut Rows<'_>,
    rows: &[IndexRow<'_>],
    prefix: impl Fn(&PipelineName, Status) -> Vec<u8>,
) -> Result<(), StoreError> {
    for (pipeline, status, seq, place) in rows {
        let key = with_seq(prefix(pipeline, *status), *seq);
        match place {
            Some(place) => put(table, &key, &index_value(place.slot))?,
            None => take(table, &key)?,
        }
    }
    Ok(())
}

fn count(
    txn: &WriteTransaction,
    places: &Places<'_>,
    olds: &[JobRecord],
) -> Result<(), StoreError> {
    let mut changes: BTreeMap<(&PipelineName, Status), i64> = BTreeMap::new();
    let added = places.iter().filter_map(|place| place.held.as_deref()).map(|it| (it, 1));
    for (record, change) in added.chain(olds.iter().map(|old| (old, -1))) {
        *changes.entry((&record.pipeline, record.status)).or_default() += change;
    }
    let mut counts = open(txn, COUNTS)?;
    for ((pipeline, status), change) in changes {
        let key = counts_key(pipeline, status);
        let old = match counts.get(key.as_slice()).map_err(unreadable)? {
            Some(value) => {
                decode_number(&key, value.value()).map_err(|it| it.at("counts", &key))?
            }
            None => 0,
        };
        let new = old.checked_add_signed(change);
        match new.expect("a count never falls below zero") {
            0 => take(&mut counts, &key)?,
            new => put(&mut counts, &key, &encode_number(&key, new))?,
        }
    }
    Ok(())
}

/// Removes the ids of removed jobs from their runs.
fn forget_ids(
    txn: &WriteTransaction,
    places: &Places<'_>,
    runs: &mut [Run],
    merges: &mut Merges,
) -> Result<(), StoreError> {
    for place in places.old.iter().filter(|place| place.held.is_none()) {
        let Some(run) = runs.iter_mut().find(|run| Some(run.number) == place.run) else { continue };
        let id = place.job_id.as_str();
        let gone = u64::from(remove(&mut open_to_write(txn, run.number)?, id)?);
        run.ids = run.ids.checked_sub(gone).ok_or_else(|| miscounted(run.number))?;
        merges.remove(txn, run.number, id)?;
    }
    Ok(())
}

/// Writes the new ids as a run of their own, if there are any.
fn write_run(
    txn: &WriteTransaction,
    places: &Places<'_>,
    number: u32,
) -> Result<Option<Run>, StoreError> {
    if places.new.is_empty() {
        return Ok(None);
    }
    let mut sorted: Vec<&Place<'_>> = places.new.iter().collect();
    sorted.sort_unstable_by_key(|place| place.job_id);
    let ids = sorted.len() as u64;
    let mut filter = Filter::for_ids(ids);
    let mut table = open_to_write(txn, number)?;
    let mut blocks = BlockWriter::default();
    for place in sorted {
        filter.add(IdHash::of(place.job_id.as_str()));
        blocks.push(&mut table, place.job_id.as_str(), place.slot)?;
    }
    blocks.finish(&mut table)?;
    Ok(Some(Run { number, level: 0, ids, filter: filter.into() }))
}

/// Makes the tables of runs and of filters say what there is now.
fn name_runs(txn: &WriteTransaction, before: &Runs, after: &Runs) -> Result<(), StoreError> {
    let (mut rows, mut filters) = (open(txn, RUNS)?, open(txn, FILTERS)?);
    let find = |runs: &Runs, number: u32| runs.iter().find(|it| it.number == number).cloned();
    for gone in before.iter().filter(|run| find(after, run.number).is_none()) {
        take(&mut rows, &gone.number.to_be_bytes())?;
        take(&mut filters, &gone.number.to_be_bytes())?;
    }
    for run in after.iter() {
        let old = find(before, run.number);
        if old.is_none() {
            run.write_filter(&mut filters)?;
        }
        if old.is_none_or(|old| old.ids != run.ids) {
            run.write(&mut rows)?;
        }
    }
    Ok(())
}
