//! The timeline against itself: an hour and a day are the sum of their pipelines, and there are as
//! many rows and steps as noted.

use std::collections::BTreeMap;

use crate::model::{Resolution, Status, Tally};
use crate::store::redb::codec::{decode_tally, decode_timeline_mark};
use crate::store::redb::schema::{
    META, TIMELINE, TIMELINE_KEY, parse_tally_key, step_of, step_prefix,
};
use crate::store::redb::tail::{View, unreadable};
use crate::store::{CheckReport, StoreError};

/// Checks each resolution. Reads all rows.
///
/// # Errors
/// [`StoreError`]: the file does not answer, or a row is damaged.
pub fn check(view: &View, report: &mut CheckReport) -> Result<(), StoreError> {
    let mark = view.table(META)?.get(TIMELINE_KEY).map_err(unreadable)?;
    let mark = mark.map(|value| decode_timeline_mark(TIMELINE_KEY, value.value())).transpose();
    let mark = mark.map_err(|it| it.at("meta", TIMELINE_KEY))?.unwrap_or_default();
    for (resolution, noted) in
        Resolution::ALL.into_iter().zip(mark.rows.into_iter().zip(mark.steps))
    {
        let found = level(view, resolution, report)?;
        if found != noted {
            report.note(format!(
                "timeline, {resolution:?}: {found:?} rows and steps, noted are {noted:?}"
            ));
        }
    }
    Ok(())
}

/// Rows and steps of a resolution, after a look at each step.
fn level(
    view: &View,
    resolution: Resolution,
    report: &mut CheckReport,
) -> Result<(u64, u64), StoreError> {
    let (from, to) = (step_prefix(resolution, 0), step_prefix(resolution, u32::MAX));
    let table = view.table(TIMELINE)?;
    let (mut rows, mut steps, mut last) = (0, 0, None);
    let mut sum = Sum::default();
    for row in table.range(from.as_slice()..to.as_slice()).map_err(unreadable)? {
        let (key, value) = row.map_err(unreadable)?;
        let key = key.value();
        let tally = decode_tally(key, value.value()).map_err(|it| it.at("timeline", key))?;
        let Some((step, (pipeline, status))) = step_of(key).zip(parse_tally_key(key)) else {
            report.note(format!("timeline: {key:?} is not the key of a step"));
            continue;
        };
        if last.replace(step) != Some(step) {
            sum.end(resolution, report);
            steps += 1;
        }
        rows += 1;
        sum.step = step;
        let part = if pipeline.is_none() { &mut sum.whole } else { &mut sum.parts };
        part.entry(status).or_default().add(tally);
    }
    sum.end(resolution, report);
    Ok((rows, steps))
}

/// The numbers of one step: of all together, and of the pipelines.
#[derive(Default)]
struct Sum {
    step: u32,
    whole: BTreeMap<Status, Tally>,
    parts: BTreeMap<Status, Tally>,
}

impl Sum {
    /// Compares, and begins anew.
    fn end(&mut self, resolution: Resolution, report: &mut CheckReport) {
        let mut ended = std::mem::take(self);
        // A job that moves between pipelines within a status counts in each, and not in the whole.
        ended.parts.retain(|_, tally| !tally.is_zero());
        if resolution.has_pipelines() && ended.whole != ended.parts {
            let step = ended.step;
            report.note(format!("timeline, {resolution:?} {step}: the pipelines do not add up"));
        }
    }
}
