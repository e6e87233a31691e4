//! What callers get wrong, against the real binary: each is told what and why, and neither its
//! neighbours nor the server suffer.

use serde_json::{Value, json};

use crate::http::{Call, Reply};
use crate::server::{Server, Site};

/// A server that has one job, `good`, with status `queued`.
struct Patient {
    server: Server,
    _site: Site,
}

impl Patient {
    fn new(flags: &[&str]) -> Self {
        let site = Site::new(flags);
        let server = site.start();
        let good = server.http.post("/v1/updates", r#"{"job_id":"good","status":"queued"}"#);
        assert_eq!(good.ok()["applied"], 1);
        Self { server, _site: site }
    }

    fn post(&self, body: &str) -> Reply {
        self.server.http.post("/v1/updates", body)
    }

    /// Asserts that the server lives and holds what it held, and nothing of what was refused.
    #[track_caller]
    fn is_unharmed(&self) {
        let counts = self.server.http.get("/v1/counts").ok();
        assert_eq!(counts["by_status"], json!({"queued": 1}));
        assert_eq!(counts["as_of_seq"], 1);
    }

    /// Asserts that a call with this one update is refused as a whole, for this reason.
    #[track_caller]
    fn refuses(&self, update: &Value, code: &str, hint: &str) {
        let reply = self.post(&update.to_string());
        let problem = problem(&reply, 422, "all_rejected");
        assert_eq!((&problem["accepted"], &problem["rejected"]), (&json!(0), &json!(1)));
        let error = &problem["errors"][0];
        assert_eq!((&error["index"], &error["code"]), (&json!(0), &json!(code)), "{error}");
        assert!(error["detail"].as_str().unwrap().contains(hint), "{error}");
        self.is_unharmed();
    }
}

/// The problem in an answer, after asserting that it is one, with this status and code.
#[track_caller]
fn problem(reply: &Reply, status: u16, code: &str) -> Value {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let problem = reply.json();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["type"], format!("urn:jobslate:problem:{code}"));
    assert!(!problem["title"].as_str().unwrap().is_empty());
    problem
}

#[test]
fn an_empty_body_is_refused() {
    let patient = Patient::new(&[]);
    problem(&patient.post(""), 400, "invalid_body");
    problem(&patient.post(" \n "), 400, "invalid_body");
    patient.is_unharmed();
}

#[test]
fn a_body_that_is_not_json_is_refused() {
    let patient = Patient::new(&[]);
    for body in [r#"{"job_id":"x""#, r#"[{"job_id":"x","status":"queued"}"#, "%"] {
        let problem = problem(&patient.post(body), 400, "invalid_body");
        assert_eq!(problem["outcome"], "not_applied", "{body}");
        assert_eq!(problem["retryable"], false, "{body}");
    }
    patient.is_unharmed();
}

#[test]
fn a_bad_line_in_a_good_batch_fails_alone() {
    let patient = Patient::new(&[]);
    let lines = [
        r#"{"job_id":"a","status":"queued"}"#,
        "",
        r#"{"job_id":"b","status":"#,
        r#"{"job_id":"c","status":"completed"}"#,
    ];
    let ndjson = "application/x-ndjson";
    let reply = patient.server.http.post_as(ndjson, "/v1/updates", &lines.join("\n"));
    let answer = reply.ok();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(1)));
    assert_eq!(answer["errors"][0]["index"], 1, "non-empty lines count from 0: {answer}");
    assert_eq!(answer["errors"][0]["code"], "invalid_update");
    let http = &patient.server.http;
    assert_eq!(http.get("/v1/jobs/a").ok()["status"], "queued");
    assert_eq!(http.get("/v1/jobs/c").ok()["status"], "completed");
    assert_eq!(http.get("/v1/jobs/b").status, 404);
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    let patient = Patient::new(&[]);
    let update = json!({"job_id": "x", "status": "queued", "colour": "red"});
    patient.refuses(&update, "unknown_field", "colour");
}

#[test]
fn a_job_id_of_no_or_257_bytes_is_refused() {
    let patient = Patient::new(&[]);
    patient.refuses(&json!({"job_id": "", "status": "queued"}), "invalid_job_id", "empty");
    let long = "x".repeat(257);
    patient.refuses(&json!({"job_id": long, "status": "queued"}), "invalid_job_id", "257");
    let longest = json!({"job_id": "x".repeat(256), "status": "queued"});
    assert_eq!(patient.post(&longest.to_string()).ok()["applied"], 1);
}

#[test]
fn control_characters_in_a_job_id_are_refused() {
    let patient = Patient::new(&[]);
    for character in ["\u{0}", "\n", "\u{7f}", "\u{85}"] {
        let update = json!({"job_id": format!("a{character}b"), "status": "queued"});
        patient.refuses(&update, "invalid_job_id", "control");
    }
}

