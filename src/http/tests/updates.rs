//! `POST /v1/updates`, `POST /v1/flush` and `GET /v1/stats`.

use std::io::Write as _;

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_durable_answer_has_the_documented_shape() {
    let server = Server::new();
    let body = r#"[{"job_id":"a","status":"queued"},{"job_id":"b","status":"a b"},
                   {"job_id":"a","progress":0.5},{"job_id":"nobody","progress":0.5}]"#;
    let answer = server.post("", JSON, body).await;
    let expected = concat!(
        r#"{"accepted":2,"applied":2,"stale":0,"merged":0,"rejected":2,"durable":true,"#,
        r#""first_seq":1,"last_seq":2,"errors":[{"index":1,"job_id":"b","code":"invalid_status","#,
        r#""detail":"status is \"a b\"; use [a-z0-9_.-]{1,32}"},{"index":3,"job_id":"nobody","#,
        r#""code":"unknown_job","#,
        r#""detail":"no such job; a heartbeat needs a job that has a status"}]}"#
    );
    answer.json(200);
    assert_eq!(answer.text, expected);
}

#[tokio::test]
async fn a_queued_answer_has_the_documented_shape_and_becomes_durable_by_a_flush() {
    let server = Server::new();
    let answer = server.post("?ack=queued", LINES, format!("{}x\n", lines(2))).await;
    let body = answer.json(202);
    assert_eq!((&body["accepted"], &body["rejected"]), (&json!(2), &json!(1)));
    assert_eq!((&body["durable"], body.as_object().unwrap().len()), (&json!(false), 4));
    assert_eq!(body["errors"][0]["index"], 2);
    let flushed = server.call(Method::POST, "/v1/flush", &[], "").await;
    assert_eq!(flushed.json(200), json!({"durable_seq": 2}));
    server.get("/v1/jobs/job-1").await.json(200);
}

