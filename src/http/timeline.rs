//! `GET /v1/timeline`: updates per step and status, for plots.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::fresh;
use super::gate::Gate;
use super::openapi::{params, refusals};
use super::problem::Problem;
use super::query::{Params, invalid};
use super::reply;
use crate::api::TimelineBody;
use crate::model::{PipelineName, Resolution, TimelineQuery, TimestampMs};

/// Most steps of one answer.
const STEPS_MAX: u64 = 10_000;
/// A longer step would hold all that is kept, and end in a year that is no time on the wire.
const STEP_MAX_MS: u64 = 9_999 * 24 * 3_600_000;
/// The window if none is given: the last day.
const SPAN_DEFAULT_MS: u64 = 24 * 3_600_000;
/// Up to so many steps of a resolution are given if no step is asked for: a day of minutes, sixty
/// days of hours.
const STEPS_DEFAULT_MAX: u64 = 1_441;

/// Updates over time
///
/// Per step and status, for plots. The window is widened to whole steps, and holds at most 10,000;
/// steps without an update are left out. Two days of minutes, sixty days of hours and ten years of
/// days are kept, of those that saw an update: `held_from` says since when.
#[utoipa::path(
    get,
    path = "/v1/timeline",
    tag = "numbers",
    operation_id = "getTimeline",
    params(params::TimelineWindow, params::Fresh),
    responses(
        (status = 200, description = "The steps of the window.", body = TimelineBody<'static>),
        refusals::Read,
    ),
)]
pub(super) async fn get(State(gate): State<Gate>, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri)?;
    let asked = Asked {
        from: params.moment("from")?,
        to: params.moment("to")?,
        step: params.duration("step")?,
        pipeline: params.pipeline("pipeline")?,
    };
    let service = fresh::readable(&gate, params).await?.clone();
    let query = asked.query(service.now())?;
    reply::blocking(move || {
        let timeline = service.timeline(&query)?;
        Ok(reply::json(StatusCode::OK, &TimelineBody::of(&query, &timeline)))
    })
    .await
}

/// What the caller gave.
struct Asked {
    from: Option<TimestampMs>,
    to: Option<TimestampMs>,
    step: Option<Duration>,
    pipeline: Option<PipelineName>,
}

impl Asked {
    /// The window on the boundaries of its steps.
    fn query(self, now: TimestampMs) -> Result<TimelineQuery, Problem> {
        // The step that goes on belongs to it.
        let to = self.to.unwrap_or(TimestampMs(now.0.saturating_add(1)));
        let from = self.from.unwrap_or(TimestampMs(to.0.saturating_sub(SPAN_DEFAULT_MS)));
        if from >= to {
            return Err(invalid(format!("from is {from}, which is not before to, {to}")));
        }
        let has_pipeline = self.pipeline.is_some();
        let step_ms = match self.step {
            Some(step) => u64::try_from(step.as_millis()).unwrap_or(u64::MAX),
            None => default_step_ms(to.0 - from.0, has_pipeline),
        };
        if step_ms > STEP_MAX_MS {
            return Err(invalid("step is longer than 9999d".to_owned()));
        }
        let resolution = Resolution::of_step(step_ms)
            .ok_or_else(|| invalid("step must be whole minutes, 1m or longer".to_owned()))?;
        if has_pipeline && !resolution.has_pipelines() {
            let detail = "with a pipeline, step must be whole hours, 1h or longer";
            return Err(invalid(detail.to_owned()));
        }
        let from = from.0 - from.0 % step_ms;
        let to = to.0.div_ceil(step_ms).saturating_mul(step_ms);
        let steps = (to - from) / step_ms;
        if steps > STEPS_MAX {
            let detail = format!(
                "the window has {steps} steps, the most is {STEPS_MAX}; \
                                  ask for longer steps"
            );
            return Err(invalid(detail));
        }
        let (from, to) = (TimestampMs(from), TimestampMs(to));
        Ok(TimelineQuery { resolution, from, to, step_ms, pipeline: self.pipeline })
    }
}

/// The shortest kept step that gives no more than a plot can show.
fn default_step_ms(span_ms: u64, has_pipeline: bool) -> u64 {
    let kept = Resolution::ALL.into_iter().filter(|it| it.has_pipelines() || !has_pipeline);
    let mut fitting = kept.filter(|it| span_ms / it.step_ms() <= STEPS_DEFAULT_MAX);
    fitting.next().unwrap_or(Resolution::Day).step_ms()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_764_000_000_000);
    const DAY: u64 = 86_400_000;

    fn asked(span_ms: Option<u64>, step: Option<&str>, pipeline: Option<&str>) -> Asked {
        Asked {
            from: span_ms.map(|span| TimestampMs(NOW.0 - span)),
            to: None,
            step: step.map(|text| crate::model::parse_duration(text).unwrap()),
            pipeline: pipeline.map(|name| PipelineName::parse(name).unwrap()),
        }
    }

    #[test]
    fn the_step_follows_the_window_if_none_is_asked_for() {
        for (span, pipeline, step_ms) in [
            (None, None, 60_000),
            (Some(DAY), None, 60_000),
            (Some(DAY), Some("pdf"), 3_600_000),
            (Some(2 * DAY), None, 3_600_000),
            (Some(60 * DAY), None, 3_600_000),
            (Some(61 * DAY), None, DAY),
            (Some(3_650 * DAY), Some("pdf"), DAY),
        ] {
            let query = asked(span, None, pipeline).query(NOW).unwrap();
            assert_eq!(query.step_ms, step_ms, "{span:?}");
            assert!(query.from.0.is_multiple_of(step_ms) && query.to.0.is_multiple_of(step_ms));
            assert!(query.to > NOW, "the step that goes on belongs to it");
        }
    }

    #[test]
    fn windows_that_cannot_be_answered_are_refused() {
        for (asked, why) in [
            (asked(Some(DAY), Some("90s"), None), "step must be whole minutes, 1m or longer"),
            (asked(Some(DAY), Some("0s"), None), "step must be whole minutes, 1m or longer"),
            (
                asked(Some(DAY), Some("30m"), Some("pdf")),
                "with a pipeline, step must be whole hours, 1h or longer",
            ),
        ] {
            assert_eq!(asked.query(NOW).unwrap_err().detail, why);
        }
        assert!(asked(Some(30 * DAY), Some("1m"), None).query(NOW).is_err());
        let endless = asked(Some(DAY), Some("3000000d"), None).query(NOW).unwrap_err();
        assert_eq!(endless.detail, "step is longer than 9999d");
        let backwards = Asked { to: Some(TimestampMs(1)), ..asked(Some(DAY), None, None) };
        assert!(backwards.query(NOW).is_err());
        assert!(asked(Some(7 * DAY), Some("6h"), None).query(NOW).is_ok());
    }
}
