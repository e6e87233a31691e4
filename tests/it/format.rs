//! Stores that older builds wrote: every later build opens them, and tells what they told.
//!
//! `data/store-format-N` is a data directory of format N, compressed, as a killed server left it:
//! folded tables, and a journal with more. `data/store-format-N.backup` is the same store as a
//! backup, and `calls.ndjson` what the server answered then. `JOBSLATE_WRITE_FIXTURE=1 cargo test
//! store_format` makes those of the present format anew; older ones cannot be made any more.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::http::{Http, Reply};
use crate::server::{Server, Site, jobslate};

/// The newest; each before it that is ever released stays in the list.
const FORMATS: [u32; 2] = [4, 5];
/// What is asked: nothing that depends on the time of the question.
const CALLS: [&str; 9] = [
    "/v1/jobs?order=id&limit=1000",
    "/v1/jobs?status=error&order=oldest",
    "/v1/jobs?pipeline=pdf&kind=succeeded",
    "/v1/jobs/doc-03/history",
    "/v1/counts",
    "/v1/updates?after=0&format=json&limit=1000",
    "/v1/timeline?from=2025-11-24T00:00:00Z&to=2025-11-26T00:00:00Z&step=1h",
    "/v1/timeline?from=2025-11-24T00:00:00Z&to=2025-11-26T00:00:00Z&step=1h&pipeline=pdf",
    "/v1/lookup",
];
/// Nothing may be forgotten because it is old by now.
const KEEPING: [&str; 4] = ["--feed-age-max", "36500d", "--idempotency-age-max", "3650d"];
const FILES: [&str; 2] = ["journal.redb", "tables.redb"];
const BEGIN_MS: u64 = 1_764_000_000_000;

fn data(format: u32, name: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    top.join(format!("store-format-{format}{name}"))
}

