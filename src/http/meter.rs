//! Counts requests and responses, and sets what every response carries.
//!
//! The outermost layer. It also turns away the requests of connections above the bound, except
//! those that ask for health.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::http::header::{CACHE_CONTROL, CONNECTION, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tower::Service;

use super::connections::AboveBound;
use super::gate::Gate;
use super::problem::Problem;
use crate::api::{HttpBody, ProblemCode, ResponsesBody};

/// Requests since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: AtomicU64,
    in_flight: AtomicU64,
    success: AtomicU64,
    redirect: AtomicU64,
    client_error: AtomicU64,
    server_error: AtomicU64,
}

impl Meter {
    fn count(&self, status: StatusCode) {
        let class = match status.as_u16() {
            ..300 => &self.success,
            300..400 => &self.redirect,
            400..500 => &self.client_error,
            500.. => &self.server_error,
        };
        class.fetch_add(1, Ordering::Relaxed);
    }
}

/// The numbers of the server, for the statistics page.
pub(super) fn numbers(gate: &Gate) -> HttpBody {
    let meter = gate.meter();
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    HttpBody {
        requests: load(&meter.requests),
        in_flight: load(&meter.in_flight),
        watchers: gate.watchers(),
        responses: ResponsesBody {
            success: load(&meter.success),
            redirect: load(&meter.redirect),
            client_error: load(&meter.client_error),
            server_error: load(&meter.server_error),
        },
        connections: gate.connections().numbers(gate.options().connections_max),
    }
}

/// A request that is being answered, until it is dropped.
struct InFlight(Gate);

impl InFlight {
    fn begin(gate: Gate) -> Self {
        gate.meter().requests.fetch_add(1, Ordering::Relaxed);
        gate.meter().in_flight.fetch_add(1, Ordering::Relaxed);
        Self(gate)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.meter().in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The server's service: `S` under the meter.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    inner: S,
    gate: Gate,
}

impl<S> Metered<S> {
    pub(super) fn new(inner: S, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

impl<S, B> Service<Request<B>> for Metered<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let in_flight = InFlight::begin(self.gate.clone());
        if request.extensions().get::<AboveBound>().is_some() && !is_health(request.uri().path()) {
            let response = turn_away(&in_flight.0, request.method());
            return Box::pin(async move { Ok(finish(response, &in_flight)) });
        }
        let answering = self.inner.call(request);
        Box::pin(async move { Ok(finish(answering.await?, &in_flight)) })
    }
}

fn finish(mut response: Response, in_flight: &InFlight) -> Response {
    in_flight.0.meter().count(response.status());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_health(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz")
}

fn turn_away(gate: &Gate, method: &Method) -> Response {
    let detail = format!(
        "{} connections are open, the most is {}; close some, or use them again",
        gate.connections().now(),
        gate.options().connections_max,
    );
    let problem = Problem::new(ProblemCode::TooManyConnections, detail).of(method);
    let mut response = problem.retry_after(1).into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
