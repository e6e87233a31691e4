//! Every kind of bad input, as a client meets it.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_body_that_is_broken_as_a_whole_is_invalid() {
    let server = Server::new();
    for (media, body) in [
        (JSON, &b""[..]),
        (LINES, b"\n\n"),
        (JSON, b"[]"),
        (JSON, b"{\"job_id\":"),
        (JSON, b"[{\"job_id\":\"a\"}"),
        (JSON, b"nonsense"),
        (JSON, b"[{\"job_id\":\"\xff\"}]"),
    ] {
        let answer = server.post("", media, body.to_vec()).await;
        let problem = answer.problem(400, "invalid_body");
        assert_eq!(
            (&problem["outcome"], &problem["retryable"]),
            (&json!("not_applied"), &json!(false))
        );
    }
}

#[tokio::test]
async fn a_bad_line_leaves_its_neighbours() {
    let server = Server::new();
    let good = lines(3);
    let body =
        format!("{good}{{\"job_id\":\"a\",\"status\":\n\n{{\"job_id\":\"z\",\"status\":\"x\"}}");
    let answer = server.post("", LINES, body).await.json(200);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(4), &json!(1)));
    assert_eq!(
        (&answer["errors"][0]["index"], &answer["errors"][0]["code"]),
        (&json!(3), &json!("invalid_update"))
    );
}

