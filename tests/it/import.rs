//! Importing the recorded traces over HTTP ends in what the traces say, and readers see no
//! contradiction on the way.

use std::collections::{BTreeMap, HashMap};
use std::process::{Child, Output};

use serde_json::{Value, json};

use crate::http::Http;
use crate::server::{Server, Site};
use crate::trace::{JobEnd, Trace};
use crate::walk::{counts, walk};

#[test]
fn google2011_jobs_arrive_whole_and_readers_see_no_contradiction() {
    import_and_compare("google2011-jobs");
}

#[test]
fn google2011_tasks_arrive_whole_and_readers_see_no_contradiction() {
    import_and_compare("google2011-tasks");
}

#[test]
fn pegasus_dagman_arrives_whole_and_readers_see_no_contradiction() {
    import_and_compare("pegasus-dagman");
}

#[test]
fn a_second_import_of_the_same_file_counts_nothing_twice() {
    let trace = Trace::read("pegasus-dagman");
    let site = Site::new(&[]);
    let server = site.start();
    for _ in 0..2 {
        succeed(server.import(&trace.path));
    }
    assert_store_is(&server, &trace);
}

fn import_and_compare(name: &str) {
    let trace = Trace::read(name);
    let site = Site::new(&[]);
    let server = site.start();
    let import = server.import(&trace.path);
    watch(&server.http, import);
    assert_store_is(&server, &trace);
    assert!(server.stop().success());
    // And it is still so for the next process.
    assert_store_is(&site.start(), &trace);
}

/// Reads until the import has ended, and asserts that no answer contradicts itself or its
/// predecessor.
fn watch(http: &Http, mut import: Child) {
    let mut last_seq = 0;
    while import.try_wait().unwrap().is_none() {
        let as_of_seq = counts(http)["as_of_seq"].as_u64().unwrap();
        assert!(as_of_seq >= last_seq, "from seq {last_seq} back to {as_of_seq}");
        last_seq = as_of_seq;
        walk(http, 1_000);
    }
    succeed(import);
}

/// Waits for the end of an import and asserts that it reports success.
pub fn succeed(import: Child) -> Output {
    let output = import.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Asserts that the server holds exactly the jobs of the trace, after exactly its updates.
pub fn assert_store_is(server: &Server, trace: &Trace) {
    let updates = trace.updates.len() as u64;
    let flushed = server.http.post("/v1/flush", "").ok();
    assert_eq!(flushed["durable_seq"], updates, "each update took one seq");

    let counted = counts(&server.http);
    let by_status: BTreeMap<String, u64> = trace.by_status();
    assert_eq!(counted["by_status"], json!(by_status));
    assert_eq!(counted["as_of_seq"], updates);

    let truth = trace.ends();
    let walked = walk(&server.http, 1_000);
    assert_eq!(walked.len(), truth.len());
    let walked: HashMap<String, JobEnd> =
        walked.into_iter().map(|(job_id, job)| (job_id, end(&job))).collect();
    for (job_id, end) in &truth {
        assert_eq!(walked.get(job_id), Some(end), "{job_id}");
    }
}

/// A job as the trace knows it.
fn end(job: &Value) -> JobEnd {
    let text = |name: &str| job[name].as_str().map(str::to_owned);
    (text("status").unwrap(), text("error"), text("pipeline").unwrap())
}
