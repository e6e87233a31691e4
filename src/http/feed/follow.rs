//! The feed as a stream that does not end: events, or lines.
//!
//! ```text
//! read chunk -> write what passes -> read the next -> ... -> head: wait for more, a heartbeat at
//!                                                            times -> drain or gone: end
//! ```
//!
//! The stream is pulled: nothing is read before the last piece was taken by the connection.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::chunk::Chunk;
use super::filter::Filter;
use crate::api::ProblemCode;
use crate::http::format::Format;
use crate::http::gate::{Gate, Watching};
use crate::http::problem::Problem;
use crate::service::Service;

/// Silence after which a sign of life is sent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A reader at the head is woken no more often: under load many batches come at once, and a
/// thousand readers need not wake for each.
const PACE: Duration = Duration::from_millis(10);
/// Tells nginx, which else gathers an answer before it hands it on.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Follows from `after` on. What is not held is refused before the stream begins.
pub(super) async fn answer(
    gate: &Gate,
    service: Service,
    after: u64,
    filter: Filter,
    format: Format,
) -> Result<Response, Problem> {
    let watching = gate.begin_watch()?;
    gate.hub().chunk(&service, after).await?;
    let follower = Follower {
        durable: service.durable(),
        drain: gate.drain(),
        _watching: watching,
        gate: gate.clone(),
        service,
        filter,
        format,
        after,
        told: after,
        woken_at: None,
        wrote_at: Instant::now(),
        is_ended: false,
    };
    let greeting = match format {
        // Makes proxies hand on the head at once, and a cut source come back in a second.
        Format::Events => Bytes::from_static(b"retry: 1000\n: jobslate\n\n"),
        _ => Bytes::new(),
    };
    let begin = stream::iter((!greeting.is_empty()).then_some(Ok::<_, io::Error>(greeting)));
    let pieces = stream::unfold(follower, |mut follower| async {
        let piece = follower.next().await?;
        follower.wrote_at = Instant::now();
        Some((piece, follower))
    });
    let mut response = format.response(Body::from_stream(stream::StreamExt::chain(begin, pieces)));
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

struct Follower {
    gate: Gate,
    service: Service,
    filter: Filter,
    format: Format,
    /// Everything up to here was looked at.
    after: u64,
    /// The last seq that the client knows of.
    told: u64,
    durable: watch::Receiver<u64>,
    drain: watch::Receiver<bool>,
    woken_at: Option<Instant>,
    /// When the client last heard something.
    wrote_at: Instant,
    is_ended: bool,
    _watching: Watching,
}

impl Follower {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while !self.is_ended {
            if *self.drain.borrow() {
                return None;
            }
            if *self.durable.borrow_and_update() <= self.after {
                if let Some(heartbeat) = self.wait().await {
                    return Some(Ok(heartbeat));
                }
                continue;
            }
            match self.gate.hub().chunk(&self.service, self.after).await {
                Ok(Some(chunk)) => {
                    self.after = chunk.last_seq;
                    if let Some(piece) = self.piece(&chunk) {
                        self.told = chunk.last_seq;
                        return Some(Ok(piece));
                    }
                    if self.wrote_at.elapsed() >= HEARTBEAT {
                        return Some(Ok(self.heartbeat()));
                    }
                    // A reader that wants little of much must not hold up the others.
                    tokio::task::yield_now().await;
                }
                // The last seq was told before the store had it; it has it in a moment.
                Ok(None) => sleep(PACE).await,
                Err(problem) => {
                    self.is_ended = true;
                    return Some(self.last_words(&problem));
                }
            }
        }
        None
    }

    /// Waits for more; a heartbeat if none comes, nothing if it is time to look again.
    async fn wait(&mut self) -> Option<Bytes> {
        tokio::select! {
            _ = self.durable.changed() => (),
            _ = self.drain.changed() => return None,
            // Not from now on: others may write all the time, and this client want none of it.
            () = sleep_until(self.wrote_at + HEARTBEAT) => return Some(self.heartbeat()),
        }
        if let Some(woken_at) = self.woken_at {
            sleep_until(woken_at + PACE).await;
        }
        self.woken_at = Some(Instant::now());
        None
    }

    /// What passes of a chunk.
    fn piece(&self, chunk: &Chunk) -> Option<Bytes> {
        if self.format == Format::Events && self.filter.wants_all() {
            return Some(chunk.events());
        }
        let mut piece = Vec::new();
        for update in chunk.updates(&self.filter) {
            match self.format {
                Format::Events => piece.extend_from_slice(update.event),
                _ => {
                    piece.extend_from_slice(update.json);
                    piece.push(b'\n');
                }
            }
        }
        (!piece.is_empty()).then(|| Bytes::from(piece))
    }

    /// A sign of life. An event without data moves the place at which the client would go on past
    /// what its filter did not let through.
    fn heartbeat(&mut self) -> Bytes {
        match self.format {
            Format::Events if self.after > self.told => {
                self.told = self.after;
                Bytes::from(format!(": heartbeat\nid: {}\n\n", self.after))
            }
            Format::Events => Bytes::from_static(b": heartbeat\n\n"),
            _ => Bytes::from_static(b"\n"),
        }
    }

    /// Says why the stream ends; where the form has no room for it, the answer is broken off, so
    /// that nobody takes it for whole.
    fn last_words(&self, problem: &Problem) -> io::Result<Bytes> {
        let name = if problem.code == ProblemCode::Gone { "gone" } else { "problem" };
        match self.format {
            Format::Events => {
                Ok(Bytes::from(format!("event: {name}\ndata: {}\n\n", problem.json())))
            }
            _ => Err(io::Error::other(problem.detail.to_string())),
        }
    }
}
