//! `GET /v1/pipelines`, `GET` and `PUT /v1/pipelines/{name}`.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::model::{Clock, ManualClock, TimestampMs};

const NOW: u64 = 1_764_000_000_000;

async fn expect(server: &Server, name: &str, body: &str) -> Answered {
    server.put(&format!("/v1/pipelines/{name}"), body).await
}

#[tokio::test]
async fn a_pipeline_shows_how_far_it_is_and_when_it_will_be_done() {
    let clock = ManualClock::at(TimestampMs(NOW));
    let options = ServiceOptions { clock: Clock::Manual(clock.clone()), ..Default::default() };
    let server = Server::with(options, HttpOptions::default());
    expect(&server, "pdf", r#"{"expected_total":10}"#).await.json(200);
    let body = |job: u32, status: &str| {
        format!(r#"{{"job_id":{job},"status":"{status}","pipeline":"pdf","error":"e{job}"}}"#)
    };
    for (job, status) in [(1, "processing"), (2, "processing"), (3, "error"), (4, "completed")] {
        server.post("", JSON, body(job, status)).await.json(200);
        clock.advance(Duration::from_secs(1));
    }
    // Two have finished, the first of them two seconds ago: one a second, and eight are to come.
    let expected = json!({
        "pipeline": "pdf", "total": 4,
        "by_status": {"completed": 1, "error": 1, "processing": 2},
        "by_kind": {"failed": 1, "running": 2, "succeeded": 1},
        "expected_total": 10, "finished": 2, "percent": 20.0, "finished_seq": null,
        "rate_per_s": 1.0, "estimated_end": "2025-11-24T16:00:12.000Z",
        "oldest_running": {"job_id": "1", "status": "processing", "error": "e1",
                           "updated_at": "2025-11-24T16:00:00.000Z"},
        "last_error": {"job_id": "3", "status": "error", "error": "e3",
                       "updated_at": "2025-11-24T16:00:02.000Z"}
    });
    assert_eq!(server.get("/v1/pipelines/pdf").await.json(200), expected);
    let list = server.get("/v1/pipelines").await.json(200);
    assert_eq!(list, json!({"pipelines": [expected], "next": null, "as_of_seq": 5}));
}

#[tokio::test]
async fn the_update_that_finishes_a_pipeline_says_so_once() {
    let server = Server::new();
    expect(&server, "pdf", r#"{"expected_total":2}"#).await.json(200);
    for (job, status) in [(1, "done"), (2, "error"), (2, "queued"), (2, "done"), (3, "done")] {
        let body = format!(r#"{{"job_id":{job},"status":"{status}","pipeline":"pdf"}}"#);
        server.post("", JSON, body).await.json(200);
    }
    let feed = server.get("/v1/updates?after=0").await.json(200);
    let updates = feed["updates"].as_array().unwrap();
    let finishing: Vec<&Value> =
        updates.iter().filter(|it| it["pipeline_finished"] == true).map(|it| &it["seq"]).collect();
    assert_eq!(finishing, [3]);
    assert_eq!(updates[0]["expected_total"], 2);
    let pipeline = server.get("/v1/pipelines/pdf").await.json(200);
    assert_eq!((&pipeline["finished_seq"], &pipeline["percent"]), (&json!(3), &json!(100.0)));
    assert_eq!(pipeline["estimated_end"], json!(null));
}

#[tokio::test]
async fn expected_totals_are_checked_and_cleared() {
    let server = Server::new();
    for bad in [r#"{"expected_total":0}"#, r#"{"expected_total":1000000000001}"#] {
        let problem = expect(&server, "p", bad).await.problem(422, "invalid_expected_total");
        assert_eq!(problem["outcome"], "not_applied");
    }
    let half = r#"{"expected_total":0.5}"#;
    for bad in
        ["", "5", "[5]", "null", "[]", "{}", r#"{"expected":5}"#, r#"{"expected_total":-1}"#, half]
    {
        expect(&server, "p", bad).await.problem(400, "invalid_body");
    }
    for name in ["%00", "..", &"x".repeat(65)] {
        let name = name.replace("..", "%2E%2E");
        let answer = expect(&server, &name, r#"{"expected_total":1}"#).await;
        answer.problem(422, "invalid_pipeline");
    }
    server.get("/v1/pipelines/p").await.problem(404, "unknown_pipeline");
    expect(&server, "p", r#"{"expected_total":5.0}"#).await.json(200);
    let pipeline = server.get("/v1/pipelines/p").await.json(200);
    assert_eq!((&pipeline["total"], &pipeline["percent"]), (&json!(0), &json!(0.0)));
    assert_eq!(pipeline["rate_per_s"], json!(null));
    expect(&server, "p", r#"{"expected_total":null}"#).await.json(200);
    server.get("/v1/pipelines/p").await.problem(404, "unknown_pipeline");
}

#[tokio::test]
async fn pipelines_come_in_pages_by_name() {
    let server = Server::new();
    let lines: String = (0..25)
        .map(|i| format!("{{\"job_id\":{i},\"status\":\"queued\",\"pipeline\":\"p{i:02}\"}}\n"))
        .collect();
    server.post("", LINES, lines).await.json(200);
    expect(&server, "p005", r#"{"expected_total":5}"#).await.json(200);
    let (mut names, mut uri) = (Vec::new(), "/v1/pipelines?limit=10".to_owned());
    loop {
        let page = server.get(&uri).await.json(200);
        let pipelines = page["pipelines"].as_array().unwrap().iter();
        names.extend(pipelines.map(|it| it["pipeline"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        uri = format!("/v1/pipelines?limit=10&after={next}");
    }
    let mut expected: Vec<String> = (0..25).map(|i| format!("p{i:02}")).collect();
    expected.insert(1, "p005".to_owned());
    assert_eq!(names, expected);
}
