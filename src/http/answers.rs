//! The bytes of long answers that wait for their readers, over all connections.
//!
//! A client that reads slowly is waited for, and its answer is in memory until it has gone out. One
//! above [`COUNTED_FROM_BYTES`] counts until its last byte was handed to the system; a read whose
//! answer does not fit beside those is refused, and may be repeated. One alone always fits.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use super::gate::Gate;
use super::problem::Problem;
use crate::api::ProblemCode;

/// Shorter answers are not counted: there is at most one for each connection, or of plain calls
/// some that are about as long together.
pub(super) const COUNTED_FROM_BYTES: u64 = 64 << 10;

/// Counts `response` until it has gone out, if it is long.
///
/// # Errors
/// [`Problem`] `answers_full`, if it may be refused. What a write did must be told in any case.
pub(super) fn hold(gate: &Gate, response: Response, may_refuse: bool) -> Result<Response, Problem> {
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    if bytes < COUNTED_FROM_BYTES {
        return Ok(response);
    }
    let held = Held::of(gate, usize::try_from(bytes).unwrap_or(usize::MAX));
    let bytes_max = gate.options().answers_bytes_max;
    if may_refuse && held.all > bytes_max && held.all > held.bytes {
        let detail = format!("the answers that wait for slow readers fill {bytes_max} bytes");
        return Err(Problem::new(ProblemCode::AnswersFull, detail).retry_after(1));
    }
    Ok(response.map(|body| Body::new(Waiting { body, held: Some(held) })))
}

/// The body of an answer that counts.
struct Waiting {
    body: Body,
    held: Option<Held>,
}

impl HttpBody for Waiting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // The connection lets go of the body before its bytes are gone, so they hold the count.
        let count = |bytes: Bytes| match self.held.take() {
            Some(held) => Bytes::from_owner(Counted { bytes, _held: held }),
            None => bytes,
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(count))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Counted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The part of `answers_bytes_max` that one answer uses, until it is dropped.
#[derive(Debug)]
struct Held {
    gate: Gate,
    bytes: usize,
    /// With what was held when it came.
    all: usize,
}

impl Held {
    fn of(gate: &Gate, bytes: usize) -> Self {
        let all = gate.answers_bytes().fetch_add(bytes, Ordering::Relaxed) + bytes;
        Self { gate: gate.clone(), bytes, all }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.answers_bytes().fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpOptions;
    use http_body_util::BodyExt as _;

    fn long() -> Response {
        Response::new(Body::from(vec![b'x'; 100 << 10]))
    }

    #[tokio::test]
    async fn long_answers_count_until_their_last_byte_is_let_go() {
        let options = HttpOptions { answers_bytes_max: 150 << 10, ..HttpOptions::default() };
        let gate = Gate::new(options);
        let held = || gate.answers_bytes().load(Ordering::Relaxed);
        let first = hold(&gate, long(), true).unwrap();
        assert_eq!(first.body().size_hint().exact(), Some(100 << 10));
        let bytes = first.into_body().collect().await.unwrap().to_bytes();
        let part = bytes.slice(5..6);
        drop(bytes);
        assert_eq!((held(), &part[..]), (100 << 10, &b"x"[..]));
        let problem = hold(&gate, long(), true).unwrap_err();
        assert_eq!((problem.code, problem.retry_after_s), (ProblemCode::AnswersFull, Some(1)));
        assert_eq!(held(), 100 << 10);
        // Not one of a write, and not a short one.
        drop(hold(&gate, long(), false).unwrap());
        assert!(hold(&gate, Response::new(Body::from("x")), true).is_ok());
        drop(part);
        assert_eq!(held(), 0);
        assert!(hold(&gate, long(), true).is_ok());
    }

    #[tokio::test]
    async fn one_alone_fits_however_long_it_is() {
        let gate = Gate::new(HttpOptions { answers_bytes_max: 1, ..HttpOptions::default() });
        let first = hold(&gate, long(), true).unwrap();
        assert!(hold(&gate, long(), true).is_err());
        drop(first);
        assert!(hold(&gate, long(), true).is_ok());
    }
}
