//! Opening a store: the directory, the two files, their agreement, the replay.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTableMetadata, WriteTransaction};

use super::age::AgeClock;
use super::check::{mark_of, stored_counts, stored_expectations};
use super::codec::{Mark, encode_identity};
use super::directory::{Directory, FORMAT_VERSION, JOURNAL, TABLES, WAY_BACK, damaged, failed};
use super::folder::{FoldWork, Folder};
use super::journal::Journal;
use super::media::{Files, Media};
use super::reader::RedbReader;
use super::replay::{Place, replay};
use super::schema::{IDENTITY, IDENTITY_KEY, META, OF_TABLES, RECORDS, SEGMENTS};
use super::site::{Site, StoreFile, both};
use super::snapshot::{Snapshot, open_table};
use super::tail::{Base, Tail, unreadable};
use super::writer::RedbWriter;
use crate::model::TimestampMs;
use crate::store::{OpenError, OpenHooks, Sides, StoreError, StoreOptions};

/// Opens the store in `options.directory`, or makes a new one in an empty directory.
///
/// Reads both files whole (redb verifies every page), replays what is not folded, and starts the
/// folder thread.
///
/// # Errors
/// [`OpenError`]: in use, damaged (nothing was changed), or refused by the system.
pub fn open(options: StoreOptions, hooks: OpenHooks) -> Result<Sides, OpenError> {
    open_on(options, hooks, Arc::new(Files))
}

/// [`open`], with the bytes of the two files where `media` has them.
///
/// # Errors
/// As for [`open`].
pub(super) fn open_on(
    options: StoreOptions,
    hooks: OpenHooks,
    media: Arc<dyn Media>,
) -> Result<Sides, OpenError> {
    let directory = Directory::lock(&options.directory)?;
    directory.settle()?;
    (hooks.progress)(0);
    let found = directory.store_id()?;
    let site = Site::new(Arc::new(directory), options, hooks, media);
    let (store_id, files) = match found {
        Some(store_id) => {
            (site.hooks.progress)(5);
            let files = both(|name| site.open(name, &store_id))?;
            (store_id, files)
        }
        None => {
            let store_id = uuid::Uuid::now_v7().to_string();
            let files = create(&site, &store_id)?;
            (store_id, files)
        }
    };
    (site.hooks.progress)(70);
    finish(Arc::new(site), store_id, files)
}

/// Compares the files, replays what is not folded, and starts the folder.
fn finish(
    site: Arc<Site>,
    store_id: String,
    [journal, tables]: [StoreFile; 2],
) -> Result<Sides, OpenError> {
    let directory = &site.directory;
    let path = directory.path_of(JOURNAL);
    let holds = [journal.hold, tables.hold];
    let journal = Journal::new(journal.db, journal.trouble, site.options.trim_segments_max);
    let journal = journal.map_err(|it| closed(&path, it))?;
    let (tables, trouble) = (Arc::new(tables.db), tables.trouble);
    let mark = agree(directory, (journal.first(), journal.last()), &tables)?;
    let tail = restore(directory, &journal, &tables, &site.hooks, mark)?;
    for (name, hold) in [JOURNAL, TABLES].into_iter().zip(&holds) {
        hold.release().map_err(|error| failed(&directory.path_of(name), error))?;
    }
    directory.raise_format(&store_id)?;
    let (tail, age) = (Arc::new(tail), Arc::new(AgeClock::new(site.options.clock.clone())));
    let resumed = tail.view().and_then(|view| age.resume(&view));
    resumed.map_err(|it| closed(&directory.path_of(TABLES), it))?;
    let work = FoldWork {
        tables,
        trouble: trouble.clone(),
        tail: tail.clone(),
        site: site.clone(),
        age: age.clone(),
    };
    let folder = Folder::start(work, mark);
    let folder = folder.map_err(|error| failed(&site.options.directory, error))?;
    (site.hooks.progress)(100);
    let reader = RedbReader {
        tail: tail.clone(),
        folder: folder.status(),
        site: site.clone(),
        store_id: store_id.clone(),
        age: age.clone(),
    };
    let writer = RedbWriter {
        site,
        store_id,
        journal,
        tables_trouble: trouble,
        tail,
        folder,
        age,
        active_since: None,
        idle_since: None,
        has_appended: false,
        failure: None,
    };
    Ok((Box::new(writer), Arc::new(reader)))
}

