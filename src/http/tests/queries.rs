//! Filters, orders and forms of `GET /v1/jobs`, `POST /v1/lookup`, `GET /v1/timeline`, `DELETE`.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::model::{Clock, ManualClock, TimestampMs};

const NOW: u64 = 1_764_000_000_000;

/// A server whose time stands still, with three jobs that were stored ten minutes apart.
async fn three_jobs() -> (Server, ManualClock) {
    let clock = ManualClock::at(TimestampMs(NOW));
    let options = ServiceOptions { clock: Clock::Manual(clock.clone()), ..Default::default() };
    let server = Server::with(options, HttpOptions::default());
    for (job_id, status) in [("pdf-1", "processing"), ("img-1", "error"), ("pdf-2", "queued")] {
        let body = format!(r#"{{"status":"{status}"}}"#);
        server.put(&format!("/v1/jobs/{job_id}"), &body).await.json(200);
        clock.advance(Duration::from_secs(600));
    }
    (server, clock)
}

async fn ids(server: &Server, query: &str) -> Vec<String> {
    let page = server.get(&format!("/v1/jobs?{query}")).await.json(200);
    let jobs = page["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_filter_and_order_is_understood() {
    let (server, _clock) = three_jobs().await;
    for (query, expected) in [
        ("", &["pdf-2", "img-1", "pdf-1"][..]),
        ("order=oldest", &["pdf-1", "img-1", "pdf-2"]),
        ("order=id", &["img-1", "pdf-1", "pdf-2"]),
        ("prefix=pdf-", &["pdf-1", "pdf-2"]),
        ("prefix=pdf-&order=newest", &["pdf-2", "pdf-1"]),
        ("kind=failed,waiting", &["pdf-2", "img-1"]),
        ("kind=failed&kind=waiting&status=queued", &["pdf-2"]),
        ("updated_after=1764000600000", &["pdf-2", "img-1"]),
        ("updated_after=2025-11-24T16:10:00.001Z", &["pdf-2"]),
        ("updated_before=1764000600000", &["pdf-1"]),
        ("updated_after=2025-11-24T17:10:00%2B01:00&updated_before=1764001200000", &["img-1"]),
        ("stalled_for=10m", &["pdf-2", "pdf-1"]),
        ("stalled_for=11m", &["pdf-1"]),
        ("stalled_for=31m", &[]),
        ("stalled_for=1s&kind=running&pipeline=default&prefix=p&order=oldest", &["pdf-1"]),
    ] {
        assert_eq!(ids(&server, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_walk_of_what_is_stalled_counts_from_its_beginning() {
    let (server, clock) = three_jobs().await;
    let first = server.get("/v1/jobs?stalled_for=15m&order=id&limit=1").await.json(200);
    assert_eq!((&first["jobs"], &first["next"]), (&first["jobs"], &json!(null)));
    let first = server.get("/v1/jobs?stalled_for=5m&order=oldest&limit=1").await.json(200);
    let next = first["next"].as_str().unwrap();
    clock.advance(Duration::from_secs(24 * 3600));
    let rest = ids(&server, &format!("stalled_for=5m&order=oldest&limit=9&cursor={next}")).await;
    assert_eq!(rest, ["pdf-2"]);
    server
        .get(&format!("/v1/jobs?stalled_for=6m&order=oldest&cursor={next}"))
        .await
        .problem(400, "bad_cursor");
}

#[tokio::test]
async fn nothing_is_stalled_since_before_there_was_time() {
    let http = HttpOptions { page_scan_max: 2, ..HttpOptions::default() };
    let directory = tempfile::tempdir().unwrap();
    let mut options = ServiceOptions::default();
    options.store.directory = directory.path().join("data");
    let server = Server::over(Service::open(options, std::sync::Arc::new(|_| ())).unwrap(), http);
    server.post("", LINES, lines(10)).await.json(200);
    let mut uri = "/v1/jobs?stalled_for=25000d&order=id".to_owned();
    loop {
        let page = server.get(&uri).await.json(200);
        assert_eq!(page["jobs"], json!([]));
        let Some(next) = page["next"].as_str() else { break };
        uri = format!("/v1/jobs?stalled_for=25000d&order=id&cursor={next}");
    }
}

#[tokio::test]
async fn pages_come_as_json_lines_and_csv_with_a_link_to_the_next() {
    let (server, _clock) = three_jobs().await;
    let page = server.get("/v1/jobs?limit=2&kind=waiting,running").await;
    assert_eq!((page.header("link"), page.header("as-of-seq")), ("", "3"));
    let page = server.get("/v1/jobs?limit=2").await;
    let next = page.json(200)["next"].as_str().unwrap().to_owned();
    assert_eq!(page.header("link"), format!("<?limit=2&cursor={next}>; rel=\"next\""));

    let lines = server.get("/v1/jobs?limit=2&format=ndjson").await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let ids: Vec<Value> = lines
        .text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["job_id"].clone())
        .collect();
    assert_eq!(ids, ["pdf-2", "img-1"]);
    let link = lines.header("link").trim_start_matches('<').split('>').next().unwrap().to_owned();
    let rest = server.get(&format!("/v1/jobs{link}")).await;
    assert!(rest.text.starts_with(r#"{"job_id":"pdf-1""#), "{}", rest.text);
    assert_eq!(rest.header("link"), "");

    let accept = [("accept", "text/csv")];
    let csv = server.call(Method::GET, "/v1/jobs?limit=2", &accept, "").await;
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(csv.text.starts_with("job_id,pipeline,status,kind,"), "{}", csv.text);
    assert_eq!(csv.text.lines().count(), 3);
    assert!(csv.header("content-type").ends_with("header=present"));
    let rest = server.get(&format!("/v1/jobs?limit=2&format=csv&cursor={next}")).await;
    assert!(rest.header("content-type").ends_with("header=absent"));
    assert!(rest.text.starts_with("pdf-1,default,processing,running,"), "{}", rest.text);
}

#[tokio::test]
async fn a_lookup_gives_found_and_missing_in_the_order_of_the_request() {
    let (server, _clock) = three_jobs().await;
    let lookup =
        async |body: &str| server.call(Method::POST, "/v1/lookup", &[JSON], body.to_owned()).await;
    let answer = lookup(r#"{"job_ids":["img-1",7,"pdf-1","img-1","x"]}"#).await.json(200);
    let found = answer["found"].as_array().unwrap();
    let found: Vec<&Value> = found.iter().map(|job| &job["job_id"]).collect();
    assert_eq!(found, ["img-1", "pdf-1"]);
    assert_eq!((&answer["missing"], &answer["as_of_seq"]), (&json!(["7", "x"]), &json!(3)));
    assert_eq!(lookup(r#"{"job_ids":[]}"#).await.json(200)["found"], json!([]));
    for bad in [
        "",
        "[]",
        r#"[["a"]]"#,
        "{}",
        r#"{"job_ids":"a"}"#,
        r#"{"job_ids":[1.5]}"#,
        r#"{"ids":[]}"#,
    ] {
        let problem = lookup(bad).await.problem(400, "invalid_body");
        assert!(problem.get("outcome").is_none(), "a lookup writes nothing");
    }
    let long = lookup(r#"{"job_ids":[18446744073709551616,-9223372036854775809,4711.0]}"#).await;
    let digits = ["18446744073709551616", "-9223372036854775809", "4711"];
    assert_eq!(long.json(200)["missing"], json!(digits));
    lookup(r#"{"job_ids":["a","b\n"]}"#).await.problem(422, "invalid_job_id");
    let many = |count| json!({ "job_ids": (0..count).collect::<Vec<u32>>() }).to_string();
    assert_eq!(lookup(&many(1000)).await.json(200)["missing"].as_array().unwrap().len(), 1000);
    lookup(&many(1001)).await.problem(413, "request_too_large");
    let form = server.call(Method::POST, "/v1/lookup", &[], r#"{"job_ids":[]}"#).await;
    form.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn the_timeline_has_the_documented_shape() {
    let (server, _clock) = three_jobs().await;
    let uri = "/v1/timeline?from=2025-11-24T16:00:00Z&to=2025-11-24T17:00:00Z&step=30m";
    let expected = json!({
        "from": "2025-11-24T16:00:00.000Z", "to": "2025-11-24T17:00:00.000Z", "step_s": 1800,
        "pipeline": null, "held_from": "2025-11-24T16:00:00.000Z",
        "steps": [
            {"at": "2025-11-24T16:00:00.000Z",
             "updates": {"error": 1, "processing": 1, "queued": 1},
             "net": {"error": 1, "processing": 1, "queued": 1}}
        ],
        "as_of_seq": 3
    });
    assert_eq!(server.get(uri).await.json(200), expected);
    let day = server.get("/v1/timeline").await.json(200);
    assert_eq!((&day["step_s"], day["steps"].as_array().unwrap().len()), (&json!(60), 3));
    let hours = server.get("/v1/timeline?pipeline=default").await.json(200);
    assert_eq!(hours["steps"][0]["updates"]["error"], 1);
    assert_eq!(server.get("/v1/timeline?pipeline=none").await.json(200)["steps"], json!([]));
}

#[tokio::test]
async fn a_removed_job_is_gone_and_a_repeat_hears_the_first_answer() {
    let (server, _clock) = three_jobs().await;
    let key = [("idempotency-key", "k1")];
    let delete = async |headers: &[(&str, &str)]| {
        server.call(Method::DELETE, "/v1/jobs/img-1", headers, "").await
    };
    let first = delete(&key).await;
    assert_eq!(first.json(200)["last_seq"], 4);
    let again = delete(&key).await;
    assert_eq!((again.json(200), again.header("idempotent-replayed")), (first.json(200), "true"));
    let unknown = delete(&[]).await.problem(404, "unknown_job");
    assert_eq!(unknown["outcome"], "not_applied");
    server.get("/v1/jobs/img-1").await.problem(404, "unknown_job");
    assert_eq!(server.get("/v1/counts").await.json(200)["total"], 2);
    let feed = server.get("/v1/updates?after=3").await.json(200);
    assert_eq!(feed["updates"][0]["deleted"], true);
    assert_eq!(feed["updates"][0]["previous"], "error");
    let put = server.call(Method::PUT, "/v1/jobs/img-1", &[JSON, key[0]], "{}").await;
    put.problem(422, "idempotency_key_reused");
    let with_body = server.call(Method::DELETE, "/v1/jobs/img-1", &[], "{}").await;
    with_body.problem(400, "invalid_body");
    let stats = server.get("/v1/stats").await.json(200);
    assert_eq!(
        stats["idempotency"],
        json!({"calls": 3, "replayed": 1, "reused": 1, "hit_percent": 33.3})
    );
}
