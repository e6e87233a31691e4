//! What a client meets while the server opens, is full, stops, or fails.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::model::{Clock, Counts, ManualClock, Page, PageQuery, Request as Updates, TimestampMs};
use crate::model::{Expectations, FeedPage, JobId, JobRecord, Lookup, Timeline, TimelineQuery};
use crate::store::{
    AppendError, Appended, CheckReport, KeptAnswer, ReadStore, ReopenError, Reopened, StoreError,
    StoreStats, Upkeep, WriteStore, memory,
};

const UPDATE: &str = r#"{"job_id":"a","status":"queued"}"#;

#[tokio::test]
async fn a_closed_gate_says_that_it_opens() {
    let gate = Gate::new(HttpOptions::default());
    gate.set_percent(42);
    let call = async |method, uri| call(&gate, method, uri, &[JSON], Body::from(UPDATE)).await;
    for (method, uri) in [
        (Method::POST, "/v1/updates"),
        (Method::PUT, "/v1/jobs/a"),
        (Method::GET, "/v1/jobs/a"),
        (Method::GET, "/v1/jobs"),
        (Method::GET, "/v1/counts"),
        (Method::POST, "/v1/flush"),
        (Method::GET, "/v1/stats"),
        (Method::GET, "/v1/check"),
        (Method::GET, "/v1/backup"),
        (Method::GET, "/readyz"),
    ] {
        let answer = call(method.clone(), uri).await;
        let problem = answer.problem(503, "opening");
        assert_eq!((&problem["percent"], &problem["retryable"]), (&json!(42), &json!(true)));
        assert_eq!(answer.header("retry-after"), "1");
        let outcome = (method != Method::GET).then(|| json!("not_applied"));
        assert_eq!(problem.get("outcome"), outcome.as_ref(), "{method} {uri}");
    }
    assert_eq!(call(Method::GET, "/livez").await.json(200), json!({"status": "alive"}));
    gate.open(Service::in_memory(ServiceOptions::default()).unwrap());
    assert_eq!(call(Method::GET, "/readyz").await.json(200), json!({"status": "ready"}));
    call(Method::POST, "/v1/updates").await.json(200);
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let options = ServiceOptions {
        clock: Clock::Manual(ManualClock::at(TimestampMs(1_764_000_000_000))),
        batch_size: 10,
        batch_updates_max: 10,
        queue_updates_max: 10,
        ..ServiceOptions::default()
    };
    let server = Server::with(options, HttpOptions::default());
    server.post("?ack=queued", LINES, lines(9)).await.json(202);
    let answer = server.post("?ack=queued", LINES, lines(2)).await;
    let problem = answer.problem(429, "queue_full");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&json!("not_applied"), &json!(true)));
    assert_eq!(server.get("/v1/stats").await.json(200)["queue"]["full"], 1);
    server.call(Method::POST, "/v1/flush", &[], "").await.json(200);
    server.post("?ack=queued", LINES, lines(2)).await.json(202);
}

