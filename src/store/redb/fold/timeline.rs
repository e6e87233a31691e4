//! Folding the timeline: minutes, hours and days of all pipelines together, hours and days of each.
//!
//! Each level keeps a number of steps, of those that saw something; those of single pipelines keep
//! a number of rows besides. The oldest step goes first, and the newest always stays whole. What
//! was trimmed is not begun again: a late report for it is counted nowhere, so that no step is
//! half. So the timeline is bounded whatever the clocks say, and an import of old records has its
//! plots too.

use std::collections::HashMap;

use redb::{ReadableTable, WriteTransaction};

use super::{Rows, open, put, take};
use crate::model::{PipelineName, Resolution, Status, Tally};
use crate::store::StoreError;
use crate::store::redb::codec::{
    TimelineMark, decode_tally, decode_timeline_mark, encode_tally, encode_timeline_mark,
};
use crate::store::redb::schema::{Level, META, TIMELINE, TIMELINE_KEY, step_prefix, tally_prefix};
use crate::store::redb::tail::{Minutes, unreadable};
use crate::store::redb::timeline::first_step;

/// Adds `tallies`, and trims what is too much.
///
/// # Errors
/// [`StoreError`]; the transaction must not be committed.
pub fn fold(txn: &WriteTransaction, tallies: &Minutes, rows_max: u64) -> Result<(), StoreError> {
    let (mut rows, mut meta) = (open(txn, TIMELINE)?, open(txn, META)?);
    let mut mark = read_mark(&meta)?;
    let counts = mark.rows.iter_mut().zip(&mut mark.steps).zip(&mut mark.floors);
    for (level, ((row_count, step_count), floor)) in Level::ALL.into_iter().zip(counts) {
        let mut part = Part { rows: &mut rows, level, row_count, step_count, floor };
        part.add(tallies)?;
        part.trim(rows_max)?;
    }
    put(&mut meta, TIMELINE_KEY, &encode_timeline_mark(TIMELINE_KEY, &mark))
}

fn read_mark(meta: &Rows<'_>) -> Result<TimelineMark, StoreError> {
    let Some(value) = meta.get(TIMELINE_KEY).map_err(unreadable)? else {
        return Ok(TimelineMark::default());
    };
    decode_timeline_mark(TIMELINE_KEY, value.value()).map_err(|it| it.at("meta", TIMELINE_KEY))
}

/// The rows of one level.
struct Part<'a, 'txn> {
    rows: &'a mut Rows<'txn>,
    level: Level,
    row_count: &'a mut u64,
    step_count: &'a mut u64,
    floor: &'a mut u32,
}

/// The tallies of one step, by pipeline (`None`: all together) and status.
type Step<'a> = HashMap<(Option<&'a PipelineName>, Status), Tally>;

impl Part<'_, '_> {
    fn add(&mut self, tallies: &Minutes) -> Result<(), StoreError> {
        let minutes = self.level.resolution.step_ms() / Resolution::Minute.step_ms();
        let minutes = u32::try_from(minutes).expect("a day has few minutes");
        let mut step = Step::new();
        let mut number = None;
        // Sorted by minute, so that the tallies of a step stand together.
        for (minute, tallies) in tallies.range(self.floor.saturating_mul(minutes)..) {
            if let Some(last) = number.replace(minute / minutes)
                && last != minute / minutes
            {
                self.add_step(last, std::mem::take(&mut step))?;
            }
            for ((pipeline, status), tally) in tallies {
                let pipeline = self.level.is_by_pipeline.then_some(pipeline);
                step.entry((pipeline, *status)).or_default().add(*tally);
            }
        }
        number.map_or(Ok(()), |number| self.add_step(number, step))
    }

    fn add_step(&mut self, number: u32, step: Step<'_>) -> Result<(), StoreError> {
        let was_there = self.has_step(number)?;
        let mut tallies: Vec<(Vec<u8>, Tally)> = step
            .into_iter()
            .map(|((pipeline, status), tally)| {
                let mut key = tally_prefix(self.level, number, pipeline);
                key.extend_from_slice(status.as_str().as_bytes());
                (key, tally)
            })
            .collect();
        tallies.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (key, tally) in tallies {
            self.add_row(&key, tally)?;
        }
        match (was_there, self.has_step(number)?) {
            (false, true) => *self.step_count += 1,
            (true, false) => *self.step_count -= 1,
            _ => (),
        }
        Ok(())
    }

    fn add_row(&mut self, key: &[u8], tally: Tally) -> Result<(), StoreError> {
        let old = match self.rows.get(key).map_err(unreadable)? {
            Some(value) => {
                Some(decode_tally(key, value.value()).map_err(|it| it.at("timeline", key))?)
            }
            None => None,
        };
        let mut new = old.unwrap_or_default();
        new.add(tally);
        match (old.is_some(), new.is_zero()) {
            (false, true) => Ok(()),
            (true, true) => {
                *self.row_count -= 1;
                take(self.rows, key)
            }
            (was_there, false) => {
                *self.row_count += u64::from(!was_there);
                put(self.rows, key, &encode_tally(key, new))
            }
        }
    }

    fn has_step(&self, number: u32) -> Result<bool, StoreError> {
        Ok(first_step(self.rows, self.level, number)? == Some(number))
    }

    fn trim(&mut self, rows_max: u64) -> Result<(), StoreError> {
        let steps_max = self.level.resolution.steps_max();
        // Together, all pipelines have a row for each status: the steps bound them well enough.
        while *self.step_count > 1
            && (*self.step_count > steps_max
                || self.level.is_by_pipeline && *self.row_count > rows_max)
        {
            let Some(step) = first_step(self.rows, self.level, 0)? else { return Ok(()) };
            let (from, to) = (step_prefix(self.level, step), step_prefix(self.level, step + 1));
            let mut removed = 0;
            let drop_all = |_: &[u8], _: &[u8]| {
                removed += 1;
                false
            };
            self.rows.retain_in(from.as_slice()..to.as_slice(), drop_all).map_err(unreadable)?;
            *self.row_count -= removed;
            *self.step_count -= 1;
            *self.floor = step + 1;
        }
        Ok(())
    }
}