#[test]
fn a_status_with_spaces_is_refused() {
    let patient = Patient::new(&[]);
    let update = json!({"job_id": "x", "status": "in progress"});
    patient.refuses(&update, "invalid_status", "in progress");
}

#[test]
fn a_time_before_1970_or_after_2200_is_refused() {
    let patient = Patient::new(&[]);
    let at = |at: Value| json!({"job_id": "x", "status": "queued", "at": at});
    patient.refuses(&at(json!(-1)), "invalid_time", "1970");
    patient.refuses(&at(json!("1969-12-31T23:59:59Z")), "invalid_time", "1970");
    patient.refuses(&at(json!("2200-01-01T00:00:00Z")), "invalid_time", "2200");
    patient.refuses(&at(json!(7_258_118_400_000_u64)), "invalid_time", "2200");
    patient.refuses(&at(json!(1_764_000_000)), "invalid_time", "seconds");
}

#[test]
fn ten_mebibytes_of_error_text_are_refused_and_seven_are_cut() {
    let patient = Patient::new(&[]);
    let update = |mebibytes: usize| {
        let error = "x".repeat(mebibytes << 20);
        json!({"job_id": "good", "status": "error", "error": error})
    };
    let problem = problem(&patient.post(&update(10).to_string()), 413, "body_too_large");
    assert_eq!(problem["outcome"], "not_applied");
    patient.is_unharmed();

    assert_eq!(patient.post(&update(7).to_string()).ok()["applied"], 1);
    let job = patient.server.http.get("/v1/jobs/good").ok();
    let error = job["error"].as_str().unwrap();
    assert_eq!(error.len(), 8 * 1024);
    assert!(error.ends_with(" [cut, 7340032 bytes]"));
}

