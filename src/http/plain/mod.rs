//! Plain calls: `GET` and `PUT` of one job, read from a connection and answered into its buffer.
//!
//! They are nearly all of the traffic, and of each hyper makes a map of headers, a body, a response
//! and futures, and the router looks for its handler; together that costs more than finding the
//! job. So a connection begins here. With its first bytes that are not surely one whole plain call
//! it goes over to hyper for good, bytes included: all that is unusual, comes in pieces, is long,
//! or is refused for its form has one way only.
//!
//! ```text
//! accepted -> read -> plain: answered -> read ...
//!                  -> anything else, or a part of it: hyper
//! ```
//!
//! What a connection holds here is bounded and not counted: at most [`READ_BYTES`], and answers
//! that end with the one that passes [`ANSWERS_BYTES`].

mod answer;
mod head;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use self::answer::Answers;
use self::head::Plain;
use super::answers::COUNTED_FROM_BYTES;
use super::gate::Gate;
use super::jobs::{self, Put};
use super::meter::InFlight;
use super::patience::{Busy, Patience};
use super::problem;

/// Bytes that are read at a time; a plain call is no longer.
const READ_BYTES: usize = 8 << 10;
/// Answers that are gathered before some are written.
const ANSWERS_BYTES: usize = 32 << 10;
/// What is kept of each buffer between two calls.
const KEPT_BYTES: usize = 4 << 10;
/// Reads, each with its answers, before other connections have their turn.
const TURNS_MAX: usize = 4;

/// A connection as long as its calls are plain.
#[derive(Debug)]
pub(super) struct PlainCalls {
    stream: TcpStream,
    gate: Gate,
    patience: Arc<Patience>,
    buffer: Box<[u8]>,
    /// What of the buffer came and is not answered.
    begin: usize,
    end: usize,
    /// The JSON of a job, before its answer is made.
    json: Vec<u8>,
    answers: Answers,
    /// Bytes of the answers that are written.
    written: usize,
    waiting: Option<Waiting>,
}

/// How the plain calls of a connection ended.
#[derive(Debug)]
pub(super) enum End {
    Closed,
    /// What comes next is hyper's.
    Other,
}

impl PlainCalls {
    pub fn new(stream: TcpStream, gate: Gate, patience: Arc<Patience>) -> Self {
        Self {
            stream,
            gate,
            patience,
            buffer: vec![0; READ_BYTES].into(),
            begin: 0,
            end: 0,
            json: Vec::new(),
            answers: Answers::default(),
            written: 0,
            waiting: None,
        }
    }

    /// The stream, and what came and is not answered.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        let rest = self.buffer.get(self.begin..self.end).unwrap_or_default().to_vec();
        (self.stream, rest)
    }

    /// Ends after the call that is being answered, if there is one.
    pub fn stop(&mut self) {
        self.answers.close_after_next();
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..TURNS_MAX {
            if let Some(end) = ready!(self.poll_turn(cx)) {
                return Poll::Ready(end);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads some calls and answers them; `None` if there may be more.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        if let Some(waiting) = &mut self.waiting {
            let Poll::Ready(put) = waiting.put.as_mut().poll(cx) else {
                return self.poll_beside_put(cx).map(Some);
            };
            self.answer_put(put);
            self.waiting = None;
        }
        if ready!(self.poll_write(cx)).is_err() || self.answers.is_last() {
            return Poll::Ready(Some(End::Closed));
        }
        if self.begin == self.end && !ready!(self.poll_read(cx)) {
            return Poll::Ready(Some(End::Closed));
        }
        Poll::Ready((!self.begin_calls()).then_some(End::Other))
    }

    /// While a `PUT` waits for its batch, the answers before it are written all the same, and a
    /// client that hangs up is let go.
    fn poll_beside_put(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if matches!(self.poll_write(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(End::Closed);
        }
        // What comes then is looked at after the `PUT`.
        if self.begin == self.end && !ready!(self.poll_read(cx)) {
            return Poll::Ready(End::Closed);
        }
        Poll::Pending
    }

    /// Fills the empty buffer; false if nothing more comes.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        (self.begin, self.end) = (0, buffer.filled().len());
        Poll::Ready(read.is_ok() && self.end > 0)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.answers.bytes().is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.answers.bytes().get(self.written..).filter(|it| !it.is_empty())
        {
            let written = Pin::new(&mut self.stream).poll_write(cx, rest);
            self.patience.note_write(written.is_pending());
            match ready!(written)? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.answers.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Answers the calls that came, up to one that waits; false if the first is not plain.
    fn begin_calls(&mut self) -> bool {
        let mut busy = None;
        while self.waiting.is_none() && self.answers.bytes().len() < ANSWERS_BYTES {
            let came = self.buffer.get(self.begin..self.end).unwrap_or_default();
            let Some(plain) = Plain::read(came, self.gate.options()) else { break };
            let begun = busy.take().unwrap_or_else(|| self.patience.begin_request());
            if let Some(body) = plain.body {
                let in_flight = InFlight::begin(self.gate.clone());
                let put = put(self.gate.clone(), plain.job_id, body);
                self.waiting = Some(Waiting { put, _busy: begun, _in_flight: in_flight });
            } else {
                let answered = get(&self.gate, plain.job_id, &mut self.json, &mut self.answers);
                busy = Some(begun);
                if !answered {
                    break;
                }
            }
            self.begin += plain.bytes;
        }
        self.waiting.is_some() || !self.answers.bytes().is_empty()
    }

    fn answer_put(&mut self, put: Put) {
        match put {
            Put::Accepted(json) => {
                self.gate.meter().count(StatusCode::OK);
                self.answers.push_receipt(&json);
            }
            Put::Other(response) => push(&self.gate, &mut self.answers, response),
        }
    }
}

/// A `PUT` that waits for its batch.
struct Waiting {
    put: Pin<Box<dyn Future<Output = Put> + Send>>,
    _busy: Busy,
    _in_flight: InFlight,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

/// Answers a `GET`; false if the answer is so long that it must be counted.
fn get(gate: &Gate, job_id: &str, json: &mut Vec<u8>, answers: &mut Answers) -> bool {
    let read = catch_unwind(AssertUnwindSafe(|| jobs::read_into(gate, job_id, json)));
    let is_counted = matches!(read, Ok(Ok(_))) && json.len() as u64 >= COUNTED_FROM_BYTES;
    if !is_counted {
        gate.meter().count_request();
        match read {
            Ok(Ok(tag)) => {
                gate.meter().count(StatusCode::OK);
                answers.push_job(&tag, json);
            }
            Ok(Err(problem)) => push(gate, answers, problem.into_response()),
            Err(panic) => push(gate, answers, problem::read_panicked(panic)),
        }
    }
    json.clear();
    json.shrink_to(KEPT_BYTES);
    !is_counted
}

fn push(gate: &Gate, answers: &mut Answers, response: Response) {
    gate.meter().count(response.status());
    answers.push(response);
}

fn put(gate: Gate, job_id: &str, body: &[u8]) -> Pin<Box<dyn Future<Output = Put> + Send>> {
    let read = || jobs::read_put(&gate, job_id, body);
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok((service, submission))) => Box::pin(async move {
            let submit = AssertUnwindSafe(jobs::submit_put(&service, submission));
            submit.catch_unwind().await.unwrap_or_else(|it| Put::Other(problem::write_panicked(it)))
        }),
        Ok(Err(problem)) => Box::pin(std::future::ready(problem.not_applied().into())),
        Err(panic) => Box::pin(std::future::ready(Put::Other(problem::write_panicked(panic)))),
    }
}
