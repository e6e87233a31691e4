//! The timeline against itself: an hour and a day are the sum of their pipelines, and there are as
//! many rows and steps as noted.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Resolution, Status, Tally};
use crate::store::redb::codec::decode_tally;
use crate::store::redb::schema::{Level, TIMELINE, parse_tally_key, step_of, step_prefix};
use crate::store::redb::tail::{View, unreadable};
use crate::store::redb::timeline::timeline_mark;
use crate::store::{CheckReport, StoreError};

/// The numbers of a level, of all its pipelines together.
type Sums = BTreeMap<(u32, Status), Tally>;

/// Checks each level. Reads all rows.
///
/// # Errors
/// [`StoreError`]: the file does not answer, or a row is damaged.
pub fn check(view: &View, report: &mut CheckReport) -> Result<(), StoreError> {
    let mark = timeline_mark(view)?;
    let mut sums = Vec::new();
    let noted = mark.rows.into_iter().zip(mark.steps).zip(mark.floors);
    for (level, ((rows, steps), floor)) in Level::ALL.into_iter().zip(noted) {
        let (found, of_level) = read(view, level, report)?;
        if found != (rows, steps) {
            report.note(format!(
                "timeline, {level:?}: {found:?} rows and steps, noted are {rows} and {steps}"
            ));
        }
        sums.push((of_level, floor));
    }
    for resolution in [Resolution::Hour, Resolution::Day] {
        let of = |is_by_pipeline| sums.get(Level { resolution, is_by_pipeline }.place());
        if let (Some((whole, floor)), Some((parts, floor_of_parts))) = (of(false), of(true)) {
            // What one of them has trimmed, the other may still have.
            let held = |((step, _), tally): &(&(u32, Status), &Tally)| {
                !tally.is_zero() && step >= floor.max(floor_of_parts)
            };
            if !whole.iter().filter(held).eq(parts.iter().filter(held)) {
                report.note(format!("timeline, {resolution:?}: the pipelines do not add up"));
            }
        }
    }
    Ok(())
}

/// Rows and steps of a level, and its sums.
fn read(
    view: &View,
    level: Level,
    report: &mut CheckReport,
) -> Result<((u64, u64), Sums), StoreError> {
    let (from, to) = (step_prefix(level, 0), step_prefix(level, u32::MAX));
    let table = view.table(TIMELINE)?;
    let (mut rows, mut steps, mut sums) = (0, BTreeSet::new(), Sums::new());
    for row in table.range(from.as_slice()..to.as_slice()).map_err(unreadable)? {
        let (key, value) = row.map_err(unreadable)?;
        let key = key.value();
        let tally = decode_tally(key, value.value()).map_err(|it| it.at("timeline", key))?;
        rows += 1;
        match step_of(key).zip(parse_tally_key(key)) {
            // A job that moves between pipelines within a status counts in each, and not in all.
            Some((step, (_, status))) => {
                steps.insert(step);
                sums.entry((step, status)).or_default().add(tally);
            }
            None => report.note(format!("timeline: {key:?} is not the key of a step")),
        }
    }
    Ok(((rows, steps.len() as u64), sums))
}
