//! The server through its own door: requests in, answers out; a socket only where it matters.

mod backup;
mod bad_input;
mod bounds;
mod feed;
mod hostile;
mod hosts;
mod jobs;
mod lists;
mod pipelines;
mod plain;
mod prune;
mod queries;
mod server;
mod smuggling;
mod stops;
mod updates;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{Gate, HttpOptions, app};
use crate::service::{Service, ServiceOptions};

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

/// A server over a store in memory.
struct Server {
    gate: Gate,
    service: Service,
}

/// What came back.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Server {
    fn new() -> Self {
        Self::with(ServiceOptions::default(), HttpOptions::default())
    }

    fn with(service: ServiceOptions, http: HttpOptions) -> Self {
        Self::over(Service::in_memory(service).unwrap(), http)
    }

    fn over(service: Service, http: HttpOptions) -> Self {
        let gate = Gate::new(http);
        gate.open(service.clone());
        Self { gate, service }
    }

    async fn call(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answered {
        call(&self.gate, method, uri, headers, body.into()).await
    }

    async fn get(&self, uri: &str) -> Answered {
        self.call(Method::GET, uri, &[], "").await
    }

    /// Posts to `/v1/updates`, with `query` behind it.
    async fn post(&self, query: &str, media: (&str, &str), body: impl Into<Body>) -> Answered {
        self.call(Method::POST, &format!("/v1/updates{query}"), &[media], body).await
    }

    async fn put(&self, uri: &str, body: &str) -> Answered {
        self.call(Method::PUT, uri, &[JSON], body.to_owned()).await
    }
}

async fn call(
    gate: &Gate,
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Answered {
    let mut request = Request::builder().method(method).uri(uri);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).unwrap();
    let response = app(gate.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answered { status: parts.status, headers: parts.headers, text }
}

impl Answered {
    /// The body, which must come as JSON with `status`.
    #[track_caller]
    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert_eq!(self.header("cache-control"), "no-store");
        serde_json::from_str(&self.text).unwrap()
    }

    /// The body, which must be a well-formed problem with `status` and `code`.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        let body: Value = serde_json::from_str(&self.text).unwrap();
        assert_eq!(body["code"], code, "{}", self.text);
        assert_eq!(body["type"], format!("urn:jobslate:problem:{code}"));
        assert_eq!(body["status"], status);
        assert!(body["retryable"].is_boolean() && body["title"].is_string(), "{}", self.text);
        if matches!(status, 429 | 503 | 507) {
            let seconds = self.header("retry-after").parse::<u64>();
            assert!(seconds.is_ok_and(|it| it >= 1), "no retry-after: {:?}", self.headers);
        }
        body
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// `count` lines, each one update of another job.
fn lines(count: usize) -> String {
    (0..count).map(|i| format!("{{\"job_id\":\"job-{i}\",\"status\":\"queued\"}}\n")).collect()
}
