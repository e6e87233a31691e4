//! `GET /v1/updates`: pages, events, lines; waits, heartbeats, ends. Time is paused.

use std::time::Duration;

use axum::body::Bytes;
use serde_json::json;

use super::*;

/// An answer whose body has not ended.
struct Stream {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Stream {
    async fn open(server: &Server, uri: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = Request::builder().method(Method::GET).uri(uri);
        request = request.header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let (parts, body) = app(server.gate.clone()).oneshot(request).await.unwrap().into_parts();
        Self { status: parts.status, headers: parts.headers, body }
    }

    /// The next piece; `None` at the end.
    async fn piece(&mut self) -> Option<String> {
        let frame = self.body.frame().await?.unwrap();
        Some(
            String::from_utf8(frame.into_data().unwrap_or_else(|_| Bytes::new()).to_vec()).unwrap(),
        )
    }

    /// True if nothing comes for `duration`.
    async fn is_silent(&mut self, duration: Duration) -> bool {
        tokio::time::timeout(duration, self.body.frame()).await.is_err()
    }
}

async fn put(server: &Server, job_id: &str, status: &str) {
    let body = format!(r#"{{"status":"{status}"}}"#);
    server.put(&format!("/v1/jobs/{job_id}"), &body).await.json(200);
}

fn seqs(feed: &Value) -> Vec<u64> {
    let updates = feed["updates"].as_array().unwrap().iter();
    updates.map(|update| update["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn pages_go_on_where_they_ended() {
    let server = Server::new();
    server.post("", LINES, lines(300)).await.json(200);
    let (mut met, mut after) = (Vec::new(), 0);
    loop {
        let page = server.get(&format!("/v1/updates?after={after}&limit=70")).await.json(200);
        assert_eq!(page["as_of_seq"], 300);
        met.extend(seqs(&page));
        if page["next_after"] == after {
            break;
        }
        after = page["next_after"].as_u64().unwrap();
    }
    assert_eq!(met, (1..=300).collect::<Vec<u64>>());
    let head = server.get("/v1/updates").await;
    assert_eq!(head.header("store-id"), server.service.store_id());
    let head = head.json(200);
    assert_eq!(head, json!({"updates": [], "next_after": 300, "as_of_seq": 300}));
}

#[tokio::test]
async fn filters_choose_updates_and_the_place_moves_on_all_the_same() {
    let server = Server::new();
    for (job, status) in [("a", "queued"), ("b", "error"), ("a", "error"), ("a", "done")] {
        put(&server, job, status).await;
    }
    for (filter, expected) in [
        ("job=a", &[1, 3, 4][..]),
        ("status=error,done", &[2, 3, 4]),
        ("kind=failed&job=a", &[3]),
        ("pipeline=default&status=queued", &[1]),
        ("pipeline=none", &[]),
    ] {
        let page = server.get(&format!("/v1/updates?after=0&{filter}")).await.json(200);
        assert_eq!((&*seqs(&page), &page["next_after"]), (expected, &json!(4)), "{filter}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_no_longer_than_asked() {
    let server = Server::new();
    put(&server, "a", "queued").await;
    let begun = tokio::time::Instant::now();
    let empty = server.get("/v1/updates?after=1&wait=30s").await.json(200);
    assert_eq!((seqs(&empty), begun.elapsed()), (vec![], Duration::from_secs(30)));
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_first_update_that_passes() {
    let server = Server::new();
    put(&server, "a", "queued").await;
    let poll = async { server.get("/v1/updates?after=1&wait=5m&job=b").await.json(200) };
    let write = async {
        put(&server, "a", "processing").await;
        put(&server, "b", "queued").await;
    };
    let (page, ()) = tokio::join!(poll, write);
    assert_eq!((seqs(&page), &page["next_after"]), (vec![3], &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn events_carry_their_seq_and_follow_the_head() {
    let server = Server::new();
    put(&server, "a", "queued").await;
    let mut stream = Stream::open(&server, "/v1/updates?after=0&format=sse", &[]).await;
    assert_eq!(
        (stream.status.as_u16(), &stream.headers["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    assert_eq!(stream.headers["cache-control"], "no-store");
    assert_eq!(stream.piece().await.unwrap(), "retry: 1000\n: jobslate\n\n");
    let event = stream.piece().await.unwrap();
    assert!(event.starts_with("id: 1\ndata: {\"seq\":1,\"job_id\":\"a\""), "{event}");
    assert!(event.ends_with("}\n\n"));
    put(&server, "b", "queued").await;
    assert!(stream.piece().await.unwrap().starts_with("id: 2\n"));
    assert!(stream.is_silent(Duration::from_secs(14)).await);
    assert_eq!(stream.piece().await.unwrap(), ": heartbeat\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_moves_a_filtered_reader_past_what_it_did_not_want() {
    let server = Server::new();
    let accept = [("accept", "text/event-stream"), ("last-event-id", "0")];
    let mut stream = Stream::open(&server, "/v1/updates?after=99&job=b", &accept).await;
    assert_eq!(stream.status.as_u16(), 200, "the last event id counts before after");
    stream.piece().await.unwrap();
    put(&server, "a", "queued").await;
    assert_eq!(stream.piece().await.unwrap(), ": heartbeat\nid: 1\n\n");
    assert_eq!(stream.piece().await.unwrap(), ": heartbeat\n\n");
    put(&server, "b", "queued").await;
    assert!(stream.piece().await.unwrap().starts_with("id: 2\n"));
}

#[tokio::test(start_paused = true)]
async fn a_filtered_reader_hears_a_heartbeat_however_busy_the_others_are() {
    let server = Server::new();
    let mut stream = Stream::open(&server, "/v1/updates?after=0&job=b&format=sse", &[]).await;
    stream.piece().await.unwrap();
    for second in 1..=40_u64 {
        let service = server.service.clone();
        let update = crate::model::Update::status("a", "queued").unwrap();
        let request = crate::model::Request::new(vec![update]);
        // On a blocking thread, so that time stands still meanwhile.
        let stored = tokio::task::spawn_blocking(move || service.submit_blocking(request));
        stored.await.unwrap().unwrap();
        if let Ok(piece) = tokio::time::timeout(Duration::from_secs(1), stream.piece()).await {
            assert!((14..=17).contains(&second), "after {second} s");
            assert!(piece.unwrap().starts_with(": heartbeat\nid: 1"), "it moves the reader on");
            return;
        }
    }
    panic!("no sign of life in 40 s");
}

#[tokio::test(start_paused = true)]
async fn lines_are_entries_and_empty_lines_are_heartbeats() {
    let server = Server::new();
    server.post("", LINES, lines(3)).await.json(200);
    let mut stream = Stream::open(&server, "/v1/updates?after=1&format=ndjson", &[]).await;
    assert_eq!(stream.headers["content-type"], "application/x-ndjson");
    let text = stream.piece().await.unwrap();
    let seqs: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].clone())
        .collect();
    assert_eq!(seqs, [2, 3]);
    assert_eq!(stream.piece().await.unwrap(), "\n");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_streams_and_waits_at_once() {
    let server = Server::new();
    put(&server, "a", "queued").await;
    let mut stream = Stream::open(&server, "/v1/updates?format=sse", &[]).await;
    stream.piece().await.unwrap();
    assert_eq!(server.get("/v1/stats").await.json(200)["http"]["watchers"], 1);
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.gate.begin_drain();
    };
    let begun = tokio::time::Instant::now();
    let poll = async { server.get("/v1/updates?after=1&wait=5m").await.json(200) };
    let (page, end, ()) = tokio::join!(poll, stream.piece(), stop);
    assert_eq!((seqs(&page), end), (vec![], None));
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    drop(stream);
    assert_eq!(server.gate.watchers(), 0);
}

#[tokio::test]
async fn what_the_store_never_had_is_gone() {
    let server = Server::new();
    put(&server, "a", "queued").await;
    for format in ["json", "ndjson", "sse"] {
        let uri = format!("/v1/updates?after=2&format={format}");
        let problem = server.get(&uri).await.problem(410, "gone");
        assert_eq!((&problem["first_seq_held"], &problem["last_seq_held"]), (&json!(1), &json!(1)));
        assert_eq!(problem["retryable"], false);
    }
    server.get("/v1/updates?after=1").await.json(200);
    for (uri, id) in [("/v1/updates", "x"), ("/v1/updates?after=x", "1")] {
        let answer = server.call(Method::GET, uri, &[("last-event-id", id)], "").await;
        answer.problem(400, "invalid_query");
    }
}
