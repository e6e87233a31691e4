//! `GET /v1/jobs`: a walk over the jobs, page by page.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{HeaderName, HeaderValue, LINK};
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::cursor::{Mark, Walk};
use super::format::{self, Format};
use super::fresh;
use super::gate::Gate;
use super::openapi::{params, refusals};
use super::options::HttpOptions;
use super::problem::Problem;
use super::query::{Params, invalid};
use super::reply;
use crate::api::forms::{JobLines, JobTable};
use crate::api::{ListBody, jobs_csv};
use crate::model::limits::{JOB_ID_BYTES_MAX, PAGE_JOBS_DEFAULT, PAGE_JOBS_MAX};
use crate::model::{JobFilter, Order, PageQuery, TimestampMs};
use crate::service::Service;

/// The last update that an answer reflects, where its body has no room to say so.
const AS_OF_SEQ: HeaderName = HeaderName::from_static("as-of-seq");

/// Walk over the jobs
///
/// Page by page, each with the `cursor` for the next. The walk shows every job as of its first
/// page once at most; a page may be short and still have a next. Several filters narrow each
/// other.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    operation_id = "listJobs",
    params(params::ListFilters, params::JobFormat, params::Fresh),
    responses(
        (status = 200, description = "One page.", content(
            (ListBody<'static> = "application/json"),
            (JobLines = "application/x-ndjson"),
            (JobTable = "text/csv"),
        ), headers(
            ("As-Of-Seq" = u64, description = "The last update that the walk reflects."),
            ("Link" = String, description = "The next page, as `<?...>; rel=\"next\"`; absent at \
                the end of the walk."),
        )),
        refusals::List,
    ),
)]
pub(super) async fn get(State(gate): State<Gate>, request: Request) -> Result<Response, Problem> {
    let uri = request.uri().clone();
    let mut params = Params::of(&uri)?;
    let format =
        Format::of(&mut params, request.headers(), &[Format::Json, Format::Lines, Format::Csv])?;
    let asked = Asked::of(&mut params, gate.options())?;
    let service = fresh::readable(&gate, params).await?.clone();
    reply::blocking(move || asked.answer(&service, format, &uri)).await
}

/// The page that is asked for, still without its cursor.
struct Asked {
    query: PageQuery,
    stalled_for: Option<Duration>,
    cursor: Option<String>,
    bytes_max: usize,
}

impl Asked {
    fn of(params: &mut Params, options: &HttpOptions) -> Result<Self, Problem> {
        let filter = JobFilter {
            statuses: params.statuses()?,
            kinds: params.kinds()?,
            pipeline: params.pipeline("pipeline")?,
            prefix: prefix(params)?,
            updated_from: params.moment("updated_after")?,
            updated_before: params.moment("updated_before")?,
            stalled_since: None,
        };
        let order = order(params, !filter.prefix.is_empty())?;
        let limit = params.number("limit", 1..=PAGE_JOBS_MAX, PAGE_JOBS_DEFAULT)?;
        let scan_max = options.page_scan_max;
        let query = PageQuery { filter, order, limit, cursor: None, scan_max };
        let stalled_for = params.duration("stalled_for")?;
        let bytes_max = options.page_bytes_max;
        Ok(Self { query, stalled_for, cursor: params.one("cursor")?, bytes_max })
    }

    fn answer(self, service: &Service, format: Format, uri: &Uri) -> Result<Response, Problem> {
        let Self { mut query, stalled_for, cursor, bytes_max } = self;
        let walk = Walk::of(&query.filter, stalled_for, query.order, service.store_id());
        let (_, last_seq) = service.counts();
        let mark = cursor.map(|text| walk.decode(&text, last_seq)).transpose()?;
        let is_first = mark.is_none();
        // A walk counts from one moment, however long it takes.
        let begun_at = mark.as_ref().map(|mark| mark.stalled_since);
        query.filter.stalled_since = begun_at.unwrap_or_else(|| since(service, stalled_for));
        query.cursor = mark.map(|mark| mark.cursor);
        let mut page = service.page(&query)?;
        page.shorten(query.order, bytes_max);
        let stalled_since = query.filter.stalled_since;
        let next = page.next.clone().map(|cursor| walk.encode(&Mark { cursor, stalled_since }));
        let link = next.as_deref().and_then(|next| link(uri, next));
        let body = ListBody::of(&page, next, service.kinds());
        let mut response = match format {
            Format::Lines => format.response(reply::lines(&body.jobs)),
            Format::Csv => format::csv(jobs_csv(&body.jobs, is_first), is_first),
            Format::Json | Format::Events => reply::json(StatusCode::OK, &body),
        };
        let headers = response.headers_mut();
        headers.insert(AS_OF_SEQ, HeaderValue::from(page.as_of_seq));
        if let Some(link) = link {
            headers.insert(LINK, link);
        }
        Ok(response)
    }
}

/// What has not changed since then is stalled.
fn since(service: &Service, stalled_for: Option<Duration>) -> Option<TimestampMs> {
    let ms = u64::try_from(stalled_for?.as_millis()).unwrap_or(u64::MAX);
    // Not 0, which in a cursor stands for none.
    Some(TimestampMs(service.now().0.saturating_sub(ms).max(1)))
}

fn prefix(params: &mut Params) -> Result<String, Problem> {
    let prefix = params.one("prefix")?.unwrap_or_default();
    if prefix.len() <= JOB_ID_BYTES_MAX {
        return Ok(prefix);
    }
    Err(invalid(format!("prefix is {} bytes, the most is {JOB_ID_BYTES_MAX}", prefix.len())))
}

/// A prefix alone goes by id: then it finds its jobs without looking at others.
fn order(params: &mut Params, has_prefix: bool) -> Result<Order, Problem> {
    match params.one("order")? {
        None if has_prefix => Ok(Order::Id),
        None => Ok(Order::Newest),
        Some(text) => Order::parse(&text).ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            invalid(format!("order is {shown:?}; use newest, oldest or id"))
        }),
    }
}

/// The next page, relative to this one, so that it leads through a proxy as well.
fn link(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let kept = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let cursor = format!("cursor={next}");
    let query: Vec<&str> = kept.chain([cursor.as_str()]).collect();
    HeaderValue::try_from(format!("<?{}>; rel=\"next\"", query.join("&"))).ok()
}
