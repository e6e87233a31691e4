//! What one client, or many, can make the server hold: connections, heads, answers, depths.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::server::Running;
use super::*;

const FEED: &str = "GET /v1/updates?format=sse HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn the_connection_that_is_idle_longest_makes_room_for_a_new_one() {
    let running = Running::new(HttpOptions { connections_max: 3, ..HttpOptions::default() });
    let mut stream = running.connect().await;
    stream.send(FEED).await;
    stream.0.read_exact(&mut [0; 15]).await.unwrap();
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    for client in [&mut first, &mut second] {
        assert!(client.get("/livez").await.starts_with("HTTP/1.1 200 OK\r\n"));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The stream was there before both, and is not idle.
    let mut third = running.connect().await;
    assert!(third.get("/v1/counts").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(first.rest().await, "");
    // One that never asked for anything gives way like any other.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let mut silent = running.connect().await;
    assert_eq!(second.rest().await, "");
    let mut fourth = running.connect().await;
    assert!(fourth.get("/v1/counts").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(third.rest().await, "");
    let mut fifth = running.connect().await;
    assert!(fifth.get("/v1/counts").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(silent.rest().await, "");
    let numbers = running.server.gate.connections().numbers(3);
    assert_eq!((numbers.now, numbers.turned_away, numbers.idle_closed), (3, 0, 4));
}

/// The control of the one before: nobody is idle, so nobody makes room.
#[tokio::test]
async fn a_head_that_is_coming_is_not_idle() {
    let running = Running::new(HttpOptions { connections_max: 1, ..HttpOptions::default() });
    let mut first = running.connect().await;
    first.get("/livez").await;
    first.send("GET /livez HTTP/1.1\r\n").await;
    let is_idle = || running.server.gate.connections().is_any_idle();
    while is_idle() {
        tokio::task::yield_now().await;
    }
    let mut second = running.connect().await;
    assert!(second.get("/v1/counts").await.contains(r#""code":"too_many_connections""#));
    first.send("host: localhost\r\n\r\n").await;
    assert!(first.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_further_head_that_drips_is_cut_off_in_the_time_of_a_head() {
    let options = HttpOptions {
        header_timeout: Duration::from_millis(1),
        idle_timeout: Duration::from_secs(86_400),
        ..HttpOptions::default()
    };
    // The first head may come late as well, as the whole test may be held up: then it begins anew.
    let running = Running::new(options);
    let mut client = running.connect().await;
    while !client.get("/livez").await.starts_with("HTTP/1.1 200 OK\r\n") {
        client = running.connect().await;
    }
    client.send("G").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_head_above_32_kib_or_100_headers_is_431() {
    let running = Running::new(HttpOptions::default());
    let head = |rest: &str| format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{rest}\r\n");
    for rest in [format!("x: {}\r\n", "x".repeat(33 << 10)), "x: y\r\n".repeat(100)] {
        let mut client = running.connect().await;
        client.send(&head(&rest)).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        assert!(answer.contains(r#""code":"head_too_large""#), "{answer}");
    }
    for rest in [format!("x: {}\r\n", "x".repeat(31 << 10)), "x: y\r\n".repeat(99)] {
        let mut client = running.connect().await;
        client.send(&head(&rest)).await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn long_answers_to_slow_readers_are_bounded_together() {
    let options = HttpOptions {
        page_bytes_max: 64 << 20,
        answers_bytes_max: 12 << 20,
        ..HttpOptions::default()
    };
    let running = Running::new(options);
    running.server.fill_with_long_errors().await;
    let mut slow = running.connect_with_small_buffer().await;
    slow.send("GET /v1/jobs?limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    slow.0.readable().await.unwrap();
    let refused = running.server.get("/v1/jobs?limit=1000").await;
    let problem = refused.problem(429, "answers_full");
    assert_eq!((refused.header("retry-after"), &problem["retryable"]), ("1", &true.into()));
    // Short answers, and writes, are not concerned.
    running.server.put("/v1/jobs/a", r#"{"status":"queued"}"#).await.json(200);
    running.server.get("/v1/jobs?limit=1").await.json(200);
    assert!(slow.answer().await.ends_with('}'));
    while running.server.gate.answers_bytes().load(std::sync::atomic::Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    running.server.get("/v1/jobs?limit=1000").await.json(200);
}

#[tokio::test]
async fn a_page_of_long_jobs_ends_short_and_the_walk_goes_on() {
    let options = HttpOptions { page_bytes_max: 1 << 20, ..HttpOptions::default() };
    let server = Server::with(ServiceOptions::default(), options);
    server.fill_with_long_errors().await;
    for order in ["newest", "oldest", "id"] {
        let (mut ids, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let uri = format!("/v1/jobs?limit=1000&order={order}{cursor}");
            let answer = server.get(&uri).await;
            assert!(answer.text.len() < 2 << 20, "{} bytes", answer.text.len());
            let page = answer.json(200);
            let jobs = page["jobs"].as_array().unwrap().iter();
            ids.extend(jobs.map(|job| job["job_id"].as_str().unwrap().to_owned()));
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (1_000, 1_000), "{order}");
        assert!((5..20).contains(&pages), "{pages} pages");
    }
    let mut after = 0;
    while after < 1_000 {
        let answer = server.get(&format!("/v1/updates?limit=1000&after={after}")).await;
        assert!(answer.text.len() < 2 << 20, "{} bytes", answer.text.len());
        let next = answer.json(200)["next_after"].as_u64().unwrap();
        assert!(next > after);
        after = next;
    }
}

/// A reader that goes down with each bracket would run out of stack long before.
#[tokio::test]
async fn json_of_any_depth_is_refused() {
    let server = Server::new();
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let objects = r#"{"a":"#.repeat(100_000);
    let whole = format!("{open}{close}");
    let inside = format!(r#"{{"job_id":"a","status":"queued","labels":{whole}}}"#);
    let ids = format!(r#"{{"job_ids":{whole}}}"#);
    let total = format!(r#"{{"expected_total":{whole}}}"#);
    let bodies = [&open, &objects, &whole, &inside, &ids, &total];
    for (method, uri) in [
        (Method::POST, "/v1/updates"),
        (Method::POST, "/v1/lookup"),
        (Method::PUT, "/v1/jobs/a"),
        (Method::PUT, "/v1/jobs/a?"),
        (Method::PUT, "/v1/pipelines/a"),
    ] {
        for body in bodies {
            let answer = server.call(method.clone(), uri, &[JSON], body.clone()).await;
            let status = answer.status.as_u16();
            assert!(status == 400 || status == 422, "{method} {uri}: {status} {}", answer.text);
            assert!(answer.text.len() < 2_000, "{} bytes", answer.text.len());
        }
    }
    for body in bodies {
        let answer = server.post("", LINES, body.clone()).await;
        answer.problem(422, "all_rejected");
    }
    assert_eq!(server.get("/v1/counts").await.json(200)["as_of_seq"], 0);
}

#[tokio::test]
async fn watchers_are_bounded_and_leave_room_for_others() {
    let options = HttpOptions { watchers_max: 2, ..HttpOptions::default() };
    let running = Running::new(options);
    let mut streams = [running.connect().await, running.connect().await];
    for stream in &mut streams {
        stream.send(FEED).await;
        stream.0.read_exact(&mut [0; 15]).await.unwrap();
    }
    let mut third = running.connect().await;
    third.send(FEED).await;
    let mut begin = [0; 13];
    third.0.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 429 ");
    let refused = running.server.get("/v1/updates?wait=5m").await;
    refused.problem(429, "too_many_watchers");
    assert_eq!(refused.header("retry-after"), "10");
    // Who does not wait is no watcher.
    running.server.get("/v1/updates?after=0").await.json(200);
    drop(streams);
    while running.server.gate.watchers() > 0 {
        tokio::task::yield_now().await;
    }
    running.server.get("/v1/updates?wait=1ms").await.json(200);
    assert_eq!(running.server.gate.watchers(), 0);
}
