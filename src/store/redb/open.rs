//! Opening a store: the directory, the two files, their agreement, the replay.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTableMetadata, StorageError,
    WriteTransaction,
};

use super::age::{AgeClock, newest};
use super::check::{mark_of, stored_counts, stored_expectations};
use super::codec::{Mark, Segment, decode_identity, encode_identity};
use super::directory::{
    Directory, FORMAT_VERSION, JOURNAL, TABLES, WAY_BACK, damaged, failed, other_format,
};
use super::disk::{Backend, Disk, DiskCounters, Hold};
use super::folder::{FoldWork, Folder};
use super::journal::Journal;
use super::reader::RedbReader;
use super::schema::{IDENTITY, IDENTITY_KEY, META, OF_TABLES, RECORDS, SEGMENTS};
use super::snapshot::{Snapshot, open_table};
use super::tail::{Base, Publication, Tail, unreadable};
use super::writer::{RedbWriter, appendix};
use crate::model::{JobRecord, NameMap, TimestampMs};
use crate::store::{OpenError, OpenHooks, Sides, StoreError, StoreOptions};

/// Segments that are decoded before they are replayed.
const SEGMENTS_AHEAD_MAX: usize = 16;
/// The journal's part of the page cache: its pages are written once and not read again.
const JOURNAL_CACHE_PART: usize = 8;

/// Opens the store in `options.directory`, or makes a new one in an empty directory.
///
/// Reads both files whole (redb verifies every page), replays what is not folded, and starts the
/// folder thread.
///
/// # Errors
/// [`OpenError`]: in use, damaged (nothing was changed), or refused by the system.
pub fn open(options: StoreOptions, hooks: OpenHooks) -> Result<Sides, OpenError> {
    open_on(options, hooks, &from_files)
}

/// The files as they are.
pub(super) fn from_files(_name: &str, file: File) -> Result<Backend, DatabaseError> {
    Ok(Arc::new(FileBackend::new(file)?))
}

/// Gives the bytes of a file that the directory opened.
pub(super) type Media<'a> = &'a (dyn Fn(&str, File) -> Result<Backend, DatabaseError> + Sync);

/// [`open`], with the bytes of the two files where `media` says.
///
/// # Errors
/// As for [`open`].
pub(super) fn open_on(
    options: StoreOptions,
    hooks: OpenHooks,
    media: Media<'_>,
) -> Result<Sides, OpenError> {
    let directory = Directory::lock(&options.directory)?;
    directory.settle()?;
    (hooks.progress)(0);
    let (store_id, files) = match directory.store_id()? {
        Some(store_id) => {
            let files = Files::open(&directory, &store_id, &options, &hooks, media)?;
            (store_id, files)
        }
        None => {
            let store_id = uuid::Uuid::now_v7().to_string();
            let files = Files::create(&directory, &store_id, &options, media)?;
            (store_id, files)
        }
    };
    (hooks.progress)(70);
    let Files { journal, tables, journal_disk, tables_disk, holds } = files;
    let path = directory.path_of(JOURNAL);
    let journal =
        Journal::new(journal, options.trim_segments_max).map_err(|it| closed(&path, it))?;
    let tables = Arc::new(tables);
    let mark = agree(&directory, &journal, &tables)?;
    let tail = restore(&directory, &journal, &tables, &hooks, mark)?;
    for (name, hold) in [JOURNAL, TABLES].into_iter().zip(&holds) {
        hold.release().map_err(|error| failed(&directory.path_of(name), error))?;
    }
    let (tail, directory) = (Arc::new(tail), Arc::new(directory));
    let age = Arc::new(AgeClock::new(options.clock.clone()));
    let newest = tail.view().and_then(|view| newest(&view));
    if let Some(newest) = newest.map_err(|it| closed(&directory.path_of(TABLES), it))? {
        age.begin(newest);
    }
    let work = FoldWork { tables, tail: tail.clone(), options: options.clone(), age: age.clone() };
    let folder = Folder::start(work, hooks.clone(), mark);
    let folder = folder.map_err(|error| failed(&options.directory, error))?;
    (hooks.progress)(100);
    let reader = RedbReader {
        tail: tail.clone(),
        folder: folder.status(),
        journal_disk,
        tables_disk,
        kept_age_max: options.idempotency_age_max,
        kinds: options.kinds.clone(),
        store_id,
        age: age.clone(),
        directory: directory.clone(),
    };
    let writer = RedbWriter {
        options,
        journal,
        tail,
        folder,
        directory,
        age,
        active_since: None,
        idle_since: None,
        has_appended: false,
        failure: None,
    };
    Ok((Box::new(writer), Arc::new(reader)))
}

