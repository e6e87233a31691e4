//! Makes a store of a backup: beside what the directory holds, checked, and only then in its place.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase as _, TableDefinition, TableHandle as _, WriteTransaction};

use super::read::{BackupReader, Entry};
use crate::model::TimestampMs;
use crate::store::redb::check::mark_of;
use crate::store::redb::codec::{Segment, encode_segment};
use crate::store::redb::directory::{Before, Directory};
use crate::store::redb::media::{Files, Media};
use crate::store::redb::open::{create, open_on};
use crate::store::redb::schema::{META, SEGMENTS};
use crate::store::redb::site::Site;
use crate::store::redb::snapshot::open_table;
use crate::store::redb::tail::unreadable;
use crate::store::{BackupSummary, OpenHooks, RestoreError, StoreError, StoreOptions};

/// One transaction takes about as many bytes of rows.
const TRANSACTION_BYTES: usize = 64 << 20;

/// Makes a store in `directory` of a backup, and checks it. The store gets an id of its own: a
/// cursor of the old one means nothing here. It is made in a directory inside, and takes the place
/// of what is there in one step; so there must be room for both. Blocks; buffer the reader.
///
/// # Errors
/// [`RestoreError`]: what was there before is untouched, and nothing new is left. If the system
/// fails while the files are moved to their places, which is last, the next open finishes that.
pub fn restore(
    reader: impl Read,
    directory: &Path,
    may_replace: bool,
) -> Result<BackupSummary, RestoreError> {
    restore_on(reader, directory, may_replace, &(Arc::new(Files) as Arc<dyn Media>))
}

/// [`restore`], with the bytes of the two files where `media` has them.
///
/// # Errors
/// As for [`restore`].
pub(super) fn restore_on(
    reader: impl Read,
    directory: &Path,
    may_replace: bool,
    media: &Arc<dyn Media>,
) -> Result<BackupSummary, RestoreError> {
    // What is no backup at all is refused before anything is made.
    let reader = BackupReader::open(reader)?;
    let before = Before::of(directory);
    let place = Directory::lock(directory)?;
    let restored = make(reader, &place, may_replace, media);
    if restored.is_ok() {
        place.release()?;
        return restored;
    }
    #[cfg(test)]
    match AFTER_A_REFUSAL.get() {
        AfterRefusal::Withdraw => {}
        AfterRefusal::Leave => return restored,
        AfterRefusal::Replace => place.replace()?,
    }
    place.withdraw(before)?;
    restored
}

fn make(
    reader: BackupReader<impl Read>,
    place: &Directory,
    may_replace: bool,
    media: &Arc<dyn Media>,
) -> Result<BackupSummary, RestoreError> {
    place.settle()?;
    // A store that is damaged is one as well.
    if !may_replace && !matches!(place.store_id(), Ok(None)) {
        let directory = place.path_of("").display().to_string();
        return Err(RestoreError::Exists { directory });
    }
    let options = keeping_all(&place.restoring());
    let summary = fill_new(reader, &options, media)?;
    check(&options, &summary, media)?;
    place.replace()?;
    Ok(summary)
}

/// Options under which a store forgets nothing: neither age nor size may take what a backup held.
pub fn keeping_all(directory: &Path) -> StoreOptions {
    StoreOptions {
        directory: directory.to_owned(),
        feed_age_max: std::time::Duration::MAX,
        feed_bytes_max: u64::MAX,
        timeline_rows_max: u64::MAX,
        idempotency_keys_max: u64::MAX,
        idempotency_age_max: std::time::Duration::MAX,
        ..StoreOptions::default()
    }
}

/// Makes the files of a new store, and closes them.
fn fill_new(
    mut reader: BackupReader<impl Read>,
    options: &StoreOptions,
    media: &Arc<dyn Media>,
) -> Result<BackupSummary, RestoreError> {
    let directory = Directory::lock(&options.directory)?;
    let store_id = uuid::Uuid::now_v7().to_string();
    let directory = Arc::new(directory);
    let hooks = OpenHooks::default();
    let site = Site::new(directory.clone(), options.clone(), hooks, media.clone());
    let [journal, tables] = create(&site, &store_id)?.map(|file| file.db);
    let summary = fill(&mut reader, &tables, &journal)?;
    keep_newest(&tables, &journal)?;
    journal.close().map_err(unreadable)?;
    tables.close().map_err(unreadable)?;
    directory.release()?;
    Ok(summary)
}

