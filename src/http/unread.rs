//! The answer to a head that hyper could not read.
//!
//! hyper refuses such a head by itself, with a bare status. What stands here takes its place on the
//! way out, so that this refusal is a problem like all others.

use axum::http::HeaderMap;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use super::problem::Problem;
use super::reply;
use crate::api::{PROBLEM_MEDIA_TYPE, ProblemCode};

/// The whole answer that takes the place of `written`; `None` if that is not one of hyper's own.
///
/// `written` is the begin of an answer. Each of ours carries the headers of [`reply::carry`].
pub(super) fn answer(written: &[u8]) -> Option<Vec<u8>> {
    let status = written.strip_prefix(b"HTTP/1.1 ").or(written.strip_prefix(b"HTTP/1.0 "))?;
    let (reason, code, detail) = match status.get(..4)? {
        b"400 " => ("Bad Request", ProblemCode::MalformedRequest, MALFORMED),
        b"431 " => ("Request Header Fields Too Large", ProblemCode::HeadTooLarge, TOO_LARGE),
        _ => return None,
    };
    let is_ours = written.windows(OURS.len()).any(|part| part == OURS);
    (!is_ours).then(|| whole(reason, Problem::new(code, detail).not_applied()))
}

const OURS: &[u8] = b"\r\nx-content-type-options: ";

const MALFORMED: &str =
    "the head of the request is not HTTP/1.1, or could be read in more than one way";
const TOO_LARGE: &str = "the head of the request is above 32 KiB, or has more than 100 headers";

fn whole(reason: &str, problem: Problem) -> Vec<u8> {
    let body = problem.json();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    reply::carry(&mut headers);
    let mut answer = format!("HTTP/1.1 {} {reason}\r\n", problem.code.status()).into_bytes();
    reply::write_lines(&headers, &mut answer);
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(body.as_bytes());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_refusal_is_replaced() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answer = String::from_utf8(answer(bare).unwrap()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-type: "), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert!(body.contains(r#""code":"malformed_request""#), "{body}");
        let large = super::answer(b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n");
        assert!(large.unwrap().starts_with(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        for other in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\nx-content-type-options: nosniff\r\n\r\n",
            b"HTTP/1.1 400",
            b"",
        ] {
            assert!(super::answer(other).is_none());
        }
    }
}