#[tokio::test]
async fn a_fresh_read_shows_the_callers_own_queued_updates() {
    let server = Server::new();
    for (round, uri) in ["/v1/jobs/a", "/v1/jobs/a/history", "/v1/counts", "/v1/jobs", "/v1/stats"]
        .into_iter()
        .enumerate()
    {
        let body = format!(r#"{{"job_id":"a","status":"step-{round}"}}"#);
        server.post("?ack=queued", JSON, body).await.json(202);
        let text = server.get(&format!("{uri}?fresh=true")).await.json(200).to_string();
        let shown = if uri == "/v1/stats" { r#""queued_now":0"# } else { &format!("step-{round}") };
        assert!(text.contains(shown), "{uri}: {text}");
    }
}

#[tokio::test]
async fn one_object_an_array_and_lines_are_taken() {
    let server = Server::new();
    let one = r#"{"job_id":1,"status":"queued"}"#;
    for (media, body) in [
        (JSON, one.to_owned()),
        (JSON, format!("[{one}]")),
        (LINES, format!("\n{one}\r\n\n")),
        (("content-type", "application/jsonlines"), one.to_owned()),
        (("content-type", "application/json; charset=utf-8"), one.to_owned()),
    ] {
        assert_eq!(server.post("", media, body).await.json(200)["accepted"], 1);
    }
    assert_eq!(server.get("/v1/jobs/1").await.json(200)["seq"], 5);
}

#[tokio::test]
async fn packed_bodies_are_taken_with_all_their_members() {
    let server = Server::new();
    let gzip = |text: String| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zipped = [gzip(lines(10)), gzip(lines(20))].concat();
    for (encoding, body) in
        [("gzip", zipped), ("zstd", zstd::encode_all(lines(30).as_bytes(), 0).unwrap())]
    {
        let headers = [LINES, ("content-encoding", encoding)];
        let answer = server.call(Method::POST, "/v1/updates", &headers, body).await;
        assert_eq!(answer.json(200)["accepted"], 30, "{encoding}");
    }
    let headers = [LINES, ("content-encoding", "br")];
    let answer = server.call(Method::POST, "/v1/updates", &headers, "x").await;
    assert_eq!(answer.problem(415, "unsupported_media_type")["outcome"], "not_applied");
}

#[tokio::test]
async fn an_atomic_request_is_kept_or_dropped_whole() {
    let server = Server::new();
    let body = format!("{}{{\"job_id\":\"nobody\"}}\n", lines(1));
    let problem = server.post("?atomic=true", LINES, body).await.problem(422, "all_rejected");
    assert_eq!((&problem["rejected"], &problem["accepted"]), (&json!(2), &json!(0)));
    let codes: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|error| &error["code"]).collect();
    assert_eq!(codes, ["atomic_neighbour", "unknown_job"]);
    server.get("/v1/jobs/job-0").await.problem(404, "unknown_job");
    assert_eq!(server.post("?atomic=true", LINES, lines(2)).await.json(200)["accepted"], 2);
}

#[tokio::test]
async fn what_the_writer_must_decide_cannot_be_queued() {
    let server = Server::new();
    let demanding = r#"{"job_id":"a","status":"processing","if_status":"queued"}"#;
    for (query, body) in [("?ack=queued", demanding), ("?ack=queued&atomic=true", "[{}]")] {
        let problem = server.post(query, JSON, body).await.problem(400, "ack_must_be_durable");
        assert_eq!(problem["outcome"], "not_applied");
    }
}

#[tokio::test]
async fn a_retry_with_the_same_key_gets_the_first_answer() {
    let server = Server::new();
    for (query, status) in [("?ack=durable", 200), ("?ack=queued", 202)] {
        let uri = format!("/v1/updates{query}");
        let post = async |body: String| {
            let headers = [LINES, ("idempotency-key", query)];
            server.call(Method::POST, &uri, &headers, body).await
        };
        let first = post(lines(3)).await;
        first.json(status);
        assert_eq!(first.header("idempotent-replayed"), "");
        let second = post(lines(3)).await;
        second.json(status);
        assert_eq!((second.header("idempotent-replayed"), &second.text), ("true", &first.text));
        let other = post(lines(4)).await.problem(422, "idempotency_key_reused");
        assert_eq!(other["outcome"], "not_applied");
    }
    let counts = server.get("/v1/counts?fresh=true").await.json(200);
    assert_eq!(counts["as_of_seq"], 6);
}

#[tokio::test]
async fn a_rejected_call_is_replayed_too() {
    let server = Server::new();
    let headers = [JSON, ("idempotency-key", "k")];
    let post = async || {
        let body = r#"{"job_id":"nobody"}"#;
        server.call(Method::POST, "/v1/updates", &headers, body).await
    };
    let first = post().await;
    first.problem(422, "all_rejected");
    let second = post().await;
    assert_eq!((&second.text, second.header("idempotent-replayed")), (&first.text, "true"));
}

#[tokio::test]
async fn the_statistics_have_the_documented_names() {
    let server = Server::new();
    server.post("", LINES, lines(100)).await.json(200);
    server.post("", LINES, "x\n").await.problem(422, "all_rejected");
    let stats = server.get("/v1/stats").await.json(200);
    assert_eq!(stats["updates"]["accepted"], 100);
    assert_eq!(stats["updates"]["rejected"], 1);
    assert_eq!(stats["batches"]["committed"], 1);
    assert_eq!(stats["batches"]["closed_by"]["waiter"], 1);
    assert_eq!(stats["batches"]["saved_percent"], 99.0);
    assert_eq!(stats["http"]["requests"], 3);
    assert_eq!(stats["http"]["in_flight"], 1);
    assert_eq!(stats["http"]["responses"], json!({"2xx": 1, "3xx": 0, "4xx": 1, "5xx": 0}));
    assert_eq!(stats["http"]["connections"]["max"], 1024);
    assert_eq!(stats["process"]["version"], env!("CARGO_PKG_VERSION"));
    for name in ["updates", "batches", "commit_ms", "queue", "tail", "fold", "files", "http"] {
        assert!(stats[name].is_object(), "{name}");
    }
}