/// Makes a new store: both files with their tables and their identity, then the mark of it.
///
/// # Errors
/// [`OpenError::Failed`]; the next open begins anew.
pub(super) fn create(site: &Site, store_id: &str) -> Result<[StoreFile; 2], OpenError> {
    let directory = &site.directory;
    directory.begin()?;
    let files = both(|name| site.create(name))?;
    let [journal, tables] = &files;
    make_journal(&journal.db, store_id).map_err(|it| failed(&directory.path_of(JOURNAL), it))?;
    make_tables(&tables.db, store_id).map_err(|it| failed(&directory.path_of(TABLES), it))?;
    for file in &files {
        file.hold.release().map_err(|error| failed(&site.options.directory, error))?;
    }
    directory.sync()?;
    directory.finish(store_id)?;
    Ok(files)
}

fn make_journal(db: &Database, store_id: &str) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    txn.open_table(SEGMENTS)?;
    write_identity(&txn, store_id)?;
    Ok(txn.commit()?)
}

fn make_tables(db: &Database, store_id: &str) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    for definition in OF_TABLES {
        txn.open_table(definition)?;
    }
    write_identity(&txn, store_id)?;
    Ok(txn.commit()?)
}

fn write_identity(txn: &WriteTransaction, store_id: &str) -> Result<(), redb::Error> {
    let identity = encode_identity(IDENTITY_KEY, FORMAT_VERSION, store_id);
    txn.open_table(IDENTITY)?.insert(IDENTITY_KEY, identity.as_slice())?;
    Ok(())
}

pub(super) fn closed(path: &Path, error: StoreError) -> OpenError {
    match error {
        StoreError::Failed(what) | StoreError::Full(what) | StoreError::Panicked(what) => {
            failed(path, what)
        }
        corrupt @ StoreError::CorruptRecord { .. } => damaged(path, &corrupt.to_string(), WAY_BACK),
    }
}

/// How far the tables reach.
pub(super) fn mark_in(tables: &Database) -> Result<Mark, StoreError> {
    let meta = tables.begin_read().map_err(unreadable).and_then(|txn| open_table(&txn, META));
    meta.and_then(|meta| mark_of(&meta))
}

/// How far the tables reach, and that the journal goes on from there: it holds the batches from
/// `first` to `last`.
pub(super) fn agree(
    directory: &Directory,
    (first, last): (u64, u64),
    tables: &Database,
) -> Result<Mark, OpenError> {
    let mark = mark_in(tables).map_err(|error| closed(&directory.path_of(TABLES), error))?;
    if last < mark.batch_no || first > mark.batch_no + 1 {
        let what = format!(
            "it holds the batches {first} to {last}, the tables were folded through {}",
            mark.batch_no
        );
        return Err(damaged(&directory.path_of(JOURNAL), &what, WAY_BACK));
    }
    Ok(mark)
}

/// What the tables have, before the journal is replayed.
fn base(tables: &Snapshot, mark: Mark) -> Result<Base, StoreError> {
    let (counts, expectations) = (stored_counts(tables)?, stored_expectations(tables)?);
    let jobs = tables.table(RECORDS)?.len().map_err(unreadable)?;
    if counts.total() != jobs {
        let what = format!("they count {} jobs and hold {jobs}", counts.total());
        return Err(StoreError::CorruptRecord { table: "counts", key: "total".to_owned(), what });
    }
    let (last_seq, updated_at) = (mark.last_seq, TimestampMs(mark.updated_at));
    Ok(Base { counts, expectations, last_seq, updated_at })
}

/// The tail as it was: what the tables have, and the journal's segments after their mark.
fn restore(
    directory: &Directory,
    journal: &Journal,
    tables: &Arc<Database>,
    hooks: &OpenHooks,
    mark: Mark,
) -> Result<Tail, OpenError> {
    let in_tables = |error| closed(&directory.path_of(TABLES), error);
    let snapshot = Snapshot::load(tables).map_err(in_tables)?;
    let base = base(&snapshot, mark).map_err(in_tables)?;
    let tail = Tail::new(tables.clone(), snapshot, base);
    let from = Place { batch_no: mark.batch_no, last_seq: mark.last_seq };
    let progress = |part: f64| (hooks.progress)(70 + (part * 30.0) as u8);
    let replayed = replay(journal, &tail, from, &progress);
    replayed.map_err(|error| closed(&directory.path_of(JOURNAL), error))?;
    Ok(tail)
}

#[cfg(test)]
mod tests;
