//! What is durable but not yet folded, in memory; and the moment that a reader sees.
//!
//! ```text
//! writer --publish--> active generation --rotate--> folding generation --fold--> tables.redb
//! reader: [`Tail::view`] = active + folding + a snapshot of the tables, taken under one lock
//! ```
//!
//! Publishing a batch, rotating, and dropping a folded generation take the write lock once each,
//! and do no I/O under it. A reader keeps the generations that it saw: what is added to them later
//! has a seq above its `as_of_seq`.

mod generation;
mod ids;
mod index;
mod tallies;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use redb::{Database, TableDefinition};

pub use generation::{Appendix, Content, Generation, Held, JOB_BYTES, Publication};
pub use index::Row;
pub use tallies::{Minutes, Tallies};

use super::schema::SnapshotTable;
use super::snapshot::Snapshot;
use crate::model::{Counts, Expectations, JobId, JobRecord, Miscounted, Operation, TimestampMs};
use crate::store::StoreError;

/// The present, shared by the writer, the folder and all readers.
#[derive(Debug)]
pub struct Tail {
    /// A reader-writer lock, as publishing is rare beside reading; held for a few microseconds.
    present: RwLock<Present>,
}

#[derive(Debug)]
struct Present {
    active: Arc<Generation>,
    folding: Option<Arc<Generation>>,
    counts: Arc<Counts>,
    expectations: Arc<Expectations>,
    last_seq: u64,
    updated_at: TimestampMs,
    /// `None` once the store is closed.
    tables: Option<Open>,
}

/// The tables, and as the last fold left them. While a fold is committed and its generation not yet
/// dropped, this is as the one before left them.
#[derive(Debug)]
struct Open {
    database: Arc<Database>,
    snapshot: Arc<Snapshot>,
    /// Those before it that a long read still has.
    before: Vec<Weak<Snapshot>>,
}

impl Open {
    /// Shows `snapshot` from now on; the one before is to be freed by the caller.
    fn replace(&mut self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.before.retain(|it| it.strong_count() > 0);
        self.before.push(Arc::downgrade(&self.snapshot));
        std::mem::replace(&mut self.snapshot, snapshot)
    }
}

/// What the tables have, before the journal is replayed.
#[derive(Debug, Default)]
pub struct Base {
    pub counts: Counts,
    pub expectations: Expectations,
    pub last_seq: u64,
    pub updated_at: TimestampMs,
}

