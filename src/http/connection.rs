//! One connection: its requests in turn, and how long it may wait for the next.
//!
//! ```text
//! accepted --header_timeout--> request -> answer --idle_timeout--> first byte of the next
//!                                 ^                                   |
//!                                 +---------- header_timeout ---------+
//! ```
//!
//! The whole head of a request must come within its time, and a client that takes nothing of its
//! answer for `idle_timeout` is not waited for; else the connection is closed. One alarm serves the
//! whole connection: it is set again only when it rings, because a timer for each request costs
//! more than finding its job.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody as _};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::connections::Place;
use super::meter::{Answering, Metered};
use super::patience::{Busy, Patience, Watched};
use super::plain::{End, PlainCalls};

/// What a connection may hold of a request head, or gathers of a streamed answer before its client
/// takes some; one piece of an answer may be longer. hyper's own bound is 400 KiB.
const CONNECTION_BYTES_MAX: usize = 32 << 10;

/// Serves a connection until its client or `stop` ends it, or it waits for too long. At a stop, the
/// open request is finished, and one whose head is still coming is told of the stop. The same if
/// its place is given away, which is done while it is idle.
///
/// NB: it is a task of its own. Within another future, whose waker may change from one look to the
/// next, alarm and stop would wake nobody.
pub(super) async fn serve(
    stream: TcpStream,
    app: Metered,
    place: Place,
    mut stop: watch::Receiver<bool>,
) {
    let patience = place.patience().clone();
    let mut serving = Serving::begin(stream, Calls { app, patience: patience.clone(), place });
    let mut alarm = pin!(sleep_until(patience.next_look(Instant::now())));
    let stop_flag = stop.clone();
    let mut stopped = pin!(stop.changed());
    let (mut is_armed, mut is_stopping) = (false, false);
    poll_fn(|cx| {
        // Whoever was asked once wakes this task by itself. Asking again at each turn would take
        // locks that all connections share, so after that only the flags are looked at.
        if !is_armed {
            is_armed = true;
            patience.wake_by(cx.waker());
            let _told_by_flag = stopped.as_mut().poll(cx);
            let _told_by_flag = alarm.as_mut().poll(cx);
        }
        let is_told = patience.is_unwanted() || stop_flag.has_changed().unwrap_or(true);
        if !is_stopping && is_told {
            is_stopping = true;
            // What came before is seen first: an idle connection is closed without a look.
            if serving.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            serving.stop();
        }
        // Before the alarm: what came in time is answered, however late anybody looks. A connection
        // that broke concerns nobody but its client.
        if serving.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while alarm.is_elapsed() {
            let now = Instant::now();
            if patience.is_over(now) {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(patience.next_look(now));
            // Without a budget: a task that has had its share would ask in vain, and not again.
            let _told_by_flag = pin!(unconstrained(alarm.as_mut())).poll(cx);
        }
        Poll::Pending
    })
    .await;
}

/// Who reads the requests: we, as long as they are plain, then hyper.
enum Serving {
    Plain(Box<PlainCalls>, Calls),
    Hyper(Pin<Box<http1::Connection<TokioIo<Watched>, Calls>>>),
    /// While the one hands over to the other.
    Neither,
}

impl Serving {
    fn begin(stream: TcpStream, calls: Calls) -> Self {
        if calls.place.is_above_bound() {
            return Self::by_hyper(stream, Vec::new(), calls);
        }
        let (gate, patience) = (calls.app.gate().clone(), calls.patience.clone());
        Self::Plain(Box::new(PlainCalls::new(stream, gate, patience)), calls)
    }

    fn by_hyper(stream: TcpStream, before: Vec<u8>, calls: Calls) -> Self {
        let stream = Watched::new(stream, calls.patience.clone(), Bytes::from(before));
        let mut http1 = http1::Builder::new();
        http1.header_read_timeout(None);
        http1.max_buf_size(CONNECTION_BYTES_MAX).max_header_size(CONNECTION_BYTES_MAX);
        Self::Hyper(Box::pin(http1.serve_connection(TokioIo::new(stream), calls)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Plain(plain, _) = self {
            if matches!(ready!(plain.poll(cx)), End::Closed) {
                return Poll::Ready(());
            }
            let Self::Plain(plain, calls) = mem::replace(self, Self::Neither) else {
                return Poll::Ready(());
            };
            #[cfg(test)]
            calls.app.gate().meter().handed_over.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (stream, before) = plain.into_parts();
            *self = Self::by_hyper(stream, before, calls);
        }
        match self {
            Self::Hyper(connection) => connection.as_mut().poll(cx).map(|_ended| ()),
            Self::Plain(..) | Self::Neither => Poll::Ready(()),
        }
    }

    /// Ends after the request that is being answered.
    fn stop(&mut self) {
        match self {
            Self::Plain(plain, _) => plain.stop(),
            Self::Hyper(connection) => connection.as_mut().graceful_shutdown(),
            Self::Neither => (),
        }
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
    type Future = TimedAnswer;

    fn call(&self, request: axum::http::Request<Incoming>) -> TimedAnswer {
        let busy = Some(self.patience.begin_request());
        TimedAnswer { answering: self.app.answer(request, self.place.is_above_bound()), busy }
    }
}

/// The answer to one request, on its way; the next may take its time from its end on.
#[derive(Debug)]
struct TimedAnswer {
    answering: Answering,
    busy: Option<Busy>,
}

impl Future for TimedAnswer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.answering).poll(cx));
        let busy = self.busy.take();
        if response.body().size_hint().exact().is_some() {
            return Poll::Ready(Ok(response));
        }
        // A stream lasts as long as it has something to come; that no body is an error keeps it
        // alive.
        let keep = move |error| {
            let _until_the_end = &busy;
            error
        };
        Poll::Ready(Ok(response.map(|body| Body::new(body.map_err(keep)))))
    }
}
