//! Where a job's record stands: its id, and the slot that it was given when it was first folded.
//!
//! Ids come in no order, and a tree that takes them one here and one there rewrites a page for
//! each. So each fold writes its new ids, sorted, as a run: a table of its own, that nobody changes
//! but to remove a job. An id stands in one run. Runs of about one length are merged into a longer
//! one, a slice with every fold ([`merge`]), so that there are few (O'Neil and others: The
//! Log-Structured Merge-Tree, 1996). A filter in memory tells which run may have an id.

mod block;
mod filter;
mod merge;

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError};

pub use block::{BlockWriter, Ids, find, remove, take_first};
pub use filter::{Filter, IdHash};
pub use merge::{Merges, miscounted, open_to_write};

use super::codec::{Broken, decode_filter, decode_run, encode_filter, encode_run};
use super::fold::{Rows, put};
use super::schema::SnapshotTable;
use super::tail::unreadable;
use crate::store::StoreError;

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    pub number: u32,
    /// How often its ids were merged.
    pub level: u8,
    /// Ids that it has.
    pub ids: u64,
    pub filter: Arc<Filter>,
}

impl Run {
    /// The name of its table.
    pub fn table_name(number: u32) -> String {
        format!("{TABLE_PREFIX}{number:010}")
    }

    /// Its row in the table of runs.
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn write(&self, runs: &mut Rows<'_>) -> Result<(), StoreError> {
        let key = self.number.to_be_bytes();
        put(runs, &key, &encode_run(&key, self.level, self.ids))
    }

    /// Its row in the table of filters.
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn write_filter(&self, filters: &mut Rows<'_>) -> Result<(), StoreError> {
        let key = self.number.to_be_bytes();
        put(filters, &key, &encode_filter(&key, &self.filter.to_bytes()))
    }

    fn decode(key: &[u8], value: &[u8], filter: Filter) -> Result<Self, Broken> {
        let (level, ids) = decode_run(key, value)?;
        let number = key.try_into().map_err(|_| Broken("the key is no number".to_owned()))?;
        Ok(Self { number: u32::from_be_bytes(number), level, ids, filter: filter.into() })
    }
}

/// What the names of the runs' tables begin with.
pub const TABLE_PREFIX: &str = "ids_";

/// The runs of one moment, the newest first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Runs(Arc<[Run]>);

impl Runs {
    /// Those that the tables of runs and of their filters name.
    ///
    /// # Errors
    /// [`StoreError`] if one cannot be read.
    pub fn load(table: &SnapshotTable, filters: &SnapshotTable) -> Result<Self, StoreError> {
        let mut runs = Vec::new();
        for row in table.iter().map_err(unreadable)?.rev() {
            let (key, value) = row.map_err(unreadable)?;
            let key = key.value();
            let filter = filters.get(key).map_err(unreadable)?;
            let missing = || Broken("the run has no filter".to_owned()).at("filters", key);
            let filter = filter.ok_or_else(missing)?;
            let filter = decode_filter(key, filter.value()).and_then(Filter::from_bytes);
            let filter = filter.map_err(|it| it.at("filters", key))?;
            let run = Run::decode(key, value.value(), filter);
            runs.push(run.map_err(|it| it.at("runs", key))?);
        }
        Ok(Self(runs.into()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.0.iter()
    }

    /// Where the runs are that may have an id: mostly the one that has it, or none.
    pub fn candidates(&self, job_id: &str) -> impl Iterator<Item = usize> {
        let hash = IdHash::of(job_id);
        let runs = self.0.iter().enumerate();
        runs.filter(move |(_, run)| run.filter.may_have(hash)).map(|(place, _)| place)
    }

    pub fn get(&self, place: usize) -> Option<&Run> {
        self.0.get(place)
    }
}

impl FromIterator<Run> for Runs {
    fn from_iter<T: IntoIterator<Item = Run>>(runs: T) -> Self {
        let mut runs: Vec<Run> = runs.into_iter().collect();
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.number));
        Self(runs.into())
    }
}

/// The table of a run in a snapshot.
///
/// # Errors
/// [`StoreError`]; `CorruptRecord` if the run has no table.
pub fn open_run(txn: &ReadTransaction, number: u32) -> Result<SnapshotTable, StoreError> {
    let name = Run::table_name(number);
    txn.open_table(TableDefinition::new(&name)).map_err(|error| match error {
        TableError::TableDoesNotExist(_) => {
            Broken("the run has no table".to_owned()).at("runs", name.as_bytes())
        }
        other => unreadable(other),
    })
}
