//! Lists in the order of the ids: the sorted runs of the tail and of the tables, merged. What the
//! tail has of a job counts.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::Draft;
use crate::model::{JobId, Place};
use crate::store::StoreError;
use crate::store::redb::codec::Broken;
use crate::store::redb::ids::{Run, open_run, parse_slot};
use crate::store::redb::jobs::Jobs;
use crate::store::redb::tail::{View, unreadable};

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
    let mut in_tables = TableJobs::new(view, &from, &prefix)?;
    loop {
        let (of_tail, of_tables) = (in_tail.head(), in_tables.head());
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
            (_, Some((job_id, slot))) => {
                let record = in_tables.jobs.record_at(slot, &job_id)?;
                (job_id, Some(record))
            }
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

/// The ids of the tables with a prefix: the runs, merged.
struct TableJobs<'a> {
    jobs: Jobs<'a>,
    runs: Vec<RunIds>,
}

impl<'a> TableJobs<'a> {
    fn new(view: &'a View, from: &Bound<String>, prefix: &str) -> Result<Self, StoreError> {
        let from = from.as_ref().map(|text| text.as_bytes());
        let open = |run: &Run| {
            let table = open_run(&view.snapshot, run.number)?;
            let range = table.range::<&[u8]>((from, Bound::Unbounded)).map_err(unreadable)?;
            let mut run = RunIds { range, prefix: prefix.to_owned(), head: None };
            run.step()?;
            Ok(run)
        };
        let runs = view.runs.iter().map(open).collect::<Result<_, StoreError>>()?;
        Ok(Self { jobs: view.jobs()?, runs })
    }

    fn head(&self) -> Option<&JobId> {
        self.runs.iter().filter_map(|run| run.head.as_ref()).map(|(id, _)| id).min()
    }

    /// Goes beyond the head: its id and its slot. An id stands in one run.
    fn next(&mut self) -> Result<Option<(JobId, u64)>, StoreError> {
        let with_head = self.runs.iter_mut().filter(|run| run.head.is_some());
        let first = with_head.min_by(|a, b| {
            let id = |run: &RunIds| run.head.as_ref().map(|(id, _)| id.clone());
            id(a).cmp(&id(b))
        });
        let Some(run) = first else { return Ok(None) };
        let head = run.head.take();
        run.step()?;
        Ok(head)
    }
}

/// One run and the id that it stands at.
struct RunIds {
    range: redb::Range<'static, &'static [u8], &'static [u8]>,
    prefix: String,
    head: Option<(JobId, u64)>,
}

impl RunIds {
    fn step(&mut self) -> Result<(), StoreError> {
        let Some(row) = self.range.next() else { return Ok(()) };
        let (key, value) = row.map_err(unreadable)?;
        let key = key.value();
        if key.starts_with(self.prefix.as_bytes()) {
            let job_id = std::str::from_utf8(key).ok().and_then(|it| JobId::parse(it).ok());
            let broken = || Broken("the key is not a job id".to_owned()).at("ids", key);
            let slot = parse_slot(key, value.value())?;
            self.head = Some((job_id.ok_or_else(broken)?, slot));
        }
        Ok(())
    }
}
