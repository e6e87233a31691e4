//! The clean stop, and the lock on a data directory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http::Http;
use crate::server::{Server, Site, eventually};
use crate::walk::walk;

const CLIENTS: usize = 4;

/// Nothing closes a batch but the drain, so every admitted update is still queued at the stop.
#[test]
fn everything_admitted_before_sigterm_is_there_after_a_restart() {
    let site = Site::new(&["--flush-interval", "1h", "--batch-size", "100000"]);
    let server = site.start();
    let (admitted, admitted_count) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (url, admitted, admitted_count) = (&server.url, &admitted, &admitted_count);
            scope.spawn(move || {
                let mine = report_until_refused(&Http::new(url), client, admitted_count);
                admitted.lock().unwrap().extend(mine);
            });
        }
        eventually("the queue is under load", || {
            (admitted_count.load(Ordering::SeqCst) >= 500).then_some(())
        });
        assert_eq!(server.http.get("/v1/counts").ok()["total"], 0, "all of it is only queued");
        server.terminate();
    });
    assert_eq!(server.wait().code(), Some(0), "{}", site.log());

    let admitted = admitted.into_inner().unwrap();
    let server = site.start();
    let jobs = walk(&server.http, 1_000);
    for job_id in &admitted {
        assert!(jobs.contains_key(job_id), "{job_id} was admitted and is lost");
    }
    println!("{} updates admitted, {} jobs stored", admitted.len(), jobs.len());
}

