//! A write that is repeated, because its answer was lost, counts once and is answered alike: many
//! times at once, and after a kill and a restart.

use std::io::Write;
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{Call, Http, Reply};
use crate::server::{Server, Site, eventually};

const TWINS: usize = 80;

/// One write call that is sent more than once.
struct Repeated {
    method: Method,
    path: &'static str,
    body: &'static str,
    key: &'static str,
}

const WRITES: [Repeated; 4] = [
    Repeated {
        method: Method::POST,
        path: "/v1/updates",
        body: r#"[{"job_id":"a","status":"queued"},{"job_id":"b","status":"no good"}]"#,
        key: "post",
    },
    Repeated { method: Method::PUT, path: "/v1/jobs/c", body: r#"{"status":"done"}"#, key: "put" },
    Repeated { method: Method::DELETE, path: "/v1/jobs/gone", body: "", key: "delete" },
    Repeated {
        method: Method::PUT,
        path: "/v1/pipelines/pdf",
        body: r#"{"expected_total":5}"#,
        key: "expect",
    },
];

impl Repeated {
    fn send(&self, http: &Http) -> Reply {
        let headers = [("content-type", "application/json"), ("idempotency-key", self.key)];
        let body = self.body.as_bytes().to_vec();
        let call = Call { method: self.method.clone(), path: self.path, headers: &headers, body };
        http.try_send(call).unwrap()
    }

    /// Sends it, and hangs up without a look at the answer once it has counted as the update
    /// `last_seq`: who hangs up sooner may not have been heard.
    fn send_and_hang_up(&self, server: &Server, last_seq: u64) {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let Self { method, path, body, key } = self;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        // A call that was refused would let this wait for ever.
        eventually("the call has counted", || {
            let counts = server.http.get("/v1/counts").ok();
            (counts["as_of_seq"] == last_seq).then_some(())
        });
    }
}

#[test]
fn a_write_repeated_at_will_counts_once_and_is_answered_alike() {
    let site = Site::new(&[]);
    let server = site.start();
    server.http.put("gone", "", r#"{"status":"queued"}"#).unwrap();
    let mut last_seq = 1;
    let mut answers = Vec::new();
    for write in &WRITES {
        last_seq += 1;
        write.send_and_hang_up(&server, last_seq);
        let replies = at_once(&server.url, write);
        assert_eq!(fresh(&replies), 0, "all of them repeat the call that nobody heard of");
        answers.push(judged(&replies, last_seq).unwrap_or_else(|wrong| panic!("{wrong}")));
    }
    let applied = |server: &Server| server.http.get("/v1/stats").ok()["updates"]["applied"].clone();
    assert_eq!(applied(&server), last_seq);
    let idempotency = server.http.get("/v1/stats").ok()["idempotency"].clone();
    let hits = idempotency["hit_percent"].as_f64().unwrap();
    assert!(hits > 95.0 && idempotency["reused"] == 0, "{idempotency}");

    server.kill();
    let server = site.start();
    for (write, answer) in WRITES.iter().zip(&answers) {
        let reply = write.send(&server.http);
        assert_eq!((reply.status, &reply.json()), (200, answer));
        assert_eq!(reply.header("idempotent-replayed"), "true");
    }
    assert_eq!(applied(&server), 0, "the new process has applied nothing");
    assert_eq!(server.http.get("/v1/counts").ok()["as_of_seq"], last_seq);
    assert!(server.run(&["check"]).status.success());
}

/// The one answer of all, if the call counted once, as the update `last_seq`.
fn judged(replies: &[Reply], last_seq: u64) -> Result<Value, String> {
    let first = replies[0].json();
    if (replies[0].status, &first["last_seq"]) != (200, &json!(last_seq)) {
        return Err(format!("update {last_seq} was to be answered: {first}"));
    }
    if let Some(other) = replies.iter().find(|it| (it.status, it.json()) != (200, first.clone())) {
        return Err(format!("{first} and {} are two answers", other.text));
    }
    let fresh = fresh(replies);
    if fresh > 1 {
        return Err(format!("{fresh} of the repeats were taken for a first call"));
    }
    Ok(first)
}

/// So many were answered as a first call is.
fn fresh(replies: &[Reply]) -> usize {
    replies.iter().filter(|it| it.header("idempotent-replayed") != "true").count()
}

/// The control: what is sent again under another key counts again, and is found out.
#[test]
fn a_write_repeated_under_another_key_is_found_to_count_twice() {
    let site = Site::new(&[]);
    let server = site.start();
    let under = |key| Repeated { method: Method::POST, key, ..WRITES[0] }.send(&server.http);
    let (first, same, other) = (under("one"), under("one"), under("other"));
    assert_eq!([&first, &same].map(|it| fresh(std::slice::from_ref(it))), [1, 0]);
    assert!(judged(&[first, same], 1).is_ok());
    let wrong = judged(&[under("one"), other], 1).unwrap_err();
    assert!(wrong.contains("two answers"), "{wrong}");
    assert_eq!(server.http.get("/v1/counts").ok()["as_of_seq"], 2);
}

/// The same call many times at once.
fn at_once(url: &str, write: &Repeated) -> Vec<Reply> {
    std::thread::scope(|scope| {
        let twins: Vec<_> =
            (0..TWINS).map(|_| scope.spawn(|| write.send(&Http::new(url)))).collect();
        twins.into_iter().map(|twin| twin.join().unwrap()).collect()
    })
}

/// A kill while the repeats are under way: whoever was answered before and whoever is answered
/// after hear the same.
#[test]
fn a_kill_among_the_repeats_does_not_count_twice() {
    let mut heard = 0;
    for round in 0..6 {
        let site = Site::new(&[]);
        let server = site.start();
        let write = &WRITES[0];
        let before: Vec<Value> = std::thread::scope(|scope| {
            let url = server.url.clone();
            let twins: Vec<_> = (0..8)
                .map(|_| {
                    let url = url.clone();
                    scope.spawn(move || {
                        let headers =
                            [("content-type", "application/json"), ("idempotency-key", write.key)];
                        let (method, body) = (write.method.clone(), write.body.into());
                        let call = Call { method, path: write.path, headers: &headers, body };
                        Http::new(&url).try_send(call).ok().map(|reply| reply.json())
                    })
                })
                .collect();
            if round % 2 == 0 {
                eventually("something is stored", || {
                    let counts = server.http.get("/v1/counts").ok();
                    (counts["total"] == 1).then_some(())
                });
            }
            server.kill();
            twins.into_iter().filter_map(|twin| twin.join().unwrap()).collect()
        });
        heard += before.len();
        let server = site.start();
        let after = write.send(&server.http).json();
        assert!(before.iter().all(|answer| *answer == after), "{before:?} {after}");
        assert_eq!(server.http.get("/v1/counts").ok()["as_of_seq"], 1);
    }
    assert!(heard > 0, "nobody was answered before a kill");
}
