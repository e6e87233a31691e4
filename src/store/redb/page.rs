//! One page of a list: one index drives, the other parts of the filter sift.
//!
//! | order | driven by |
//! | --- | --- |
//! | newest, oldest | pipeline and status, or status: the tail's streams and the index tables |
//! | id | the ids: the sorted runs of the tail and of the tables, from the prefix on |
//!
//! `updated_at` rises with seq, so a time window is a range of seqs, found by a search. A page
//! examines at most `scan_max` entries and may end short.

mod by_id;
mod by_seq;
mod rows;

use std::sync::Arc;

use super::tail::View;
use crate::model::{Cursor, JobId, JobRecord, Kinds, Order, Page, PageQuery, Place};
use crate::store::StoreError;

/// Reads a page.
///
/// # Errors
/// [`StoreError`] if the tables do not answer or an index and its record disagree.
pub fn page(view: &View, query: &PageQuery, kinds: &Kinds) -> Result<Page, StoreError> {
    let as_of_seq = query.cursor.as_ref().map_or(view.as_of_seq, |cursor| cursor.as_of_seq);
    let mut draft = Draft {
        query,
        kinds,
        as_of_seq,
        examined: 0,
        jobs: Vec::new(),
        done: None,
        is_more: false,
    };
    let is_end = match query.order {
        Order::Newest => by_seq::newest(view, &mut draft)?,
        Order::Oldest => by_seq::oldest(view, &mut draft)?,
        Order::Id => by_id::walk(view, &mut draft)?,
    };
    let place = draft.done.or_else(|| query.cursor.as_ref().map(|cursor| cursor.place.clone()));
    // The last entry of all may be the one too many.
    let next = place.filter(|_| draft.is_more || !is_end).map(|place| Cursor { place, as_of_seq });
    Ok(Page { jobs: draft.jobs, next, as_of_seq })
}

/// A page that is being filled.
struct Draft<'a> {
    query: &'a PageQuery,
    kinds: &'a Kinds,
    as_of_seq: u64,
    examined: usize,
    jobs: Vec<(JobId, Arc<JobRecord>)>,
    /// The last entry that this page is done with.
    done: Option<Place>,
    /// True once there is one job more than the page takes.
    is_more: bool,
}

impl Draft<'_> {
    /// True if the page ends before its next entry.
    fn is_full(&self) -> bool {
        self.is_more || self.examined >= self.query.scan_max
    }

    /// Examines the entry at `place`, with its job if that is still what the entry says. The job is
    /// taken if it passes; one that changed after the walk began does not.
    fn examine(&mut self, place: Place, job: Option<(&JobId, &Arc<JobRecord>)>) {
        self.examined += 1;
        let passes = |(job_id, record): &(&JobId, &Arc<JobRecord>)| {
            record.seq <= self.as_of_seq && self.query.filter.matches(job_id, record, self.kinds)
        };
        if let Some((job_id, record)) = job.filter(passes) {
            if self.jobs.len() >= self.query.limit {
                self.is_more = true;
                return;
            }
            self.jobs.push((job_id.clone(), record.clone()));
        }
        self.done = Some(place);
    }
}