fn ask(http: &Http, call: &str) -> Value {
    match call {
        "/v1/lookup" => http.post(call, r#"{"job_ids":["doc-01","gone","never"]}"#).ok(),
        call => http.get(call).ok(),
    }
}

/// Sends updates under a key; the second time it is answered by the first answer.
fn send(http: &Http, key: &str, updates: &Value) -> Reply {
    let headers = &[("content-type", "application/json"), ("idempotency-key", key)];
    let (path, body) = ("/v1/updates", updates.to_string().into_bytes());
    http.try_send(crate::http::Call { method: reqwest::Method::POST, path, headers, body }).unwrap()
}

/// The calls of the first life, which are folded, and of the second, which are in the journal.
fn lives() -> [Vec<(&'static str, Value)>; 2] {
    let job = |number: u64, status: &str, minute: u64| {
        let (id, pipeline) = (format!("doc-{number:02}"), ["pdf", "ocr", "default"]);
        let pipeline = pipeline[number as usize % 3];
        let at = BEGIN_MS + minute * 60_000 + number;
        json!({"job_id": id, "status": status, "pipeline": pipeline, "at": at})
    };
    let all = |jobs: std::ops::Range<u64>, status: &str, minute: u64| -> Value {
        jobs.map(|number| job(number, status, minute)).collect()
    };
    let long = "no text on page 12; ".repeat(20);
    let with = |mut update: Value, more: Value| {
        let more = more.as_object().unwrap().clone();
        update.as_object_mut().unwrap().extend(more);
        json!([update])
    };
    let labels = json!({"labels": {"source": "scan", "host": "edge-7"}, "message": "page 12",
        "progress": 0.25, "attempt": 2});
    let gone = json!([{"job_id": "gone", "status": "queued", "at": BEGIN_MS}]);
    let first = vec![
        ("queued", all(0..40, "queued", 0)),
        ("processing", all(0..30, "processing", 5)),
        ("gone", gone),
        ("labels", with(job(3, "processing", 90), labels)),
        ("error", with(job(4, "error", 91), json!({"error": long}))),
        ("completed", all(6..20, "completed", 95)),
        ("own", all(35..37, "parked", 96)),
    ];
    let second = vec![
        ("restart", all(6..8, "processing", 1500)),
        ("stale", all(10..12, "queued", 1)),
        ("heartbeat", json!([{"job_id": "doc-20", "progress": 0.5, "message": "\u{e9}t\u{e9}"}])),
        ("failed", with(job(21, "error", 1501), json!({"error": "ocr timed out"}))),
        ("new", all(40..45, "queued", 1502)),
        ("cancelled", all(38..40, "cancelled", 1503)),
    ];
    [first, second]
}

/// Makes the fixture of the present format: a first life that ends well, a second that is killed.
fn write_fixture(format: u32) {
    let site = Site::new(&[&KEEPING[..], &["--fold-interval", "1d"]].concat());
    let [first, second] = lives();
    let server = site.start();
    first
        .iter()
        .for_each(|(key, updates)| assert_eq!(send(&server.http, key, updates).status, 200));
    for path in ["/v1/pipelines/pdf", "/v1/pipelines/ocr"] {
        let (headers, body) = (&[("content-type", "application/json")], br#"{"expected_total":4}"#);
        let (method, body) = (reqwest::Method::PUT, body.to_vec());
        let call = crate::http::Call { method, path, headers, body };
        assert_eq!(server.http.try_send(call).unwrap().status, 200);
    }
    assert!(server.stop().success());
    let server = site.start();
    second
        .iter()
        .for_each(|(key, updates)| assert_eq!(send(&server.http, key, updates).status, 200));
    let path = "/v1/jobs/gone";
    let remove =
        crate::http::Call { method: reqwest::Method::DELETE, path, headers: &[], body: Vec::new() };
    assert_eq!(server.http.try_send(remove).unwrap().status, 200);
    let directory = data(format, "");
    std::fs::create_dir_all(&directory).unwrap();
    let calls =
        CALLS.map(|call| json!({"call": call, "body": ask(&server.http, call)}).to_string());
    std::fs::write(directory.join("calls.ndjson"), calls.join("\n") + "\n").unwrap();
    let saved = server.command(&["backup", "--force"]).arg(data(format, ".backup")).output();
    assert!(saved.unwrap().status.success());
    server.kill();
    std::fs::copy(site.data().join("STORE"), directory.join("STORE")).unwrap();
    for name in FILES {
        let bytes = std::fs::read(site.data().join(name)).unwrap();
        let packed = zstd::encode_all(&*bytes, 19).unwrap();
        std::fs::write(directory.join(format!("{name}.zst")), packed).unwrap();
    }
}

/// True if `found` has all that `told` has; answers may gain fields.
fn has(found: &Value, told: &Value) -> bool {
    match (found, told) {
        (Value::Object(found), Value::Object(told)) => {
            told.iter().all(|(name, told)| found.get(name).is_some_and(|found| has(found, told)))
        }
        (Value::Array(found), Value::Array(told)) => {
            found.len() == told.len()
                && found.iter().zip(told).all(|(found, told)| has(found, told))
        }
        _ => found == told,
    }
}

/// Asserts that the store tells what it told, knows its keys, is sound, and goes on.
fn assert_is_as_it_was(site: &Site, format: u32, server: &Server) {
    let calls = std::fs::read_to_string(data(format, "").join("calls.ndjson")).unwrap();
    assert_eq!(calls.lines().count(), CALLS.len());
    for line in calls.lines() {
        let told: Value = serde_json::from_str(line).unwrap();
        let call = told["call"].as_str().unwrap();
        let found = ask(&server.http, call);
        assert!(has(&found, &told["body"]), "{call}\nfound {found}\n told {}", told["body"]);
    }
    for (key, updates) in lives().iter().flatten() {
        assert_eq!(send(&server.http, key, updates).header("idempotent-replayed"), "true", "{key}");
    }
    let pdf = server.http.get("/v1/pipelines/pdf").ok();
    assert_eq!(pdf["expected_total"], 4, "{pdf}");
    let last = server.http.get("/v1/counts").ok()["as_of_seq"].as_u64().unwrap();
    let more = server.http.put("doc-50", "", r#"{"status":"queued"}"#).unwrap().ok();
    assert_eq!(more["first_seq"], last + 1);
    let check = server.run(&["check"]);
    assert!(check.status.success(), "{check:?}\n{}", site.log());
}

#[test]
fn a_store_format_that_was_ever_written_is_opened_and_tells_what_it_told() {
    if std::env::var_os("JOBSLATE_WRITE_FIXTURE").is_some() {
        write_fixture(*FORMATS.last().unwrap());
    }
    for format in FORMATS {
        let site = Site::new(&KEEPING);
        std::fs::create_dir(site.data()).unwrap();
        std::fs::copy(data(format, "").join("STORE"), site.data().join("STORE")).unwrap();
        for name in FILES {
            let packed = std::fs::read(data(format, "").join(format!("{name}.zst"))).unwrap();
            std::fs::write(site.data().join(name), zstd::decode_all(&*packed).unwrap()).unwrap();
        }
        let server = site.start();
        assert_is_as_it_was(&site, format, &server);
        assert!(server.stop().success());
        assert!(site.start().run(&["check"]).status.success());
    }
}

#[test]
fn a_backup_of_a_store_format_that_was_ever_written_is_restored() {
    for format in FORMATS {
        let site = Site::new(&KEEPING);
        let mut restore = jobslate(&["restore"]);
        restore.arg(data(format, ".backup")).arg("--data-dir").arg(site.data());
        let restored = restore.output().unwrap();
        assert!(restored.status.success(), "{restored:?}");
        assert_is_as_it_was(&site, format, &site.start());
    }
}

/// The control: an answer that lacks something, or says something else, is noticed.
#[test]
fn a_store_format_that_tells_something_else_would_be_noticed() {
    let told = json!({"jobs": [{"seq": 1, "error": null}], "as_of_seq": 2});
    assert!(has(&json!({"jobs": [{"seq": 1, "error": null, "new": 1}], "as_of_seq": 2}), &told));
    for other in [
        json!({"jobs": [{"seq": 1, "error": null}]}),
        json!({"jobs": [{"seq": 1}], "as_of_seq": 2}),
        json!({"jobs": [], "as_of_seq": 2}),
        json!({"jobs": [{"seq": 2, "error": null}], "as_of_seq": 2}),
    ] {
        assert!(!has(&other, &told), "{other}");
    }
}
