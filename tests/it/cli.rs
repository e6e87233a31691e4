//! The command line: exit codes after `sysexits.h`, help, completions, configuration.

use std::process::Output;

use serde_json::Value;

use crate::server::{Site, jobslate};

const COMMANDS: [&str; 23] = [
    "serve",
    "import",
    "set",
    "get",
    "list",
    "history",
    "lookup",
    "delete",
    "prune",
    "wait",
    "watch",
    "counts",
    "pipelines",
    "expect",
    "export",
    "stats",
    "flush",
    "check",
    "backup",
    "restore",
    "compact",
    "config",
    "completions",
];

/// An address where nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";

fn run(arguments: &[&str]) -> Output {
    jobslate(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32, hint: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(stderr(output).contains(hint), "{}", stderr(output));
}

#[test]
fn every_command_explains_itself() {
    let overview = run(&["--help"]);
    assert_exit(&overview, 0, "");
    for command in COMMANDS {
        assert!(stdout(&overview).contains(command), "{command} is not in the overview");
        let help = run(&[command, "--help"]);
        assert_exit(&help, 0, "");
        assert!(stdout(&help).contains("Usage: jobslate"), "{}", stdout(&help));
    }
    let version = run(&["--version"]);
    assert_eq!(stdout(&version).trim(), format!("jobslate {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_help_of_serve_shows_each_bound_with_its_default() {
    let help = run(&["serve", "--help"]);
    for text in ["--queue-updates-max", "100000", "--batch-size", "50", "--flush-interval", "2s"] {
        assert!(stdout(&help).contains(text), "{text} is not in\n{}", stdout(&help));
    }
}

#[test]
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_exit(&output, 0, "");
        assert!(stdout(&output).contains("import"), "{shell}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_64() {
    assert_exit(&run(&[]), 64, "Usage");
    assert_exit(&run(&["frobnicate"]), 64, "frobnicate");
    assert_exit(&run(&["get"]), 64, "Usage");
    assert_exit(&run(&["counts", "--colour"]), 64, "--colour");
}

#[test]
fn a_server_that_does_not_answer_is_exit_code_69() {
    for arguments in [&["counts"][..], &["get", "x"], &["flush"], &["set", "x", "queued"]] {
        let output = run(&[arguments, &["--url", NOBODY]].concat());
        assert_exit(&output, 69, NOBODY);
    }
}

#[test]
fn an_input_that_is_not_there_is_exit_code_66() {
    let output = run(&["import", "--url", NOBODY, "no-such-file.ndjson"]);
    assert_exit(&output, 66, "no-such-file.ndjson");
}

#[test]
fn a_wrong_configuration_is_exit_code_78_and_names_the_key() {
    assert_exit(&run(&["serve", "--batch-size", "0"]), 78, "batch_size");
    let output = jobslate(&["config"]).env("JOBSLATE_FLUSH_INTERVAL", "2").output().unwrap();
    assert_exit(&output, 78, "JOBSLATE_FLUSH_INTERVAL");
    let site = Site::new(&[]);
    let file = site.path("jobslate.toml");
    std::fs::write(&file, "batch_sise = 50\n").unwrap();
    let output = jobslate(&["config", "--config"]).arg(&file).output().unwrap();
    assert_exit(&output, 78, "batch_sise");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let site = Site::new(&[]);
    let file = site.path("jobslate.toml");
    std::fs::write(&file, "batch_size = 60\nflush_interval = \"6s\"\ntail_jobs_max = 6000\n")
        .unwrap();
    let output = jobslate(&["config", "--batch-size", "80", "--config"])
        .arg(&file)
        .env("JOBSLATE_BATCH_SIZE", "70")
        .env("JOBSLATE_FLUSH_INTERVAL", "7s")
        .output()
        .unwrap();
    assert_exit(&output, 0, "");
    let effective: toml::Table = stdout(&output).parse().unwrap();
    assert_eq!(effective["batch_size"].as_integer(), Some(80));
    assert_eq!(effective["flush_interval"].as_str(), Some("7s"));
    assert_eq!(effective["tail_jobs_max"].as_integer(), Some(6000));
    assert_eq!(effective["queue_updates_max"].as_integer(), Some(100_000), "the default");
}

#[test]
fn an_address_that_is_not_loopback_is_refused_without_insecure_listen() {
    let site = Site::new(&[]);
    let mut serve = jobslate(&["serve", "--listen", "0.0.0.0:0", "--data-dir"]);
    let refused = serve.arg(site.data()).output().unwrap();
    assert_exit(&refused, 78, "--insecure-listen");
    assert!(!site.data().exists(), "nothing was made");
}

#[test]
fn set_get_list_and_counts_speak_to_people_and_to_machines() {
    let site = Site::new(&[]);
    let server = site.start();
    let set = server.run(&["set", "doc-1", "error", "--error", "ocr timed out"]);
    assert_exit(&set, 0, "");
    for command in [&["get", "doc-1"][..], &["list"], &["counts"]] {
        let table = server.run(command);
        assert_exit(&table, 0, "");
        assert!(stdout(&table).contains("error"), "{}", stdout(&table));
    }
    let machine = |arguments: &[&str]| -> Value {
        let output = server.run(&[arguments, &["--json"]].concat());
        assert_exit(&output, 0, "");
        let first = stdout(&output).lines().next().unwrap_or_default();
        serde_json::from_str(first).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    assert_eq!(machine(&["get", "doc-1"])["error"], "ocr timed out");
    assert_eq!(machine(&["counts"])["by_status"]["error"], 1);
    assert_eq!(machine(&["flush"])["durable_seq"], 1);
    assert_eq!(machine(&["stats"])["updates"]["applied"], 1);
    assert_eq!(machine(&["check"])["clean"], true);
    assert_exit(&server.run(&["get", "nobody"]), 1, "nobody");
    assert_exit(&server.run(&["set", "doc-1", "in progress"]), 65, "in progress");
}

#[test]
fn an_import_reports_its_rejected_lines_and_ends_with_65() {
    let site = Site::new(&[]);
    let server = site.start();
    let file = site.path("mixed.ndjson");
    let lines = "{\"job_id\":\"a\",\"status\":\"queued\"}\n{\"job_id\":\"b\",\"status\":\"a b\"}\n";
    std::fs::write(&file, lines).unwrap();
    let output = server.import(&file).wait_with_output().unwrap();
    assert_exit(&output, 65, "1 of 2 lines");
    assert!(stdout(&output).contains("a b"), "{}", stdout(&output));
    assert_eq!(server.http.get("/v1/counts").ok()["total"], 1);
}

#[test]
fn compact_takes_a_stopped_store_alone_and_leaves_it_as_it_was() {
    let site = Site::new(&[]);
    let data = site.data();
    let data = data.to_str().unwrap();
    assert_exit(&run(&["compact", "--data-dir", data]), 66, "there is no store");
    let server = site.start();
    server.http.put("a", "", r#"{"status":"queued"}"#).unwrap();
    assert_exit(&run(&["compact", "--data-dir", data]), 75, "stop the server first");
    assert!(server.stop().success());
    let compacted = run(&["compact", "--data-dir", data, "--json"]);
    assert_exit(&compacted, 0, "");
    let lengths: Value = serde_json::from_str(stdout(&compacted)).unwrap();
    for file in ["journal", "tables"] {
        let path = site.data().join(format!("{file}.redb"));
        assert_eq!(lengths[file]["after_bytes"], path.metadata().unwrap().len(), "{lengths}");
    }
    assert_exit(&run(&["compact", "--data-dir", data]), 0, "");
    assert_exit(&run(&["check", "--data-dir", data]), 0, "");
    let server = site.start();
    assert_eq!(server.http.get("/v1/jobs/a").status, 200);
    assert!(server.stop().success());
}
