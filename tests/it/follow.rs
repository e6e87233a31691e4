//! `watch`, `wait` and `export updates`: against a double that breaks where it should, and against
//! the real server.

use std::io::{BufRead, BufReader};
use std::process::{Child, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::double::{
    Double, Step, cut_stream, entry, event, gone, of_store, place, problem, reply, stream,
};
use crate::server::{Server, Site, jobslate};

fn run(double: &Double, arguments: &[&str]) -> Output {
    jobslate(&[arguments, &["--url", &double.url]].concat()).output().unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32, hint: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(hint), "{stderr}");
}

fn seqs(output: &Output) -> Vec<u64> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|entry| entry["seq"].as_u64().unwrap()).collect()
}

/// A job as the server shows it.
fn job(seq: u64, status: &str, kind: &str) -> Value {
    let at = "2025-11-24T16:00:00.123Z";
    json!({"job_id": "a", "pipeline": "default", "status": status, "kind": kind, "error": null,
           "message": null, "attempt": 1, "progress": null, "labels": {}, "created_at": at,
           "status_at": at, "seen_at": at, "started_at": null, "finished_at": null,
           "updated_at": at, "seq": seq, "transitions": 1})
}

fn failed(seq: u64) -> Value {
    let mut failed = entry(seq, "error", "failed");
    failed["error"] = "no text".into();
    failed
}

fn events(entries: &[Value]) -> Vec<u8> {
    stream(&entries.iter().map(event).collect::<String>())
}

#[test]
fn a_watch_goes_on_after_a_cut_and_says_so() {
    let first = event(&entry(5, "processing", "running"));
    let double = Double::new(vec![
        place(4),
        Step::Say(cut_stream(&format!("{first}id: 6\nda"))),
        Step::SayAndStay(events(&[entry(5, "processing", "running"), failed(6)])),
    ]);
    let output = run(&double, &["watch", "--count", "2", "--kind", "running,failed"]);
    assert_exit(&output, 0, "connection lost");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was missed"), "{output:?}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.ends_with("a  queued -> error  no text\n"), "{lines}");
    let asked = double.asked();
    assert!(
        asked[2].contains("after=5") && asked[2].contains("kind=running%2Cfailed"),
        "{asked:?}"
    );
}

#[test]
fn a_watch_of_what_is_gone_is_exit_code_66_and_names_what_is_held() {
    let double = Double::new(vec![reply(410, &gone(100, 200))]);
    let output = run(&double, &["watch", "--after", "4"]);
    assert_exit(&output, 66, "100 to 200; --after 99 gives them all");
}

#[test]
fn a_watch_that_meets_another_store_ends_and_claims_nothing() {
    let double = Double::new(vec![
        of_store("one", Step::Say(stream(&event(&entry(5, "processing", "running"))))),
        // Of a server that does not say: it may be the same.
        Step::Say(stream(&event(&failed(6)))),
        of_store("two", Step::SayAndStay(stream(&event(&failed(7))))),
    ]);
    let output = run(&double, &["watch", "--after", "4", "--json"]);
    assert_exit(&output, 66, "another store");
    assert_eq!(seqs(&output), [5, 6]);
}

