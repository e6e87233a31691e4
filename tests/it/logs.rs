//! Nothing that a client sends can forge, hide or break a line of the log, and a log that cannot be
//! written costs its lines alone.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

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
    assert_eq!(odd_lines(&log), [""; 0]);
    // The texts of jobs are not there at all; the name of one is, escaped.
    assert!(!log.contains("ERROR forged") && log.contains("u{202e}"), "{log}");
}

#[test]
fn lines_of_json_are_objects_of_ours() {
    let site = Site::new(&["--log-level=trace", "--log-job-starts=true", "--log-format=json"]);
    send_tricks(&site);
    let log = site.log();
    assert_eq!(odd_objects(&log), [""; 0]);
    let started = log.lines().filter(|line| object(line)["event"] == "job_started").count();
    assert!(started == 1 && !log.contains("ERROR forged"), "{log}");
}

/// Lines of text that are none of ours: without a date, with one that was sent, of a level that
/// nothing here has, or with what is not plain.
fn odd_lines(log: &str) -> Vec<&str> {
    let is_odd = |line: &&str| {
        let is_dated = line.get(..10).is_some_and(|date| date.matches('-').count() == 2);
        let is_forged = line.starts_with("2026-01-01") || line.contains(" ERROR ");
        !is_dated || is_forged || line.chars().any(is_trick)
    };
    log.split_terminator('\n').filter(is_odd).collect()
}

/// The same for lines of JSON, each of which is an object.
fn odd_objects(log: &str) -> Vec<&str> {
    let is_odd = |line: &&str| {
        let object = object(line);
        !object.is_object() || object["level"] == "ERROR" || line.chars().any(is_trick)
    };
    log.split_terminator('\n').filter(is_odd).collect()
}

/// What the line says; null if it is no JSON.
fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

/// The control: logs of somebody who writes what was sent as it is.
#[test]
fn a_forged_line_is_found() {
    let line = |text: &str| format!("2025-11-24T16:00:00Z  INFO jobslate: {text}\n");
    let plain = [line("a"), line(&format!("{TRICKY_NAME:?}"))].concat();
    assert_eq!(odd_lines(&plain), [""; 0]);
    // The second line of the tricks is one of its own.
    assert_eq!(odd_lines(&line(TRICKS)).len(), 2);
    for trick in ["\u{1b}[2J", "\r", "\u{7}", "\u{9b}1m", "\u{202e}", "\u{2028}", TRICKY_NAME] {
        assert_eq!(odd_lines(&line(trick)).len(), 1, "{trick:?}");
    }
    for forged in ["forged", "2026-01-01T00:00:00Z  INFO x", "2025-11-24T16:00:00Z ERROR x"] {
        assert_eq!(odd_lines(&line(&format!("a\n{forged}"))), [forged]);
    }

    let line = |text: &str| format!("{{\"level\":\"INFO\",\"message\":\"{text}\"}}\n");
    assert_eq!(odd_objects(&[line("a"), line(r"\u001b[2J\r\n ERROR forged")].concat()), [""; 0]);
    // Both halves of what the tricks cut in two.
    assert_eq!(odd_objects(&line(TRICKS)).len(), 2);
    for trick in ["\u{202e}", "\u{2028}", "\r", "\u{7}", TRICKY_NAME, r#"","level":"ERROR"#] {
        assert_eq!(odd_objects(&line(trick)).len(), 1, "{trick:?}");
    }
    for forged in [r#"{"level":"ERROR"}"#, "[]", "forged"] {
        assert_eq!(odd_objects(&[line("a"), format!("{forged}\n")].concat()), [forged]);
    }
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

/// The control: without the mend in the set-up of the log, a thread that logs would panic there.
#[test]
fn a_log_that_nobody_reads_any_more_is_a_panic_without_the_mend() {
    let unmended = output_unread("logs::child_logs_without_the_mend");
    let said = String::from_utf8_lossy(&unmended.stdout);
    assert!(said.contains("failed printing to stderr"), "{unmended:?}");
    assert_eq!(unmended.status.code(), Some(101), "{unmended:?}");
    let mended = output_unread("logs::child_logs_with_the_mend");
    let said = String::from_utf8_lossy(&mended.stdout);
    assert!(said.contains("the thread lives") && said.contains("1 passed"), "{mended:?}");
    assert_eq!(mended.status.code(), Some(0), "{mended:?}");
}

/// Runs one test of this binary as a process whose standard error nobody reads.
fn output_unread(test: &str) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).stderr(writer).output().unwrap()
}

#[test]
#[ignore = "a process that another test starts"]
fn child_logs_without_the_mend() {
    log_to_nobody(true);
}

#[test]
#[ignore = "a process that another test starts"]
fn child_logs_with_the_mend() {
    log_to_nobody(false);
}

/// Logs in a thread of its own, and says on standard output what became of it.
fn log_to_nobody(log_internal_errors: bool) {
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
    lines.log_internal_errors(log_internal_errors).try_init().expect("a process of its own");
    let thread = std::thread::spawn(|| tracing::info!("a line"));
    if let Err(panic) = thread.join() {
        println!("{:?}", panic.downcast_ref::<String>());
        std::panic::resume_unwind(panic);
    }
    println!("the thread lives");
}

fn is_trick(c: char) -> bool {
    c.is_control() || "\u{202e}\u{2028}\u{2066}\u{200b}".contains(c)
}
