//! Merging runs, a slice with every fold.
//!
//! A merge copies the ids of its sources, in their order, into a new table that nobody sees before
//! it is whole; then the table of runs names it instead of the sources. Their tables go with the
//! next fold, together with what a stop left of a merge, which begins anew.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;

use redb::{TableDefinition, TableHandle, WriteTransaction};

use super::{BlockWriter, Filter, IdHash, Ids, Run, Runs, TABLE_PREFIX, remove, take_first};
use crate::store::StoreError;
use crate::store::redb::codec::Broken;
use crate::store::redb::fold::Rows;
use crate::store::redb::tail::unreadable;
use crate::telemetry;

/// As many runs of a level make one of the next.
const FANOUT: usize = 8;
/// Every level moves as many times the ids that the fold brought: so a merge is over before the
/// next of its level is due.
const SLICE_FACTOR: u64 = 2;

/// The merges that go on, at most one of each level.
#[derive(Debug)]
pub struct Merges {
    going: Vec<Merge>,
    /// Runs that no merge takes any more: one of their blocks is damaged.
    damaged: HashSet<u32>,
    /// Every merge copies at least as many ids with a fold.
    slice_min: u64,
}

#[derive(Debug)]
struct Merge {
    sources: Vec<u32>,
    /// The level of the sources.
    from: u8,
    /// Its number, and its level when it is whole.
    into: (u32, u8),
    /// Ids that it has.
    ids: u64,
    /// The last id that was copied.
    last: Option<String>,
    filter: Filter,
}

impl Merges {
    pub fn new(slice_min: u64) -> Self {
        Self { going: Vec::new(), damaged: HashSet::new(), slice_min }
    }

    /// Removes the tables that no run and no merge has any more.
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn sweep(&mut self, txn: &WriteTransaction, runs: &Runs) -> Result<(), StoreError> {
        let numbers: HashSet<u32> = runs.iter().map(|run| run.number).collect();
        self.damaged.retain(|number| numbers.contains(number));
        let numbers = numbers.into_iter().chain(self.targets());
        let used: HashSet<String> = numbers.map(Run::table_name).collect();
        let tables: Vec<_> = txn.list_tables().map_err(unreadable)?.collect();
        for table in tables {
            if table.name().starts_with(TABLE_PREFIX) && !used.contains(table.name()) {
                txn.delete_table(table).map_err(unreadable)?;
            }
        }
        Ok(())
    }

    /// A number that no run and no merge has.
    pub fn next_number(&self, runs: &[Run]) -> u32 {
        let numbers = runs.iter().map(|run| run.number);
        numbers.chain(self.targets()).max().unwrap_or(0) + 1
    }

    fn targets(&self) -> impl Iterator<Item = u32> {
        self.going.iter().map(|merge| merge.into.0)
    }

    /// Removes an id of `run` from what was copied of it.
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn remove(&mut self, txn: &WriteTransaction, run: u32, id: &str) -> Result<(), StoreError> {
        for merge in self.going.iter_mut().filter(|merge| merge.sources.contains(&run)) {
            let mut copied = open_to_write(txn, merge.into.0)?;
            let gone = u64::from(remove(&mut copied, id)?);
            merge.ids = merge.ids.checked_sub(gone).ok_or_else(|| miscounted(merge.into.0))?;
        }
        Ok(())
    }

    /// Begins what is due, and moves every merge on. `ids` were added by this fold. Gives the runs
    /// that there are then; one without an id is none.
    ///
    /// A merge that meets a damaged block, or another number of ids than was noted, is given up,
    /// and the fold goes on: its sources stay, and answer for all ids but those of the block. (One
    /// that the disk changed under the running store ends the fold.)
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn advance(
        &mut self,
        txn: &WriteTransaction,
        mut runs: Vec<Run>,
        ids: u64,
    ) -> Result<Runs, StoreError> {
        self.begin(&runs);
        let slice = (ids * SLICE_FACTOR).max(self.slice_min);
        for mut merge in std::mem::take(&mut self.going) {
            let waiting = self.waiting(&runs, merge.from).count();
            match merge.advance(txn, hurried(slice, waiting), &runs) {
                Ok(false) => self.going.push(merge),
                Ok(true) => {
                    runs.retain(|run| !merge.sources.contains(&run.number));
                    runs.push(merge.into_run());
                }
                Err(StoreError::CorruptRecord { table, key, what }) => {
                    let (event, key) = (telemetry::MERGE_GIVEN_UP, telemetry::escaped(&key));
                    let message = "Ids of jobs are damaged: run `jobslate check`";
                    tracing::error!(event, table, %key, what, "{message}");
                    self.damaged.extend(merge.sources);
                }
                Err(failed) => return Err(failed),
            }
        }
        let is_source = |run: &Run| self.going.iter().any(|it| it.sources.contains(&run.number));
        for run in runs.iter().filter(|run| run.ids == 0) {
            let table = open_to_write(txn, run.number)?;
            if Ids::of_table(&table, Bound::Unbounded)?.head()?.is_some() {
                return Err(miscounted(run.number));
            }
        }
        runs.retain(|run| run.ids > 0 || is_source(run));
        Ok(runs.into_iter().collect())
    }