#[tokio::test]
async fn a_stopping_server_refuses_writes_and_answers_reads() {
    let server = Server::new();
    server.put("/v1/jobs/a", r#"{"status":"queued"}"#).await.json(200);
    let refuses = async || {
        for (answer, outcome) in [
            (server.post("", JSON, UPDATE).await, json!("not_applied")),
            (server.put("/v1/jobs/a", r#"{"status":"queued"}"#).await, json!("not_applied")),
            (server.get("/readyz").await, json!(null)),
        ] {
            let problem = answer.problem(503, "draining");
            assert_eq!((&problem["outcome"], &problem["retryable"]), (&outcome, &json!(true)));
            assert_eq!(answer.header("retry-after"), "1");
        }
        server.get("/v1/jobs/a").await.json(200);
        server.get("/livez").await.json(200);
    };
    server.gate.begin_drain();
    refuses().await;
    server.service.drain().await.unwrap();
    refuses().await;
}

/// The control: without a word of when, what may be sent again is no problem as it should be.
#[tokio::test]
#[should_panic(expected = "no retry-after")]
async fn a_problem_that_passes_and_does_not_say_when_is_found_out() {
    let server = Server::new();
    server.gate.begin_drain();
    let mut answer = server.post("", JSON, UPDATE).await;
    assert_eq!(answer.headers.remove("retry-after").unwrap(), "1");
    answer.problem(503, "draining");
}

#[tokio::test]
async fn a_drained_service_refuses_writes_by_itself() {
    let server = Server::new();
    server.service.drain().await.unwrap();
    server.post("", JSON, UPDATE).await.problem(503, "draining");
    server.get("/readyz").await.problem(503, "draining");
    server.call(Method::POST, "/v1/flush", &[], "").await.problem(503, "draining");
}

/// A store that cannot write, and whose job `bad` is corrupt.
#[derive(Debug)]
struct Broken(Arc<dyn ReadStore>);

fn broken() -> StoreError {
    StoreError::Failed("secret cause".to_owned())
}

impl WriteStore for Broken {
    fn append(&mut self, _: &[Updates], _: TimestampMs) -> Result<Appended, AppendError> {
        Err(AppendError::Unknown(broken()))
    }

    fn maintain(&mut self, _: Duration) -> Result<Upkeep, StoreError> {
        Ok(Upkeep::default())
    }

    fn reopen(&mut self) -> Result<Reopened, ReopenError> {
        Err(ReopenError { source: broken(), may_restart_help: true })
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Err(broken())
    }
}

impl ReadStore for Broken {
    fn get(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        let (key, what) = (job_id.to_string(), "secret cause".to_owned());
        match job_id.as_str() {
            "panics" => panic!("a read that panics"),
            "bad" => Err(StoreError::CorruptRecord { table: "jobs", key, what }),
            _ => Err(broken()),
        }
    }

    fn page(&self, _: &PageQuery) -> Result<Page, StoreError> {
        Err(broken())
    }

    fn counts(&self) -> (Arc<Counts>, u64) {
        self.0.counts()
    }

    fn lookup(&self, _: &[JobId]) -> Result<Lookup, StoreError> {
        Err(broken())
    }

    fn expectations(&self) -> Arc<Expectations> {
        Arc::default()
    }

    fn updated_at(&self) -> TimestampMs {
        TimestampMs::default()
    }

    fn timeline(&self, _: &TimelineQuery) -> Result<Timeline, StoreError> {
        Err(broken())
    }

    fn feed(&self, _: u64, _: usize) -> Result<FeedPage, StoreError> {
        Err(broken())
    }

    fn kept_answer(&self, key: &str, _: TimestampMs) -> Result<Option<KeptAnswer>, StoreError> {
        assert_ne!(key, "panics", "a write that panics");
        Err(broken())
    }

    fn check(&self) -> Result<CheckReport, StoreError> {
        panic!("a check that panics")
    }

    fn stats(&self) -> StoreStats {
        self.0.stats()
    }

    fn store_id(&self) -> &str {
        self.0.store_id()
    }
}

pub(super) fn over_a_broken_store() -> Server {
    let service = Service::start(ServiceOptions::default(), Arc::new(|_| ()), |options, _| {
        let (_, read) = memory::open(options);
        Ok((Box::new(Broken(read.clone())), Arc::new(Broken(read))))
    });
    Server::over(service.unwrap(), HttpOptions::default())
}

#[tokio::test]
async fn a_failed_commit_is_unknown_and_later_ones_are_not_applied() {
    let server = over_a_broken_store();
    let first = server.post("", JSON, UPDATE).await;
    let problem = first.problem(503, "storage_failed");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&json!("unknown"), &json!(true)));
    assert!(!first.text.contains("secret"), "{}", first.text);
    let later = server.post("", JSON, UPDATE).await.problem(503, "storage_failed");
    assert_eq!(later["outcome"], "not_applied");
    let problem = server.get("/readyz").await.problem(503, "storage_failed");
    assert!(problem.get("outcome").is_none());
    server.get("/livez").await.json(200);
    assert_eq!(server.get("/v1/counts").await.json(200)["total"], 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_never_404_and_shows_nothing_inside() {
    let server = over_a_broken_store();
    for (uri, status, code) in [
        ("/v1/jobs/bad", 500, "corrupt_record"),
        ("/v1/jobs/a", 503, "storage_failed"),
        ("/v1/jobs/a/history", 503, "storage_failed"),
        ("/v1/jobs", 503, "storage_failed"),
    ] {
        let answer = server.get(uri).await;
        let problem = answer.problem(status, code);
        assert!(problem.get("outcome").is_none(), "{uri}");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
    let headers = [JSON, ("idempotency-key", "k")];
    let answer = server.call(Method::POST, "/v1/updates", &headers, UPDATE).await;
    assert_eq!(answer.problem(503, "storage_failed")["outcome"], "not_applied");
}

/// A query, be it empty, takes a call through the router.
#[tokio::test]
async fn a_panic_past_the_router_is_answered_as_one_behind_it() {
    let server = over_a_broken_store();
    let headers = [JSON, ("idempotency-key", "panics")];
    for path in ["/v1/jobs/panics", "/v1/jobs/panics?"] {
        server.get(path).await.problem(500, "internal");
        let body = r#"{"status":"queued"}"#;
        let written = server.call(Method::PUT, path, &headers, body).await;
        assert_eq!(written.problem(500, "internal")["outcome"], "unknown");
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_gives_its_check_back() {
    let server = over_a_broken_store();
    for _ in 0..2 {
        let answer = server.get("/v1/check").await;
        answer.problem(500, "internal");
        assert!(!answer.text.contains("panics"), "{}", answer.text);
    }
    let stats = server.get("/v1/stats").await.json(200);
    assert_eq!(stats["http"]["responses"]["5xx"], 2);
}

#[tokio::test]
async fn a_panicking_write_leaves_its_outcome_unknown() {
    let response = super::super::problem::write_panicked(Box::new("inside"));
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&problem["code"], &problem["outcome"]), (&json!("internal"), &json!("unknown")));
}
