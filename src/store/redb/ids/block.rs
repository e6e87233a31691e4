//! The rows of a run: blocks of some ids in their order, each under the first that it was made
//! with.
//!
//! A row for each id would cost its run an insert for each, and nothing would tell a flipped bit of
//! an id from an id that is not there. A block costs one insert, and its checksum covers its ids.

use std::ops::Bound;

use redb::{Range, ReadableTable, Table};

use crate::store::StoreError;
use crate::store::redb::codec::{Broken, PackedId, decode_ids, encode_ids};
use crate::store::redb::schema::SnapshotTable;
use crate::store::redb::tail::unreadable;

/// Ids of a block: about 700 bytes of ids like UUIDs, so that some blocks share a page, and little
/// is decoded to find one.
const BLOCK_IDS: usize = 32;

type Bytes = &'static [u8];

/// Writes ids, which come in their order and after all that the table has.
#[derive(Debug, Default)]
pub struct BlockWriter {
    ids: Vec<(String, u64)>,
}

impl BlockWriter {
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn push(
        &mut self,
        table: &mut Table<'_, Bytes, Bytes>,
        id: &str,
        slot: u64,
    ) -> Result<(), StoreError> {
        self.ids.push((id.to_owned(), slot));
        if self.ids.len() < BLOCK_IDS { Ok(()) } else { self.finish(table) }
    }

    /// Writes what is left over.
    ///
    /// # Errors
    /// [`StoreError`] as for every write.
    pub fn finish(&mut self, table: &mut Table<'_, Bytes, Bytes>) -> Result<(), StoreError> {
        if let Some((first, _)) = self.ids.first() {
            let key = first.as_bytes();
            let ids = self.ids.iter().map(|(id, slot)| (PackedId::of(id), *slot)).collect();
            table.insert(key, encode_ids(key, ids).as_slice()).map_err(unreadable)?;
        }
        self.ids.clear();
        Ok(())
    }
}

/// The slot of an id; `None` if the table does not have it.
///
/// redb verifies no page on the way to a row, so a turned bit there may lead to a wrong one. An id
/// is missing only if a block before it and one behind it, both whole, say so.
///
/// # Errors
/// [`StoreError`] if the table does not answer, or a block is damaged or stands where another
/// should.
pub fn find(table: &impl ReadableTable<Bytes, Bytes>, id: &str) -> Result<Option<u64>, StoreError> {
    let row = table.range(..=id.as_bytes()).map_err(unreadable)?.next_back();
    if let Some((key, value)) = row.transpose().map_err(unreadable)? {
        let ids = decode_ids(key.value(), value.value()).map_err(|it| it.at("ids", key.value()))?;
        if let Ok(place) = ids.binary_search_by(|(own, _)| own.order(id)) {
            return Ok(ids.get(place).map(|(_, slot)| *slot));
        }
        if key.value() > id.as_bytes() {
            return Err(astray(key.value()));
        }
    }
    // A block whose first id was removed keeps its key.
    let behind = (Bound::Excluded(id.as_bytes()), Bound::Unbounded);
    let next = table.range::<&[u8]>(behind).map_err(unreadable)?.next();
    if let Some((key, value)) = next.transpose().map_err(unreadable)? {
        decode_ids(key.value(), value.value()).map_err(|it| it.at("ids", key.value()))?;
        if key.value() <= id.as_bytes() {
            return Err(astray(key.value()));
        }
    }
    Ok(None)
}

fn astray(key: &[u8]) -> StoreError {
    Broken("another block stands where this one should".to_owned()).at("ids", key)
}

/// Removes an id; false if the table does not have it.
///
/// # Errors
/// As for [`find`], and as for every write.
pub fn remove(table: &mut Table<'_, Bytes, Bytes>, id: &str) -> Result<bool, StoreError> {
    let row = table.range(..=id.as_bytes()).map_err(unreadable)?.next_back();
    let row = row.transpose().map_err(unreadable)?;
    let row = row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec()));
    let Some((key, value)) = row else { return Ok(false) };
    let mut ids = decode_ids(&key, &value).map_err(|it| it.at("ids", &key))?;
    let Ok(place) = ids.binary_search_by(|(own, _)| own.order(id)) else { return Ok(false) };
    ids.remove(place);
    // The block keeps its key, which is no greater than any of its ids.
    let key = key.as_slice();
    let done = match ids.is_empty() {
        true => table.remove(key),
        false => table.insert(key, encode_ids(key, ids).as_slice()),
    };
    done.map(|_| true).map_err(unreadable)
}

