//! Gives the disk back what both files of a store no longer use. For a store that nobody has open.
//!
//! redb uses what folds and trims free for what comes, and keeps the file as long as it ever was;
//! its `compact` moves what is at the end to the front and cuts the file, in transactions of its
//! own. So a kill, a failed write or a power cut in the middle leaves a store that opens with all
//! that it had; the next compaction goes on from there.

use std::path::Path;
use std::sync::Arc;

use super::directory::{Directory, JOURNAL, TABLES, failed};
use super::journal::reach;
use super::media::{Files, Media};
use super::open::{agree, closed};
use super::site::{Site, StoreFile, both};
use super::snapshot::or_damaged;
use super::tail::unreadable;
use crate::store::{Compacted, OpenError, OpenHooks, StoreOptions};

/// Compacts the journal and the tables of the store in `directory`; their lengths before and after,
/// in this order. `None` if there is no store.
///
/// Reads both files whole, as an open does, and writes at most about as much.
///
/// # Errors
/// [`OpenError`]: in use, damaged (if that is found before, nothing was changed), or refused by the
/// system; the store holds what it held.
pub fn compact(directory: &Path) -> Result<Option<[Compacted; 2]>, OpenError> {
    let options = StoreOptions { directory: directory.to_owned(), ..StoreOptions::default() };
    compact_on(options, Arc::new(Files))
}

/// [`compact`], with the bytes of the two files where `media` has them.
///
/// # Errors
/// As for [`compact`].
pub(super) fn compact_on(
    options: StoreOptions,
    media: Arc<dyn Media>,
) -> Result<Option<[Compacted; 2]>, OpenError> {
    let directory = Directory::lock(&options.directory)?;
    directory.settle()?;
    let Some(store_id) = directory.store_id()? else { return Ok(None) };
    let site = Site::new(Arc::new(directory), options, OpenHooks::default(), media);
    let [journal, tables] = both(|name| site.open(name, &store_id))?;
    let directory = &site.directory;
    let reach = reach(&journal.db).map_err(|error| closed(&directory.path_of(JOURNAL), error))?;
    agree(directory, reach, &tables.db)?;
    let journal = compact_file(&site, 0, journal)?;
    let tables = compact_file(&site, 1, tables)?;
    directory.release()?;
    Ok(Some([journal, tables]))
}

/// Compacts one file until nothing more is gained, and closes it. `place` is that of its counters.
fn compact_file(site: &Site, place: usize, file: StoreFile) -> Result<Compacted, OpenError> {
    let name = [JOURNAL, TABLES].get(place).copied().unwrap_or(TABLES);
    let path = site.directory.path_of(name);
    let length_bytes = || site.counters.get(place).map_or(0, |it| it.length_bytes());
    let StoreFile { mut db, hold, .. } = file;
    let before_bytes = length_bytes();
    hold.release().map_err(|error| failed(&path, error))?;
    // With the end of the file, which may meet the same page.
    let compacted = or_damaged("pages", &[], move || {
        while db.compact().map_err(unreadable)? {}
        db.close().map_err(unreadable)
    });
    compacted.map_err(|error| closed(&path, error))?;
    Ok(Compacted { before_bytes, after_bytes: length_bytes() })
}
