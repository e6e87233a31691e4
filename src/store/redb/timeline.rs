//! Reading the timeline: the rows of the tables, then what the tail adds to them.

use super::check::mark;
use super::codec::decode_tally;
use super::schema::{TIMELINE, parse_tally_key, step_of, step_prefix, tally_prefix};
use super::tail::{SnapshotTable, View, unreadable};
use crate::model::{Resolution, Timeline, TimelineQuery, TimestampMs};
use crate::store::StoreError;

/// The steps that `query` asks for. Looks at those steps alone.
///
/// # Errors
/// [`StoreError`] if the tables do not answer, or answer wrongly.
pub fn timeline(view: &View, query: &TimelineQuery) -> Result<Timeline, StoreError> {
    let mut timeline = Timeline { as_of_seq: view.as_of_seq, ..Timeline::default() };
    let rows = view.table(TIMELINE)?;
    timeline.held_from = first_step(&rows, query.resolution, 0)?
        .map(|step| TimestampMs(u64::from(step) * query.resolution.step_ms()));
    from_tables(&rows, query, &mut timeline)?;
    from_tail(view, query, &mut timeline)?;
    timeline.prune();
    Ok(timeline)
}

/// The first step from `number` on.
fn first_step(
    rows: &SnapshotTable,
    resolution: Resolution,
    number: u32,
) -> Result<Option<u32>, StoreError> {
    let (from, to) = (step_prefix(resolution, number), step_prefix(resolution, u32::MAX));
    let mut range = rows.range(from.as_slice()..to.as_slice()).map_err(unreadable)?;
    let row = range.next().transpose().map_err(unreadable)?;
    Ok(row.and_then(|(key, _)| step_of(key.value())))
}

fn from_tables(
    rows: &SnapshotTable,
    query: &TimelineQuery,
    timeline: &mut Timeline,
) -> Result<(), StoreError> {
    let kept_ms = query.resolution.step_ms();
    let number_of = |at: TimestampMs| u32::try_from(at.0 / kept_ms).unwrap_or(u32::MAX);
    let (mut number, end) = (number_of(query.from), number_of(query.to));
    // From step to step, as the rows of other pipelines stand between.
    while let Some(kept) = first_step(rows, query.resolution, number)?.filter(|it| *it < end) {
        let at = u64::from(kept) * kept_ms;
        let step = TimestampMs(at - at % query.step_ms);
        let prefix = tally_prefix(query.resolution, kept, query.pipeline.as_ref());
        for row in rows.range(prefix.as_slice()..).map_err(unreadable)? {
            let (key, value) = row.map_err(unreadable)?;
            let key = key.value();
            if !key.starts_with(&prefix) {
                break;
            }
            let tally = decode_tally(key, value.value()).map_err(|it| it.at("timeline", key))?;
            let (_, status) = parse_tally_key(key).ok_or_else(|| {
                super::codec::Broken("the key is not that of a step".to_owned()).at("timeline", key)
            })?;
            timeline.add(step, status, tally);
        }
        number = kept + 1;
    }
    Ok(())
}

/// Adds what is not folded. Under one hold of the lock, so that no half batch is counted.
fn from_tail(
    view: &View,
    query: &TimelineQuery,
    timeline: &mut Timeline,
) -> Result<(), StoreError> {
    let minute_ms = Resolution::Minute.step_ms();
    let minute_of = |at: TimestampMs| u32::try_from(at.0 / minute_ms).unwrap_or(u32::MAX);
    let (from, to) = (minute_of(query.from), minute_of(query.to));
    let folded_through = mark(view)?.batch_no;
    for generation in &view.generations {
        let content = generation.read();
        let (Some(first), Some(last)) = (content.segments.first(), content.segments.last()) else {
            continue;
        };
        // A folded generation that is not yet dropped is in the tables already.
        if first.batch_no <= folded_through {
            continue;
        }
        timeline.as_of_seq = timeline.as_of_seq.max(last.last_seq);
        let oldest = content.timeline.keys().next().map(|it| u64::from(*it) * minute_ms);
        let oldest = oldest.map(|at| TimestampMs(at - at % query.resolution.step_ms()));
        timeline.held_from = timeline.held_from.into_iter().chain(oldest).min();
        for (minute, tallies) in content.timeline.range(from..to.max(from)) {
            let Some(step) = query.step_of(*minute) else { continue };
            for ((pipeline, status), tally) in tallies {
                if query.pipeline.as_ref().is_none_or(|asked| asked == pipeline) {
                    timeline.add(step, *status, *tally);
                }
            }
        }
    }
    Ok(())
}
