//! The write side: decide, append one segment, publish; hand old generations to the folder.

use std::sync::Arc;
use std::time::Duration;

use super::age::AgeClock;
use super::codec::{Segment, encode_segment};
use super::disk::Trouble;
use super::folder::Folder;
use super::journal::Journal;
use super::site::Site;
use super::tail::{Appendix, JOB_BYTES, Publication, Tail, unreadable};
use crate::model::{Request, TimestampMs};
use crate::store::batch::{Decided, Ground, decide};
use crate::store::{AppendError, Appended, ReopenError, Reopened, StoreError, Upkeep, WriteStore};

/// How often a store looks how much room there is when it has nothing else to do; so, how soon it
/// finds that there is room again (DESIGN, section 4).
const ROOM_INTERVAL: Duration = Duration::from_secs(10);

/// The age of all that is kept goes to the disk with folds. While nothing is folded for so long, an
/// empty batch takes it there: a kill costs things no more of their age than that.
const AGE_INTERVAL: Duration = Duration::from_hours(1);
/// What a clean stop may cost them, so that a short life need not write.
const AGE_LOST_MAX: Duration = Duration::from_mins(1);

/// The one writer of a store on disk.
#[derive(Debug)]
pub struct RedbWriter {
    pub(super) site: Arc<Site>,
    pub(super) store_id: String,
    pub(super) journal: Journal,
    pub(super) tables_trouble: Trouble,
    pub(super) tail: Arc<Tail>,
    pub(super) folder: Folder,
    pub(super) age: Arc<AgeClock>,
    /// When the active generation was first seen with something in it, in monotonic time.
    pub(super) active_since: Option<Duration>,
    /// When [`WriteStore::maintain`] first found nothing appended since its last call.
    pub(super) idle_since: Option<Duration>,
    pub(super) has_appended: bool,
    /// The failure of the journal, until it is opened again.
    pub(super) failure: Option<StoreError>,
}

impl WriteStore for RedbWriter {
    fn append(&mut self, batch: &[Request], now: TimestampMs) -> Result<Appended, AppendError> {
        let folded_through = self.sound()?;
        let view = self.tail.view()?;
        let ground = Ground {
            kinds: &self.site.options.kinds,
            counts: &view.counts,
            expectations: &view.expectations,
            pipelines_max: self.site.options.pipelines_max,
            statuses_max: self.site.options.statuses_max,
            last_seq: view.as_of_seq,
            now,
            updated_at: now.max(view.updated_at),
        };
        let decided = decide(batch, &ground, |job_id| view.record(job_id))?;
        let (last_seq, updated_at) = (ground.last_seq, ground.updated_at);
        self.age.begin(updated_at);
        drop(view);
        if decided.is_empty() {
            let (answers, started) = (decided.answers, decided.started);
            return Ok(Appended { answers, started, durable_seq: last_seq, ..Appended::default() });
        }
        self.make_room(&decided)?;
        self.commit(decided, last_seq, updated_at, folded_through)
    }

    fn maintain(&mut self, now: Duration) -> Result<Upkeep, StoreError> {
        let folded_through = self.sound()?;
        let full = self.site.room().err();
        if full.is_none() {
            self.store_age(AGE_INTERVAL, folded_through)?;
        }
        let options = &self.site.options;
        let (jobs, bytes) = self.tail.active_size();
        let fold_due = (bytes > 0).then(|| {
            let since = *self.active_since.get_or_insert(now);
            since.saturating_add(options.fold_interval)
        });
        let is_full = jobs >= options.tail_jobs_max || bytes >= options.tail_bytes_max;
        // What is left of the disk is for commits, until a fold must be.
        let is_due = full.is_none() && fold_due.is_some_and(|due| due <= now);
        if is_full || is_due {
            self.rotate();
        }
        let trim_due = self.trim_when_idle(now, folded_through)?;
        // A fold that is due while another runs is begun by the wake at that one's end.
        let fold_due = fold_due.filter(|due| *due > now);
        let room_due = now.saturating_add(ROOM_INTERVAL);
        let again_at = fold_due.into_iter().chain(trim_due).chain([room_due]).min();
        Ok(Upkeep { again_at, full })
    }

    fn reopen(&mut self) -> Result<Reopened, ReopenError> {
        self.reopen_failed()
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        let folded_through = self.sound()?;
        self.folder.wait()?;
        if self.site.room().is_ok() {
            self.store_age(AGE_LOST_MAX, folded_through)?;
        }
        self.rotate();
        self.folder.wait()?;
        let folded_through = self.sound()?;
        let Self { mut journal, tail, folder, site, .. } = *self;
        journal.trim(folded_through)?;
        journal.close()?;
        drop(folder);
        let tables = tail.close().and_then(Arc::into_inner);
        let still_used = || StoreError::Failed("the tables are still in use".to_owned());
        tables.ok_or_else(still_used)?.close().map_err(unreadable)?;
        site.directory.release().map_err(unreadable)
    }
}

