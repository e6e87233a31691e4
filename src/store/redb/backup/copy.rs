//! Copies one moment of an open store into a backup.

use std::io::{BufWriter, Write};

use redb::{ReadableTable, TableHandle as _};

use super::BACKUP_FORMAT;
use super::write::BackupWriter;
use crate::model::TimestampMs;
use crate::store::redb::check::mark_of;
use crate::store::redb::codec::BackupHeader;
use crate::store::redb::directory::FORMAT_VERSION;
use crate::store::redb::ids::Run;
use crate::store::redb::schema::{META, OF_TABLES, SEGMENTS, SnapshotTable};
use crate::store::redb::tail::{Appendix, View, unreadable};
use crate::store::{BackupError, BackupSummary, StoreError};

const BUFFER_BYTES: usize = 1 << 20;

/// Writes the moment of `view` to `out`, and lets go of it. The view keeps what folds free
/// meanwhile, so `out` must be as fast as a disk.
///
/// # Errors
/// [`BackupError`]: what was written is no backup.
pub fn copy(
    view: View,
    store_id: &str,
    made_at: TimestampMs,
    out: &mut dyn Write,
) -> Result<BackupSummary, BackupError> {
    let (as_of_seq, jobs) = (view.as_of_seq, view.counts.total());
    let header = BackupHeader {
        backup_format: BACKUP_FORMAT,
        store_format: FORMAT_VERSION,
        store_id,
        made_at: made_at.0,
        as_of_seq,
        jobs,
    };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut writer = BackupWriter::new(&mut out, &header)?;
    for definition in OF_TABLES {
        copy_table(&mut writer, definition.name(), &view.table(definition)?)?;
    }
    for (run, table) in view.snapshot.runs().iter().zip(view.snapshot.ids()) {
        copy_table(&mut writer, &Run::table_name(run.number), table)?;
    }
    writer.table(SEGMENTS.name())?;
    for segment in segments(&view)? {
        writer.row(&segment.batch_no.to_be_bytes(), &segment.bytes)?;
    }
    drop(view);
    let written = writer.finish()?;
    out.flush()?;
    Ok(BackupSummary {
        store_id: store_id.to_owned(),
        made_at,
        as_of_seq,
        jobs,
        rows: written.rows,
        content_bytes: written.content_bytes,
        bytes: written.bytes,
    })
}

fn copy_table(
    writer: &mut BackupWriter<impl Write>,
    name: &str,
    table: &SnapshotTable,
) -> Result<(), BackupError> {
    writer.table(name)?;
    for row in table.iter().map_err(unreadable)? {
        let (key, value) = row.map_err(unreadable)?;
        writer.row(key.value(), value.value())?;
    }
    Ok(())
}

/// What the journal holds of this moment and the tables do not.
fn segments(view: &View) -> Result<Vec<Appendix>, StoreError> {
    let mut segments: Vec<Appendix> = Vec::new();
    for generation in view.generations.iter().rev() {
        // Another batch may have been published since the view was taken.
        let is_ours = |it: &&Appendix| it.last_seq <= view.as_of_seq;
        segments.extend(generation.read().segments.iter().take_while(is_ours).cloned());
    }
    let mut batch_no = mark_of(&view.table(META)?)?.batch_no;
    for segment in &segments {
        batch_no += 1;
        assert_eq!(segment.batch_no, batch_no, "the tail goes on where the tables end");
    }
    Ok(segments)
}
