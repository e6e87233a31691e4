//! The journal's segments, published again as their writer did.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::codec::Segment;
use super::journal::Journal;
use super::tail::{Publication, Tail, unreadable};
use super::writer::appendix;
use crate::model::{JobId, NameMap, Status};
use crate::store::StoreError;

/// Segments that are decoded before they are replayed.
const SEGMENTS_AHEAD_MAX: usize = 16;

/// A place in the history: the last batch that was published, and the last seq.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub batch_no: u64,
    pub last_seq: u64,
}

/// Publishes every segment after `from` to the tail; `progress` is called with a part of 1.
///
/// # Errors
/// [`StoreError`] if the journal cannot be read, or does not go on from there.
pub fn replay(
    journal: &Journal,
    tail: &Tail,
    from: Place,
    progress: &dyn Fn(f64),
) -> Result<(), StoreError> {
    let mut place = from;
    let total = (journal.last().saturating_sub(from.batch_no)).max(1);
    let mut publish_next = |(number, segment, bytes): (u64, Segment, Arc<[u8]>)| {
        if number != place.batch_no + 1 || segment.first_seq != place.last_seq + 1 {
            let what = format!(
                "batch {number} with seq {} follows batch {} with seq {}",
                segment.first_seq, place.batch_no, place.last_seq
            );
            return Err(corrupt(number, what));
        }
        let last_seq = place.last_seq + segment.operations.len() as u64;
        place = Place { batch_no: number, last_seq };
        progress((number - from.batch_no) as f64 / total as f64);
        publish(tail, number, segment, bytes)
    };
    // One thread decodes what the other publishes.
    std::thread::scope(|scope| {
        let (sender, segments) = sync_channel(SEGMENTS_AHEAD_MAX);
        let decoding = scope.spawn(move || {
            // A send fails if the publishing has failed, which is then the reason that counts.
            journal.replay(from.batch_no, |number, segment, bytes| {
                sender.send((number, segment, bytes)).map_err(unreadable)
            })
        });
        segments.into_iter().try_for_each(&mut publish_next)?;
        decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn corrupt(batch_no: u64, what: String) -> StoreError {
    StoreError::CorruptRecord { table: "segments", key: batch_no.to_string(), what }
}

/// Publishes one segment.
fn publish(
    tail: &Tail,
    batch_no: u64,
    segment: Segment,
    bytes: Arc<[u8]>,
) -> Result<(), StoreError> {
    let view = tail.view()?;
    let (mut jobs, mut places) = (Vec::new(), Vec::with_capacity(segment.operations.len()));
    // Where each job stands, and its status so far.
    let mut known: NameMap<&JobId, (usize, Option<Status>)> = NameMap::default();
    for operation in &segment.operations {
        let Some(job_id) = operation.job_id() else {
            places.push(None);
            continue;
        };
        let (place, status) = match known.entry(job_id) {
            Entry::Occupied(it) => it.into_mut(),
            Entry::Vacant(it) => {
                let before = view.record(job_id)?;
                let status = before.as_ref().map(|it| it.status);
                jobs.push((job_id.clone(), before));
                it.insert((jobs.len() - 1, status))
            }
        };
        if *status != operation.previous() {
            let what = format!("seq {} does not follow the status in the tables", operation.seq());
            return Err(corrupt(batch_no, what));
        }
        // A stale change leaves the record as it was, and in the tables.
        let is_stale = operation.change().is_some_and(|change| !change.applied);
        places.push((!is_stale).then_some(*place));
        if !is_stale {
            *status = operation.places().after.map(|(_, status)| status);
        }
    }
    drop(view);
    let appendix = appendix(batch_no, &segment, bytes);
    let Segment { operations, keys, .. } = segment;
    let published = tail.publish(Publication { appendix, operations, jobs, places, keys });
    published.map_err(|error| corrupt(batch_no, error.to_string()))
}
