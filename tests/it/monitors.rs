//! What monitors and operators of the old pipeline look for: log lines, and how a stop ends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::server::{Server, Site, eventually};

#[test]
fn each_job_that_starts_running_is_logged_if_asked_for() {
    for (flags, lines) in [(&["--log-job-starts=true"][..], 2), (&[], 0)] {
        let site = Site::new(flags);
        let server = site.start();
        for (job_id, status) in
            [("a", "queued"), ("a", "processing"), ("a", "processing"), ("b", "running")]
        {
            let body = format!(r#"{{"status":"{status}"}}"#);
            assert_eq!(server.http.put(job_id, "", &body).unwrap().status, 200);
        }
        assert!(server.stop().success());
        let log = site.log();
        assert_eq!(log.matches("gestartet").count(), lines, "{log}");
        assert_eq!(log.contains("Pipeline-Job a gestartet"), lines > 0, "{log}");
    }
}

#[test]
fn connections_above_four_fifths_of_their_bound_give_one_warning() {
    let site = Site::new(&["--connections-max=10"]);
    let server = site.start();
    let is_warned = || site.log().contains("Connection pool pressure");
    let mut connections = Vec::new();
    eventually("the pressure is noticed", || {
        if connections.len() < 9 {
            connections.push(TcpStream::connect(server.address()).unwrap());
        }
        is_warned().then_some(())
    });
    drop(connections);
    let connections: Vec<_> =
        (0..9).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    drop(connections);
    assert!(server.stop().success());
    let log = site.log();
    let lines = log.matches("Connection pool pressure").count();
    // Four a minute at most; a test that takes no minute sees fewer than five.
    assert!((1..5).contains(&lines), "{log}");
}

/// The update of a call that holds the stop: all but the first byte of it is still to come.
const HELD: &str = r#"{"job_id":"held","status":"queued"}"#;

/// A server that has been asked to stop, and the call that it waits for.
fn stopping(site: &Site) -> (Server, TcpStream) {
    let server = site.start();
    let mut open = TcpStream::connect(server.address()).unwrap();
    let head = "POST /v1/updates HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    write!(open, "{head}content-length: {}\r\n\r\n{{", HELD.len()).unwrap();
    eventually("the call is under way", || {
        let stats = server.http.get("/v1/stats").ok();
        (stats["http"]["in_flight"].as_u64() >= Some(2)).then_some(())
    });
    server.terminate();
    eventually("the stop begins", || site.log().contains("event=\"stopping\"").then_some(()));
    (server, open)
}

#[test]
fn a_second_signal_ends_the_stop_at_once_and_says_so() {
    let site = Site::new(&["--drain-timeout=1h"]);
    let (server, _open) = stopping(&site);
    server.terminate();
    let status = server.wait();
    assert_eq!(status.code(), Some(143), "{status}");
    assert!(site.log().contains("stop_broken_off"), "{}", site.log());
}

/// The control: with one signal the same stop waits for the call, and ends well.
#[test]
fn one_signal_waits_for_the_call_that_holds_the_stop() {
    let site = Site::new(&["--drain-timeout=1h"]);
    let (server, mut open) = stopping(&site);
    open.write_all(&HELD.as_bytes()[1..]).unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.wait().code(), Some(0), "{}", site.log());
    assert!(!site.log().contains("stop_broken_off"), "{}", site.log());
    assert_eq!(site.start().http.get("/v1/jobs/held").ok()["status"], "queued");
}
