//! Updates and changes of numbers over time, for plots.
//!
//! Time is cut into steps from 1970 on, in UTC. A moment is the time that the reporter gave, but
//! never later than when the update became durable: nothing has happened after it was stored.

use std::collections::BTreeMap;

use super::id::PipelineName;
use super::operation::Operation;
use super::status::Status;
use super::time::TimestampMs;

/// What happened to one status within one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Applied updates that reported the status.
    pub updates: u64,
    /// Jobs that came to the status, less those that left it.
    pub net: i64,
}

impl Tally {
    /// Adds `other`; numbers beyond 64 bits stay at the bound.
    pub fn add(&mut self, other: Self) {
        self.updates = self.updates.saturating_add(other.updates);
        self.net = self.net.saturating_add(other.net);
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// The length of the steps that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    Minute,
    Hour,
    Day,
}

impl Resolution {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub const fn step_ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The most steps that are kept, of those that saw an update: two days, sixty days, ten years.
    pub const fn steps_max(self) -> u64 {
        match self {
            Self::Minute => 2 * 24 * 60,
            Self::Hour => 60 * 24,
            Self::Day => 3_660,
        }
    }

    /// True if the steps are kept for each pipeline too, and not for all together alone.
    pub const fn has_pipelines(self) -> bool {
        matches!(self, Self::Hour | Self::Day)
    }

    /// The longest kept step that `step_ms` is a multiple of; `None` if it is no whole minute.
    pub fn of_step(step_ms: u64) -> Option<Self> {
        let fits = |it: &&Self| step_ms >= it.step_ms() && step_ms.is_multiple_of(it.step_ms());
        Self::ALL.iter().rev().find(fits).copied()
    }
}

/// What is asked of the timeline. `from`, `to` and the step are multiples of a kept step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineQuery {
    pub resolution: Resolution,
    /// The first moment, on the boundary of a step.
    pub from: TimestampMs,
    /// The first moment that no longer belongs to it.
    pub to: TimestampMs,
    pub step_ms: u64,
    /// `None`: all pipelines together.
    pub pipeline: Option<PipelineName>,
}

impl TimelineQuery {
    /// The beginning of the step that `minute` (since 1970) belongs to, if it is asked for.
    pub fn step_of(&self, minute: u32) -> Option<TimestampMs> {
        let at = u64::from(minute) * Resolution::Minute.step_ms();
        let is_asked = at >= self.from.0 && at < self.to.0;
        is_asked.then(|| TimestampMs(at - at % self.step_ms))
    }
}

/// The steps that saw something; a step or a status that did not is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    pub steps: BTreeMap<TimestampMs, BTreeMap<Status, Tally>>,
    /// The first step that is kept at this resolution; `None` if there is none. What was before it
    /// is not known.
    pub held_from: Option<TimestampMs>,
    pub as_of_seq: u64,
}

impl Timeline {
    /// Adds a tally; one that is zero is not noted.
    pub fn add(&mut self, step: TimestampMs, status: Status, tally: Tally) {
        if !tally.is_zero() {
            self.steps.entry(step).or_default().entry(status).or_default().add(tally);
        }
    }

    /// Takes out what came to nothing.
    pub fn prune(&mut self) {
        self.steps.values_mut().for_each(|statuses| statuses.retain(|_, it| !it.is_zero()));
        self.steps.retain(|_, statuses| !statuses.is_empty());
    }
}

/// The minute since 1970 in which an operation counts that became durable at `updated_at`.
pub fn minute_of(operation: &Operation, updated_at: TimestampMs) -> u32 {
    let at = operation.at().min(updated_at);
    u32::try_from(at.0 / Resolution::Minute.step_ms()).unwrap_or(u32::MAX)
}

/// Hands on what an operation adds to the timeline: at most two tallies.
pub fn tally<'a>(operation: &'a Operation, mut add: impl FnMut(&'a PipelineName, Status, Tally)) {
    let reports = operation.change().is_some_and(|it| it.applied && !it.is_heartbeat);
    let places = operation.places();
    let moved = i64::from(places.is_moved());
    if let Some((pipeline, status)) = places.after
        && (reports || moved != 0)
    {
        add(pipeline, status, Tally { updates: u64::from(reports), net: moved });
    }
    if let Some((pipeline, status)) = places.before
        && moved != 0
    {
        add(pipeline, status, Tally { updates: 0, net: -moved });
    }
}
