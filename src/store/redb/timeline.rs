//! Reading the timeline: the rows of the tables, then what the tail adds to them.

use redb::ReadableTable;

use super::codec::{Broken, TimelineMark, decode_tally, decode_timeline_mark};
use super::schema::{
    Level, META, TIMELINE, TIMELINE_KEY, parse_tally_key, step_of, step_prefix, tally_prefix,
};
use super::tail::{View, unreadable};
use crate::model::{Resolution, Timeline, TimelineQuery, TimestampMs};
use crate::store::StoreError;

/// The steps that `query` asks for. Looks at those steps alone.
///
/// # Errors
/// [`StoreError`] if the tables do not answer, or answer wrongly.
pub fn timeline(view: &View, query: &TimelineQuery) -> Result<Timeline, StoreError> {
    let level = Level { resolution: query.resolution, is_by_pipeline: query.pipeline.is_some() };
    let mut timeline = Timeline { as_of_seq: view.as_of_seq, ..Timeline::default() };
    from_tables(view, level, query, &mut timeline)?;
    from_tail(view, level, query, &mut timeline)?;
    timeline.prune();
    Ok(timeline)
}

/// The first step of a level from `number` on.
///
/// # Errors
/// [`StoreError`] if the table does not answer.
pub fn first_step(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    level: Level,
    number: u32,
) -> Result<Option<u32>, StoreError> {
    let (from, to) = (step_prefix(level, number), step_prefix(level, u32::MAX));
    let mut range = rows.range(from.as_slice()..to.as_slice()).map_err(unreadable)?;
    let row = range.next().transpose().map_err(unreadable)?;
    Ok(row.and_then(|(key, _)| step_of(key.value())))
}

/// How much the tables hold of the timeline.
///
/// # Errors
/// [`StoreError`] if they do not answer, or answer wrongly.
pub fn timeline_mark(view: &View) -> Result<TimelineMark, StoreError> {
    let row = view.table(META)?.get(TIMELINE_KEY).map_err(unreadable)?;
    let mark = row.map(|value| decode_timeline_mark(TIMELINE_KEY, value.value())).transpose();
    Ok(mark.map_err(|it| it.at("meta", TIMELINE_KEY))?.unwrap_or_default())
}

fn from_tables(
    view: &View,
    level: Level,
    query: &TimelineQuery,
    timeline: &mut Timeline,
) -> Result<(), StoreError> {
    let rows = view.table(TIMELINE)?;
    let kept_ms = query.resolution.step_ms();
    let at = |step: u32| TimestampMs(u64::from(step) * kept_ms);
    timeline.held_from = first_step(&rows, level, 0)?.map(at);
    let number_of = |at: TimestampMs| u32::try_from(at.0 / kept_ms).unwrap_or(u32::MAX);
    let (mut number, end) = (number_of(query.from), number_of(query.to));
    // From step to step, as the rows of other pipelines stand between.
    while let Some(kept) = first_step(&rows, level, number)?.filter(|it| *it < end) {
        let step = TimestampMs(at(kept).0 - at(kept).0 % query.step_ms);
        let prefix = tally_prefix(level, kept, query.pipeline.as_ref());
        for row in rows.range(prefix.as_slice()..).map_err(unreadable)? {
            let (key, value) = row.map_err(unreadable)?;
            let key = key.value();
            if !key.starts_with(&prefix) {
                break;
            }
            let tally = decode_tally(key, value.value()).map_err(|it| it.at("timeline", key))?;
            let broken = || Broken("the key is not that of a step".to_owned());
            let (_, status) = parse_tally_key(key).ok_or_else(|| broken().at("timeline", key))?;
            timeline.add(step, status, tally);
        }
        number = kept + 1;
    }
    Ok(())
}

/// Adds what is not folded, less what would be trimmed at once.
fn from_tail(
    view: &View,
    level: Level,
    query: &TimelineQuery,
    timeline: &mut Timeline,
) -> Result<(), StoreError> {
    let minute_ms = Resolution::Minute.step_ms();
    let minute_of = |at: u64| u32::try_from(at / minute_ms).unwrap_or(u32::MAX);
    let floors = timeline_mark(view)?.floors;
    let floor = floors.get(level.place()).copied().unwrap_or(0);
    let floor = minute_of(u64::from(floor) * level.resolution.step_ms());
    let (from, to) = (minute_of(query.from.0).max(floor), minute_of(query.to.0));
    for generation in &view.generations {
        // Under one hold of the lock, so that no half batch is counted.
        let content = generation.read();
        let Some(last) = content.segments.last() else { continue };
        timeline.as_of_seq = timeline.as_of_seq.max(last.last_seq);
        let oldest =
            content.timeline.range(floor..).next().map(|(it, _)| u64::from(*it) * minute_ms);
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
