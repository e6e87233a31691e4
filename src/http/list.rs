//! `GET /v1/jobs`: a walk over the jobs, page by page.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::cursor::Walk;
use super::fresh;
use super::gate::Gate;
use super::problem::Problem;
use super::query::{Params, invalid};
use super::reply;
use crate::api::ListBody;
use crate::model::limits::{PAGE_JOBS_DEFAULT, PAGE_JOBS_MAX};
use crate::model::{Order, PageQuery, PipelineName, Status};

pub(super) async fn get(State(gate): State<Gate>, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri)?;
    let (query, cursor) = page_query(&mut params, gate.options().page_scan_max)?;
    let service = fresh::readable(&gate, params).await?.clone();
    let walk = Walk::of(&query, service.store_id());
    let cursor = cursor.map(|text| walk.decode(&text)).transpose()?;
    reply::blocking(move || {
        let page = service.page(&PageQuery { cursor, ..query })?;
        let next = page.next.map(|cursor| walk.encode(cursor));
        Ok(reply::json(StatusCode::OK, &ListBody::of(&page, next, service.kinds())))
    })
    .await
}

/// The page that is asked for, still without its cursor, and the text of the cursor.
fn page_query(
    params: &mut Params,
    scan_max: usize,
) -> Result<(PageQuery, Option<String>), Problem> {
    let mut statuses = Vec::new();
    for word in params.all("status").iter().flat_map(|words| words.split(',')) {
        let status = Status::parse(word).map_err(|error| invalid(error.to_string()))?;
        if !statuses.contains(&status) {
            statuses.push(status);
        }
    }
    let pipeline = params.one("pipeline")?.map(|name| PipelineName::parse(&name)).transpose();
    let order = match params.one("order")?.as_deref() {
        None | Some("newest") => Order::Newest,
        Some(other) => return Err(invalid(format!("order is {other:?}; use newest"))),
    };
    let query = PageQuery {
        statuses,
        pipeline: pipeline.map_err(|error| invalid(error.to_string()))?,
        order,
        limit: limit(params)?,
        cursor: None,
        scan_max,
    };
    Ok((query, params.one("cursor")?))
}

fn limit(params: &mut Params) -> Result<usize, Problem> {
    let Some(text) = params.one("limit")? else { return Ok(PAGE_JOBS_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| (1..=PAGE_JOBS_MAX).contains(limit));
    limit.ok_or_else(|| invalid(format!("limit is {text:?}; use 1 to {PAGE_JOBS_MAX}")))
}
