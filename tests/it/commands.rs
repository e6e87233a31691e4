//! The commands about jobs and pipelines, against a running server: what they print for people and
//! for machines, and with which exit code they end.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::double::{Double, Step, reply};
use crate::server::{Server, Site, jobslate};

/// An address where nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";

#[track_caller]
fn assert_exit(output: &Output, code: i32, hint: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(hint), "{stderr}");
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// The JSON objects that a command prints, one a line.
#[track_caller]
fn machine(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let output = server.run(&[arguments, &["--json"]].concat());
    assert_exit(&output, 0, "");
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of the jobs that a list prints.
#[track_caller]
fn ids(server: &Server, arguments: &[&str]) -> Vec<String> {
    let jobs = machine(server, &[&["list"], arguments].concat());
    jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

fn post(server: &Server, updates: &str) {
    server.http.post("/v1/updates", updates).ok();
}

fn four_jobs(server: &Server) {
    post(
        server,
        r#"[{"job_id":"a/1","status":"error","error":"no, \"text\"","pipeline":"pdf"},
            {"job_id":"a/2","status":"processing","pipeline":"pdf"},
            {"job_id":"b/1","status":"timeout"},{"job_id":"b/2","status":"completed"}]"#,
    );
}

#[test]
fn a_list_takes_every_filter_and_order() {
    let site = Site::new(&[]);
    let server = site.start();
    four_jobs(&server);
    for (arguments, jobs) in [
        (&["--kind", "failed", "--updated-after", "1h"][..], &["b/1", "a/1"][..]),
        (&["--kind", "failed,succeeded", "--order", "oldest"], &["a/1", "b/1", "b/2"]),
        (&["--status", "error,completed"], &["b/2", "a/1"]),
        (&["--pipeline", "pdf", "--kind", "running"], &["a/2"]),
        (&["--prefix", "a/"], &["a/1", "a/2"]),
        (&["--prefix", "b/", "--order", "newest"], &["b/2", "b/1"]),
        (&["--updated-before", "1h"], &[]),
        (&["--updated-after", "2025-01-01T00:00:00Z", "--limit", "1"], &["b/2"]),
        (&["--updated-after", "1735689600000", "--limit", "1"], &["b/2"]),
        (&["--updated-after", "1970-01-01T00:00:00Z", "--limit", "1"], &["b/2"]),
        (&["--updated-after", "99999d", "--limit", "1"], &["b/2"]),
        (&["--updated-before", "1970-01-02T00:00:00Z"], &[]),
        (&["--stalled-for", "1h"], &[]),
        (&["--stalled-for", "0s"], &["a/2"]),
        (&["--order", "id"], &["a/1", "a/2", "b/1", "b/2"]),
    ] {
        assert_eq!(ids(&server, arguments), jobs, "{arguments:?}");
    }
}

#[test]
fn a_wrong_filter_is_exit_code_64_and_says_what_to_give() {
    for (arguments, hint) in [
        (&["--kind", "broken"][..], "succeeded"),
        (&["--updated-after", "yesterday"], "how long ago"),
        (&["--updated-after", "1764000000"], "looks like seconds"),
        (&["--stalled-for", "10"], "a duration with a unit"),
        (&["--order", "size"], "newest"),
        (&["--status", "a b"], "a b"),
        (&["--pipeline", ""], "pipeline"),
        (&["--prefix", &"x".repeat(300)], "the most is 256"),
        (&["--csv", "--json"], "cannot be used with"),
    ] {
        let output = jobslate(&[&["list", "--url", NOBODY], arguments].concat()).output().unwrap();
        assert_exit(&output, 64, hint);
    }
    for (arguments, hint) in [
        (&["watch", "--job", ".."][..], "job id"),
        (&["watch", "--status", "a b"], "a b"),
        (&["export", "updates", "--pipeline", ""], "pipeline"),
    ] {
        let output = jobslate(&[arguments, &["--url", NOBODY]].concat()).output().unwrap();
        assert_exit(&output, 64, hint);
    }
}

#[test]
fn json_in_a_pipe_is_the_text_of_the_job_byte_by_byte() {
    let site = Site::new(&[]);
    let server = site.start();
    let error = "a\u{7f}b\u{9b}2Jc\u{202e}";
    post(&server, &json!({"job_id": "a", "status": "error", "error": error}).to_string());
    for command in [&["get", "a"][..], &["list"], &["lookup", "a"]] {
        assert_eq!(machine(&server, command)[0]["error"], error, "{command:?}");
    }
    assert_eq!(machine(&server, &["pipelines"])[0]["last_error"]["error"], error);
    assert_eq!(machine(&server, &["watch", "--after", "0", "--count", "1"])[0]["error"], error);
}

#[test]
fn a_list_as_csv_has_one_header_over_all_pages() {
    let site = Site::new(&[]);
    let server = site.start();
    let many: Vec<String> = (0..1_100)
        .map(|n| format!(r#"{{"job_id":"j{n}","status":"error","error":"a, \"b\"\nc"}}"#))
        .collect();
    server.http.post_as("application/x-ndjson", "/v1/updates", &many.join("\n")).ok();
    let list = server.run(&["list", "--all", "--csv"]);
    assert_exit(&list, 0, "");
    assert_eq!(stdout(&list).matches("job_id,pipeline").count(), 1);
    assert_eq!(stdout(&list).matches(",\"a, \"\"b\"\"\nc\",").count(), 1_100);
    let empty = server.run(&["list", "--csv", "--prefix", "nobody"]);
    assert_eq!(stdout(&empty).lines().count(), 1, "the header alone");
}

#[test]
fn a_history_shows_each_change_and_escapes_what_a_terminal_would_obey() {
    let site = Site::new(&[]);
    let server = site.start();
    post(
        &server,
        r#"[{"job_id":"a","status":"queued"},
            {"job_id":"a","status":"error","error":"x\u001b[2J"}]"#,
    );
    let people = server.run(&["history", "a"]);
    assert_exit(&people, 0, "");
    let text = stdout(&people);
    assert!(text.contains("queued") && text.contains(r"x\u{1b}[2J"), "{text}");
    let history = &machine(&server, &["history", "a"])[0];
    assert_eq!(history["transitions"][1]["error"], "x\u{1b}[2J");
    assert_exit(&server.run(&["history", "nobody"]), 1, "nobody");
    assert_exit(&server.run(&["history", ".."]), 65, "job id");
}

#[test]
fn a_lookup_takes_any_number_of_ids_and_names_those_that_have_no_job() {
    let site = Site::new(&[]);
    let server = site.start();
    four_jobs(&server);
    let some = server.run(&["lookup", "a/1", "nobody", "b/2"]);
    assert_exit(&some, 1, "no job nobody");
    assert!(stdout(&some).contains("a/1") && stdout(&some).contains("b/2"), "{some:?}");
    let many: String = (0..2_500).map(|n| format!("x{n}\n")).collect();
    let mut lookup = server.command(&["lookup", "-", "--json"]);
    let lookup = lookup.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lookup = lookup.spawn().unwrap();
    let mut stdin = lookup.stdin.take().unwrap();
    let write = std::thread::spawn(move || write!(stdin, "a/1\n\n{many}b/1\n").unwrap());
    let output = lookup.wait_with_output().unwrap();
    write.join().unwrap();
    assert_exit(&output, 1, "no job x2499");
    let found: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<&Value> = found.iter().map(|job| &job["job_id"]).collect();
    assert_eq!(found, ["a/1", "b/1"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 2_500);
    assert_exit(&server.run(&["lookup", "a/1", ""]), 65, "job id");
    assert_eq!(machine(&server, &["lookup", "a/1", "b/2"]).len(), 2);
}

#[test]
fn a_deleted_job_is_gone_and_a_second_delete_says_so() {
    let site = Site::new(&[]);
    let server = site.start();
    four_jobs(&server);
    let deleted = server.run(&["delete", "a/1"]);
    assert_exit(&deleted, 0, "");
    assert_eq!(stdout(&deleted), "a/1: removed (update 5)\n");
    assert_exit(&server.run(&["get", "a/1"]), 1, "a/1");
    assert_exit(&server.run(&["delete", "a/1"]), 1, "a/1");
    assert_eq!(machine(&server, &["delete", "a/2"])[0]["last_seq"], 6);
    let nobody = jobslate(&["delete", "x", "--retry-for", "0s", "--url", NOBODY]).output().unwrap();
    assert_exit(&nobody, 69, NOBODY);
}

#[test]
fn a_write_whose_answer_is_lost_is_sent_again_under_the_same_key() {
    let answer = json!({"accepted": 1, "applied": 1, "stale": 0, "merged": 0, "rejected": 0,
        "durable": true, "first_seq": 5, "last_seq": 5, "errors": []});
    for command in [&["delete", "a"][..], &["expect", "pdf", "3"]] {
        let script = vec![Step::Say(Vec::new()), reply(200, &answer), reply(200, &answer)];
        let double = Double::new(script);
        for _ in 0..2 {
            let output = jobslate(&[command, &["--url", &double.url]].concat()).output().unwrap();
            assert_exit(&output, 0, "");
            assert!(stdout(&output).ends_with("(update 5)\n"), "{output:?}");
        }
        let keys = double.keys();
        assert_eq!(keys[0], keys[1], "the same call");
        assert_ne!(keys[1], keys[2], "another call");
    }
}

#[test]
fn pipelines_count_against_what_is_expected() {
    let site = Site::new(&[]);
    let server = site.start();
    assert_exit(&server.run(&["pipelines"]), 0, "no pipelines");
    four_jobs(&server);
    let expect = server.run(&["expect", "pdf", "3957"]);
    assert_exit(&expect, 0, "");
    assert_eq!(stdout(&expect), "pdf: 3,957 jobs expected (update 5)\n");
    let table = server.run(&["pipelines"]);
    assert_exit(&table, 0, "");
    let row = stdout(&table).lines().find(|line| line.starts_with("pdf")).unwrap();
    assert!(row.contains("3,957") && row.contains("a/1: no, \"text\""), "{row}");
    let all = machine(&server, &["pipelines"]);
    let names: Vec<&Value> = all.iter().map(|it| &it["pipeline"]).collect();
    assert_eq!(names, ["default", "pdf"]);
    let one = server.run(&["pipelines", "pdf"]);
    assert!(stdout(&one).contains("oldest running") && stdout(&one).contains("a/2"), "{one:?}");
    assert_exit(&server.run(&["expect", "pdf", "none", "--json"]), 0, "");
    assert_eq!(machine(&server, &["pipelines", "pdf"])[0]["expected_total"], Value::Null);
    assert_exit(&server.run(&["pipelines", "nobody"]), 1, "nobody");
    assert_exit(&server.run(&["expect", "pdf", "0"]), 64, "or none");
    assert_exit(&server.run(&["expect", "", "1"]), 65, "pipeline");
}

#[test]
fn an_export_of_jobs_makes_a_whole_file_and_replaces_none() {
    let site = Site::new(&[]);
    let server = site.start();
    four_jobs(&server);
    let path = site.path("jobs.csv");
    let export = |more: &[&str]| {
        let mut command = server.command(&["export", "jobs", "--output"]);
        command.arg(&path).args(more).output().unwrap()
    };
    assert_exit(&export(&[]), 0, "4 jobs in");
    let csv = std::fs::read_to_string(&path).unwrap();
    assert_eq!(csv.matches("\r\n").count(), 5, "{csv}");
    assert_exit(&export(&[]), 73, "--force");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), csv);
    let forced = export(&["--force", "--json", "--format", "ndjson", "--kind", "failed"]);
    assert_exit(&forced, 0, "");
    let summary: Value = serde_json::from_slice(&forced.stdout).unwrap();
    assert_eq!((&summary["rows"], &summary["as_of_seq"]), (&2.into(), &4.into()));
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    let piped = server.run(&["export", "jobs", "--order", "id", "--quiet"]);
    assert_exit(&piped, 0, "");
    assert_eq!(piped.stderr, b"");
    assert_exit(&server.run(&["export", "jobs"]), 0, "as of update 4\n");
    let first: Value = serde_json::from_str(stdout(&piped).lines().next().unwrap()).unwrap();
    assert_eq!(first["error"], "no, \"text\"");
    let elsewhere = server.run(&["export", "jobs", "--output", "/no/such/place.csv"]);
    assert_exit(&elsewhere, 73, "/no/such/place.csv");
    let nobody = ["export", "jobs", "--retry-for", "0s", "--url", NOBODY, "--output"];
    let lost = site.path("lost.ndjson");
    assert_exit(&jobslate(&nobody).arg(&lost).output().unwrap(), 69, NOBODY);
    let left: Vec<_> = std::fs::read_dir(lost.parent().unwrap()).unwrap().collect();
    assert!(!left.iter().any(|it| format!("{it:?}").contains("lost")), "{left:?}");
}