/// Queues one job after the other until the server no longer takes them; the ids that it admitted.
fn report_until_refused(http: &Http, client: usize, admitted_count: &AtomicUsize) -> Vec<String> {
    let mut admitted = Vec::new();
    for index in 0.. {
        let job_id = format!("job-{client}-{index}");
        match http.put(&job_id, "?ack=queued", r#"{"status":"queued"}"#) {
            Ok(reply) if reply.status == 202 => {
                admitted.push(job_id);
                admitted_count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(reply) => {
                assert_eq!(reply.status, 503, "{}", reply.text);
                assert_eq!(reply.json()["code"], "draining");
                assert!(reply.retry_after_s() >= Some(1), "{reply:?}");
                return admitted;
            }
            Err(_closed) => return admitted,
        }
    }
    admitted
}

#[test]
fn a_second_server_on_the_same_data_is_refused_with_exit_code_75() {
    let site = Site::new(&[]);
    let first = site.start();
    let second = site.serve().output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{second:?}");
    assert_eq!(first.http.get("/readyz").status, 200, "the first is not disturbed");
    assert!(first.stop().success());
    assert!(site.start().stop().success(), "the lock ends with its holder");
}

#[test]
fn a_clean_stop_says_what_it_drained() {
    let site = Site::new(&["--flush-interval", "1h"]);
    let server = site.start();
    server.http.put("doc-1", "?ack=queued", r#"{"status":"queued"}"#).unwrap();
    let before = site.log().len();
    assert!(server.stop().success());
    let last_words = site.log().split_off(before);
    assert!(last_words.contains("drained"), "{last_words}");
}

const LATE: &str = r#"{"status":"queued"}"#;

/// Sends the first part of `PUT /v1/jobs/late`, and waits until the server has the connection.
fn begin_put(server: &Server, first_part: &str) -> TcpStream {
    let connections =
        || server.http.get("/v1/stats").ok()["http"]["connections"]["now"].as_u64().unwrap();
    let before = connections();
    let mut connection = TcpStream::connect(server.address()).unwrap();
    connection.write_all(first_part.as_bytes()).unwrap();
    eventually("the server has the connection", || (connections() > before).then_some(()));
    connection
}

fn head() -> String {
    let length = LATE.len();
    format!("PUT /v1/jobs/late HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n")
}

/// Asks the server to stop, and waits until it listens no more.
fn begin_stop(server: &Server) {
    server.terminate();
    eventually("new connections are refused", || TcpStream::connect(server.address()).err());
}

fn finish(mut connection: TcpStream, last_part: &str) -> String {
    connection.write_all(last_part.as_bytes()).unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn an_update_that_comes_during_the_drain_is_503_and_not_applied() {
    let site = Site::new(&["--drain-timeout=5m"]);
    let server = site.start();
    let connection = begin_put(&server, &head());
    begin_stop(&server);
    let reply = finish(connection, &format!("\r\n{LATE}"));
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.contains(r#""code":"draining""#), "{reply}");
    assert!(reply.contains(r#""outcome":"not_applied""#), "{reply}");
    assert!(server.wait().success());
    assert_eq!(site.start().http.get("/v1/jobs/late").status, 404);
}

#[test]
fn a_request_that_began_before_the_drain_is_finished_and_stored() {
    let site = Site::new(&["--drain-timeout=5m"]);
    let server = site.start();
    let expecting = format!("{}expect: 100-continue\r\n\r\n", head());
    let mut connection = begin_put(&server, &expecting);
    // The interim answer shows that the body is being waited for.
    let mut interim = [0; 25];
    connection.read_exact(&mut interim).unwrap();
    assert_eq!(std::str::from_utf8(&interim), Ok("HTTP/1.1 100 Continue\r\n\r\n"));
    begin_stop(&server);
    let reply = finish(connection, LATE);
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert!(server.wait().success());
    assert_eq!(site.start().http.get("/v1/jobs/late").ok()["status"], "queued");
}

/// Sends `text` and reads until `until` has come.
fn connect(server: &Server, text: &str, until: &str) -> TcpStream {
    let mut connection = TcpStream::connect(server.address()).unwrap();
    connection.write_all(text.as_bytes()).unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(until) {
        let mut byte = [0];
        assert_eq!(connection.read(&mut byte).unwrap(), 1, "{heard:?}");
        heard.push(byte[0]);
    }
    connection
}

/// Of the four kinds only a half-sent body holds the stop up, until `drain_timeout`; `monitors.rs`
/// shows it held. Without one, a stop needs none of its time, however long that is.
#[test]
fn idle_half_sent_and_watching_connections_together_do_not_hold_the_stop_beyond_its_deadline() {
    for (flag, has_half_bodies) in [("--drain-timeout=1s", true), ("--drain-timeout=1h", false)] {
        let site = Site::new(&[flag, "--flush-interval=1h"]);
        let server = site.start();
        for (job_id, query) in [("doc-0", ""), ("doc-1", "?ack=queued")] {
            let reply = server.http.put(job_id, query, r#"{"status":"queued"}"#).unwrap();
            assert!(reply.status < 300, "{}", reply.text);
        }
        let connections = crowd(&server, has_half_bodies);
        begin_stop(&server);
        for mut connection in connections {
            // Closed, or reset: in any case it ends.
            let _ = connection.read_to_end(&mut Vec::new());
        }
        assert_eq!(server.wait().code(), Some(0), "{}", site.log());
        let server = site.start();
        assert_eq!(server.http.get("/v1/jobs/doc-1").ok()["status"], "queued");
        for job_id in ["late", "half"] {
            assert_eq!(server.http.get(&format!("/v1/jobs/{job_id}")).status, 404);
        }
    }
}

/// Connections of each kind, eight of them.
fn crowd(server: &Server, has_half_bodies: bool) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(connect(
            server,
            "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "\r\n\r\n",
        ));
        let feed = "GET /v1/updates?after=0&format=sse HTTP/1.1\r\nhost: localhost\r\n\r\n";
        connections.push(connect(server, feed, "doc-0"));
        connections
            .push(begin_put(server, "PUT /v1/jobs/half HTTP/1.1\r\nhost: localhost\r\ncont"));
        if has_half_bodies {
            let expecting = format!("{}expect: 100-continue\r\n\r\n", head());
            let mut half_body = connect(server, &expecting, "100 Continue\r\n\r\n");
            half_body.write_all(b"{").unwrap();
            connections.push(half_body);
        }
    }
    connections
}
