//! Requests that two readers could take apart differently, as bytes on a socket.
//!
//! Behind each stands another request, the canary. A server that sees another end of the request
//! than a proxy before it answers the canary; so whatever is doubtful has one answer, and the
//! connection ends with it.

use super::server::Running;
use super::*;

pub(super) const CANARY: &str = "GET /v1/jobs/canary HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// All that the server answers to `bytes` before it closes.
async fn answers(running: &Running, bytes: &str) -> String {
    let mut client = running.connect().await;
    client.send(bytes).await;
    client.rest().await
}

pub(super) fn count(answers: &str) -> usize {
    answers.matches("\r\ncontent-length: ").count()
}

/// The head of a `PUT` that could be plain, and of one that could not.
fn puts(fields: &str) -> [String; 2] {
    ["/v1/jobs/a", "/v1/jobs/a?"]
        .map(|path| format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n"))
}

/// The control: two requests that are in order have two answers.
#[tokio::test]
async fn the_canary_is_answered_where_there_is_no_doubt() {
    let running = Running::new(HttpOptions::default());
    let update = r#"{"status":"queued"}"#;
    let chunked = format!("{:x}\r\n{update}\r\n0\r\n\r\n", update.len());
    let sized = format!("content-length: {}\r\n", update.len());
    for (fields, body) in [(&sized[..], update), ("transfer-encoding: chunked\r\n", &chunked)] {
        for head in puts(fields) {
            let last = CANARY.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
            let answers = answers(&running, &format!("{head}{body}{last}")).await;
            assert_eq!(count(&answers), 2, "{answers}");
            assert!(answers.contains("canary"), "{answers}");
        }
    }
}

/// Headers of which two readers may make two things; two bytes of a body follow.
pub(super) const DOUBTFUL: [&str; 32] = [
    "content-length: 2\r\ncontent-length: 60\r\n",
    "content-length: 2, 2\r\n",
    "content-length: 2, 60\r\n",
    "content-length: +2\r\n",
    "content-length: -2\r\n",
    "content-length: 0x2\r\n",
    "content-length: 2 2\r\n",
    "content-length: 2;\r\n",
    "content-length:\r\n",
    "content-length: 99999999999999999999\r\n",
    "transfer-encoding: chunked, chunked\r\n",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: identity\r\n",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: xchunked\r\n",
    "transfer-encoding: x, chunked\r\n",
    "transfer-encoding: chunked;q=1\r\n",
    "transfer-encoding: \"chunked\"\r\n",
    "transfer-encoding:\x0bchunked\r\n",
    "transfer-encoding: chunked\x00\r\n",
    "transfer-encoding : chunked\r\n",
    "content-length : 2\r\n",
    " content-length: 2\r\n",
    "x: y\r\n content-length: 2\r\n",
    "x: y\r\n\ttransfer-encoding: chunked\r\n",
    "x: y\rcontent-length: 2\r\n",
    "content-length\r\n",
    ": 2\r\n",
    "content length: 2\r\n",
    "host: localhost\r\n",
    "host: evil.example\r\n",
];

#[tokio::test]
async fn a_doubtful_head_is_400_and_ends_the_connection() {
    let running = Running::new(HttpOptions::default());
    for fields in DOUBTFUL {
        for head in puts(fields) {
            let after_another = answers(&running, &format!("{CANARY}{head}{{}}{CANARY}")).await;
            let answers = answers(&running, &format!("{head}{{}}{CANARY}")).await;
            is_refused(&answers, fields);
            assert_eq!(count(&after_another), 2, "{fields:?}: {after_another}");
            assert!(
                after_another.contains("\r\nHTTP/1.1 400 ")
                    || after_another.contains("}HTTP/1.1 400 ")
            );
        }
    }
    assert_eq!(running.server.get("/v1/counts").await.json(200)["as_of_seq"], 0);
}

#[track_caller]
fn is_refused(answers: &str, what: &str) {
    assert_eq!(count(answers), 1, "{what:?}: {answers}");
    assert!(answers.starts_with("HTTP/1.1 400 "), "{what:?}: {answers}");
    assert!(answers.contains("\r\nconnection: close\r\n"), "{what:?}: {answers}");
    assert!(answers.contains(r#""code":"malformed_request""#), "{what:?}: {answers}");
    assert!(answers.contains(r#""outcome":"not_applied""#), "{what:?}: {answers}");
    assert!(answers.contains("\r\nx-content-type-options: nosniff\r\n"), "{what:?}: {answers}");
}

#[tokio::test]
async fn a_doubtful_first_line_is_400_and_ends_the_connection() {
    let running = Running::new(HttpOptions::default());
    for line in [
        "GET /livez",
        "GET  /livez HTTP/1.1",
        "GET /livez  HTTP/1.1",
        "GET /li vez HTTP/1.1",
        "GET /livez HTTP/1.2",
        "GET /livez HTTP/2.0",
        "GET /livez HTTP/1.1 x",
        "G\x01T /livez HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "/livez HTTP/1.1",
    ] {
        let head = format!("{line}\r\nhost: localhost\r\n\r\n");
        is_refused(&answers(&running, &format!("{head}{CANARY}")).await, line);
    }
    for no_host in ["GET /livez HTTP/1.1\r\n\r\n", "PUT /v1/jobs/a HTTP/1.1\r\n\r\n"] {
        let answers = answers(&running, &format!("{no_host}{CANARY}")).await;
        assert!(answers.contains("there is no host header"), "{answers}");
        assert_eq!(count(&answers), 1, "{answers}");
    }
    let old = "PUT /v1/jobs/a HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    is_refused(&answers(&running, &format!("{old}{CANARY}")).await, "chunked in HTTP/1.0");
}

/// RFC 9112, section 6.3: of both, `Transfer-Encoding` counts, and the connection is closed after.
#[tokio::test]
async fn a_length_beside_chunks_ends_the_connection_with_its_answer() {
    let running = Running::new(HttpOptions::default());
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked\r\ncontent-length: x\r\n",
    ] {
        for head in puts(fields) {
            let answers = answers(&running, &format!("{head}0\r\n\r\n{CANARY}")).await;
            assert_eq!(count(&answers), 1, "{fields:?}: {answers}");
            assert!(answers.starts_with("HTTP/1.1 400 "), "{fields:?}: {answers}");
            assert!(!answers.contains("canary"), "{fields:?}: {answers}");
        }
    }
}

#[tokio::test]
async fn broken_chunks_end_the_connection_and_apply_nothing() {
    let running = Running::new(HttpOptions::default());
    let update = r#"{"status":"queued"}"#;
    let flood = "x".repeat(20 << 10);
    for body in [
        format!("+13\r\n{update}\r\n0\r\n\r\n"),
        format!("-1\r\n{update}\r\n0\r\n\r\n"),
        format!("0x13\r\n{update}\r\n0\r\n\r\n"),
        format!("1 3\r\n{update}\r\n0\r\n\r\n"),
        format!("\r\n{update}\r\n0\r\n\r\n"),
        format!("10000000000000013\r\n{update}\r\n0\r\n\r\n"),
        format!("13\n{update}\r\n0\r\n\r\n"),
        format!("13\r{update}\r\n0\r\n\r\n"),
        format!("13\r\n{update}0\r\n\r\n"),
        format!("13\r\n{update}xx0\r\n\r\n"),
        format!("13\r\n{update}\n0\n\n"),
        format!("13;x\ny\r\n{update}\r\n0\r\n\r\n"),
        format!("13;{flood}\r\n{update}\r\n0\r\n\r\n"),
        format!("13\r\n{update}\r\n0\r\n{}\r\n", "x: y\r\n".repeat(4 << 10)),
        format!("{}{update}", format!("1;{}\r\nx\r\n", "x".repeat(100)).repeat(300)),
    ] {
        for head in puts("transfer-encoding: chunked\r\n") {
            let answers = answers(&running, &format!("{head}{body}{CANARY}")).await;
            assert!(count(&answers) <= 1 && !answers.contains("canary"), "{body:.40?}: {answers}");
            let is_400 = answers.is_empty() || answers.starts_with("HTTP/1.1 400 ");
            assert!(is_400, "{body:.40?}: {answers}");
        }
    }
    assert_eq!(running.server.get("/v1/counts").await.json(200)["as_of_seq"], 0);
}

/// RFC 9112, section 2.2 allows a bare line feed; it ends a line for us everywhere, so that nothing
/// hides in it.
#[tokio::test]
async fn a_bare_line_feed_ends_a_line_and_hides_nothing() {
    let running = Running::new(HttpOptions::default());
    let hidden = puts("x: y\ncontent-length: 2\r\n");
    for head in hidden {
        let last = CANARY.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        let answers = answers(&running, &format!("{head}{{}}{last}")).await;
        // The two bytes are the body: the canary begins behind them.
        assert_eq!(count(&answers), 2, "{answers}");
        assert!(answers.contains("canary"), "{answers}");
    }
    for fields in ["x: y\ncontent-length: 2\ncontent-length: 9\r\n", "x: y\n content-length: 2\r\n"]
    {
        for head in puts(fields) {
            is_refused(&answers(&running, &format!("{head}{{}}{CANARY}")).await, fields);
        }
    }
}
