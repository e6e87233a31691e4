//! `POST /v1/prune`: what it takes, refuses and says.

use super::*;

impl Server {
    async fn prune(&self, query: &str) -> Answered {
        self.call(Method::POST, &format!("/v1/prune{query}"), &[], "").await
    }
}

/// Ten jobs that wait, ten that have failed.
async fn twenty_jobs() -> Server {
    let server = Server::new();
    server.post("", LINES, lines(10)).await.json(200);
    let failed = lines(10).replace("job-", "ko-").replace("queued", "error");
    server.post("", LINES, failed).await.json(200);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn it_refuses_what_has_no_bound_and_what_it_does_not_know() {
    let server = twenty_jobs().await;
    for query in ["", "?", "?dry_run=true", "?limit=5", "?dry_run=false&limit=5"] {
        let problem = server.prune(query).await.problem(400, "invalid_query");
        assert_eq!(problem["outcome"], "not_applied");
        assert!(problem["detail"].as_str().unwrap().contains("older_than or keep"), "{problem}");
    }
    for query in [
        "?kind=done",
        "?kind=failed&keep=0",
        "?kind=failed&limit=0",
        "?kind=failed&limit=100001",
        "?kind=failed&older_than=30",
        "?kind=failed&updated_before=yesterday",
        "?kind=failed&prefix=ko",
        "?kind=failed&keep=1&keep=2",
    ] {
        let problem = server.prune(query).await.problem(400, "invalid_query");
        assert_eq!(problem["outcome"], "not_applied", "{query}");
    }
    assert_eq!(server.get("/v1/counts").await.json(200)["total"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_counts_then_removes_and_the_feed_tells() {
    let server = twenty_jobs().await;
    let counted = server.prune("?kind=failed&keep=4&dry_run=true").await.json(200);
    let expected = serde_json::json!({
        "dry_run": true, "matched": 6, "removed": 0, "changed": 0, "more": false,
        "updated_before": null, "until_seq": null,
    });
    assert_eq!(counted, expected);
    let pruned = server.prune("?kind=failed&keep=4&limit=5").await.json(200);
    assert_eq!((&pruned["removed"], &pruned["more"]), (&Value::from(5), &Value::from(true)));
    let pruned = server.prune("?kind=failed&keep=4").await.json(200);
    assert_eq!((&pruned["removed"], &pruned["more"]), (&Value::from(1), &Value::from(false)));
    server.get("/v1/jobs/ko-5").await.problem(404, "unknown_job");
    assert_eq!(server.get("/v1/jobs/ko-6").await.json(200)["status"], "error");
    let feed = server.get("/v1/updates?after=20&format=json").await.json(200);
    assert_eq!(feed["updates"].as_array().unwrap().len(), 6, "{feed}");
    assert_eq!(feed["updates"][5]["job_id"], "ko-5");
    let aged = server.prune("?older_than=1d").await.json(200);
    assert_eq!((&aged["matched"], &aged["until_seq"]), (&Value::from(0), &Value::from(0)));
    let aged = server.prune("?pipeline=default&updated_before=2100-01-01T00:00:00Z").await;
    let aged = aged.json(200);
    assert_eq!((&aged["removed"], &aged["more"]), (&Value::from(4), &Value::from(false)));
    assert_eq!(aged["updated_before"], "2100-01-01T00:00:00.000Z");
    assert_eq!(server.get("/v1/counts").await.json(200)["total"], 10, "those that wait stay");
    assert_eq!(server.prune("?status=queued").await.json(200)["removed"], 10);
    assert_eq!(server.get("/v1/check").await.json(200)["clean"], true);
    assert_eq!(server.get("/v1/stats").await.json(200)["retention"]["on"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_refuses_it_and_says_that_nothing_was_done() {
    let server = twenty_jobs().await;
    server.gate.begin_drain();
    let problem = server.prune("?kind=failed").await.problem(503, "draining");
    assert_eq!(problem["outcome"], "not_applied");
    assert_eq!(server.service.counts().0.total(), 20);
}