#[test]
fn an_export_does_not_put_the_updates_of_two_stores_into_one_file() {
    let page = |seq: u64| json!({"updates": [failed(seq)], "next_after": seq, "as_of_seq": 6});
    let double = Double::new(vec![
        of_store("one", reply(200, &page(5))),
        // Of a server that does not say: it may be the same.
        reply(200, &page(6)),
    ]);
    let output = run(&double, &["export", "updates", "--after", "4"]);
    assert_exit(&output, 0, "2 updates");
    assert_eq!(seqs(&output), [5, 6]);
    let double = Double::new(vec![
        of_store("one", reply(200, &page(5))),
        of_store("two", reply(200, &page(6))),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("updates.ndjson");
    let arguments = ["export", "updates", "--after", "4", "--output", file.to_str().unwrap()];
    assert_exit(&run(&double, &arguments), 66, "another store");
    assert!(!file.exists());
}

fn opening() -> Step {
    reply(503, &problem(503, "opening", &json!({"percent": 40})))
}

#[test]
fn a_server_that_opens_is_waited_for_and_one_that_is_not_there_is_not() {
    let stream = Step::Say(events(&[failed(5)]));
    let double = Double::new(vec![opening(), place(4), opening(), place(4), stream]);
    assert_exit(&run(&double, &["watch", "--count", "1"]), 0, "waiting: it is opening");
    let done = reply(200, &job(4, "completed", "succeeded"));
    let double = Double::new(vec![opening(), opening(), place(4), done]);
    assert_exit(&run(&double, &["wait", "a"]), 0, "waiting: it is opening");
    let double = Double::new((0..100).map(|_| opening()).collect());
    let output = run(&double, &["wait", "a", "--timeout", "400ms"]);
    assert_exit(&output, 75, "no status of a was seen in time");
    assert!(double.asked().len() > 1, "{:?}", double.asked());
    let double = Double::new(vec![Step::HangUp]);
    assert_exit(&run(&double, &["wait", "a", "--timeout", "1h"]), 69, "no answer");
}

#[test]
fn a_watch_without_a_server_ends_and_one_whose_reader_left_too() {
    let double = Double::new(vec![Step::HangUp]);
    assert_exit(&run(&double, &["watch"]), 69, "no answer");
    let double = Double::new(vec![Step::SayAndStay(events(&[failed(5)]))]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut watch = jobslate(&["watch", "--after", "4", "--url", &double.url]);
    assert_exit(&watch.stdout(writer).output().unwrap(), 0, "");
}

#[test]
fn an_interrupted_watch_is_exit_code_130_and_says_how_to_go_on() {
    let double = Double::new(vec![Step::SayAndStay(events(&[failed(5)]))]);
    let mut watch = jobslate(&["watch", "--after", "4", "--url", &double.url]);
    let watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (watch, line) = after_a_line(watch);
    assert!(line.contains("error"), "{line}");
    kill_process(Pid::from_child(&watch), Signal::INT).unwrap();
    assert_exit(&watch.wait_with_output().unwrap(), 130, "--after 5");
}

/// Waits for the first line that a command prints.
fn after_a_line(mut child: Child) -> (Child, String) {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

#[test]
fn a_wait_ends_by_what_it_reads_or_by_what_the_feed_tells() {
    let at_once = |job: Value| vec![place(4), reply(200, &job)];
    let later = |entries: &[Value]| {
        let running = reply(200, &job(4, "processing", "running"));
        vec![place(4), running, Step::SayAndStay(events(entries))]
    };
    // It came too late: the status is the job's, the error that of the late update.
    let mut stale = entry(5, "processing", "running");
    (stale["applied"], stale["previous"]) = (false.into(), "processing".into());
    stale["error"] = "too late".into();
    let mut removed = entry(6, "x", "y");
    (removed["status"], removed["kind"]) = (Value::Null, Value::Null);
    removed["deleted"] = true.into();
    let done = entry(6, "completed", "succeeded");
    for (script, more, code, outcome) in [
        (at_once(job(4, "completed", "succeeded")), &[][..], 0, "reached"),
        (at_once(job(4, "error", "failed")), &[], 0, "reached"),
        (at_once(job(4, "error", "failed")), &["--for", "Completed"], 1, "finished_otherwise"),
        (at_once(job(4, "error", "failed")), &["--for", "completed,error"], 0, "reached"),
        (later(&[stale.clone(), failed(6)]), &["--for", "completed"], 1, "finished_otherwise"),
        (later(&[stale.clone(), done.clone()]), &["--for-kind", "succeeded"], 0, "reached"),
        (later(&[removed]), &[], 1, "removed"),
        (later(&[stale]), &["--timeout", "200ms"], 75, "timed_out"),
    ] {
        let double = Double::new(script);
        let output = run(&double, &[&["wait", "a", "--json"], more].concat());
        assert_exit(&output, code, "");
        let ended: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(ended["outcome"], outcome, "{more:?}");
        assert_ne!(ended["error"], "too late", "{more:?}");
    }
    // The feed tells what the read has shown already: it is passed over.
    let old = vec![
        place(4),
        reply(200, &job(5, "retrying", "running")),
        Step::SayAndStay(events(&[failed(5), done])),
    ];
    assert_exit(&run(&Double::new(old), &["wait", "a", "--for", "completed"]), 0, "");
}

#[test]
fn a_wait_for_an_unknown_job_waits_for_it_or_ends_at_once() {
    let unknown = || reply(404, &problem(404, "unknown_job", &json!({})));
    let coming = events(&[entry(5, "queued", "waiting"), entry(6, "completed", "succeeded")]);
    let script = vec![place(4), unknown(), Step::SayAndStay(coming)];
    assert_exit(&run(&Double::new(script), &["wait", "a"]), 0, "");
    let script = vec![place(4), unknown()];
    assert_exit(&run(&Double::new(script), &["wait", "a", "--existing"]), 1, "no job a");
    let script = vec![place(4), unknown(), Step::SayAndStay(stream(""))];
    let timeout = ["wait", "a", "--timeout", "200ms"];
    assert_exit(&run(&Double::new(script), &timeout), 75, "no status of a");
}

fn page(entries: &[Value], next_after: u64, as_of_seq: u64) -> Step {
    reply(200, &json!({"updates": entries, "next_after": next_after, "as_of_seq": as_of_seq}))
}

#[test]
fn an_export_of_updates_begins_with_the_first_held_and_ends_where_it_was_when_it_began() {
    let script = vec![
        reply(410, &gone(3, 6)),
        page(&[failed(3), failed(4)], 4, 6),
        reply(503, &problem(503, "opening", &json!({}))),
        page(&[failed(6), failed(7)], 7, 9),
    ];
    let double = Double::new(script);
    let output = run(&double, &["export", "updates"]);
    assert_exit(&output, 0, "3 updates in");
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("as of update 6\n"), "{output:?}");
    assert_eq!(seqs(&output), [3, 4, 6]);
    let places: Vec<String> = double.asked();
    assert!(places[1].contains("after=2") && places[3].contains("after=4"), "{places:?}");
    let empty = Double::new(vec![page(&[], 0, 0)]);
    let csv = run(&empty, &["export", "updates", "--format", "csv"]);
    assert_exit(&csv, 0, "");
    assert!(String::from_utf8_lossy(&csv.stdout).starts_with("seq,job_id,"), "{csv:?}");
    let asked_for = Double::new(vec![reply(410, &gone(3, 6))]);
    let refused = run(&asked_for, &["export", "updates", "--after", "1"]);
    assert_exit(&refused, 66, "--after 2 gives them all");
}

fn set(server: &Server, job: &str, status: &str) {
    assert_exit(&server.run(&["set", job, status]), 0, "");
}

#[test]
fn the_feed_of_the_real_server_is_watched_over_a_restart() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let site = Site::new(&[]).on_port(port);
    let server = site.start();
    set(&server, "a", "queued");
    let mut watch = server.command(&["watch", "--after", "0", "--count", "3", "--json"]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["seq"], 1);
    assert!(server.stop().success());
    let server = site.start();
    set(&server, "a", "processing");
    assert_eq!(next()["status"], "processing");
    server.kill();
    let server = site.start();
    set(&server, "a", "completed");
    assert_eq!(next()["seq"], 3);
    assert_exit(&watch.wait_with_output().unwrap(), 0, "nothing was missed");
}

#[test]
fn a_wait_at_the_real_server_hears_of_the_end() {
    let site = Site::new(&[]);
    let server = site.start();
    set(&server, "a", "processing");
    let wait = |more: &[&str]| {
        let mut command = server.command(&[&["wait", "a"], more].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    assert_exit(&server.run(&["wait", "a", "--timeout", "50ms"]), 75, "");
    let waiting = wait(&["--for", "completed"]);
    set(&server, "a", "completed");
    assert_exit(&waiting.wait_with_output().unwrap(), 0, "");
    assert_exit(&server.run(&["wait", "a", "--for", "error"]), 1, "not error");
    assert_exit(&server.run(&["wait", "a", "--timeout", "0s"]), 0, "");
    assert_exit(&server.run(&["wait", "nobody", "--timeout", "0s"]), 75, "no status of nobody");
    assert_exit(&server.run(&["wait", "nobody", "--existing"]), 1, "no job nobody");
}

#[test]
fn an_export_of_the_updates_of_the_real_server_is_the_whole_feed() {
    let site = Site::new(&[]);
    let server = site.start();
    let lines: Vec<String> =
        (0..2_500).map(|n| format!(r#"{{"job_id":"j{}","status":"s{}"}}"#, n % 7, n % 3)).collect();
    server.http.post_as("application/x-ndjson", "/v1/updates", &lines.join("\n")).ok();
    let all = server.run(&["export", "updates"]);
    assert_exit(&all, 0, "");
    assert_eq!(seqs(&all), (1..=2_500).collect::<Vec<u64>>());
    let some = server.run(&["export", "updates", "--after", "2000", "--job", "j3"]);
    assert!(seqs(&some).iter().all(|seq| *seq > 2_000 && (seq - 1) % 7 == 3), "{some:?}");
}
