//! `PUT` and `GET /v1/jobs/{job_id}`, and the history.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::api::read_update;
use crate::model::{Kind, Kinds, Request as Updates, Status, TimestampMs};
use crate::store::{StoreOptions, memory};

#[tokio::test]
async fn a_job_has_the_documented_shape() {
    let server = Server::new();
    let body = r#"{"status":"error","error":"ocr timed out","at":1764000000123,"attempt":2,
        "pipeline":"pdf","progress":0.4,"message":"page 12","labels":{"source":"scan"}}"#;
    assert_eq!(server.put("/v1/jobs/doc-0001", body).await.json(200)["applied"], 1);
    let answer = server.get("/v1/jobs/doc-0001").await;
    let job = answer.json(200);
    let (text, updated_at) = (&answer.text, job["updated_at"].as_str().unwrap());
    let at = "2025-11-24T16:00:00.123Z";
    let expected = format!(
        "{{\"job_id\":\"doc-0001\",\"pipeline\":\"pdf\",\"status\":\"error\",\"kind\":\"failed\",\
         \"error\":\"ocr timed out\",\"message\":\"page 12\",\"attempt\":2,\"progress\":0.4,\
         \"labels\":{{\"source\":\"scan\"}},\"created_at\":\"{at}\",\"status_at\":\"{at}\",\
         \"seen_at\":\"{at}\",\"started_at\":null,\"finished_at\":\"{at}\",\
         \"updated_at\":\"{updated_at}\",\"seq\":1,\"transitions\":1}}"
    );
    assert_eq!(text, &expected);
    let history = server.get("/v1/jobs/doc-0001/history").await.json(200);
    let transition =
        json!({"seq": 1, "status": "error", "at": at, "attempt": 2, "error": "ocr timed out"});
    assert_eq!(history, json!({"job_id": "doc-0001", "transitions": [transition]}));
}

#[tokio::test]
async fn an_unknown_job_is_404_and_never_pending() {
    let server = Server::new();
    for uri in ["/v1/jobs/nobody", "/v1/jobs/nobody/history"] {
        let problem = server.get(uri).await.problem(404, "unknown_job");
        assert!(problem["detail"].as_str().unwrap().contains("nobody"));
    }
}

#[tokio::test]
async fn ids_in_paths_are_decoded_and_checked() {
    let server = Server::new();
    let body = r#"{"status":"queued"}"#;
    for (path, job_id) in [
        ("a%2Fb%20c", "a/b c"),
        ("caf%C3%A9", "caf\u{e9}"),
        ("100%25", "100%"),
        ("a+b", "a+b"),
        ("history", "history"),
    ] {
        server.put(&format!("/v1/jobs/{path}"), body).await.json(200);
        let job = server.get(&format!("/v1/jobs/{path}")).await.json(200);
        assert_eq!(job["job_id"], job_id);
        let history = server.get(&format!("/v1/jobs/{path}/history")).await.json(200);
        assert_eq!(history["job_id"], job_id);
    }
    let long = "x".repeat(257);
    for path in ["%00", "a%0Ab", "%7F", &long, "%2E%2E", "%FF", "%", "%zz", "a%2", "%2x"] {
        let uri = format!("/v1/jobs/{path}");
        server.get(&uri).await.problem(422, "invalid_job_id");
        server.get(&format!("{uri}/history")).await.problem(422, "invalid_job_id");
        let problem = server.put(&uri, body).await.problem(422, "invalid_job_id");
        assert_eq!(problem["outcome"], "not_applied");
    }
}