/// The ids of a run in their order.
pub struct Ids<'a> {
    range: Range<'a, Bytes, Bytes>,
    /// The rest of the block, the next id last.
    block: Vec<(String, u64)>,
}

impl<'a> Ids<'a> {
    /// Those within a bound, of a run that is being written.
    ///
    /// # Errors
    /// As for [`find`].
    pub fn of_table(
        table: &'a Table<'_, Bytes, Bytes>,
        from: Bound<&str>,
    ) -> Result<Self, StoreError> {
        Self::new(|bounds| table.range::<&[u8]>(bounds), from)
    }

    /// `range` gives the rows of the run within bounds of their keys.
    fn new(
        range: impl Fn(Bounds<'_>) -> Result<Range<'a, Bytes, Bytes>, redb::StorageError>,
        from: Bound<&str>,
    ) -> Result<Self, StoreError> {
        let first = match from {
            Bound::Unbounded => None,
            // The block that may have the first id begins at or before it.
            Bound::Included(id) | Bound::Excluded(id) => {
                let until = (Bound::Unbounded, Bound::Included(id.as_bytes()));
                range(until).map_err(unreadable)?.next_back().transpose().map_err(unreadable)?
            }
        };
        let first = first.map(|(key, _)| key.value().to_vec());
        let first = first.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let range = range((first, Bound::Unbounded)).map_err(unreadable)?;
        Self { range, block: Vec::new() }.beyond(from)
    }

    /// Goes to the first id within a bound.
    fn beyond(mut self, from: Bound<&str>) -> Result<Self, StoreError> {
        let is_before = |id: &str| match from {
            Bound::Excluded(last) => id <= last,
            Bound::Included(first) => id < first,
            Bound::Unbounded => false,
        };
        while self.head()?.is_some_and(|(id, _)| is_before(id)) {
            self.block.pop();
        }
        Ok(self)
    }

    /// The next id and its slot, which stay the next.
    ///
    /// # Errors
    /// As for [`find`].
    pub fn head(&mut self) -> Result<Option<&(String, u64)>, StoreError> {
        while self.block.is_empty() {
            let Some(row) = self.range.next() else { break };
            let (key, value) = row.map_err(unreadable)?;
            let ids = decode_ids(key.value(), value.value());
            let ids = ids.map_err(|it| it.at("ids", key.value()))?;
            self.block =
                ids.into_iter().rev().map(|(id, slot)| (id.with(str::to_owned), slot)).collect();
        }
        Ok(self.block.last())
    }

    /// Takes the next id and its slot.
    ///
    /// # Errors
    /// As for [`find`].
    pub fn take(&mut self) -> Result<Option<(String, u64)>, StoreError> {
        self.head()?;
        Ok(self.block.pop())
    }
}

impl Ids<'static> {
    /// Those within a bound, of a run in a snapshot.
    ///
    /// # Errors
    /// As for [`find`].
    pub fn of_snapshot(table: &SnapshotTable, from: Bound<&str>) -> Result<Self, StoreError> {
        Self::new(|bounds| table.range::<&[u8]>(bounds), from)
    }
}

/// Bounds of keys.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Takes the first id of several runs, and its slot.
///
/// # Errors
/// As for [`find`].
pub fn take_first(runs: &mut [Ids<'_>]) -> Result<Option<(String, u64)>, StoreError> {
    let mut first: Option<(&str, usize)> = None;
    for (place, run) in runs.iter_mut().enumerate() {
        if let Some((id, _)) = run.head()?
            && first.is_none_or(|(least, _)| id.as_str() < least)
        {
            first = Some((id, place));
        }
    }
    let place = first.map(|(_, place)| place);
    let run = place.and_then(|place| runs.get_mut(place));
    run.map_or(Ok(None), Ids::take)
}
