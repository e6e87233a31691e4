//! How commands end when the other side is not what they hoped: no server, no reader, a full disk,
//! a wrong name, a directory that is none.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Output, Stdio};

use crate::server::{Site, jobslate};

/// An address where nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";
const LINE: &str = "{\"job_id\":\"a\",\"status\":\"queued\"}\n";

#[track_caller]
fn assert_exit(output: &Output, code: i32, hint: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(hint), "{stderr}");
}

#[test]
fn a_misspelt_log_level_is_refused_and_not_a_silent_log() {
    for level in ["warning", "inof", "http=debug", "jobslate::htpp=debug"] {
        let output = jobslate(&["config", "--log-level", level]).output().unwrap();
        assert_exit(&output, 78, "give error, warn, info");
    }
    let output = jobslate(&["config"]).env("JOBSLATE_LOG_LEVEL", "loud").output().unwrap();
    assert_exit(&output, 78, "JOBSLATE_LOG_LEVEL");
}

#[test]
fn an_import_without_a_server_claims_no_stored_line() {
    let site = Site::new(&[]);
    let file = site.path("long.ndjson");
    let long = vec![b'x'; 20 << 20];
    let whole = [LINE.as_bytes(), &long, b"\n", LINE.as_bytes()].concat();
    std::fs::write(&file, whole).unwrap();
    let mut import = jobslate(&["import", "--retry-for", "0s", "--url", NOBODY]);
    assert_exit(&import.arg(&file).output().unwrap(), 69, "nothing is stored yet");
}

#[test]
fn help_that_nobody_reads_is_no_failure() {
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = jobslate(arguments).stdout(writer).output().unwrap();
        assert_exit(&output, 0, "");
    }
}

#[test]
fn help_that_a_full_disk_takes_not_is_exit_code_74() {
    for arguments in ["--help", "--version"] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = jobslate(&[arguments]).stdout(full).output().unwrap();
        assert_exit(&output, 74, "cannot write the output");
    }
}

#[test]
fn a_job_id_that_no_url_can_name_is_refused_before_the_server_is_asked() {
    for id in ["..", ".", ""] {
        let output = jobslate(&["get", id, "--url", NOBODY]).output().unwrap();
        assert_exit(&output, 65, "job id");
    }
}

#[test]
fn the_password_of_a_url_is_not_printed() {
    for url in ["http://me:s3cret@127.0.0.1:9", "https://me:s3cret@x", "http://me:s3/cret@x"] {
        let output = jobslate(&["counts", "--url", url]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !stderr.contains("s3"), "{stderr}");
    }
}

#[test]
fn a_data_directory_that_is_a_file_is_named_as_such() {
    let site = Site::new(&[]);
    std::fs::write(site.data(), "").unwrap();
    let output = site.serve().output().unwrap();
    assert_exit(&output, 74, "is not a directory");
}

#[test]
fn a_check_of_a_directory_without_a_store_is_exit_code_66() {
    let site = Site::new(&[]);
    std::fs::create_dir(site.data()).unwrap();
    std::fs::write(site.data().join("letter.txt"), "dear").unwrap();
    let mut check = jobslate(&["check", "--data-dir"]);
    assert_exit(&check.arg(site.data()).output().unwrap(), 66, "there is no store");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let names = ["JOBSLATE_CONFIG", "JOBSLATE_BATCH_SIZE", "JOBSLATE_LOG_LEVEL"];
    let output = jobslate(&["config"]).envs(names.map(|name| (name, ""))).output().unwrap();
    assert_exit(&output, 0, "");
    let mut counts = jobslate(&["counts"]);
    let output = counts.env("JOBSLATE_URL", "").output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("is not the URL"), "{output:?}");
}

#[test]
fn an_import_reads_from_a_pipe_and_of_zstd() {
    let site = Site::new(&[]);
    let server = site.start();
    let mut import = server.command(&["import", "-"]);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(LINE.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    let file = site.path("no-name-says-it");
    std::fs::write(&file, zstd::encode_all(LINE.replace("\"a\"", "\"b\"").as_bytes(), 1).unwrap())
        .unwrap();
    assert!(server.import(&file).wait_with_output().unwrap().status.success());
    assert_eq!(server.http.get("/v1/counts").ok()["total"], 2);
}

#[test]
fn a_list_whose_reader_went_away_ends_with_0_and_a_kept_one_has_no_trailing_spaces() {
    let site = Site::new(&[]);
    let server = site.start();
    let set = server.run(&["set", "doc-1", "error", "--error", "a text longer than its header"]);
    assert_exit(&set, 0, "");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_exit(&server.command(&["list"]).stdout(writer).output().unwrap(), 0, "");
    let list = server.run(&["list"]);
    let text = String::from_utf8_lossy(&list.stdout);
    assert!(text.contains("SINCE") && text.contains("ABOUT"), "{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')), "{text:?}");
    assert_exit(&server.run(&["list", "--limit", "0"]), 64, "--all");
}
