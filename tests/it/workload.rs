//! The workload that this program is for: thousands of single status calls become few transactions.

use serde_json::Value;

use crate::http::Http;
use crate::server::{Server, Site, eventually};
use crate::walk::walk;

const JOBS: usize = 3_957;
const UPDATES: usize = 12_000;
const CLIENTS: usize = 8;
/// A period that no test outlives: the interval closes no batch.
const NEVER: [&str; 2] = ["--flush-interval", "1h"];

#[test]
fn twelve_thousand_single_calls_become_at_most_240_transactions() {
    let site = Site::new(&NEVER);
    let server = site.start();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let url = &server.url;
            scope.spawn(move || report(&Http::new(url), client));
        }
    });
    server.http.post("/v1/flush", "").ok();

    let stats = server.http.get("/v1/stats").ok();
    assert_eq!(stats["updates"]["accepted"], UPDATES);
    assert_eq!(stats["updates"]["applied"], UPDATES);
    assert_eq!(stats["updates"]["queued_now"], 0);
    let committed = stats["batches"]["committed"].as_u64().unwrap();
    assert!((1..=240).contains(&committed), "{committed} transactions");
    let saved_percent = stats["batches"]["saved_percent"].as_f64().unwrap();
    assert!((98.0..=100.0).contains(&saved_percent), "{saved_percent} % saved");

    assert!(!site.log().contains("Connection pool pressure"), "{}", site.log());
    assert!(site.log().contains("Batch updated"), "{}", site.log());
    server.kill();
    let server = site.start();
    let jobs = walk(&server.http, 1_000);
    assert_eq!(jobs.len(), JOBS);
    for (job_id, job) in jobs {
        let index: usize = job_id.trim_start_matches("doc-").parse().unwrap();
        let last = statuses(index).last().unwrap();
        assert_eq!(job["status"], *last, "{job}");
    }
}

/// The statuses that job `index` reports, in order: three, and a fourth for the first few, so that
/// all jobs together report [`UPDATES`].
fn statuses(index: usize) -> impl Iterator<Item = &'static str> {
    const EXTRA: usize = UPDATES - 3 * JOBS;
    let words = ["queued", "processing", "completed", "archived"];
    words.into_iter().take(if index < EXTRA { 4 } else { 3 })
}

/// What one of the clients does: each update of its jobs in a call of its own.
fn report(http: &Http, client: usize) {
    for index in (client..JOBS).step_by(CLIENTS) {
        for status in statuses(index) {
            let body = format!(r#"{{"status":"{status}"}}"#);
            let reply = http.put(&format!("doc-{index}"), "?ack=queued", &body).unwrap();
            assert_eq!(reply.status, 202, "{}", reply.text);
        }
    }
}

#[test]
fn twenty_five_queued_updates_become_one_transaction_at_a_flush() {
    let site = Site::new(&NEVER);
    let server = site.start();
    for index in 0..25 {
        queue(&server, index);
    }
    assert_eq!(server.http.get("/v1/counts").ok()["total"], 0, "nothing is durable yet");
    assert_eq!(server.http.post("/v1/flush", "").ok()["durable_seq"], 25);
    let batches = &server.http.get("/v1/stats").ok()["batches"];
    assert_eq!((&batches["committed"], &batches["closed_by"]["flush"]), (&1.into(), &1.into()));
    assert_eq!(server.http.get("/v1/counts").ok()["total"], 25);
}

#[test]
fn a_lone_queued_update_becomes_durable_by_itself() {
    let site = Site::new(&[]);
    let server = site.start();
    queue(&server, 0);
    eventually("the update is durable", || {
        (server.http.get("/v1/counts").ok()["total"] == 1).then_some(())
    });
    let batches = &server.http.get("/v1/stats").ok()["batches"];
    assert_eq!(batches["closed_by"]["interval"], 1);
}

fn queue(server: &Server, index: usize) {
    let body = r#"{"status":"queued"}"#;
    let reply = server.http.put(&format!("doc-{index}"), "?ack=queued", body).unwrap();
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(reply.json()["durable"], Value::Bool(false));
}
