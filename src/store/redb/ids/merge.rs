//! Merging runs, a slice with every fold.
//!
//! A merge copies the ids of its sources, in their order, into a new table that nobody sees before
//! it is whole; then the table of runs names it instead of the sources. Their tables go with the
//! next fold, together with what a stop left of a merge, which begins anew.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;

use redb::{Table, TableDefinition, TableHandle, WriteTransaction};

use super::{BlockWriter, Filter, IdHash, Ids, Run, Runs, TABLE_PREFIX, remove, take_first};
use crate::store::StoreError;
use crate::store::redb::tail::unreadable;

/// As many runs of a level make one of the next.
const FANOUT: usize = 8;
/// Every level moves at least as many ids with a fold. Tests see merges that take many folds.
const SLICE_IDS_MIN: u64 = if cfg!(test) { 5 } else { 20_000 };
/// Every level moves as many times the ids that the fold brought: so a merge is over before the
/// next of its level is due.
const SLICE_FACTOR: u64 = 2;

/// The merges that go on, at most one from each level.
#[derive(Debug, Default)]
pub struct Merges(Vec<Merge>);

#[derive(Debug)]
struct Merge {
    sources: Vec<u32>,
    into: u32,
    level: u8,
    ids: u64,
    /// The last id that was copied.
    last: Option<String>,
    filter: Filter,
}

type Rows<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

impl Merges {
    /// Removes the tables that no run and no merge has any more.
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn sweep(&self, txn: &WriteTransaction, runs: &Runs) -> Result<(), StoreError> {
        let targets = self.0.iter().map(|merge| merge.into);
        let used: HashSet<String> =
            runs.iter().map(|run| run.number).chain(targets).map(Run::table_name).collect();
        let tables: Vec<_> = txn.list_tables().map_err(unreadable)?.collect();
        for table in tables {
            if table.name().starts_with(TABLE_PREFIX) && !used.contains(table.name()) {
                txn.delete_table(table).map_err(unreadable)?;
            }
        }
        Ok(())
    }

    /// A number that no run and no merge has.
    pub fn next_number(&self, runs: &Runs) -> u32 {
        let targets = self.0.iter().map(|merge| merge.into);
        runs.iter().map(|run| run.number).chain(targets).max().unwrap_or(0) + 1
    }

    /// Removes an id of `run` from what was copied of it.
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn remove(&self, txn: &WriteTransaction, run: u32, id: &str) -> Result<(), StoreError> {
        let mut merges = self.0.iter().filter(|merge| merge.sources.contains(&run));
        merges.try_for_each(|merge| remove(&mut open_to_write(txn, merge.into)?, id))
    }

    /// Begins what is due, and moves every merge on. `ids` were added by this fold.
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn advance(
        &mut self,
        txn: &WriteTransaction,
        runs: Runs,
        ids: u64,
    ) -> Result<Runs, StoreError> {
        self.begin(&runs);
        let slice = (ids * SLICE_FACTOR).max(SLICE_IDS_MIN);
        let mut runs: Vec<Run> = runs.iter().cloned().collect();
        let mut going = Vec::new();
        for mut merge in std::mem::take(&mut self.0) {
            if merge.advance(txn, slice)? {
                runs.retain(|run| !merge.sources.contains(&run.number));
                runs.push(merge.into_run());
            } else {
                going.push(merge);
            }
        }
        self.0 = going;
        Ok(runs.into_iter().collect())
    }

    fn begin(&mut self, runs: &Runs) {
        let mut next = self.next_number(runs);
        for level in 0..=u8::MAX {
            let mut sources: Vec<&Run> = runs.iter().filter(|run| run.level == level).collect();
            if sources.is_empty() && runs.iter().all(|run| run.level < level) {
                return;
            }
            let is_going = self.0.iter().any(|merge| merge.level == level + 1);
            if is_going || sources.len() < FANOUT {
                continue;
            }
            sources.sort_unstable_by_key(|run| run.number);
            sources.truncate(FANOUT);
            let ids = sources.iter().map(|run| run.ids).sum();
            self.0.push(Merge {
                sources: sources.iter().map(|run| run.number).collect(),
                into: next,
                level: level + 1,
                ids,
                last: None,
                filter: Filter::for_ids(ids),
            });
            next += 1;
        }
    }
}

impl Merge {
    /// Copies at most `slice` ids; true if these were the last.
    fn advance(&mut self, txn: &WriteTransaction, slice: u64) -> Result<bool, StoreError> {
        let mut into = open_to_write(txn, self.into)?;
        let sources = self.sources.iter().map(|number| open_to_write(txn, *number));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let from = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let heads = sources.iter().map(|table| Ids::of_table(table, from));
        let mut heads = heads.collect::<Result<Vec<_>, _>>()?;
        let mut blocks = BlockWriter::default();
        for _ in 0..slice {
            let Some((id, slot)) = take_first(&mut heads)? else {
                blocks.finish(&mut into)?;
                return Ok(true);
            };
            blocks.push(&mut into, &id, slot)?;
            self.filter.add(IdHash::of(&id));
            self.last = Some(id);
        }
        blocks.finish(&mut into)?;
        Ok(false)
    }

    fn into_run(self) -> Run {
        let filter = Arc::new(self.filter);
        Run { number: self.into, level: self.level, ids: self.ids, filter }
    }
}

/// The table of a run, to be written.
///
/// # Errors
/// [`StoreError`] as for every write.
pub fn open_to_write(txn: &WriteTransaction, number: u32) -> Result<Rows<'_>, StoreError> {
    txn.open_table(TableDefinition::new(&Run::table_name(number))).map_err(unreadable)
}
