//! Answers as bytes: the same heads that hyper would write, put together from parts that stand.

use std::io::Write as _;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::CONNECTION;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::KEPT_BYTES;
use crate::http::problem::Problem;
use crate::http::reply;

/// The begin of an answer in JSON.
const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// What every answer carries, as lines.
static CARRIED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut headers = HeaderMap::new();
    reply::carry(&mut headers);
    let mut lines = Vec::new();
    reply::write_lines(&headers, &mut lines);
    lines
});

/// Answers that wait to be written, one behind the other.
#[derive(Debug, Default)]
pub struct Answers {
    bytes: Vec<u8>,
    date: Date,
    /// The connection is closed after the next one, which says so.
    is_last: bool,
}

impl Answers {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All of them are written.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }

    pub fn close_after_next(&mut self) {
        self.is_last = true;
    }

    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// Adds a job.
    pub fn push_job(&mut self, tag: &str, json: &[u8]) {
        self.bytes.extend_from_slice(JSON);
        for part in [b"etag: ", tag.as_bytes(), b"\r\n", &**CARRIED] {
            self.bytes.extend_from_slice(part);
        }
        self.push_body(json);
    }

    /// Adds a receipt.
    pub fn push_receipt(&mut self, json: &[u8]) {
        self.bytes.extend_from_slice(JSON);
        self.bytes.extend_from_slice(&CARRIED);
        self.push_body(json);
    }

    /// Adds any answer whose body is here already.
    pub fn push(&mut self, mut response: Response) {
        debug_assert!(!response.headers().contains_key(CONNECTION), "plain calls keep it open");
        reply::carry(response.headers_mut());
        let (parts, body) = response.into_parts();
        let Some(Ok(body)) = body.collect().now_or_never() else {
            return self.push(Problem::internal().into_response());
        };
        let reason = parts.status.canonical_reason().unwrap_or("");
        // Writing to memory does not fail.
        let _ = write!(self.bytes, "HTTP/1.1 {} {reason}\r\n", parts.status.as_str());
        reply::write_lines(&parts.headers, &mut self.bytes);
        self.push_body(&body.to_bytes());
    }

    fn push_body(&mut self, body: &[u8]) {
        if self.is_last {
            self.bytes.extend_from_slice(b"connection: close\r\n");
        }
        let _ = write!(self.bytes, "content-length: {}\r\ndate: ", body.len());
        self.bytes.extend_from_slice(self.date.now());
        self.bytes.extend_from_slice(b"\r\n\r\n");
        self.bytes.extend_from_slice(body);
    }
}

/// The date of an answer, written anew when the second has changed.
#[derive(Debug, Default)]
struct Date {
    second: Option<u64>,
    text: String,
}

impl Date {
    fn now(&mut self) -> &[u8] {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.at(since.as_secs())
    }

    fn at(&mut self, second: u64) -> &[u8] {
        if self.second != Some(second) {
            let moment = i64::try_from(second).ok().and_then(|it| Timestamp::from_second(it).ok());
            let moment = moment.unwrap_or(Timestamp::UNIX_EPOCH);
            let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&moment);
            (self.second, self.text) = (Some(second), text.unwrap_or_default());
        }
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_http_and_follows_the_clock() {
        let mut date = Date::default();
        assert_eq!(date.at(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_778), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(date.at(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