    /// The runs of a level that a merge may take, or has taken.
    fn waiting<'a>(&self, runs: &'a [Run], level: u8) -> impl Iterator<Item = &'a Run> {
        let is_whole = |run: &&Run| !self.damaged.contains(&run.number);
        runs.iter().filter(move |run| run.level == level).filter(is_whole)
    }

    /// Begins a merge of every level that has none and has enough runs, or one whose ids were
    /// removed for the greater part: that one is merged alone, and its filter becomes shorter.
    fn begin(&mut self, runs: &[Run]) {
        let level_max = runs.iter().map(|run| run.level).max().unwrap_or(0);
        for from in 0..=level_max {
            if self.going.iter().any(|merge| merge.from == from) {
                continue;
            }
            let mut sources: Vec<&Run> = self.waiting(runs, from).collect();
            let level = if sources.len() >= FANOUT {
                sources.sort_unstable_by_key(|run| run.number);
                sources.truncate(FANOUT);
                from.saturating_add(1)
            } else if let Some(run) = sources.iter().find(|run| run.filter.is_sparse(run.ids)) {
                sources = vec![run];
                from
            } else {
                continue;
            };
            let filter = Filter::for_ids(sources.iter().map(|run| run.ids).sum());
            let sources = sources.iter().map(|run| run.number).collect();
            let into = (self.next_number(runs), level);
            self.going.push(Merge { sources, from, into, ids: 0, last: None, filter });
        }
    }
}

impl Merge {
    /// Copies at most `slice` ids; true if these were the last.
    fn advance(
        &mut self,
        txn: &WriteTransaction,
        slice: u64,
        runs: &[Run],
    ) -> Result<bool, StoreError> {
        let mut into = open_to_write(txn, self.into.0)?;
        let sources = self.sources.iter().map(|number| open_to_write(txn, *number));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let from = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let heads = sources.iter().map(|table| Ids::of_table(table, from));
        let mut heads = heads.collect::<Result<Vec<_>, _>>()?;
        let mut blocks = BlockWriter::default();
        for _ in 0..slice {
            let Some((id, slot)) = take_first(&mut heads)? else {
                blocks.finish(&mut into)?;
                let is_source = |run: &&Run| self.sources.contains(&run.number);
                let noted: u64 = runs.iter().filter(is_source).map(|run| run.ids).sum();
                let is_all = noted == self.ids;
                return if is_all { Ok(true) } else { Err(miscounted(self.into.0)) };
            };
            blocks.push(&mut into, &id, slot)?;
            self.ids += 1;
            self.filter.add(IdHash::of(&id));
            self.last = Some(id);
        }
        blocks.finish(&mut into)?;
        Ok(false)
    }

    fn into_run(self) -> Run {
        let ((number, level), filter) = (self.into, Arc::new(self.filter));
        Run { number, level, ids: self.ids, filter }
    }
}

/// How many ids to copy now. A process that never lives until a merge is done would leave ever
/// more runs: each that waits beyond the usual doubles the slice.
fn hurried(slice: u64, waiting: usize) -> u64 {
    let late = waiting.saturating_sub(2 * FANOUT);
    slice.saturating_mul(1 << late.min(32))
}

/// A run has more ids, or fewer, than is noted of it.
pub fn miscounted(run: u32) -> StoreError {
    Broken("the run has another number of ids than is noted".to_owned())
        .at("runs", &run.to_be_bytes())
}

/// The table of a run, to be written.
///
/// # Errors
/// [`StoreError`] as for every write.
pub fn open_to_write(txn: &WriteTransaction, number: u32) -> Result<Rows<'_>, StoreError> {
    txn.open_table(TableDefinition::new(&Run::table_name(number))).map_err(unreadable)
}
