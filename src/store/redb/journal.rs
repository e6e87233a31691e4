//! journal.redb: the recovery log. One batch, one segment, one write transaction, one sync.
//!
//! Segments that the tables have are removed inside the next batch's transaction. The newest
//! segment always stays, so that the file itself says how far it goes. Nobody reads it after the
//! open.

use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::codec::{Segment, decode_segment};
use super::disk::Trouble;
use super::schema::SEGMENTS;
use super::tail::unreadable;
use crate::store::StoreError;

/// The open journal. It holds the batches `first..=last`; none if `last` is 0.
#[derive(Debug)]
pub struct Journal {
    db: Database,
    trouble: Trouble,
    first: u64,
    last: u64,
    trim_segments_max: u64,
}

impl Journal {
    /// Looks how far the journal goes. The caller has checked that the file is whole.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn new(db: Database, trouble: Trouble, trim_segments_max: u64) -> Result<Self, StoreError> {
        let (first, last) = reach(&db)?;
        Ok(Self { db, trouble, first, last, trim_segments_max })
    }

    /// What fenced the file off, if something did.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// Makes a batch durable, and removes some of the segments up to `folded_through`.
    ///
    /// # Errors
    /// [`StoreError`]: it is unknown whether the batch is on disk. redb refuses everything from
    /// then on, until the file is closed and opened again.
    pub fn append(&mut self, bytes: &[u8], folded_through: u64) -> Result<u64, StoreError> {
        let batch_no = self.last + 1;
        let first = self.commit(Some((batch_no, bytes)), folded_through, self.trim_segments_max)?;
        (self.first, self.last) = (first, batch_no);
        Ok(batch_no)
    }

    /// Removes all segments up to `folded_through` in a transaction of its own.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn trim(&mut self, folded_through: u64) -> Result<(), StoreError> {
        if self.is_trimmed(folded_through) {
            return Ok(());
        }
        self.first = self.commit(None, folded_through, u64::MAX)?;
        Ok(())
    }

    /// True if nothing up to `folded_through` is left to remove.
    pub fn is_trimmed(&self, folded_through: u64) -> bool {
        self.first > folded_through.min(self.last.saturating_sub(1))
    }

    /// The one write transaction. Returns the first segment that is left.
    fn commit(
        &self,
        segment: Option<(u64, &[u8])>,
        folded_through: u64,
        segments_max: u64,
    ) -> Result<u64, StoreError> {
        let txn = self.db.begin_write().map_err(unreadable)?;
        let mut segments = txn.open_table(SEGMENTS).map_err(unreadable)?;
        if let Some((batch_no, bytes)) = segment {
            let old = segments.insert(batch_no.to_be_bytes().as_slice(), bytes);
            assert!(old.map_err(unreadable)?.is_none(), "a batch number is never reused");
        }
        let through = folded_through.min(self.last.saturating_sub(1));
        let through = through.min(self.first.saturating_add(segments_max).saturating_sub(1));
        for batch_no in self.first..=through {
            segments.remove(batch_no.to_be_bytes().as_slice()).map_err(unreadable)?;
        }
        drop(segments);
        txn.commit().map_err(unreadable)?;
        Ok(self.first.max(through + 1))
    }

    /// Hands on every segment after batch `after`, in order, with its bytes.
    ///
    /// # Errors
    /// [`StoreError`] if one cannot be read, and whatever `replay` fails with.
    pub fn replay(
        &self,
        after: u64,
        mut replay: impl FnMut(u64, Segment, Arc<[u8]>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let txn = self.db.begin_read().map_err(unreadable)?;
        let segments = txn.open_table(SEGMENTS).map_err(unreadable)?;
        let from = (after + 1).to_be_bytes();
        for row in segments.range(from.as_slice()..).map_err(unreadable)? {
            let (key, value) = row.map_err(unreadable)?;
            let batch_no = batch_no(key.value())?;
            let segment = decode_segment(batch_no, value.value());
            let segment = segment.map_err(|it| it.at("segments", &batch_no.to_be_bytes()))?;
            replay(batch_no, segment, Arc::from(value.value()))?;
        }
        Ok(())
    }

    /// Closes the file.
    ///
    /// # Errors
    /// [`StoreError`]; what was committed stays.
    pub fn close(self) -> Result<(), StoreError> {
        self.db.close().map_err(unreadable)
    }
}

/// The first and the last batch that a journal holds; 1 and 0 if it holds none.
///
/// # Errors
/// [`StoreError`] if it cannot be read.
pub fn reach(db: &Database) -> Result<(u64, u64), StoreError> {
    let txn = db.begin_read().map_err(unreadable)?;
    let segments = txn.open_table(SEGMENTS).map_err(unreadable)?;
    let first = segments.first().map_err(unreadable)?.map(|(key, _)| batch_no(key.value()));
    let last = segments.last().map_err(unreadable)?.map(|(key, _)| batch_no(key.value()));
    Ok((first.transpose()?.unwrap_or(1), last.transpose()?.unwrap_or(0)))
}

fn batch_no(key: &[u8]) -> Result<u64, StoreError> {
    let bytes = key.try_into().map_err(|_| StoreError::CorruptRecord {
        table: "segments",
        key: format!("{key:?}"),
        what: "a batch number has 8 bytes".to_owned(),
    })?;
    Ok(u64::from_be_bytes(bytes))
}