#[tokio::test]
async fn each_bad_update_is_refused_by_code_and_counted() {
    let server = Server::new();
    let long = format!(r#"{{"job_id":"{}","status":"x"}}"#, "x".repeat(257));
    let cases = [
        (r#"{"job_id":"a","stauts":"x"}"#, "unknown_field"),
        (r#"{"job_id":"","status":"x"}"#, "invalid_job_id"),
        (&long, "invalid_job_id"),
        (r#"{"job_id":"a\u0007","status":"x"}"#, "invalid_job_id"),
        (r#"{"status":"x"}"#, "invalid_job_id"),
        (r#"{"job_id":"a","status":"in progress"}"#, "invalid_status"),
        (r#"{"job_id":"a","status":"x","at":"1969-12-31T23:59:59Z"}"#, "invalid_time"),
        (r#"{"job_id":"a","status":"x","at":-1}"#, "invalid_time"),
        (r#"{"job_id":"a","status":"x","at":1764000000}"#, "invalid_time"),
        (r#"{"job_id":"a","status":"x","at":"2200-01-01T00:00:00Z"}"#, "invalid_time"),
        (r#"{"job_id":"a","status":"x","attempt":-1}"#, "invalid_attempt"),
        (r#"{"job_id":"a","status":"x","progress":2}"#, "invalid_progress"),
        (r#"{"job_id":"a","status":"x","labels":{"n":1}}"#, "invalid_labels"),
        (r#"{"job_id":"a","status":"x","pipeline":""}"#, "invalid_pipeline"),
        (r#"{"job_id":"nobody"}"#, "unknown_job"),
        (r#"{"job_id":"a","status":"x","if_status":"y"}"#, "status_conflict"),
    ];
    for (body, code) in cases {
        let problem = server.post("", JSON, body.to_owned()).await.problem(422, "all_rejected");
        assert_eq!(problem["outcome"], "not_applied");
        let counters = ["accepted", "applied", "stale", "merged", "rejected"];
        assert_eq!(counters.map(|name| problem[name].as_u64().unwrap()), [0, 0, 0, 0, 1]);
        assert_eq!(problem["errors"][0]["code"], code, "{body}");
        assert!(!problem["errors"][0]["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(server.get("/v1/counts").await.json(200)["total"], 0);
}

#[tokio::test]
async fn long_error_texts_are_cut_and_too_long_bodies_are_refused() {
    let server = Server::new();
    let body = |length: usize| {
        format!(r#"{{"job_id":"a","status":"error","error":"{}"}}"#, "x".repeat(length))
    };
    let problem = server.post("", JSON, body(10 << 20)).await.problem(413, "body_too_large");
    assert_eq!(problem["outcome"], "not_applied");
    server.post("", JSON, body(7 << 20)).await.json(200);
    let job = server.get("/v1/jobs/a").await.json(200);
    let error = job["error"].as_str().unwrap();
    assert_eq!(error.len(), 8192);
    assert!(error.ends_with(" [cut, 7340032 bytes]"));
}

#[tokio::test]
async fn more_updates_than_one_batch_may_hold_are_refused() {
    let server = Server::new();
    let problem = server.post("", LINES, lines(10_001)).await.problem(413, "request_too_large");
    assert_eq!(problem["outcome"], "not_applied");
    assert_eq!(server.post("", LINES, lines(10_000)).await.json(200)["accepted"], 10_000);
}

#[tokio::test]
async fn at_most_100_errors_are_listed() {
    let server = Server::new();
    let answer = server.post("", LINES, format!("{}{}", "x\n".repeat(150), lines(1))).await;
    let answer = answer.json(200);
    assert_eq!((&answer["rejected"], &answer["errors_truncated"]), (&json!(150), &json!(true)));
    assert_eq!(answer["errors"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn a_form_is_refused_with_the_header_to_add() {
    let server = Server::new();
    let body = r#"{"job_id":"a","status":"x"}"#;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let problem = server.post("", form, body).await.problem(415, "unsupported_media_type");
    assert!(problem["detail"].as_str().unwrap().contains("content-type: application/json"));
    server
        .call(Method::POST, "/v1/updates", &[], body)
        .await
        .problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn queries_are_read_strictly() {
    let server = Server::new();
    for (uri, part) in [
        ("/v1/jobs?limt=5", "limt"),
        ("/v1/jobs?limit=0", "limit"),
        ("/v1/jobs?limit=1001", "1000"),
        ("/v1/jobs?limit=ten", "ten"),
        ("/v1/jobs?status=a%20b", "a b"),
        ("/v1/jobs?status=", "status"),
        ("/v1/jobs?pipeline=", "pipeline"),
        ("/v1/jobs?order=latest", "latest"),
        ("/v1/jobs?kind=done", "waiting, running"),
        ("/v1/jobs?updated_after=1764000000", "updated_after is 1764000000, which looks like sec"),
        ("/v1/jobs?updated_before=yesterday", "updated_before is \"yesterday\""),
        ("/v1/jobs?stalled_for=10", "with a unit"),
        ("/v1/jobs?stalled_for=-1s", "with a unit"),
        ("/v1/jobs?format=xml", "json, ndjson, csv"),
        ("/v1/timeline?step=90s", "whole minutes"),
        ("/v1/timeline?from=2025-11-24T00:00:00Z&to=2025-11-23T00:00:00Z", "not before"),
        ("/v1/pipelines?limit=0", "limit"),
        ("/v1/pipelines?after=", "pipeline is empty"),
        ("/v1/updates?after=-1", "after is"),
        ("/v1/updates?wait=1h", "wait"),
        ("/v1/updates?wait=1s&format=sse", "wait is for"),
        ("/v1/updates?format=csv", "json, ndjson, sse"),
        ("/v1/updates?job=", "job id is empty"),
        ("/v1/jobs?limit=1&limit=2", "twice"),
        ("/v1/counts?fresh=maybe", "maybe"),
        ("/v1/jobs/a?x=1", "x"),
        ("/v1/check?x=1", "x"),
    ] {
        let problem = server.get(uri).await.problem(400, "invalid_query");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{uri}: {problem}");
        assert!(problem.get("outcome").is_none(), "{uri}");
    }
    for query in ["?ack=maybe", "?atomic=1", "?fresh=true", "?ack=queued&ack=queued"] {
        let problem = server.post(query, JSON, "{}").await.problem(400, "invalid_query");
        assert_eq!(problem["outcome"], "not_applied", "{query}");
    }
    let problem = server.put("/v1/jobs/a?atomic=true", "{}").await.problem(400, "invalid_query");
    assert_eq!(problem["detail"], r#"unknown parameter "atomic""#);
}

#[tokio::test]
async fn idempotency_keys_are_checked() {
    let server = Server::new();
    for key in ["", &"k".repeat(256), "a\tb"] {
        let headers = [JSON, ("idempotency-key", key)];
        let body = r#"{"job_id":"a","status":"x"}"#;
        let answer = server.call(Method::POST, "/v1/updates", &headers, body).await;
        assert_eq!(answer.problem(400, "invalid_idempotency_key")["outcome"], "not_applied");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = Server::new();
    for uri in ["/", "/v1", "/v1/jobs/", "/v1/jobs/a/b", "/v2/jobs"] {
        server.get(uri).await.problem(404, "not_found");
    }
    let answer = server.call(Method::PATCH, "/v1/jobs/a", &[], "").await;
    assert_eq!(answer.problem(405, "method_not_allowed")["outcome"], "not_applied");
    let allowed: Vec<_> = answer.header("allow").split(',').collect();
    assert!(allowed.contains(&"GET") && allowed.contains(&"PUT"), "{allowed:?}");
    let answer = server.get("/v1/flush").await;
    assert!(answer.problem(405, "method_not_allowed").get("outcome").is_none());
    assert_eq!(answer.header("allow"), "POST");
}

#[tokio::test]
async fn a_write_to_no_path_says_what_became_of_it_and_how_ids_are_written() {
    let server = Server::new();
    for uri in ["/v1/jobs/a/b", "/v1/jobs/"] {
        let problem = server.put(uri, "{}").await.problem(404, "not_found");
        assert_eq!(problem["outcome"], "not_applied");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("%2F") && detail.contains("not empty"), "{detail}");
        let read = server.get(uri).await.problem(404, "not_found");
        assert!(read.get("outcome").is_none() && read["detail"] == detail);
    }
    let problem = server.put("/jobs/a", "{}").await.problem(404, "not_found");
    assert_eq!(problem["outcome"], "not_applied");
}