/// The two open databases.
pub(super) struct Files {
    pub(super) journal: Database,
    pub(super) tables: Database,
    journal_disk: DiskCounters,
    tables_disk: DiskCounters,
    holds: [Arc<Hold>; 2],
}

impl Files {
    /// Makes a new store: both files with their tables and their identity, then the mark of it.
    pub(super) fn create(
        directory: &Directory,
        store_id: &str,
        options: &StoreOptions,
        media: Media<'_>,
    ) -> Result<Self, OpenError> {
        directory.begin()?;
        let files = Self::with(directory, options, media, |name| directory.create_file(name))?;
        make_journal(&files.journal, store_id)
            .map_err(|it| failed(&directory.path_of(JOURNAL), it))?;
        make_tables(&files.tables, store_id)
            .map_err(|it| failed(&directory.path_of(TABLES), it))?;
        for hold in &files.holds {
            hold.release().map_err(|error| failed(&options.directory, error))?;
        }
        directory.sync()?;
        directory.finish(store_id)?;
        Ok(files)
    }

    /// Opens the files of an initialised store.
    fn open(
        directory: &Directory,
        store_id: &str,
        options: &StoreOptions,
        hooks: &OpenHooks,
        media: Media<'_>,
    ) -> Result<Self, OpenError> {
        (hooks.progress)(5);
        let files = Self::with(directory, options, media, |name| directory.open_file(name))?;
        for (name, db) in [(JOURNAL, &files.journal), (TABLES, &files.tables)] {
            check_identity(db, &directory.path_of(name), store_id)?;
        }
        Ok(files)
    }

    fn with(
        directory: &Directory,
        options: &StoreOptions,
        media: Media<'_>,
        file: impl Fn(&str) -> Result<File, OpenError> + Sync,
    ) -> Result<Self, OpenError> {
        let (journal_disk, tables_disk) = (DiskCounters::default(), DiskCounters::default());
        let journal_cache = options.cache_bytes / JOURNAL_CACHE_PART;
        let open = |name: &str, cache_bytes: usize, counters: &DiskCounters| {
            let path = directory.path_of(name);
            let backend = media(name, file(name)?).map_err(|error| failed(&path, error))?;
            open_database(backend, &path, cache_bytes, counters.clone())
        };
        let tables_cache = options.cache_bytes - journal_cache;
        // Both are verified page by page, which takes a processor each.
        let (journal, tables) = std::thread::scope(|scope| {
            let journal = scope.spawn(|| open(JOURNAL, journal_cache, &journal_disk));
            let tables = open(TABLES, tables_cache, &tables_disk);
            (journal.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), tables)
        });
        let ((journal, held_journal), (tables, held_tables)) = (journal?, tables?);
        let holds = [held_journal, held_tables];
        Ok(Self { journal, tables, journal_disk, tables_disk, holds })
    }
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

/// Opens a file with redb, every page verified. Nothing is written to it before the release.
fn open_database(
    backend: Backend,
    path: &Path,
    cache_bytes: usize,
    counters: DiskCounters,
) -> Result<(Database, Arc<Hold>), OpenError> {
    let (disk, hold) = Disk::holding(backend, counters).map_err(|it| failed(path, it))?;
    let opened = Builder::new()
        .set_cache_size(cache_bytes)
        .set_check_integrity_on_open(true)
        .create_with_backend(disk);
    opened.map(|db| (db, hold)).map_err(|error| refused(path, &error))
}

/// redb's reasons for not opening a file, by who must act.
fn refused(path: &Path, error: &DatabaseError) -> OpenError {
    match error {
        // redb reports a file that is not its own as invalid data, and one that ends too early as
        // an unexpected end.
        DatabaseError::Storage(StorageError::Io(io))
            if !matches!(
                io.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            failed(path, error)
        }
        DatabaseError::DatabaseAlreadyOpen => failed(path, error),
        _ => damaged(path, &error.to_string(), WAY_BACK),
    }
}

