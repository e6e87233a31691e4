//! The command that removes many jobs, and a server that removes by itself.

use std::process::Output;

use serde_json::Value;

use crate::server::{Server, Site, eventually, jobslate};

#[track_caller]
fn assert_exit(output: &Output, code: i32, hint: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(hint), "{stderr}");
}

#[track_caller]
fn said(output: &Output) -> &str {
    assert_exit(output, 0, "");
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

/// Jobs `0` to `count - 1`, all with one status.
fn report(server: &Server, count: usize, status: &str) {
    let update = |id| format!("{{\"job_id\":\"{id}\",\"status\":\"{status}\"}}");
    let updates: Vec<String> = (0..count).map(update).collect();
    server.http.post("/v1/updates", &format!("[{}]", updates.join(","))).ok();
}

fn total(server: &Server) -> Value {
    let counts = said(&server.run(&["counts", "--json"])).to_owned();
    serde_json::from_str::<Value>(&counts).unwrap()["total"].clone()
}

#[test]
fn a_prune_wants_a_bound_and_somebody_to_ask() {
    let nobody = "http://127.0.0.1:9";
    let run = |arguments: &[&str]| {
        jobslate(&[&["prune", "--url", nobody, "--retry-for", "0s"], arguments].concat())
            .output()
            .unwrap()
    };
    for unbounded in [&[][..], &["--yes"], &["--dry-run"]] {
        assert_exit(&run(unbounded), 64, "required");
    }
    // Refused before anybody is asked for anything.
    assert_exit(&run(&["--kind", "failed"]), 64, "--yes");
    for wrong in [["--keep", "0"], ["--kind", "done"], ["--older-than", "30"]] {
        assert_exit(&run(&[&wrong[..], &["--yes"]].concat()), 64, wrong[0]);
    }
    assert_exit(&run(&["--kind", "failed", "--yes"]), 69, "");
}

#[test]
fn a_prune_counts_and_removes_more_than_one_call_may() {
    let site = Site::new(&[]);
    let server = site.start();
    report(&server, 7_000, "completed");
    let keep = ["prune", "--kind", "succeeded", "--keep", "500"];
    let run = |more: &[&str]| server.run(&[&keep[..], more].concat());
    assert_eq!(said(&run(&["--dry-run"])), "6,500 jobs would be removed");
    assert_eq!(total(&server), 7_000);
    let done: Value = serde_json::from_str(said(&run(&["--yes", "--json"]))).unwrap();
    assert_eq!((&done["matched"], &done["removed"]), (&6_500.into(), &6_500.into()));
    assert_eq!((&done["more"], &done["dry_run"]), (&false.into(), &false.into()));
    assert_eq!(said(&run(&["--yes"])), "0 jobs removed");
    assert_eq!(said(&server.run(&["prune", "--older-than", "1d", "--yes"])), "0 jobs removed");
    assert_eq!(total(&server), 500);
    assert_exit(&server.run(&["check"]), 0, "");
    assert!(server.stop().success());
}

#[test]
fn a_server_that_is_told_how_many_jobs_to_keep_keeps_as_many() {
    let site = Site::new(&["--retain-succeeded-max", "3", "--retention-interval", "1s"]);
    let server = site.start();
    report(&server, 10, "completed");
    eventually("the others are removed", || (total(&server) == 3).then_some(()));
    let stats: Value = serde_json::from_str(said(&server.run(&["stats", "--json"]))).unwrap();
    assert_eq!(stats["retention"]["on"], true);
    assert!(server.stop().success());
    assert!(site.log().contains("Retention removed 7 jobs"), "{}", site.log());
}
