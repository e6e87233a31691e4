//! `GET /openapi.json`: the API as an OpenAPI 3.1 document, made from the types and the routes.
//!
//! The router collects the paths from the attributes of the handlers, so no route can be missing;
//! shapes come from [`api`](crate::api), refusals from [`refusals`], parameters from [`params`].
//! `tests/data/openapi.json` is the document as it was last reviewed.

pub(super) mod params;
pub(super) mod refusals;

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use utoipa::OpenApi;

use crate::api::schema::Refused;

/// What the document says beside paths.
#[derive(OpenApi)]
#[openapi(
    info(description = DESCRIPTION, license(name = "Apache-2.0", identifier = "Apache-2.0")),
    tags(
        (name = "updates", description = "Report what jobs do, and follow it."),
        (name = "jobs", description = "Ask for one job, or walk over all."),
        (name = "pipelines", description = "How far pipelines are, and when they will be done."),
        (name = "numbers", description = "How many jobs, and how the server does."),
        (name = "care", description = "Health and care of a running store."),
    ),
    components(schemas(Refused)),
)]
pub(super) struct Base;

const DESCRIPTION: &str = "\
Keeps the status of every job of an ingestion pipeline. Updates come in batches, each durable in \
one transaction; questions are answered at once.

Times in answers are RFC 3339 in UTC with milliseconds. A field or parameter that the server does \
not know is refused by name. Every refusal is a problem (RFC 9457) with a stable `code`; \
`retryable` says whether the same call may succeed later, and on calls that write `outcome` says \
what became of it. Answers may gain fields; clients pass over those they do not know. No answer \
may be cached (`Cache-Control: no-store`), and none is for a browser to show, run or give to \
another site (`X-Content-Type-Options`, `Content-Security-Policy`, `Referrer-Policy`, \
`Cross-Origin-Resource-Policy`; no CORS).

The host of a request is one of the server's names: loopback, the address that it listens on, or \
one of `allowed_hosts`. What a page of another host sends is refused. A head has at most 32 KiB \
and 100 headers.";

/// The document, pretty, and in a stable order.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document = super::routes().into_openapi();
    // A value sorts its keys, which some maps of the library do not.
    let value = serde_json::to_value(document).unwrap_or(Value::Null);
    let mut text = format!("{value:#}");
    text.push('\n');
    Bytes::from(text)
});

/// This document
///
/// Also answered while the store is being opened.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "care",
    operation_id = "getDocument",
    responses(
        (status = 200, description = "An OpenAPI 3.1 document.", body = Value,
            content_type = "application/json"),
        refusals::Always,
    ),
)]
pub(super) async fn get() -> Response {
    let json = HeaderValue::from_static("application/json");
    (StatusCode::OK, [(CONTENT_TYPE, json)], Body::from(DOCUMENT.clone())).into_response()
}

#[cfg(test)]
mod tests;
