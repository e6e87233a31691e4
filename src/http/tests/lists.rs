//! `GET /v1/jobs`, `GET /v1/counts` and `GET /v1/check`.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

/// A server with `count` jobs: each third is in error, each second in the pipeline `pdf`.
async fn filled(count: usize) -> Server {
    let server = Server::new();
    let body: String = (0..count)
        .map(|i| {
            let status = if i % 3 == 0 { "error" } else { "queued" };
            let pipeline = if i % 2 == 0 { "pdf" } else { "mail" };
            json!({"job_id": format!("job-{i}"), "status": status, "pipeline": pipeline})
                .to_string()
                + "\n"
        })
        .collect();
    server.post("", LINES, body).await.json(200);
    server
}

/// The ids of a walk in pages of `limit`.
async fn walk(server: &Server, filters: &str, limit: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut uri = format!("/v1/jobs?limit={limit}{filters}");
    loop {
        let page = server.get(&uri).await.json(200);
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.len() <= limit);
        ids.extend(jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            None => return ids,
            Some(next) => uri = format!("/v1/jobs?limit={limit}{filters}&cursor={next}"),
        }
    }
}

#[tokio::test]
async fn a_walk_shows_each_job_once_newest_first() {
    let server = filled(100).await;
    let newest_first: Vec<_> = (0..100).rev().map(|i| format!("job-{i}")).collect();
    assert_eq!(walk(&server, "", 7).await, newest_first);
    assert_eq!(walk(&server, "&order=newest", 1000).await, newest_first);
    let page = server.get("/v1/jobs").await.json(200);
    assert_eq!((&page["as_of_seq"], &page["next"]), (&json!(100), &json!(null)));
}

#[tokio::test]
async fn filters_choose_by_status_and_pipeline() {
    let server = filled(100).await;
    assert_eq!(walk(&server, "&status=error", 10).await.len(), 34);
    assert_eq!(walk(&server, "&status=error,queued", 10).await.len(), 100);
    assert_eq!(walk(&server, "&status=error&status=QUEUED", 10).await.len(), 100);
    assert_eq!(walk(&server, "&status=error&pipeline=pdf", 10).await.len(), 17);
    assert_eq!(walk(&server, "&status=nothing", 10).await.len(), 0);
    let ids: BTreeSet<_> = walk(&server, "&pipeline=mail", 9).await.into_iter().collect();
    assert_eq!(ids.len(), 50);
}

#[tokio::test]
async fn a_status_filter_has_at_most_256_words() {
    let server = filled(3).await;
    let uri = |count: usize| format!("/v1/jobs?status=error{}", ",queued".repeat(count - 1));
    let page = server.get(&uri(256)).await.json(200);
    assert_eq!(page["jobs"].as_array().unwrap().len(), 3);
    let problem = server.get(&uri(257)).await.problem(400, "invalid_query");
    assert_eq!(problem["detail"], "status has 257 words, the most is 256");
    let twice = format!("{}&status=error", uri(256));
    server.get(&twice).await.problem(400, "invalid_query");
}

#[tokio::test]
async fn the_default_page_is_200_jobs() {
    let server = filled(201).await;
    let page = server.get("/v1/jobs").await.json(200);
    assert_eq!(page["jobs"].as_array().unwrap().len(), 200);
}

#[tokio::test]
async fn a_cursor_of_another_walk_is_refused() {
    let server = filled(10).await;
    let page = server.get("/v1/jobs?limit=2&status=queued").await.json(200);
    let next = page["next"].as_str().unwrap();
    for uri in [
        format!("/v1/jobs?limit=2&cursor={next}"),
        format!("/v1/jobs?status=error&cursor={next}"),
        format!("/v1/jobs?status=queued&pipeline=pdf&cursor={next}"),
        "/v1/jobs?cursor=".to_owned(),
        "/v1/jobs?cursor=garbage".to_owned(),
    ] {
        server.get(&uri).await.problem(400, "bad_cursor");
    }
    server.get(&format!("/v1/jobs?limit=5&status=queued&cursor={next}")).await.json(200);
}

#[tokio::test]
async fn counts_have_the_documented_shape() {
    let server = filled(6).await;
    let expected = concat!(
        r#"{"total":6,"by_status":{"error":2,"queued":4},"by_kind":{"failed":2,"waiting":4},"#,
        r#""by_pipeline":{"mail":{"total":3,"by_status":{"error":1,"queued":2}},"#,
        r#""pdf":{"total":3,"by_status":{"error":1,"queued":2}}},"as_of_seq":6}"#
    );
    let answer = server.get("/v1/counts").await;
    answer.json(200);
    assert_eq!(answer.text, expected);
}

#[tokio::test]
async fn a_check_reports_and_runs_alone() {
    let server = filled(6).await;
    let report = server.get("/v1/check").await.json(200);
    let expected = json!({"clean": true, "jobs": 6, "updates": 6, "last_seq": 6, "problems": []});
    assert_eq!(report, expected);
    let running = server.gate.begin_check().unwrap();
    let answer = server.get("/v1/check").await;
    assert_eq!(answer.problem(429, "check_running")["retryable"], true);
    assert_eq!(answer.header("retry-after"), "1");
    drop(running);
    server.get("/v1/check").await.json(200);
}