fn check_identity(db: &Database, path: &Path, store_id: &str) -> Result<(), OpenError> {
    let read = || -> Result<Option<Vec<u8>>, redb::Error> {
        let identity = db.begin_read()?.open_table(IDENTITY)?;
        Ok(identity.get(IDENTITY_KEY)?.map(|value| value.value().to_vec()))
    };
    let bytes = read().map_err(|error| damaged(path, &error.to_string(), WAY_BACK))?;
    let bytes = bytes.ok_or_else(|| damaged(path, "it names no store", WAY_BACK))?;
    let identity = decode_identity(IDENTITY_KEY, &bytes);
    let (version, id) = identity.map_err(|it| damaged(path, &it.0, WAY_BACK))?;
    if version != FORMAT_VERSION {
        return Err(other_format(path, version));
    }
    if id != store_id {
        let what = format!("it belongs to store {id}, the directory to store {store_id}");
        return Err(damaged(path, &what, WAY_BACK));
    }
    Ok(())
}

fn closed(path: &Path, error: StoreError) -> OpenError {
    match error {
        StoreError::Failed(what) | StoreError::Panicked(what) => failed(path, what),
        corrupt @ StoreError::CorruptRecord { .. } => damaged(path, &corrupt.to_string(), WAY_BACK),
    }
}

/// How far the tables reach, and that the journal goes on from there.
fn agree(
    directory: &Directory,
    journal: &Journal,
    tables: &Arc<Database>,
) -> Result<Mark, OpenError> {
    let meta = tables.begin_read().map_err(unreadable).and_then(|txn| open_table(&txn, META));
    let mark = meta.and_then(|meta| mark_of(&meta));
    let mark = mark.map_err(|error| closed(&directory.path_of(TABLES), error))?;
    let (first, last) = (journal.first(), journal.last());
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
    let (mut batch_no, mut last_seq) = (mark.batch_no, mark.last_seq);
    let (total, from) = ((journal.last() - mark.batch_no).max(1), mark.batch_no);
    let mut replay = |(number, segment, bytes): (u64, Segment, Arc<[u8]>)| {
        if number != batch_no + 1 || segment.first_seq != last_seq + 1 {
            let what = format!(
                "batch {number} with seq {} follows batch {batch_no} with seq {last_seq}",
                segment.first_seq
            );
            return Err(corrupt(number, what));
        }
        (batch_no, last_seq) = (number, last_seq + segment.operations.len() as u64);
        let done = u8::try_from((number - from) * 30 / total).unwrap_or(30);
        (hooks.progress)(70 + done.min(30));
        replay(&tail, number, segment, bytes)
    };
    // One thread decodes what the other replays.
    let replayed = std::thread::scope(|scope| {
        let (sender, segments) = sync_channel(SEGMENTS_AHEAD_MAX);
        let decoding = scope.spawn(move || {
            // A send fails if the replay has failed, which is then the reason that counts.
            journal.replay(from, |number, segment, bytes| {
                sender.send((number, segment, bytes)).map_err(unreadable)
            })
        });
        segments.into_iter().try_for_each(&mut replay)?;
        decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    replayed.map_err(|error| closed(&directory.path_of(JOURNAL), error))?;
    Ok(tail)
}

fn corrupt(batch_no: u64, what: String) -> StoreError {
    StoreError::CorruptRecord { table: "segments", key: batch_no.to_string(), what }
}

/// Publishes one segment of the journal again, as its writer did.
fn replay(
    tail: &Tail,
    batch_no: u64,
    segment: Segment,
    bytes: Arc<[u8]>,
) -> Result<(), StoreError> {
    let view = tail.view()?;
    let mut records = NameMap::default();
    for operation in &segment.operations {
        let Some(job_id) = operation.job_id() else { continue };
        let before = match records.remove(job_id).or_else(|| view.tail_record(job_id)) {
            Some(held) => held,
            None => view.snapshot.record(job_id)?,
        };
        if before.as_ref().map(|it| it.status) != operation.previous() {
            let what = format!("seq {} does not follow the status in the tables", operation.seq());
            return Err(corrupt(batch_no, what));
        }
        let after = operation.apply(before.map(JobRecord::to_change), segment.updated_at);
        records.insert(job_id.clone(), after.map(Arc::new));
    }
    drop(view);
    // A stale change leaves the record as it was, and in the tables.
    records.retain(|_, held| held.as_ref().is_none_or(|it| it.seq >= segment.first_seq));
    let appendix = appendix(batch_no, &segment, bytes);
    let Segment { operations, keys, .. } = segment;
    let records = records.into_iter().collect();
    let published = tail.publish(Publication { appendix, operations, records, keys });
    published.map_err(|error| corrupt(batch_no, error.to_string()))
}

#[cfg(test)]
mod tests;
