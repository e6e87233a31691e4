//! One connection: its requests in turn, and how long it may wait for the next.
//!
//! ```text
//! accepted --header_timeout--> request -> answer --idle_timeout--> request -> ...
//! ```
//!
//! The whole head of a request must come within the time; else the connection is closed. One alarm
//! serves the whole connection: it is set again only when it rings, because a timer for each
//! request costs more than finding its job.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::connections::Place;
use super::meter::{Answering, Metered};
use super::options::HttpOptions;

/// What a connection may hold of a request head, or of an answer that its client does not take: a
/// reader of the feed that is slow must not gather it here. hyper's own bound is 400 KiB.
const CONNECTION_BYTES_MAX: usize = 32 << 10;

/// An answer up to this goes to the socket in one piece, so that the wait for the next request
/// begins with it.
const SHORT_ANSWER_BYTES_MAX: u64 = 16 << 10;

/// Serves a connection until its client or `stop` ends it, or it waits for too long. At a stop, the
/// open request is finished.
pub(super) async fn serve(
    stream: TcpStream,
    app: Metered,
    place: Place,
    mut stop: watch::Receiver<bool>,
) {
    let patience = Arc::new(Patience::new(app.gate().options()));
    let calls = Calls { app, patience: patience.clone(), place };
    let mut http1 = http1::Builder::new();
    http1.header_read_timeout(None).max_buf_size(CONNECTION_BYTES_MAX);
    let mut serving = pin!(http1.serve_connection(TokioIo::new(stream), calls));
    let mut alarm = pin!(sleep_until(patience.next_look(Instant::now())));
    let stop_flag = stop.clone();
    let mut stopped = pin!(stop.changed());
    let (mut is_armed, mut is_stopping) = (false, false);
    poll_fn(|cx| {
        // Whoever was asked once wakes this task by itself. Asking again at each turn would take
        // locks that all connections share, so after that only the flags are looked at.
        if !is_armed {
            is_armed = true;
            let _told_by_flag = stopped.as_mut().poll(cx);
            let _told_by_flag = alarm.as_mut().poll(cx);
        }
        if !is_stopping && stop_flag.has_changed().unwrap_or(true) {
            is_stopping = true;
            serving.as_mut().graceful_shutdown();
        }
        while alarm.is_elapsed() {
            let now = Instant::now();
            if patience.deadline().is_some_and(|due_at| due_at <= now) {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(patience.next_look(now));
            let _told_by_flag = alarm.as_mut().poll(cx);
        }
        // A connection that broke concerns nobody but its client.
        serving.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// How long the next request may take to come.
#[derive(Debug)]
struct Patience {
    began_at: Instant,
    idle_timeout: Duration,
    /// Milliseconds after `began_at`, or [`BUSY`].
    due_ms: AtomicU64,
}

/// A request is being answered.
const BUSY: u64 = u64::MAX;

impl Patience {
    fn new(options: &HttpOptions) -> Self {
        Self {
            began_at: Instant::now(),
            idle_timeout: Duration::from_millis(ms(options.idle_timeout)),
            due_ms: AtomicU64::new(ms(options.header_timeout)),
        }
    }

    /// When the head of the next request must be here; `None` while one is answered.
    fn deadline(&self) -> Option<Instant> {
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        (due_ms != BUSY).then(|| self.began_at + Duration::from_millis(due_ms))
    }

    /// When to look again: never later than an idle time that begins now would end.
    fn next_look(&self, now: Instant) -> Instant {
        let at_most = now + self.idle_timeout;
        self.deadline().map_or(at_most, |due_at| due_at.min(at_most))
    }

    fn begin_request(&self) {
        self.due_ms.store(BUSY, Ordering::Relaxed);
    }

    fn end_request(&self) {
        let due_ms = ms(self.began_at.elapsed() + self.idle_timeout);
        self.due_ms.store(due_ms, Ordering::Relaxed);
    }
}

/// Bounded, so that adding it to a moment cannot overflow.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(BUSY).min(BUSY >> 8)
}

/// Ends the request when it is dropped.
#[derive(Debug)]
struct Busy(Arc<Patience>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// The requests of one connection.
#[derive(Debug)]
struct Calls {
    app: Metered,
    patience: Arc<Patience>,
    /// Given back with the connection.
    place: Place,
}

impl Service<axum::http::Request<Incoming>> for Calls {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: axum::http::Request<Incoming>) -> Answer {
        self.patience.begin_request();
        let answering = self.app.answer(request, self.place.is_above_bound());
        Answer { answering, busy: Some(Busy(self.patience.clone())) }
    }
}

/// The answer to one request, on its way.
#[derive(Debug)]
struct Answer {
    answering: Answering,
    busy: Option<Busy>,
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.answering).poll(cx));
        let busy = self.busy.take();
        let length = response.body().size_hint().exact();
        if length.is_some_and(|length| length <= SHORT_ANSWER_BYTES_MAX) {
            return Poll::Ready(Ok(response));
        }
        // The request lasts as long as its body; that no body is an error keeps it alive.
        let keep = move |error| {
            let _until_the_end = &busy;
            error
        };
        Poll::Ready(Ok(response.map(|body| Body::new(body.map_err(keep)))))
    }
}
