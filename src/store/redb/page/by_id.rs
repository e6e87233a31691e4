//! Lists in the order of the ids: the sorted runs of the tail and of the tables, merged. What the
//! tail has of a job counts.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::Draft;
use crate::model::{JobId, Place};
use crate::store::StoreError;
use crate::store::redb::codec::Broken;
use crate::store::redb::ids::{Ids, take_first};
use crate::store::redb::tail::View;

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
            (_, Some((job_id, slot))) => {
                let record = view.snapshot.record_at(slot, &job_id)?;
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
struct TableJobs {
    runs: Vec<Ids<'static>>,
    prefix: String,
    head: Option<(JobId, u64)>,
}

impl TableJobs {
    fn new(view: &View, from: &Bound<String>, prefix: &str) -> Result<Self, StoreError> {
        let from = from.as_ref().map(String::as_str);
        let runs = view.snapshot.ids().iter().map(|run| Ids::of_snapshot(run, from));
        let runs = runs.collect::<Result<_, StoreError>>()?;
        let prefix = prefix.to_owned();
        let mut jobs = Self { runs, prefix, head: None };
        jobs.step()?;
        Ok(jobs)
    }

    /// Takes the head: its id and its slot.
    fn next(&mut self) -> Result<Option<(JobId, u64)>, StoreError> {
        let head = self.head.take();
        self.step()?;
        Ok(head)
    }

    /// Goes to the next id of all runs. An id stands in one of them.
    fn step(&mut self) -> Result<(), StoreError> {
        let Some((id, slot)) = take_first(&mut self.runs)? else { return Ok(()) };
        if id.starts_with(&self.prefix) {
            let broken = |error| Broken(format!("{error}")).at("ids", id.as_bytes());
            self.head = Some((JobId::parse(&id).map_err(broken)?, slot));
        }
        Ok(())
    }
}
