//! Lists in the order of the ids: the tail's sorted runs and the table of jobs, merged. What the
//! tail has of a job counts.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::Draft;
use crate::model::{JobId, JobRecord, Place};
use crate::store::StoreError;
use crate::store::redb::codec::{Broken, decode_record};
use crate::store::redb::schema::JOBS;
use crate::store::redb::tail::{SnapshotTable, View, unreadable};

/// From the first id on; true if the walk is at its end.
///
/// # Errors
/// As for [`page`](super::page).
pub fn walk(view: &View, draft: &mut Draft<'_>) -> Result<bool, StoreError> {
    let prefix = draft.query.filter.prefix.clone();
    let from = match draft.query.cursor.as_ref().map(|cursor| &cursor.place) {
        // A cursor stands before the prefix only if somebody made it up.
        Some(Place::Id(last)) if last.as_str() >= prefix.as_str() => {
            Bound::Excluded(last.as_str().to_owned())
        }
        // A cursor of another order; whoever decodes cursors refuses it.
        Some(Place::Seq(_)) => return Ok(true),
        Some(Place::Id(_)) | None => Bound::Included(prefix.clone()),
    };
    let mut in_tail = TailIds::new(view, &from, &prefix);
    let mut in_tables = TableJobs::new(&view.table(JOBS)?, &from, prefix)?;
    loop {
        let (of_tail, of_tables) = (in_tail.head(), in_tables.head.as_ref().map(|(id, _)| id));
        let order = match (&of_tail, of_tables) {
            (None, None) => return Ok(true),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(of_tail), Some(of_tables)) => of_tail.cmp(of_tables),
        };
        if draft.is_full() {
            return Ok(false);
        }
        // Of a job that both have, the row of the tables is old.
        let row = if order == Ordering::Less { None } else { in_tables.next()? };
        let (job_id, record) = match (of_tail, row) {
            (Some(job_id), _) if order != Ordering::Greater => {
                in_tail.step(&job_id);
                let held = view.tail_record(&job_id).flatten();
                (job_id, held)
            }
            (_, Some((job_id, record))) => (job_id, Some(record)),
            _ => unreachable!("one of the two has a head"),
        };
        let place = Place::Id(job_id.clone());
        draft.examine(place, record.as_ref().map(|record| (&job_id, record)));
    }
}

/// The ids of the tail with a prefix, merged.
struct TailIds {
    runs: Vec<(Arc<[JobId]>, usize)>,
    prefix: String,
}

impl TailIds {
    fn new(view: &View, from: &Bound<String>, prefix: &str) -> Self {
        let is_before = |id: &JobId| match from {
            Bound::Excluded(last) => id.as_str() <= last.as_str(),
            Bound::Included(first) => id.as_str() < first.as_str(),
            Bound::Unbounded => false,
        };
        let runs = view.generations.iter().flat_map(|generation| generation.sorted_ids());
        let runs = runs.map(|run| {
            let place = run.partition_point(is_before);
            (run, place)
        });
        Self { runs: runs.collect(), prefix: prefix.to_owned() }
    }

    fn head(&self) -> Option<JobId> {
        let heads = self.runs.iter().filter_map(|(run, place)| run.get(*place));
        heads.min().filter(|id| id.as_str().starts_with(&self.prefix)).cloned()
    }

    /// Goes beyond `job_id`, which may stand in each generation.
    fn step(&mut self, job_id: &JobId) {
        for (run, place) in &mut self.runs {
            *place += usize::from(run.get(*place) == Some(job_id));
        }
    }
}

/// The jobs of the tables with a prefix.
struct TableJobs {
    range: redb::Range<'static, &'static [u8], &'static [u8]>,
    prefix: String,
    /// The next job, its record still in bytes: it may be skipped.
    head: Option<(JobId, Vec<u8>)>,
}

impl TableJobs {
    fn new(jobs: &SnapshotTable, from: &Bound<String>, prefix: String) -> Result<Self, StoreError> {
        let from = from.as_ref().map(|text| text.as_bytes());
        let range = jobs.range::<&[u8]>((from, Bound::Unbounded)).map_err(unreadable)?;
        let mut jobs = Self { range, prefix, head: None };
        jobs.step()?;
        Ok(jobs)
    }

    fn step(&mut self) -> Result<(), StoreError> {
        self.head = None;
        let Some(row) = self.range.next() else { return Ok(()) };
        let (key, value) = row.map_err(unreadable)?;
        let key = key.value();
        if key.starts_with(self.prefix.as_bytes()) {
            let job_id = std::str::from_utf8(key).ok().and_then(|it| JobId::parse(it).ok());
            let broken = || Broken("the key is not a job id".to_owned()).at("jobs", key);
            self.head = Some((job_id.ok_or_else(broken)?, value.value().to_vec()));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(JobId, Arc<JobRecord>)>, StoreError> {
        let Some((job_id, value)) = self.head.take() else { return Ok(None) };
        self.step()?;
        let key = job_id.as_str().as_bytes();
        let record = decode_record(key, &value).map_err(|it| it.at("jobs", key))?;
        Ok(Some((job_id, Arc::new(record))))
    }
}
