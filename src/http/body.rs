//! The bytes of a request, within bounds of size, time, and memory over all calls.
//!
//! The bound of one body counts bytes after decompression, and no more than that is ever unpacked.
//! All bodies together hold at most `bodies_bytes_max`: beyond, a call is refused at once.

use std::future::{Future, poll_fn};
use std::io::Read;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::gate::Gate;
use super::problem::Problem;
use crate::api::ProblemCode;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(Self::Identity),
            (Some(value), None) => value.to_str().unwrap_or("?").trim(),
            (Some(_), Some(_)) => "more than one",
        };
        let is = |name: &str| value.eq_ignore_ascii_case(name);
        if is("identity") || value.is_empty() {
            Ok(Self::Identity)
        } else if is("gzip") || is("x-gzip") {
            Ok(Self::Gzip)
        } else if is("zstd") {
            Ok(Self::Zstd)
        } else {
            let detail = format!("content-encoding is {value:?}; use gzip, zstd or none");
            Err(Problem::new(ProblemCode::UnsupportedMediaType, detail))
        }
    }
}

/// A body that is being read, or is not wanted.
#[derive(Debug)]
pub(super) struct Incoming {
    body: Body,
    /// The client sends its body only after `100 Continue`, which the first reading sends.
    is_held_back: bool,
}

impl Incoming {
    pub fn of(headers: &HeaderMap, body: Body) -> Self {
        let expects = headers.get(EXPECT).is_some_and(|value| {
            value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"100-continue")
        });
        Self { body, is_held_back: expects }
    }

    /// The body, which is asked for by reading it.
    fn wanted(&mut self) -> &mut Body {
        self.is_held_back = false;
        &mut self.body
    }
}

/// A body as it came, still packed. Its bytes count against the bound of all bodies.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Bytes,
    encoding: Encoding,
    held: Held,
}

/// An unpacked body.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub bytes: Bytes,
    _held: Held,
}

/// Reads a body to its end, for at most `body_duration_max`.
pub(super) async fn receive(
    gate: &Gate,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Received, Problem> {
    let wait_max = gate.options().body_duration_max();
    within(wait_max, read(gate, headers, body)).await.unwrap_or_else(|_late| {
        let detail = format!("the body did not end within {} s", wait_max.as_secs_f64());
        Err(Problem::new(ProblemCode::BodyTimeout, detail))
    })
}

async fn read(gate: &Gate, headers: &HeaderMap, body: &mut Incoming) -> Result<Received, Problem> {
    let encoding = Encoding::of(headers)?;
    let bytes_max = gate.options().body_bytes_max;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let announced: usize = announced.unwrap_or(0);
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut held = Held { gate: gate.clone(), bytes: 0 };
    // Most bodies are one piece, which is kept as it is; only others are put together. They grow
    // with what has come, not with what was announced: only bytes that came are counted.
    let (mut first, mut all) = (Bytes::new(), Vec::new());
    while let Some(piece) = next_piece(gate, body).await? {
        if first.len().max(all.len()) + piece.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        held.grow(piece.len())?;
        if first.is_empty() && all.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&piece);
    }
    let bytes = if all.is_empty() { first } else { Bytes::from(all) };
    Ok(Received { bytes, encoding, held })
}

/// [`timeout`], but the timer is set only if `future` is not done at the second look. Most bodies
/// come with their heads, and wake whoever asked for them at once; two timers cost more than that.
async fn within<F: Future>(wait_max: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut is_first_look = true;
    let done = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if std::mem::take(&mut is_first_look) => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(None),
    });
    match done.await {
        Some(done) => Ok(done),
        None => timeout(wait_max, future).await,
    }
}

/// The next piece of data; `None` at the end.
async fn next_piece(gate: &Gate, body: &mut Incoming) -> Result<Option<Bytes>, Problem> {
    let wait_max = gate.options().body_timeout;
    loop {
        let Ok(frame) = within(wait_max, body.wanted().frame()).await else {
            let detail = format!("no piece of the body came for {} s", wait_max.as_secs_f64());
            return Err(Problem::new(ProblemCode::BodyTimeout, detail));
        };
        match frame {
            None => return Ok(None),
            Some(Err(_broken)) => {
                let detail = "the connection broke in the body";
                return Err(Problem::new(ProblemCode::InvalidBody, detail));
            }
            // Trailers say nothing here.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) if !piece.is_empty() => return Ok(Some(piece)),
                _ => (),
            },
        }
    }
}