#[test]
fn an_unknown_job_is_404() {
    let patient = Patient::new(&[]);
    problem(&patient.server.http.get("/v1/jobs/nobody"), 404, "unknown_job");
    let heartbeat = patient.server.http.put("nobody", "", r#"{"progress":0.5}"#).unwrap();
    problem(&heartbeat, 404, "unknown_job");
    patient.is_unharmed();
}

/// Full by bytes: full by number would close a batch.
#[test]
fn a_full_queue_is_429_and_admits_nothing() {
    let site = Site::new(&[
        "--body-bytes-max=64KiB",
        "--batch-bytes-max=64KiB",
        "--queue-bytes-max=64KiB",
        "--batch-size=1000",
        "--flush-interval=1h",
    ]);
    let server = site.start();
    let error = "x".repeat(8_000);
    let body = json!({"status": "error", "error": error}).to_string();
    let queue = |index| server.http.put(&format!("doc-{index}"), "?ack=queued", &body).unwrap();
    let replies: Vec<Reply> = (0..9).map(queue).collect();
    let admitted = replies.iter().filter(|reply| reply.status == 202).count();
    let refused = replies.last().unwrap();
    let problem = problem(refused, 429, "queue_full");
    assert_eq!(problem["outcome"], "not_applied");
    assert_eq!(problem["retryable"], true);
    assert!(refused.retry_after_s() >= Some(1), "{refused:?}");

    assert_eq!(server.http.get("/v1/stats").ok()["updates"]["queued_now"], admitted);
    assert_eq!(server.http.post("/v1/flush", "").ok()["durable_seq"], admitted);
    assert_eq!(server.http.get("/v1/counts").ok()["total"], admitted);
    assert_eq!(queue(100).status, 202, "there is room again");
}

#[test]
fn queued_calls_cannot_be_conditional_or_atomic() {
    let patient = Patient::new(&[]);
    let conditional = r#"{"status":"processing","if_status":"queued"}"#;
    let reply = patient.server.http.put("good", "?ack=queued", conditional).unwrap();
    problem(&reply, 400, "ack_must_be_durable");
    let update = r#"{"job_id":"good","status":"processing"}"#;
    let reply = patient.server.http.post("/v1/updates?ack=queued&atomic=true", update);
    problem(&reply, 400, "ack_must_be_durable");
    patient.is_unharmed();
}

#[test]
fn a_key_that_comes_back_gives_the_first_answer_or_a_no() {
    let patient = Patient::new(&[]);
    let post = |body: &str| {
        let headers = &[("content-type", "application/json"), ("idempotency-key", "k1")];
        let body = body.as_bytes().to_vec();
        let call = Call { method: reqwest::Method::POST, path: "/v1/updates", headers, body };
        patient.server.http.try_send(call).unwrap()
    };
    let update = r#"{"job_id":"x","status":"queued"}"#;
    let first = post(update);
    let second = post(update);
    assert_eq!(first.ok(), second.ok());
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!(first.header("idempotent-replayed"), "");
    problem(&post(r#"{"job_id":"y","status":"queued"}"#), 422, "idempotency_key_reused");
    assert_eq!(patient.server.http.get("/v1/counts").ok()["as_of_seq"], 2);
}

/// One more than may be is refused by its code, whatever asks for it; what is there goes on.
#[test]
fn a_pipeline_more_than_may_be_is_too_many() {
    let site = Site::new(&["--pipelines-max=2"]);
    let server = site.start();
    let report = |job_id: &str, pipeline: &str| {
        let update = json!({"job_id": job_id, "status": "queued", "pipeline": pipeline});
        server.http.post("/v1/updates", &update.to_string())
    };
    let expect = |pipeline: &str| {
        let headers = &[("content-type", "application/json")];
        let (path, body) = (&*format!("/v1/pipelines/{pipeline}"), br#"{"expected_total":5}"#);
        let call = Call { method: reqwest::Method::PUT, path, headers, body: body.to_vec() };
        server.http.try_send(call).unwrap()
    };
    for pipeline in ["one", "two"] {
        assert_eq!(report("a", pipeline).status, 200);
        assert_eq!(expect(pipeline).status, 200);
    }
    // The job moved from one to the other, so the first is free again; then both are taken.
    assert_eq!(report("b", "three").status, 200);
    let refused = problem(&report("c", "four"), 422, "all_rejected");
    assert_eq!(refused["errors"][0]["code"], "too_many_pipelines", "{refused}");
    assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("2 pipelines"));
    let refused = expect("four");
    assert!(refused.status == 422 && refused.text.contains("too_many_pipelines"), "{refused:?}");
    // The control: those that are there take more, and one that is freed makes room.
    assert_eq!((report("c", "two").status, report("d", "three").status), (200, 200));
    assert_eq!(server.http.get("/v1/counts").ok()["total"], 4);
}

/// The same for words of statuses, of which only those count that some job has.
#[test]
fn a_status_more_than_may_be_is_too_many() {
    let site = Site::new(&["--statuses-max=2"]);
    let server = site.start();
    let report = |job_id: &str, status: &str| {
        let update = json!({"job_id": job_id, "status": status});
        server.http.post("/v1/updates", &update.to_string())
    };
    assert_eq!((report("a", "one").status, report("a", "two").status), (200, 200));
    assert_eq!(report("b", "three").status, 200, "no job is at the first any more");
    let refused = problem(&report("c", "four"), 422, "all_rejected");
    assert_eq!(refused["errors"][0]["code"], "too_many_statuses", "{refused}");
    assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("2 status words"));
    let put = |job_id: &str| server.http.put(job_id, "", r#"{"status":"four"}"#).unwrap();
    problem(&put("c"), 422, "too_many_statuses");
    assert_eq!(server.http.get("/v1/jobs/c").status, 404);
    // The control: those that are there are taken, and one that is freed makes room.
    assert_eq!((report("d", "two").status, report("b", "two").status), (200, 200));
    assert_eq!(put("c").status, 200);
    assert_eq!(server.http.get("/v1/counts").ok()["by_status"], json!({"two": 3, "four": 1}));
}

/// What is valid is three levels deep at most; that is taken, and nothing below it.
#[test]
fn the_deepest_valid_body_is_taken_and_one_level_more_is_refused() {
    let site = Site::new(&[]);
    let server = site.start();
    let update = json!({"job_id": "a", "status": "queued", "labels": {"a": "b"}});
    let mut deeper = update.clone();
    deeper["labels"]["a"] = json!({"b": "c"});
    let post = |body: Value| server.http.post("/v1/updates", &body.to_string());
    assert_eq!(post(json!([update])).ok()["applied"], 1);
    problem(&post(json!([deeper])), 422, "all_rejected");
    problem(&post(json!([[update]])), 422, "all_rejected");
    let put = |update: &Value| {
        let fields = json!({"status": "queued", "labels": update["labels"]});
        server.http.put("a", "", &fields.to_string()).unwrap()
    };
    assert_eq!(put(&update).ok()["applied"], 1);
    problem(&put(&deeper), 422, "invalid_labels");
    let look_up = |ids: Value| server.http.post("/v1/lookup", &json!({"job_ids": ids}).to_string());
    assert_eq!(look_up(json!(["a"])).ok()["found"].as_array().unwrap().len(), 1);
    problem(&look_up(json!([["a"]])), 400, "invalid_body");
    assert_eq!(server.http.get("/v1/counts").ok()["as_of_seq"], 2);
}
