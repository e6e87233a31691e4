//! Plain calls, and the same calls on hyper's way: what one says, the other says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::{Client, Running};
use super::stops::over_a_broken_store;
use super::*;
use crate::batch::fake::Fake;

/// A header that is not plain, and says nothing.
const BY_HYPER: &str = "x-by: hyper\r\n";

fn get(job_id: &str, headers: &str) -> String {
    format!("GET /v1/jobs/{job_id} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

fn put(job_id: &str, body: &str, headers: &str) -> String {
    let length = body.len();
    format!(
        "PUT /v1/jobs/{job_id} HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

/// An answer without the moments that differ from call to call, its headers sorted.
fn lasting(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines = head.lines().map(|line| match line.split_once(": ") {
        Some(("date", date)) => format!("date: {} bytes", date.len()),
        _ => line.to_owned(),
    });
    let mut lines: Vec<String> = lines.collect();
    lines[1..].sort();
    let text = format!("{}\n\n{body}", lines.join("\n"));
    let parts = text.split("_seq\":").map(|part| part.trim_start_matches(|c: char| c.is_numeric()));
    parts.collect::<Vec<_>>().join("_seq\":")
}

impl Client {
    async fn ask(&mut self, request: &str) -> String {
        self.send(request).await;
        self.answer().await
    }
}

#[tokio::test]
async fn a_plain_call_is_answered_as_by_hyper() {
    let running = Running::new(HttpOptions::default());
    // From here on every seq has two digits, so that answers are of one length.
    running.server.post("", LINES, lines(10)).await.json(200);
    let (mut plain, mut hyper) = (running.connect().await, running.connect().await);
    let error = format!(r#"{{"status":"error","error":"{}"}}"#, "\u{e9}\\n\\u0000".repeat(600));
    for (job_id, body, status) in [
        ("a", r#"{"status":"queued","at":1764000000123}"#, 200),
        ("a", r#"{"status":"processing","at":1764000000122,"labels":{"x":"y"}}"#, 200),
        ("a", r#"{"status":"processing","progress":0.5,"pipeline":"pdf","message":"m"}"#, 200),
        ("a", r#"{"status":"done","if_status":"queued"}"#, 409),
        ("-._~:@+=,Z9", r#" {"status":"error","error":"e"} "#, 200),
        ("never", r#"{"progress":0.5}"#, 404),
        ("a", r#"{"status":"a b"}"#, 422),
        ("a", r#"{"nonsense":1}"#, 422),
        ("a", r#"[{"status":"queued"}]"#, 400),
        ("a", "nonsense", 400),
        ("a", "", 400),
        ("..", r#"{"status":"queued"}"#, 422),
        (&"x".repeat(257), r#"{"status":"queued"}"#, 422),
        ("long", &error, 200),
    ] {
        let answer = plain.ask(&put(job_id, body, "")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {answer}");
        let other = hyper.ask(&put(job_id, body, BY_HYPER)).await;
        assert_eq!(lasting(&answer), lasting(&other), "{body}");
    }
    for job_id in ["a", "-._~:@+=,Z9", "never", "..", &"x".repeat(257), "long"] {
        let answer = plain.ask(&get(job_id, "user-agent: x\r\naccept: */*\r\n")).await;
        assert!(answer.contains("\r\ndate: ") && answer.contains("\r\ncache-control: no-store"));
        let other = hyper.ask(&get(job_id, BY_HYPER)).await;
        assert_eq!(lasting(&answer), lasting(&other), "{job_id}");
    }
    assert_eq!(handed_over(&running), 1, "the other one");
    let stats = running.server.get("/v1/stats").await.json(200);
    let http = &stats["http"];
    // Both ways count, and the question itself has no answer yet.
    assert_eq!((&http["requests"], &http["in_flight"]), (&42.into(), &1.into()), "{stats}");
    assert_eq!(http["responses"]["2xx"], 2 * (5 + 3) + 1, "{stats}");
    assert_eq!(http["responses"]["4xx"], 2 * (9 + 3), "{stats}");
}

#[tokio::test]
async fn calls_that_come_together_are_answered_in_their_order() {
    let running = Running::new(HttpOptions::default());
    let body = r#"{"status":"queued"}"#;
    let mut client = running.connect().await;
    let calls = [
        get("a", ""),
        put("a", body, ""),
        get("a", ""),
        get("a", BY_HYPER),
        get("b", ""),
        get("a", "connection: close\r\n"),
    ];
    client.send(&calls.concat()).await;
    let answers = client.rest().await;
    let statuses = answers.split("HTTP/1.1 ").filter_map(|answer| answer.get(..3));
    assert_eq!(statuses.collect::<Vec<_>>(), ["404", "200", "200", "200", "404", "200"]);
    assert_eq!(answers.matches("\r\nconnection: close\r\n").count(), 1, "{answers}");
}

#[tokio::test]
async fn a_call_that_comes_in_pieces_is_answered_and_so_is_the_next() {
    let running = Running::new(HttpOptions::default());
    let call = put("a", r#"{"status":"queued"}"#, "");
    for length in [1, 5, 40, call.len() - 19, call.len() - 1] {
        let mut client = running.connect().await;
        client.0.set_nodelay(true).unwrap();
        // A whole one first, so that the server is known to wait for more.
        assert!(client.ask(&get("none", "")).await.starts_with("HTTP/1.1 404 "));
        let before = handed_over(&running);
        client.send(&call[..length]).await;
        while handed_over(&running) == before {
            tokio::task::yield_now().await;
        }
        let answer = client.ask(&call[length..]).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{length}: {answer}");
        assert!(client.ask(&get("a", "")).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

fn handed_over(running: &Running) -> u64 {
    running.server.gate.meter().handed_over.load(Ordering::Relaxed)
}

/// A server whose store holds every commit until it is told.
fn over_a_held_store() -> (Running, Fake) {
    let fake = Fake::default();
    fake.hold();
    let sides = fake.sides();
    let options = ServiceOptions::default();
    let service = Service::start(options, Arc::new(|_| ()), |_, _| Ok(sides)).unwrap();
    (Running::over(Server::over(service, HttpOptions::default())), fake)
}

/// Waits until the store was given a batch.
async fn appending(fake: &Fake) {
    while fake.state().appends == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_commit_of_a_later_call() {
    let (running, fake) = over_a_held_store();
    let mut client = running.connect().await;
    let calls = [get("..", ""), put("a", r#"{"status":"queued"}"#, ""), get("..", "")];
    client.send(&calls.concat()).await;
    let first = client.answer().await;
    assert!(first.starts_with("HTTP/1.1 422 "), "{first}");
    appending(&fake).await;
    fake.release();
    let mut rest = Vec::new();
    while rest.windows(9).filter(|it| it == b"HTTP/1.1 ").count() < 2 || !rest.ends_with(b"}") {
        assert!(client.0.read_buf(&mut rest).await.unwrap() > 0, "closed");
    }
    let rest = String::from_utf8(rest).unwrap();
    let statuses = rest.split("HTTP/1.1 ").filter_map(|answer| answer.get(..3));
    assert_eq!(statuses.collect::<Vec<_>>(), ["200", "422"]);
    assert_eq!(handed_over(&running), 0);
}

#[tokio::test]
async fn who_hangs_up_while_the_commit_lasts_is_let_go() {
    let (running, fake) = over_a_held_store();
    let mut client = running.connect().await;
    client.send(&put("a", r#"{"status":"queued"}"#, "")).await;
    appending(&fake).await;
    assert!(!running.server.gate.connections().is_any_idle());
    drop(client);
    while running.server.gate.connections().now() > 0 {
        tokio::task::yield_now().await;
    }
    let stats = running.server.get("/v1/stats").await.json(200);
    assert_eq!(stats["http"]["in_flight"], 1, "only the question itself");
    fake.release();
}

#[tokio::test]
async fn a_stop_waits_for_the_commit_and_its_answer_says_that_it_is_the_last() {
    let (running, fake) = over_a_held_store();
    let mut client = running.connect().await;
    let calls = [put("a", r#"{"status":"queued"}"#, ""), get("..", "")];
    client.send(&calls.concat()).await;
    appending(&fake).await;
    let mut idle = running.connect().await;
    assert!(idle.ask(&get("..", "")).await.starts_with("HTTP/1.1 422 "));
    running.begin_stop();
    assert_eq!(idle.rest().await, "");
    fake.release();
    let answers = client.rest().await;
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.contains("\r\nconnection: close\r\n"), "{answers}");
}

#[tokio::test]
async fn what_the_store_refuses_is_said_as_by_hyper() {
    let running = Running::over(over_a_broken_store());
    let (mut plain, mut hyper) = (running.connect().await, running.connect().await);
    let body = r#"{"status":"queued"}"#;
    assert!(plain.ask(&put("a", body, "")).await.contains(r#""outcome":"unknown""#));
    for (plain_call, hyper_call) in [
        (get("a", ""), get("a", BY_HYPER)),
        (get("bad", ""), get("bad", BY_HYPER)),
        (get("panics", ""), get("panics", BY_HYPER)),
        (put("a", body, ""), put("a", body, BY_HYPER)),
    ] {
        let answer = plain.ask(&plain_call).await;
        assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
        assert_eq!(lasting(&answer), lasting(&hyper.ask(&hyper_call).await));
    }
    assert_eq!(handed_over(&running), 1);
}

#[tokio::test]
async fn what_an_opening_or_a_stopping_server_refuses_is_said_as_by_hyper() {
    let [stopping, stopped] = [(); 2].map(|()| Running::new(HttpOptions::default()));
    stopping.server.gate.begin_drain();
    stopped.server.service.drain().await.unwrap();
    let gate = Gate::new(HttpOptions::default());
    gate.set_percent(42);
    let service = Service::in_memory(ServiceOptions::default()).unwrap();
    let opening = Running::over(Server { gate, service });
    let gets = || ["", BY_HYPER].map(|headers| get("a", headers));
    let puts = || ["", BY_HYPER].map(|headers| put("a", r#"{"status":"queued"}"#, headers));
    let not_applied = r#""outcome":"not_applied""#;
    let percent = r#""percent":42"#;
    for (running, [plain_call, hyper_call], status, parts) in [
        (&opening, gets(), 503, [r#""code":"opening""#, percent]),
        (&opening, puts(), 503, [percent, not_applied]),
        (&stopping, puts(), 503, [r#""code":"draining""#, not_applied]),
        (&stopped, puts(), 503, [r#""code":"draining""#, not_applied]),
        (&stopping, gets(), 404, [r#""code":"unknown_job""#, ""]),
        (&stopped, gets(), 404, [r#""code":"unknown_job""#, ""]),
    ] {
        let before = handed_over(running);
        let answer = running.connect().await.ask(&plain_call).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(parts.iter().all(|part| answer.contains(part)), "{answer}");
        assert_eq!(answer.contains("\r\nretry-after: 1\r\n"), status == 503, "{answer}");
        assert_eq!(handed_over(running), before, "{plain_call}");
        let other = running.connect().await.ask(&hyper_call).await;
        assert_eq!(lasting(&answer), lasting(&other), "{plain_call}");
        assert_eq!(handed_over(running), before + 1, "{hyper_call}");
    }
    // The control: it is the gate that refused.
    opening.server.gate.open(opening.server.service.clone());
    let answer = opening.connect().await.ask(&get("a", "")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn an_answer_so_long_that_it_counts_is_made_by_hyper() {
    let running = Running::new(HttpOptions::default());
    let escaped = |length: usize| "\\u0001".repeat(length);
    let labels = (0..16).map(|number| format!(r#""{number}":"{}""#, escaped(256)));
    let labels = labels.collect::<Vec<_>>().join(",");
    let (error, message) = (escaped(8 << 10), escaped(1 << 10));
    let body = format!(
        r#"{{"status":"error","error":"{error}","message":"{message}","labels":{{{labels}}}}}"#
    );
    running.server.put("/v1/jobs/long", &body).await.json(200);
    let (mut plain, mut hyper) = (running.connect().await, running.connect().await);
    assert!(plain.ask(&get("none", "")).await.starts_with("HTTP/1.1 404 "));
    let answer = plain.ask(&get("long", "")).await;
    assert!(answer.len() > 64 << 10, "{} bytes", answer.len());
    assert_eq!(handed_over(&running), 1);
    assert_eq!(lasting(&answer), lasting(&hyper.ask(&get("long", BY_HYPER)).await));
}

#[tokio::test]
async fn one_that_asks_for_nothing_more_is_closed_and_so_is_one_at_a_stop() {
    let idle_timeout = Duration::from_millis(1);
    let running = Running::new(HttpOptions { idle_timeout, ..HttpOptions::default() });
    let mut client = running.connect().await;
    assert!(client.ask(&get("a", "")).await.starts_with("HTTP/1.1 404 "));
    assert_eq!(client.rest().await, "");

    let running = Running::new(HttpOptions::default());
    let mut client = running.connect().await;
    assert!(client.ask(&get("a", "")).await.starts_with("HTTP/1.1 404 "));
    running.stop().await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn who_asks_without_end_and_reads_nothing_is_closed() {
    let idle_timeout = Duration::from_millis(1);
    let running = Running::new(HttpOptions { idle_timeout, ..HttpOptions::default() });
    let error = format!(r#"{{"status":"error","error":"{}"}}"#, "e".repeat(8 << 10));
    running.server.put("/v1/jobs/a", &error).await.json(200);
    let mut client = running.connect_with_small_buffer().await;
    // Such that every read ends with a whole call.
    let call = get("a", "accept: */*.......\r\n");
    assert_eq!(call.len(), 64);
    let calls = call.repeat(1_000);
    let mut sent = 0;
    // What is not read is not answered, so in the end no more is taken.
    while client.0.write_all(calls.as_bytes()).await.is_ok() {
        sent += calls.len();
        assert!(sent < 64 << 20, "the server takes everything");
    }
    let mut text = Vec::new();
    let _ = client.0.read_to_end(&mut text).await;
    assert!(text.len() < 8 << 20, "{} bytes", text.len());
    assert_eq!(handed_over(&running), 0);
}