/// The answer `why` to a call whose body is not wanted.
///
/// Reads on before and keeps nothing: a client that sends its whole body before it reads would else
/// find its connection broken, and never see why. A client that waits to be asked is not asked.
pub(super) async fn refuse(gate: &Gate, why: Problem, body: Incoming) -> Response {
    let is_held_back = body.is_held_back;
    if !is_held_back && why.code != ProblemCode::BodyTimeout {
        discard(gate, body).await;
    }
    let mut response = why.into_response();
    if is_held_back {
        // The client may send the body or not, so what comes next cannot be told.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn discard(gate: &Gate, mut body: Incoming) {
    let bytes_max = gate.options().body_bytes_max.saturating_mul(DISCARDED_BODIES_MAX);
    let reading = async {
        let mut bytes = 0_usize;
        while let Ok(Some(Ok(frame))) = timeout(DISCARD_WAIT_MAX, body.wanted().frame()).await {
            bytes = bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if bytes > bytes_max {
                return;
            }
        }
    };
    // Whether it came to its end or not, the answer is sent.
    let _ended = timeout(gate.options().body_timeout, reading).await;
}

/// Longest wait for the next piece of a refused body.
const DISCARD_WAIT_MAX: Duration = Duration::from_secs(1);

/// How many times `body_bytes_max` is read and dropped of a refused body.
const DISCARDED_BODIES_MAX: usize = 8;

impl Received {
    /// Bytes of the body, still packed.
    pub fn packed_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_packed(&self) -> bool {
        self.encoding != Encoding::Identity
    }

    /// Unpacks the body. Takes milliseconds for a megabyte.
    pub fn unpack(self) -> Result<Unpacked, Problem> {
        let Self { bytes, encoding, mut held } = self;
        let unpacked = match encoding {
            Encoding::Identity => return Ok(Unpacked { bytes, _held: held }),
            // A file that was made of several has several members; all of them count.
            Encoding::Gzip => unpack(flate2::read::MultiGzDecoder::new(&*bytes), &mut held),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(&*bytes).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
                unpack(decoder, &mut held)
            }
        };
        Ok(Unpacked { bytes: Bytes::from(unpacked?), _held: held })
    }
}

/// RFC 9659: a content coding of zstd uses windows of at most 8 MB. A larger one would let a few
/// bytes ask for much memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

fn unpack(mut decoder: impl Read, held: &mut Held) -> Result<Vec<u8>, Problem> {
    let bytes_max = held.gate.options().body_bytes_max;
    let mut unpacked = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = decoder.read(&mut piece).map_err(broken)?;
        let Some(piece) = piece.get(..length).filter(|piece| !piece.is_empty()) else {
            return Ok(unpacked);
        };
        if unpacked.len() + length > bytes_max {
            return Err(too_large(bytes_max));
        }
        held.grow(length)?;
        unpacked.extend_from_slice(piece);
    }
}

fn broken(error: std::io::Error) -> Problem {
    let detail = format!("the body is not what content-encoding says: {error}");
    Problem::new(ProblemCode::InvalidBody, detail)
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!(
        "the body is above {bytes_max} bytes (after decompression); split it into several calls"
    );
    Problem::new(ProblemCode::BodyTooLarge, detail)
}

/// The part of `bodies_bytes_max` that one body uses, until it is dropped.
#[derive(Debug)]
struct Held {
    gate: Gate,
    bytes: usize,
}

impl Held {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let bytes_max = self.gate.options().bodies_bytes_max;
        self.bytes += bytes;
        let all = self.gate.bodies_bytes().fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all <= bytes_max {
            return Ok(());
        }
        let detail = format!("the bodies that are being read fill {bytes_max} bytes");
        Err(Problem::new(ProblemCode::BodiesFull, detail).retry_after(1))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.bodies_bytes().fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
