//! A disk that takes no more writes under the running server: who waits is told the truth, reads go
//! on, and either the disk comes back or the process ends with 74. Nothing acknowledged is lost.
//!
//! The kernel refuses the writes: the limit of the size of files falls to nothing while the server
//! runs.

use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::http::{Http, Reply};
use crate::random::{Random, number_from_environment};
use crate::server::{Server, Site, eventually};
use crate::walk::lost;

const UPDATE: &str = r#"{"status":"queued"}"#;

/// A site whose servers close a batch for somebody who waits and at a stop, never by themselves.
fn site() -> Site {
    Site::new(&["--flush-interval=1h", "--fold-interval=1h"]).logging_to_a_pipe()
}

/// Starts a server that a refused write does not end by its signal.
fn start(site: &Site) -> Server {
    let serve = site.serve();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("trap '' XFSZ; exec \"$0\" \"$@\"");
    shell.arg(serve.get_program()).args(serve.get_args()).stdin(Stdio::null());
    for (name, _) in serve.get_envs() {
        shell.env_remove(name);
    }
    site.start_as(shell)
}

/// From now on the disk takes no write of the server; or all of them again.
fn set_broken(server: &Server, is_broken: bool) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = if is_broken { Some(0) } else { maximum };
    prlimit(Some(server.pid()), Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

/// Reports so many jobs, each in a call of its own; their ids, all of them acknowledged.
fn report(http: &Http, kind: &str, count: usize, query: &str) -> Vec<String> {
    let job_ids: Vec<String> = (0..count).map(|number| format!("{kind}-{number}")).collect();
    for job_id in &job_ids {
        let reply = http.put(job_id, query, UPDATE).unwrap();
        assert!([200, 202].contains(&reply.status), "{}", reply.text);
    }
    job_ids
}

#[track_caller]
fn assert_refused(reply: &Reply, outcome: &str) {
    assert_eq!(reply.status, 503, "{}", reply.text);
    let problem = reply.json();
    let told = (&problem["code"], &problem["outcome"]);
    assert_eq!(told, (&Value::from("storage_failed"), &Value::from(outcome)), "{problem}");
    assert_eq!(problem["retryable"], true);
    assert!(reply.retry_after_s() >= Some(1), "{reply:?}");
}

/// Breaks the disk under a durable update, and sees what everybody is told.
fn break_disk(server: &Server, acknowledged: &[String]) {
    set_broken(server, true);
    assert_refused(&server.http.put("in-flight", "", UPDATE).unwrap(), "unknown");
    for query in ["", "?ack=queued"] {
        assert_refused(&server.http.put("too-late", query, UPDATE).unwrap(), "not_applied");
    }
    assert_eq!(server.http.get("/readyz").json()["code"], "storage_failed");
    assert_eq!(server.http.get("/livez").status, 200);
    assert_eq!(lost_of(server, acknowledged), [""; 0], "reads go on");
    assert_eq!(server.http.get("/v1/counts").ok()["total"], acknowledged.len());
}

fn lost_of(server: &Server, job_ids: &[String]) -> Vec<String> {
    lost(&server.http, job_ids.iter().map(|job_id| (&**job_id, "queued")))
}

/// The judge is told of an update that was never sent, too, which it must find.
#[track_caller]
fn assert_all_there(server: &Server, acknowledged: &[String]) {
    let with_lie = [acknowledged, &["never-sent".to_owned()]].concat();
    assert_eq!(lost_of(server, &with_lie), ["never-sent"]);
    assert_eq!(server.http.get("/v1/jobs/too-late").status, 404, "it was said to be not applied");
    assert!(server.run(&["check"]).status.success());
}

fn failed_tries(site: &Site) -> usize {
    site.log().matches("It does not open yet").count()
}

#[test]
fn a_disk_that_fails_for_good_ends_the_server_with_74_and_nothing_acknowledged_is_lost() {
    let site = site();
    let server = start(&site);
    let acknowledged = report(&server.http, "durable", 200, "");
    break_disk(&server, &acknowledged);
    eventually("it was tried once", || (failed_tries(&site) >= 1).then_some(()));
    assert_refused(&server.http.put("too-late", "", UPDATE).unwrap(), "not_applied");
    assert_eq!(server.wait().code(), Some(74), "{}", site.log());
    eventually("three tries are in the log", || (failed_tries(&site) == 3).then_some(()));
    // Whoever starts it again may write: the limit was that of the process.
    let server = start(&site);
    assert_all_there(&server, &acknowledged);
    assert_eq!(server.http.put("next", "", UPDATE).unwrap().status, 200);
    assert!(server.stop().success());
}

/// It also shows that it is the disk which ends the other. `JOBSLATE_DISK_ROUNDS` says how often;
/// after the first, with other numbers of updates.
#[test]
fn a_disk_that_comes_back_before_the_third_try_is_written_again_and_nothing_accepted_is_lost() {
    let rounds = number_from_environment("JOBSLATE_DISK_ROUNDS", 1);
    let mut random = Random::from_environment();
    let mut accepted = 0;
    for round in 0..rounds {
        let counts = if round == 0 {
            [200, 40, 20]
        } else {
            [1 + random.below(400), random.below(50), 1 + random.below(100)]
        };
        fail_and_come_back(counts);
        accepted += counts.iter().sum::<usize>();
    }
    println!("{rounds} failures, {accepted} updates accepted, lost 0");
}

/// Of so many jobs, none is lost: durable before the failure, queued before it, and after it.
fn fail_and_come_back([durable, queued, later]: [usize; 3]) {
    let site = site();
    let server = start(&site);
    let durable = report(&server.http, "durable", durable, "");
    // Nobody waits for these, so they are kept over the failure. Fewer than would close a batch.
    let queued = report(&server.http, "queued", queued, "?ack=queued");
    break_disk(&server, &durable);
    eventually("it was tried once", || (failed_tries(&site) >= 1).then_some(()));
    set_broken(&server, false);
    eventually("it takes updates", || (server.http.get("/readyz").status == 200).then_some(()));
    let later = report(&server.http, "later", later, "");
    assert_eq!(server.http.post("/v1/flush", "").status, 200);
    let accepted = [durable, queued, later].concat();
    assert_all_there(&server, &accepted);
    assert!(site.log().contains("store_reopened"), "{}", site.log());
    assert!(server.stop().success());
    let server = start(&site);
    assert_all_there(&server, &accepted);
    assert!(server.stop().success());
}
