//! What a batch adds to the counts and to the timeline, summed up before any lock is taken.

use std::collections::BTreeMap;

use crate::model::{
    Counts, Miscounted, NameMap, Operation, PipelineName, Status, Tally, TimestampMs, minute_of,
    tally,
};

/// What updates add to the timeline, by minute since 1970, then by pipeline and status.
pub type Minutes = BTreeMap<u32, NameMap<(PipelineName, Status), Tally>>;

/// The sums of one batch, by minute, pipeline and status.
#[derive(Debug, Default)]
pub struct Tallies<'a>(NameMap<(u32, &'a PipelineName, Status), Tally>);

/// What a minute of the timeline costs before it has entries, in bytes.
const MINUTE_BYTES: usize = 400;
/// What an entry of the timeline costs, in bytes.
const TALLY_BYTES: usize = size_of::<((PipelineName, Status), Tally)>() + 16;

impl<'a> Tallies<'a> {
    pub fn of(operations: &'a [Operation], updated_at: TimestampMs) -> Self {
        let mut tallies = NameMap::default();
        for operation in operations {
            let minute = minute_of(operation, updated_at);
            tally(operation, |pipeline, status, it| {
                let sum: &mut Tally = tallies.entry((minute, pipeline, status)).or_default();
                sum.add(it);
            });
        }
        Self(tallies)
    }

    /// Moves the counts by the net changes.
    ///
    /// # Errors
    /// [`Miscounted`] if a count would fall below zero.
    pub fn count(&self, counts: &mut Counts) -> Result<(), Miscounted> {
        let mut changes: NameMap<(&PipelineName, Status), i64> = NameMap::default();
        for ((_, pipeline, status), tally) in &self.0 {
            *changes.entry((pipeline, *status)).or_default() += tally.net;
        }
        changes.iter().try_for_each(|((pipeline, status), it)| counts.shift(pipeline, *status, *it))
    }

    /// Adds to the timeline of the tail; what that now weighs more, in bytes.
    pub fn add_to(&self, minutes: &mut Minutes) -> usize {
        let mut weight_bytes = 0;
        for ((minute, pipeline, status), tally) in &self.0 {
            let of_minute = minutes.entry(*minute).or_insert_with(|| {
                weight_bytes += MINUTE_BYTES;
                NameMap::default()
            });
            let sum = of_minute.entry(((*pipeline).clone(), *status)).or_insert_with(|| {
                weight_bytes += TALLY_BYTES;
                Tally::default()
            });
            sum.add(*tally);
        }
        weight_bytes
    }
}
