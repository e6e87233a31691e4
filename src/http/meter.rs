//! Counts requests and responses, and sets what every response carries.
//!
//! The outermost layer. It also refuses what is not meant for this server, and turns away the
//! requests of connections above the bound, except those that ask for health.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{BoxError, Router};
use tower::Service;

use super::answers;
use super::body::{self, Incoming};
use super::gate::Gate;
use super::problem::Problem;
use super::reply;
use crate::api::{HttpBody as HttpNumbers, ProblemCode, ResponsesBody};

/// Requests since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Meter {
    requests: AtomicU64,
    in_flight: AtomicU64,
    success: AtomicU64,
    redirect: AtomicU64,
    client_error: AtomicU64,
    server_error: AtomicU64,
    /// Connections that went over to hyper.
    #[cfg(test)]
    pub handed_over: AtomicU64,
}

impl Meter {
    /// A request that is answered at once.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self, status: StatusCode) {
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
pub(super) fn numbers(gate: &Gate) -> HttpNumbers {
    let meter = gate.meter();
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    HttpNumbers {
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
#[derive(Debug)]
pub(super) struct InFlight(Gate);

impl InFlight {
    pub fn begin(gate: Gate) -> Self {
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

/// The server's service: the router, under the meter.
#[derive(Clone, Debug)]
pub struct Metered {
    router: Router,
    gate: Gate,
}

impl Metered {
    pub(super) fn new(router: Router, gate: Gate) -> Self {
        Self { router, gate }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Begins to answer `request`. The connections above the bound are told so.
    pub(super) fn answer<B>(&self, request: Request<B>, is_above_bound: bool) -> Answering
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let in_flight = InFlight::begin(self.gate.clone());
        let is_read = is_read(&request);
        let call = self.begin(request, is_above_bound);
        Answering { call, in_flight, is_read }
    }

    fn begin<B>(&self, request: Request<B>, is_above_bound: bool) -> Call
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if let Err(problem) = self.gate.options().hosts.check(&request) {
            return refuse(self.gate.clone(), problem.of(request.method()), request);
        }
        if is_above_bound && !is_health(request.uri().path()) {
            return Call::Done(ready(turn_away(&self.gate, request.method())));
        }
        let mut router = self.router.clone();
        Call::Begun(Box::pin(async move {
            let Ok(response) = router.call(request).await;
            response
        }))
    }
}

impl<B> Service<Request<B>> for Metered
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        self.answer(request, false)
    }
}

/// The answer to one request, on its way.
#[derive(Debug)]
pub struct Answering {
    call: Call,
    in_flight: InFlight,
    is_read: bool,
}

enum Call {
    /// A refusal that is made at once.
    Done(Ready<Response>),
    Begun(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::Begun(_) => "Begun",
        })
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { call, in_flight, is_read } = self.get_mut();
        let response = match call {
            Call::Done(answer) => task::ready!(Pin::new(answer).poll(cx)),
            Call::Begun(answer) => task::ready!(answer.as_mut().poll(cx)),
        };
        Poll::Ready(Ok(finish(response, in_flight, *is_read)))
    }
}

/// True if the call may be repeated, so that its answer may be refused.
fn is_read<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) || request.uri().path() == "/v1/lookup"
}

fn finish(response: Response, in_flight: &InFlight, is_read: bool) -> Response {
    let held = answers::hold(&in_flight.0, response, is_read);
    let mut response = held.unwrap_or_else(Problem::into_response);
    in_flight.0.meter().count(response.status());
    reply::carry(response.headers_mut());
    response
}

/// The answer to a request that reaches no handler. After one that could be read in two ways, the
/// connection is closed.
fn refuse<B>(gate: Gate, problem: Problem, request: Request<B>) -> Call
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if problem.code == ProblemCode::MalformedRequest {
        return Call::Done(ready(closing(problem)));
    }
    let (parts, body) = request.into_parts();
    let body = Incoming::of(&parts.headers, Body::new(body));
    Call::Begun(Box::pin(async move { body::refuse(&gate, problem, body).await }))
}

fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
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
    closing(problem.retry_after(1))
}