/// Why a transaction ends.
enum Pause {
    Full,
    Table(String),
    End(BackupSummary),
}

/// Copies every row into its table.
fn fill(
    reader: &mut BackupReader<impl Read>,
    tables: &Database,
    journal: &Database,
) -> Result<BackupSummary, RestoreError> {
    let mut name: Option<String> = None;
    loop {
        let is_journal = name.as_deref() == Some(SEGMENTS.name());
        let db = if is_journal { journal } else { tables };
        let mut txn = db.begin_write().map_err(unreadable)?;
        txn.set_quick_repair(!is_journal);
        let pause = fill_some(reader, &txn, name.as_deref())?;
        txn.commit().map_err(unreadable)?;
        match pause {
            Pause::Full => {}
            Pause::Table(next) => name = Some(next),
            Pause::End(summary) => return Ok(summary),
        }
    }
}

fn fill_some(
    reader: &mut BackupReader<impl Read>,
    txn: &WriteTransaction,
    name: Option<&str>,
) -> Result<Pause, RestoreError> {
    let mut table = match name {
        Some(name) => {
            let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
            Some(txn.open_table(definition).map_err(unreadable)?)
        }
        None => None,
    };
    let mut bytes = 0;
    while bytes < TRANSACTION_BYTES {
        match reader.next()? {
            Entry::Row(key, value) => {
                let Some(table) = &mut table else { break };
                table.insert(key, value).map_err(unreadable)?;
                bytes += key.len() + value.len();
            }
            Entry::Table(next) => return Ok(Pause::Table(next)),
            Entry::End(summary) => return Ok(Pause::End(summary)),
        }
    }
    Ok(Pause::Full)
}

/// A journal always holds the newest batch, so that the file says how far it goes. If the tables
/// have all, an empty batch of the same number stands for it; nobody replays it.
fn keep_newest(tables: &Database, journal: &Database) -> Result<(), StoreError> {
    let txn = tables.begin_read().map_err(unreadable)?;
    let mark = mark_of(&open_table(&txn, META)?)?;
    let txn = journal.begin_write().map_err(unreadable)?;
    let mut segments = txn.open_table(SEGMENTS).map_err(unreadable)?;
    let is_empty = redb::ReadableTableMetadata::is_empty(&segments).map_err(unreadable)?;
    if is_empty && mark.batch_no > 0 {
        let updated_at = TimestampMs(mark.updated_at);
        let first_seq = mark.last_seq.saturating_add(1);
        let segment = Segment { first_seq, updated_at, ..Segment::default() };
        let bytes = encode_segment(mark.batch_no, &segment);
        let key = mark.batch_no.to_be_bytes();
        segments.insert(key.as_slice(), bytes.as_slice()).map_err(unreadable)?;
    }
    drop(segments);
    txn.commit().map_err(unreadable)
}

/// Opens the new store as a server would, compares everything with everything, and closes it.
fn check(
    options: &StoreOptions,
    summary: &BackupSummary,
    media: &Arc<dyn Media>,
) -> Result<(), RestoreError> {
    let (write, read) = open_on(options.clone(), OpenHooks::default(), media.clone())?;
    let report = read.check()?;
    drop(read);
    write.close()?;
    if let Some(problem) = report.problems.first() {
        return Err(RestoreError::Unsound(problem.clone()));
    }
    let (found, said) = ((report.jobs, report.last_seq), (summary.jobs, summary.as_of_seq));
    if found != said {
        let what = format!(
            "{} jobs as of update {}, it says {} as of {}",
            found.0, found.1, said.0, said.1
        );
        return Err(RestoreError::Unsound(what));
    }
    Ok(())
}

/// For controls: what is done after a restore was refused.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub enum AfterRefusal {
    Withdraw,
    /// What was made stays.
    Leave,
    /// It takes the place of the old store.
    Replace,
}

#[cfg(test)]
std::thread_local! {
    pub static AFTER_A_REFUSAL: std::cell::Cell<AfterRefusal> =
        const { std::cell::Cell::new(AfterRefusal::Withdraw) };
}
