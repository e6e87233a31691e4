//! Updates over time, for plots.
//!
//! ```json
//! {"from":"2025-11-24T00:00:00.000Z","to":"2025-11-25T00:00:00.000Z","step_s":3600,
//!  "pipeline":null,"held_from":"2025-11-01T00:00:00.000Z",
//!  "steps":[{"at":"2025-11-24T16:00:00.000Z","updates":{"completed":12,"processing":15},
//!            "net":{"completed":12,"processing":3,"queued":-15}}],
//!  "as_of_seq":918273}
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::TimeBody;
use super::words;
use crate::model::{Status, Tally, Timeline, TimelineQuery, TimestampMs};

/// The steps of a time window that saw an update; the others are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Timeline, examples(json!({
    "from": "2025-11-24T00:00:00.000Z", "to": "2025-11-25T00:00:00.000Z", "step_s": 3600,
    "pipeline": null, "held_from": "2025-11-01T00:00:00.000Z",
    "steps": [{
        "at": "2025-11-24T16:00:00.000Z", "updates": {"completed": 12, "processing": 15},
        "net": {"completed": 12, "processing": 3, "queued": -15},
    }],
    "as_of_seq": 918_273,
})))]
pub struct TimelineBody<'a> {
    /// The window, on the boundaries of steps: `to` is the first moment outside.
    pub from: TimeBody,
    pub to: TimeBody,
    /// The length of a step, in seconds.
    #[schema(minimum = 60)]
    pub step_s: u64,
    /// `null`: all pipelines together.
    #[schema(required, value_type = Option<words::PipelineName>)]
    pub pipeline: Option<Cow<'a, str>>,
    /// The first step that is kept at this length; what was before is not known. `null`: none is.
    #[schema(required)]
    pub held_from: Option<TimeBody>,
    #[schema(max_items = 10_000)]
    pub steps: Vec<TimelineStepBody<'a>>,
    /// The last update that the numbers reflect.
    pub as_of_seq: u64,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = TimelineStep, examples(json!({
    "at": "2025-11-24T16:00:00.000Z", "updates": {"completed": 12, "processing": 15},
    "net": {"completed": 12, "processing": 3, "queued": -15},
})))]
pub struct TimelineStepBody<'a> {
    /// Its first moment.
    pub at: TimeBody,
    /// Applied updates by the status that they reported.
    #[schema(value_type = BTreeMap<words::Status, u64>)]
    pub updates: BTreeMap<Cow<'a, str>, u64>,
    /// Jobs that came to a status, less those that left it.
    #[schema(value_type = BTreeMap<words::Status, i64>)]
    pub net: BTreeMap<Cow<'a, str>, i64>,
}

impl<'a> TimelineBody<'a> {
    pub fn of(query: &'a TimelineQuery, timeline: &'a Timeline) -> Self {
        Self {
            from: TimeBody(query.from),
            to: TimeBody(query.to),
            step_s: query.step_ms / 1_000,
            pipeline: query.pipeline.as_ref().map(|name| name.as_str().into()),
            held_from: timeline.held_from.map(TimeBody),
            steps: timeline.steps.iter().map(TimelineStepBody::of).collect(),
            as_of_seq: timeline.as_of_seq,
        }
    }
}

impl<'a> TimelineStepBody<'a> {
    fn of((at, statuses): (&'a TimestampMs, &'a BTreeMap<Status, Tally>)) -> Self {
        let mut body = Self { at: TimeBody(*at), updates: BTreeMap::new(), net: BTreeMap::new() };
        for (status, tally) in statuses {
            if tally.updates != 0 {
                body.updates.insert(status.as_str().into(), tally.updates);
            }
            if tally.net != 0 {
                body.net.insert(status.as_str().into(), tally.net);
            }
        }
        body
    }
}