impl Tail {
    /// The present as the tables have it, before the journal is replayed.
    pub fn new(database: Arc<Database>, snapshot: Snapshot, base: Base) -> Self {
        let present = Present {
            active: Arc::default(),
            folding: None,
            counts: Arc::new(base.counts),
            expectations: Arc::new(base.expectations),
            last_seq: base.last_seq,
            updated_at: base.updated_at,
            tables: Some(Open { database, snapshot: Arc::new(snapshot), before: Vec::new() }),
        };
        Self { present: RwLock::new(present) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Present> {
        self.present.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Present> {
        self.present.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a durable batch visible. Called by the writer alone, after the commit.
    ///
    /// # Errors
    /// [`Miscounted`]: the stored counts are wrong. Nothing may be published after that.
    pub fn publish(&self, batch: Publication) -> Result<(), Miscounted> {
        let mut batch = batch;
        let operations = std::mem::take(&mut batch.operations);
        let tallies = Tallies::of(&operations, batch.appendix.updated_at);
        let mut changed = Vec::new();
        let mut present = self.write();
        let present = &mut *present;
        tallies.count(Arc::make_mut(&mut present.counts))?;
        let is_of_total = |it: &&Operation| Expectations::are_changed_by(it);
        for operation in operations.iter().filter(is_of_total) {
            Arc::make_mut(&mut present.expectations).apply(operation);
            changed.push(operation.pipeline());
        }
        present.last_seq = batch.appendix.last_seq;
        present.updated_at = batch.appendix.updated_at;
        let mut active = present.active.write();
        active.add(batch, &operations, &tallies);
        for pipeline in changed {
            active.expected.insert(pipeline.clone(), present.expectations.get(pipeline));
        }
        Ok(())
    }

    /// Begins a new generation; the old one is to be folded. `None` if one is folding already, or
    /// if nothing was published since the last rotation.
    pub fn rotate(&self) -> Option<Arc<Generation>> {
        let mut present = self.write();
        if present.folding.is_some() || present.active.read().segments.is_empty() {
            return None;
        }
        let folding = std::mem::take(&mut present.active);
        present.folding = Some(folding.clone());
        Some(folding)
    }

    /// Drops the folding generation: the tables have it now, as `snapshot` shows.
    pub fn drop_folded(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        let mut present = self.write();
        let before = present.tables.as_mut().map(|it| it.replace(snapshot));
        let folded = present.folding.take();
        drop(present);
        // Freed after the lock: dropping 200,000 records takes milliseconds.
        drop((folded, before));
    }

    /// The tables as the last fold left them.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if they are closed.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.read().snapshot()
    }

    /// Moments of the tables that somebody holds; the present one is one.
    pub fn moments_held(&self) -> u64 {
        let present = self.read();
        let before = present.tables.iter().flat_map(|it| &it.before);
        1 + before.filter(|it| it.strong_count() > 0).count() as u64
    }

    /// The generation that is being folded, or waits for it again after a failure.
    pub fn folding(&self) -> Option<Arc<Generation>> {
        self.read().folding.clone()
    }

    /// Shows tables that were opened again; `has_folded` if they have the folding generation, which
    /// goes then.
    pub fn replace_tables(&self, database: Arc<Database>, snapshot: Snapshot, has_folded: bool) {
        let mut present = self.write();
        let open = Open { database, snapshot: Arc::new(snapshot), before: Vec::new() };
        let before = present.tables.replace(open);
        let folded = if has_folded { present.folding.take() } else { None };
        drop(present);
        // Closes the file that failed; after the lock.
        drop((folded, before));
    }

    /// Jobs, updates and bytes of both generations.
    pub fn size(&self) -> (usize, u64, usize) {
        let present = self.read();
        let mut size = (0, 0, 0);
        for generation in std::iter::once(&present.active).chain(&present.folding) {
            let content = generation.read();
            size.0 += content.records.len();
            let updates = content.segments.iter().map(|it| it.last_seq + 1 - it.first_seq);
            size.1 += updates.sum::<u64>();
            size.2 += content.weight_bytes;
        }
        size
    }

    /// Jobs and bytes of the active generation alone.
    pub fn active_size(&self) -> (usize, usize) {
        let present = self.read();
        let content = present.active.read();
        (content.records.len(), content.weight_bytes)
    }

    /// Counts and the last seq, of one moment.
    pub fn counts(&self) -> (Arc<Counts>, u64) {
        let present = self.read();
        (present.counts.clone(), present.last_seq)
    }

    pub fn expectations(&self) -> Arc<Expectations> {
        self.read().expectations.clone()
    }

    pub fn updated_at(&self) -> TimestampMs {
        self.read().updated_at
    }

    /// The present moment. No I/O.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the tables are closed.
    pub fn view(&self) -> Result<View, StoreError> {
        self.read().view()
    }

    /// The present moment, and what the tail has of some jobs in it. Holds the lock for a look at
    /// each of them: at most a page of ids.
    ///
    /// # Errors
    /// As for [`view`](Self::view).
    pub fn view_of(&self, job_ids: &[JobId]) -> Result<(View, Vec<Option<Held>>), StoreError> {
        // Nothing is published while it is held.
        let present = self.read();
        let view = present.view()?;
        let held = job_ids.iter().map(|job_id| view.tail_record(job_id)).collect();
        Ok((view, held))
    }

    /// The record of a job, now. Looks into the tables only if the tail does not have it.
    ///
    /// # Errors
    /// As for [`View::record`].
    pub fn record(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        let present = self.read();
        for generation in std::iter::once(&present.active).chain(&present.folding) {
            if let Some(held) = generation.read().records.get(job_id) {
                return Ok(held.clone());
            }
        }
        let snapshot = present.snapshot()?;
        drop(present);
        snapshot.record(job_id)
    }

    /// Takes the tables away from the readers, to close them.
    pub fn close(&self) -> Option<Arc<Database>> {
        self.write().tables.take().map(|it| it.database)
    }
}

impl Present {
    fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        let tables = self.tables.as_ref();
        let tables = tables.ok_or_else(|| StoreError::Failed("the store is closed".to_owned()))?;
        Ok(tables.snapshot.clone())
    }

    fn view(&self) -> Result<View, StoreError> {
        let snapshot = self.snapshot()?;
        let folding = self.folding.iter().cloned();
        Ok(View {
            as_of_seq: self.last_seq,
            updated_at: self.updated_at,
            counts: self.counts.clone(),
            expectations: self.expectations.clone(),
            generations: std::iter::once(self.active.clone()).chain(folding).collect(),
            snapshot,
        })
    }
}

/// One moment of the store. Generations and snapshot are taken and changed under one lock, so what
/// is in the one is not in the other. Holds the snapshot: keep it for one page, never for a client.
#[derive(Debug)]
pub struct View {
    pub as_of_seq: u64,
    pub updated_at: TimestampMs,
    pub counts: Arc<Counts>,
    pub expectations: Arc<Expectations>,
    /// The newest first.
    pub generations: Vec<Arc<Generation>>,
    pub snapshot: Arc<Snapshot>,
}

impl View {
    pub fn table(
        &self,
        definition: TableDefinition<'static, &'static [u8], &'static [u8]>,
    ) -> Result<SnapshotTable, StoreError> {
        self.snapshot.table(definition)
    }

    /// What the tail has of a job; it may be newer than `as_of_seq`. `None`: the tables may know.
    pub fn tail_record(&self, job_id: &JobId) -> Option<Held> {
        self.generations.iter().find_map(|it| it.read().records.get(job_id).cloned())
    }

    /// The record of a job.
    ///
    /// # Errors
    /// As for [`Snapshot::record`].
    pub fn record(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        match self.tail_record(job_id) {
            Some(held) => Ok(held),
            None => self.snapshot.record(job_id),
        }
    }
}

pub fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}