#[tokio::test]
async fn a_put_says_what_became_of_its_one_update() {
    let server = Server::new();
    let put = async |body: &str| server.put("/v1/jobs/42", body).await;
    let problem = put(r#"{"progress":0.5}"#).await.problem(404, "unknown_job");
    assert_eq!((&problem["rejected"], &problem["outcome"]), (&json!(1), &json!("not_applied")));
    let at = 1_764_000_000_000_u64;
    put(&format!(r#"{{"job_id":42,"status":"queued","at":{at}}}"#)).await.json(200);
    let stale = put(&format!(r#"{{"status":"processing","at":{}}}"#, at - 1)).await.json(200);
    assert_eq!((&stale["stale"], &stale["applied"]), (&json!(1), &json!(0)));
    let conflict = put(r#"{"status":"processing","if_status":"error"}"#).await;
    let conflict = conflict.problem(409, "status_conflict");
    assert_eq!(conflict["detail"], "if_status is error, the job has queued");
    put(r#"{"status":"processing","if_status":"queued"}"#).await.json(200);
    put(r#"{"job_id":"43","status":"queued"}"#).await.problem(422, "invalid_job_id");
    put(r#"{"status":"a b"}"#).await.problem(422, "invalid_status");
    put(r#"{"stauts":"x"}"#).await.problem(422, "unknown_field");
    for broken in ["", "[]", "{", "5", r#"[{"status":"queued"}]"#] {
        put(broken).await.problem(400, "invalid_body");
    }
    let queued = server.put("/v1/jobs/42?ack=queued", r#"{"progress":0.5}"#).await.json(202);
    assert_eq!((&queued["accepted"], &queued["durable"]), (&json!(1), &json!(false)));
}

#[tokio::test]
async fn a_put_takes_what_curl_sends() {
    let server = Server::new();
    let body = r#"{"status":"queued"}"#;
    let form = ("content-type", "application/x-www-form-urlencoded");
    for headers in [&[][..], &[form], &[JSON]] {
        server.call(Method::PUT, "/v1/jobs/a", headers, body).await.json(200);
    }
    let answer = server.call(Method::PUT, "/v1/jobs/a", &[LINES], body).await;
    answer.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_retried_put_gets_the_first_answer() {
    let server = Server::new();
    let headers = [JSON, ("idempotency-key", "k")];
    let put = async |uri: &str, body: &str| {
        server.call(Method::PUT, uri, &headers, body.to_owned()).await
    };
    let claim = r#"{"status":"processing","if_status":"queued"}"#;
    server.put("/v1/jobs/a", r#"{"status":"queued"}"#).await.json(200);
    let first = put("/v1/jobs/a", claim).await;
    let second = put("/v1/jobs/a", claim).await;
    assert_eq!(second.json(200), first.json(200));
    assert_eq!(second.header("idempotent-replayed"), "true");
    put("/v1/jobs/b", claim).await.problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn an_unchanged_job_is_not_sent_again() {
    let server = Server::new();
    server.put("/v1/jobs/a", r#"{"status":"queued"}"#).await.json(200);
    let get = async |tag: &str| {
        server.call(Method::GET, "/v1/jobs/a", &[("if-none-match", tag)], "").await
    };
    let first = get("\"0\"").await;
    let first = first.header("etag");
    assert!(first.starts_with("\"1-"), "{first}");
    for tag in [first, &format!("W/{first}"), &format!("\"0\", {first}"), "*"] {
        let answer = get(tag).await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::NOT_MODIFIED, ""), "{tag}");
        assert_eq!(answer.header("etag"), first);
    }
    server.put("/v1/jobs/a", r#"{"status":"processing"}"#).await.json(200);
    assert_eq!(get(first).await.json(200)["status"], "processing");
}

#[tokio::test]
async fn a_tag_of_another_store_is_not_known() {
    let (server, other) = (Server::new(), Server::new());
    for server in [&server, &other] {
        server.put("/v1/jobs/a", r#"{"status":"queued"}"#).await.json(200);
    }
    let answer = other.get("/v1/jobs/a").await;
    let headers = [("if-none-match", answer.header("etag"))];
    server.call(Method::GET, "/v1/jobs/a", &headers, "").await.json(200);
}

#[tokio::test]
async fn a_job_whose_kind_was_configured_anew_is_sent_again() {
    let (mut write, read) = memory::open(StoreOptions::default());
    let status = Status::parse("parked").unwrap();
    let update = read_update(br#"{"job_id":"a","status":"parked"}"#).unwrap();
    write.append(&[Updates::new(vec![update])], TimestampMs(1_764_000_000_000)).unwrap();
    let over = |kinds: Kinds| {
        let read = read.clone();
        let store = StoreOptions { kinds, ..StoreOptions::default() };
        let options = ServiceOptions { store, ..ServiceOptions::default() };
        let open = |options, _| Ok((memory::open(options).0, read));
        let service = Service::start(options, Arc::new(|_| ()), open).unwrap();
        Server::over(service, HttpOptions::default())
    };
    let before = over(Kinds::default()).get("/v1/jobs/a").await;
    assert_eq!(before.json(200)["kind"], "running");
    let headers = [("if-none-match", before.header("etag"))];
    let after = over(Kinds::new([(status, Kind::Waiting)], false));
    let after = after.call(Method::GET, "/v1/jobs/a", &headers, "").await;
    assert_eq!(after.json(200)["kind"], "waiting");
}
