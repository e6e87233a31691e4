//! `GET /v1/updates`: every durable update after a seq, as Server-Sent Events, as lines, or page by
//! page with a wait.
//!
//! ```text
//! store --hub--> chunks, encoded once for all who stand at the same seq
//!                  |--> pages:   one answer, perhaps after a wait
//!                  |--> follow:  one stream each, which takes the next chunk when it was read
//! ```
//!
//! A reader holds the seq that it stands at, and nothing else: one that is slow reads the stored
//! feed later, at its own pace.

mod chunk;
mod filter;
mod follow;
mod hub;
mod pages;

pub(super) use hub::Hub;

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

use super::format::Format;
use super::fresh;
use super::gate::Gate;
use super::openapi::{params, refusals};
use super::problem::Problem;
use super::query::{Params, invalid};
use crate::api::forms::{FeedEvent, FeedLines};
use crate::api::{FeedBody, ProblemCode};
use crate::model::limits::{PAGE_UPDATES_DEFAULT, PAGE_UPDATES_MAX};
use filter::Filter;

/// Where an event source that was cut goes on; it counts before `after`.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Which store the seqs belong to: who resumes can tell another one from its own.
const STORE_ID: HeaderName = HeaderName::from_static("store-id");
/// Longest `wait`: below what proxies and clients take for a hang.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// What a reader asks for.
#[derive(Debug)]
struct Asked {
    /// `None`: from now on.
    after: Option<u64>,
    filter: Filter,
    limit: usize,
    wait: Duration,
}

/// Follow the updates
///
/// Every durable update after a seq, each once and in order: as a page of JSON, perhaps after a
/// wait; or as a stream that does not end, of lines or of Server-Sent Events. A reader that was cut
/// off goes on from the last seq that it has seen. A filter leaves out what does not pass it; the
/// seqs that it leaves out are missing. Without a place to go on from, it begins now.
#[utoipa::path(
    get,
    path = "/v1/updates",
    tag = "updates",
    operation_id = "followUpdates",
    params(
        params::FeedPlace,
        params::FeedFilters,
        params::FeedPage,
        params::FeedFormat,
        params::Fresh,
    ),
    responses(
        (status = 200, description = "The updates.", content(
            (FeedBody<'static> = "application/json"),
            (FeedLines = "application/x-ndjson"),
            (FeedEvent = "text/event-stream"),
        ), headers(
            ("Store-Id" = String, description = "Which store the seqs belong to; another one \
                counts its own."),
        )),
        refusals::Feed,
    ),
)]
pub(super) async fn get(State(gate): State<Gate>, request: Request) -> Result<Response, Problem> {
    let mut params = Params::of(request.uri())?;
    let format =
        Format::of(&mut params, request.headers(), &[Format::Json, Format::Lines, Format::Events])?;
    let asked = Asked::of(&mut params, request.headers(), format)?;
    let service = fresh::readable(&gate, params).await?.clone();
    let (_, last_seq) = service.counts();
    let after = asked.after.unwrap_or(last_seq);
    if after > last_seq {
        let first_seq = gate.hub().first_held(&service).await?;
        return Err(gone(after, first_seq, last_seq));
    }
    let mut response = match format {
        Format::Json | Format::Csv => pages::answer(&gate, &service, after, asked).await?,
        Format::Lines | Format::Events => {
            follow::answer(&gate, service.clone(), after, asked.filter, format).await?
        }
    };
    // Another store counts its own seqs.
    if let Ok(store_id) = HeaderValue::try_from(service.store_id()) {
        response.headers_mut().insert(STORE_ID, store_id);
    }
    Ok(response)
}

impl Asked {
    fn of(params: &mut Params, headers: &HeaderMap, format: Format) -> Result<Self, Problem> {
        // Read in any case: a bad `after` is refused also beside the header.
        let after = seq(params.one("after")?, "after")?;
        let after = last_event_id(headers)?.or(after);
        let filter = Filter::of(params)?;
        let limit = params.number("limit", 1..=PAGE_UPDATES_MAX, PAGE_UPDATES_DEFAULT)?;
        let wait = params.duration("wait")?;
        if wait.is_some_and(|wait| wait > WAIT_MAX) {
            return Err(invalid(format!("wait is more than {} s", WAIT_MAX.as_secs())));
        }
        if wait.is_some() && format != Format::Json {
            return Err(invalid("wait is for format=json; the other forms wait anyway".to_owned()));
        }
        Ok(Self { after, filter, limit, wait: wait.unwrap_or_default() })
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?").trim();
    // An event source that has heard nothing yet sends none, or an empty one.
    if text.is_empty() { Ok(None) } else { seq(Some(text.to_owned()), "last-event-id") }
}

fn seq(text: Option<String>, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        invalid(format!("{name} is {shown:?}; send the seq of an update, or 0"))
    })
}

/// What comes after `after` is not held.
fn gone(after: u64, first_seq: u64, last_seq: u64) -> Problem {
    let detail = if after > last_seq {
        format!(
            "after is {after}, the last update is {last_seq}; this is another store, or an \
                 older state of it: read the jobs again, then go on after {last_seq}"
        )
    } else {
        format!(
            "the updates after {after} are no longer held, the first held is {first_seq}; read \
                 the jobs again, then go on after the as_of_seq of that"
        )
    };
    let mut problem = Problem::new(ProblemCode::Gone, detail);
    problem.held = Some((first_seq, last_seq));
    problem
}