impl RedbWriter {
    /// The last batch that the tables have.
    ///
    /// # Errors
    /// What one of the files refused: nothing may be written before it is opened again.
    fn sound(&self) -> Result<u64, StoreError> {
        if let Some(failure) = self.journal_failure() {
            return Err(failure);
        }
        match self.tables_trouble.cause() {
            Some(cause) => Err(cause.clone()),
            None => self.folder.folded_through(),
        }
    }

    /// What came of a call of the journal; it is not used again after an error.
    fn latched<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let failure = self.journal.trouble().cause().cloned().unwrap_or(error);
            self.failure = Some(failure.clone());
            failure
        })
    }

    fn commit(
        &mut self,
        decided: Decided,
        last_seq: u64,
        updated_at: TimestampMs,
        folded_through: u64,
    ) -> Result<Appended, AppendError> {
        let Decided { operations, jobs, places, answers, mut keys, started } = decided;
        keys.iter_mut().for_each(|(_, kept)| kept.at = self.age.now(updated_at));
        let batch_no = self.journal.last() + 1;
        let segment = Segment { first_seq: last_seq + 1, updated_at, operations, keys };
        let bytes = encode_segment(batch_no, &segment);
        let appended = self.journal.append(&bytes, folded_through);
        self.latched(appended).map_err(AppendError::Unknown)?;
        self.has_appended = true;
        let durable_seq = last_seq + segment.operations.len() as u64;
        let appended = Appended {
            answers,
            started,
            durable_seq,
            jobs: jobs.len(),
            segment_bytes: bytes.len(),
            is_committed: true,
        };
        let appendix = appendix(batch_no, &segment, bytes.into());
        let Segment { operations, keys, .. } = segment;
        let batch = Publication { appendix, operations, jobs, places, keys };
        let published = self.tail.publish(batch);
        published.expect("the counts have every job that the records have");
        self.age.note(durable_seq);
        Ok(appended)
    }

    /// Appends a batch that holds nothing, to be folded, unless the tables have the age but for
    /// `lost_max`, or a fold takes it there anyway.
    fn store_age(&mut self, lost_max: Duration, folded_through: u64) -> Result<(), StoreError> {
        let (_, unfolded_bytes) = self.tail.active_size();
        let is_folded_anyway = unfolded_bytes > 0 || self.folder.is_busy();
        if is_folded_anyway || self.journal.last() == 0 || self.age.unstored() < lost_max {
            return Ok(());
        }
        let batch_no = self.journal.last() + 1;
        let (first_seq, updated_at) = (self.tail.counts().1 + 1, self.tail.updated_at());
        let segment = Segment { first_seq, updated_at, ..Segment::default() };
        let bytes = encode_segment(batch_no, &segment);
        let appended = self.journal.append(&bytes, folded_through);
        self.latched(appended)?;
        self.has_appended = true;
        let appendix = appendix(batch_no, &segment, bytes.into());
        let (operations, jobs, places, keys) = (vec![], vec![], vec![], vec![]);
        let batch = Publication { appendix, operations, jobs, places, keys };
        let published = self.tail.publish(batch);
        published.expect("nothing is counted");
        Ok(())
    }

    /// Keeps each generation of the tail within its bounds, or at one batch: begins a fold when the
    /// active one has no room for the batch, and waits for the last fold if that still goes on.
    fn make_room(&mut self, decided: &Decided) -> Result<(), StoreError> {
        let (jobs, bytes) = self.tail.active_size();
        // As if the generation had none of them yet.
        let weight_bytes = decided.weight_bytes() + decided.jobs.len() * JOB_BYTES;
        let is_room = jobs + decided.jobs.len() <= self.site.options.tail_jobs_max
            && bytes + weight_bytes <= self.site.options.tail_bytes_max;
        if is_room || bytes == 0 {
            return Ok(());
        }
        self.folder.wait().map_err(|error| self.tables_failure().unwrap_or(error))?;
        self.rotate();
        Ok(())
    }

    /// Hands the active generation to the folder, unless that is still at work.
    fn rotate(&mut self) {
        if self.folder.is_busy() {
            return;
        }
        if let Some(generation) = self.tail.rotate() {
            self.active_since = None;
            self.folder.begin(generation);
        }
    }

    /// Removes folded segments alone once no batch has come for a while to take them along.
    fn trim_when_idle(
        &mut self,
        now: Duration,
        folded_through: u64,
    ) -> Result<Option<Duration>, StoreError> {
        if std::mem::take(&mut self.has_appended) {
            self.idle_since = None;
        }
        if self.journal.is_trimmed(folded_through) {
            return Ok(None);
        }
        let due = self.idle_since.get_or_insert(now).saturating_add(self.site.options.trim_idle);
        if due > now {
            return Ok(Some(due));
        }
        let trimmed = self.journal.trim(folded_through);
        self.latched(trimmed)?;
        Ok(None)
    }
}

/// The segment as the tail keeps it.
pub fn appendix(batch_no: u64, segment: &Segment, bytes: Arc<[u8]>) -> Appendix {
    Appendix {
        batch_no,
        first_seq: segment.first_seq,
        last_seq: segment.first_seq + segment.operations.len() as u64 - 1,
        updated_at: segment.updated_at,
        bytes,
    }
}
