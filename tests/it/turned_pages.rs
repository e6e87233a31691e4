//! The disk changes pages of the tables under a running server: a job is told right, or its reader
//! hears that a record is corrupt; the server lives on, and its log stays a log.

use std::os::unix::fs::FileExt as _;

use serde_json::Value;

use crate::random::Random;
use crate::server::{Server, Site};

const JOBS: usize = 20_000;
const PAGE_BYTES: u64 = 4_096;
/// One of so many pages is changed.
const PAGES_EACH: usize = 20;

fn name(number: usize) -> String {
    format!("job-{number:05}")
}

/// What jobs carry, so that the tables are longer than the pages that are kept in memory.
fn error(number: usize) -> String {
    format!("the page {number} could not be read; ").repeat(8)
}

/// A server whose jobs are all in its tables.
fn filled(site: &Site) -> Server {
    let server = site.start();
    for first in (0..JOBS).step_by(5_000) {
        let line = |number| {
            let update = serde_json::json!({"job_id": name(number), "status": "error",
                                            "error": error(number)});
            format!("{update}\n")
        };
        let lines: String = (first..first + 5_000).map(line).collect();
        let reply = server.http.post_as("application/x-ndjson", "/v1/updates", &lines);
        assert_eq!(reply.ok()["applied"], 5_000);
    }
    assert!(server.stop().success());
    site.start()
}

/// How many of some jobs are told right; the others are said to be corrupt.
fn right(server: &Server) -> usize {
    let asked = (0..JOBS).step_by(7);
    let told = asked.filter(|number| {
        let reply = server.http.get(&format!("/v1/jobs/{}", name(*number)));
        match reply.status {
            200 => assert_eq!(reply.json()["error"], error(*number), "another value"),
            _ => {
                assert_eq!(reply.status, 500, "{}", reply.text);
                assert_eq!(reply.json()["code"], "corrupt_record", "{}", reply.text);
            }
        }
        reply.status == 200
    });
    told.count()
}

#[test]
fn pages_that_turn_under_a_running_server_give_right_answers_or_500_and_no_broken_log() {
    let mut random = Random::from_environment();
    let site = Site::new(&["--cache-bytes", "1MiB", "--log-format", "json"]).logging_to_a_pipe();
    let server = filled(&site);
    let asked = JOBS.div_ceil(7);
    // The control: nothing is refused before.
    assert_eq!(right(&server), asked);
    let path = site.data().join("tables.redb");
    let tables = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let pages = tables.metadata().unwrap().len() / PAGE_BYTES;
    for page in 0..pages {
        if random.below(PAGES_EACH) == 0 {
            let offset = page * PAGE_BYTES + random.below(PAGE_BYTES as usize) as u64;
            let mut byte = [0];
            tables.read_exact_at(&mut byte, offset).unwrap();
            tables.write_all_at(&[byte[0] ^ 4], offset).unwrap();
        }
    }
    let told = right(&server);
    println!("{pages} pages, one of {PAGES_EACH} changed: {told} of {asked} jobs told right");
    assert!(told > 0 && told < asked, "{told}");
    assert_eq!(server.http.get("/livez").status, 200);
    assert_eq!(server.run(&["check"]).status.code(), Some(1), "a check finds them");
    server.kill();
    let log = site.log();
    assert_eq!(broken_lines(&log), [""; 0]);
    let has = |event: &str| log.contains(&format!("\"{event}\""));
    assert!(has("block_changed") && has("call_failed") && has("panicked"), "{log}");
}

/// The lines of a log in JSON that are none; the last may not be written whole yet.
fn broken_lines(log: &str) -> Vec<&str> {
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).collect()
}

/// The control: what the runtime itself says of a panic.
#[test]
fn a_panic_that_writes_beside_the_log_is_found() {
    let said = "\nthread 'tokio-rt-worker' (7) panicked at btree.rs:1110:22:\nunreachable code\n";
    let log = format!("{{\"event\":\"ready\"}}{said}{{\"event\":\"half");
    assert_eq!(broken_lines(&log).len(), 2);
}
