//! Nothing that a client sends can forge, hide or break a line of the log, and a log that cannot be
//! written costs its lines alone.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use reqwest::Method;
use serde_json::json;

use crate::http::{Call, Http};
use crate::server::{Server, Site, jobslate};

/// What terminals obey, readers of lines take for an end, and eyes do not see.
const TRICKS: &str =
    "\u{1b}[2J\u{1b}]0;x\u{7}\r\n2026-01-01T00:00:00Z ERROR forged\u{202e}\u{2028}\u{9b}1m";
/// The same without what a name of a job may not hold.
const TRICKY_NAME: &str =
    "job\u{202e}\u{2028}\u{2066}\u{200b} \"level\":\"ERROR\" event=\"forged\"}";

/// Sends tricks in every place that takes a text, good and bad.
fn send_tricks(site: &Site) {
    let server = site.start();
    let update = |id: &str| {
        json!({"job_id": id, "status": "processing", "error": TRICKS, "message": TRICKS,
            "labels": {"a": TRICKS}, "pipeline": TRICKY_NAME.get(..20)})
    };
    let body = json!([
        update(TRICKY_NAME),
        update(TRICKS),
        {"job_id": "a", "status": TRICKS},
        {"job_id": "b", "status": "queued", "pipeline": TRICKS},
        {TRICKS: TRICKS},
    ]);
    let answer = server.http.post("/v1/updates?ack=queued", &body.to_string());
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json()["rejected"], 4);
    let escaped = "%1B%5B2J%0D%0A2026-01-01T00:00:00Z%20ERROR%20forged";
    for path in ["/v1/jobs/", "/v1/jobs?cursor=", "/v1/updates?after=", "/", "/v1/pipelines/"] {
        server.http.get(&format!("{path}{escaped}"));
    }
    for name in ["host", "origin", "idempotency-key", "user-agent", "content-type"] {
        let headers = &[(name, "\t{\"level\":\"ERROR\"} forged")];
        let body = b"{}".to_vec();
        let call = Call { method: Method::POST, path: "/v1/updates", headers, body };
        assert!(server.http.try_send(call).unwrap().status >= 400);
    }
    assert_eq!(server.http.post("/v1/flush", "").status, 200);
    assert!(server.stop().success());
}

#[test]
fn lines_of_text_are_whole_and_plain() {
    let site = Site::new(&["--log-level=trace", "--log-job-starts=true"]);
    send_tricks(&site);
    let log = site.log();
    assert!(log.contains("gestartet"), "{log}");
    for line in log.lines() {
        let is_dated = line.get(..10).is_some_and(|date| date.matches('-').count() == 2);
        assert!(is_dated && !line.starts_with("2026-01-01"), "{line:?} begins no line");
        assert!(!line.chars().any(is_trick), "{line:?}");
        assert!(!line.contains(" ERROR "), "{line:?}");
    }
    // The texts of jobs are not there at all; the name of one is, escaped.
    assert!(!log.contains("ERROR forged") && log.contains("u{202e}"), "{log}");
}

#[test]
fn lines_of_json_are_objects_of_ours() {
    let site = Site::new(&["--log-level=trace", "--log-job-starts=true", "--log-format=json"]);
    send_tricks(&site);
    let log = site.log();
    let mut started = 0;
    for line in log.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_ne!(object["level"], "ERROR", "{line}");
        assert!(!line.chars().any(is_trick), "{line:?}");
        started += usize::from(object["event"] == "job_started");
    }
    assert!(started == 1 && !log.contains("ERROR forged"), "{log}");
}

/// `jobslate serve 2>&1 | head -1`: the reader of the log goes away.
#[test]
fn a_log_that_nobody_reads_any_more_stops_no_writer() {
    let site = Site::new(&[]);
    let mut command = jobslate(&["serve", "--listen", "127.0.0.1:0", "--log-level=debug"]);
    command.arg("--data-dir").arg(site.data()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    let port = loop {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it was ready");
        let port = line
            .split("127.0.0.1:")
            .nth(1)
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        if let Some(port) = port.filter(|port| port != "0") {
            break port;
        }
    };
    let url = format!("http://127.0.0.1:{port}");
    let server = Server::of(child, Http::new(&url), url);
    server.wait_until_ready();
    drop(log);
    for number in 0..20 {
        let job_id = format!("job-{number}");
        let answer = server.http.put(&job_id, "", r#"{"status":"queued"}"#).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert!(server.stop().success());
}

fn is_trick(c: char) -> bool {
    c.is_control() || "\u{202e}\u{2028}\u{2066}\u{200b}".contains(c)
}
