//! Opening a file again after it refused something, while the store goes on.
//!
//! redb latches shut after any error, and so does our [`Disk`](super::disk::Disk): the old handle
//! writes nothing more. The file is opened beside it by the protocol of the open (synced, read from
//! the disk again, every page verified) and takes its place once it was found to go on where the
//! old one ended. Until then readers have the tail, and what the old handle still has in its cache.

use std::sync::Arc;

use super::directory::{JOURNAL, TABLES};
use super::disk::refused;
use super::folder::FoldWork;
use super::journal::Journal;
use super::open::mark_in;
use super::replay::{Place, replay};
use super::snapshot::Snapshot;
use super::tail::unreadable;
use super::writer::RedbWriter;
use crate::store::{ReopenError, Reopened, StoreError};

impl RedbWriter {
    /// See [`WriteStore::reopen`](crate::store::WriteStore::reopen).
    pub(super) fn reopen_failed(&mut self) -> Result<Reopened, ReopenError> {
        let of_tables = |source| ReopenError { source, may_restart_help: false };
        if self.is_full() {
            // What an opening repairs takes room as well.
            self.site.room().map_err(of_journal)?;
        }
        if let Some(failure) = self.tables_failure() {
            self.tables_trouble.note(failure);
            self.reopen_tables().map_err(of_tables)?;
        }
        let before = self.journal.last();
        if let Some(failure) = self.journal_failure() {
            self.journal.trouble().note(failure);
            self.reopen_journal()?;
        }
        self.failure = None;
        let (_, durable_seq) = self.tail.counts();
        Ok(Reopened { durable_seq, has_batch: self.journal.last() > before })
    }

    fn is_full(&self) -> bool {
        let failures = [self.tables_failure(), self.journal_failure()];
        failures.into_iter().flatten().any(|it| matches!(it, StoreError::Full(_)))
    }

    /// What the journal refused; the first of it, which is the cause of all that follows.
    pub(super) fn journal_failure(&self) -> Option<StoreError> {
        self.journal.trouble().cause().cloned().or_else(|| self.failure.clone())
    }

    /// What the tables refused, or why the folder ended.
    pub(super) fn tables_failure(&self) -> Option<StoreError> {
        let cause = self.tables_trouble.cause().cloned();
        cause.or_else(|| self.folder.folded_through().err())
    }

    fn reopen_tables(&mut self) -> Result<(), StoreError> {
        // A fold that goes on fails at once: the old handle is fenced off.
        self.folder.end();
        let file = self.site.reopen(TABLES, &self.store_id).map_err(unreadable)?;
        let (snapshot, mark) = (Snapshot::load(&file.db)?, mark_in(&file.db)?);
        let (was_at, folding) = (self.folder.status().state().mark, self.tail.folding());
        let fold_end =
            folding.as_ref().and_then(|it| it.read().segments.last().map(|it| it.batch_no));
        // The fold that failed may be on the disk all the same: whole, or not there.
        let has_folded = fold_end == Some(mark.batch_no);
        if !has_folded && mark != was_at {
            let (ours, theirs) = (was_at.batch_no, mark.batch_no);
            let what = format!("the tables were folded through batch {ours}, and now {theirs}");
            return Err(StoreError::Failed(what));
        }
        file.hold.release().map_err(|error| refused(&error))?;
        let tables = Arc::new(file.db);
        self.tail.replace_tables(tables.clone(), snapshot, has_folded);
        self.tables_trouble = file.trouble;
        let (tail, site, age) = (self.tail.clone(), self.site.clone(), self.age.clone());
        let trouble = self.tables_trouble.clone();
        let work = FoldWork { tables, trouble, tail, site, age };
        self.folder.restart(work, mark).map_err(unreadable)?;
        if let Some(generation) = self.tail.folding() {
            self.folder.begin(generation);
        }
        Ok(())
    }

    fn reopen_journal(&mut self) -> Result<(), ReopenError> {
        let file = self.site.reopen(JOURNAL, &self.store_id).map_err(unreadable);
        let file = file.map_err(of_journal)?;
        let segments_max = self.site.options.trim_segments_max;
        let journal = Journal::new(file.db, file.trouble, segments_max).map_err(of_journal)?;
        let (first, last) = (journal.first(), journal.last());
        let ours = self.journal.last();
        let folded_through = self.folder.status().state().mark.batch_no;
        // The batch that was on its way is there or not; nothing else may have changed.
        if !(ours..=ours + 1).contains(&last) || first > folded_through + 1 {
            let what = format!("it holds the batches {first} to {last}, and not up to {ours}");
            // What a shorter journal lacks this process still has, and the next would not.
            let may_restart_help = last >= ours;
            return Err(ReopenError { source: StoreError::Failed(what), may_restart_help });
        }
        file.hold.release().map_err(|error| of_journal(refused(&error)))?;
        let (_, last_seq) = self.tail.counts();
        let from = Place { batch_no: ours, last_seq };
        replay(&journal, &self.tail, from, &|_| ()).map_err(of_journal)?;
        self.age.note(self.tail.counts().1);
        self.has_appended |= last > ours;
        self.journal = journal;
        Ok(())
    }
}

/// A new process may read what this one could not.
fn of_journal(source: StoreError) -> ReopenError {
    ReopenError { source, may_restart_help: true }
}
