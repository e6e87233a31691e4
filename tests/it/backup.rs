//! Backups of the real binary, beside writers, and the stores that are made of them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::http::Http;
use crate::random::number_from_environment;
use crate::server::{Server, Site, eventually, jobslate};

const WRITERS: usize = 8;

#[track_caller]
fn assert_exit(output: &Output, code: i32, hint: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(hint), "{stderr}");
}

fn lines(output: &Output) -> Vec<Value> {
    assert_exit(output, 0, "");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn restore(file: &Path, directory: &Path, flags: &[&str]) -> Output {
    let mut command = jobslate(&["restore"]);
    command.arg(file).arg("--data-dir").arg(directory).args(flags).output().unwrap()
}

/// The names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let found = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        found.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// What the feed says that jobs were after the update `seq`: by id, the seq, status and error.
type Jobs = BTreeMap<String, (u64, Value, Value)>;

fn jobs_at(feed: &[Value], seq: u64) -> Jobs {
    let mut jobs = Jobs::new();
    for update in feed.iter().filter(|it| it["applied"] == true) {
        let at = update["seq"].as_u64().unwrap();
        if at <= seq {
            let told = (at, update["status"].clone(), update["error"].clone());
            jobs.insert(update["job_id"].as_str().unwrap().to_owned(), told);
        }
    }
    jobs
}

/// Reports one update after the other; the last seq that was acknowledged is in `acknowledged`.
fn write(http: &Http, writer: usize, acknowledged: &AtomicU64, is_over: &AtomicBool) {
    for round in 0.. {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let job_id = format!("job-{}", (round * 7 + writer * 3) % 400);
        let body = match round % 3 {
            0 => r#"{"status":"queued"}"#.to_owned(),
            1 => r#"{"status":"processing"}"#.to_owned(),
            _ => format!(r#"{{"status":"error","error":"round {round} of {writer}"}}"#),
        };
        let answer = http.put(&job_id, "", &body).unwrap().ok();
        acknowledged.fetch_max(answer["last_seq"].as_u64().unwrap(), Ordering::SeqCst);
    }
}

/// `JOBSLATE_BACKUPS` says how many.
#[test]
fn a_backup_beside_eight_writers_is_one_moment_of_what_was_acknowledged() {
    let backups = number_from_environment("JOBSLATE_BACKUPS", 3);
    let site = Site::new(&["--fold-interval", "100ms", "--tail-jobs-max", "1000"]);
    let server = site.start();
    let (acknowledged, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let files: Vec<_> = (0..backups).map(|number| site.path(&format!("{number}.backup"))).collect();
    let before: Vec<u64> = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (url, acknowledged, is_over) = (&server.url, &acknowledged, &is_over);
            scope.spawn(move || write(&Http::new(url), writer, acknowledged, is_over));
        }
        let seq = || acknowledged.load(Ordering::SeqCst);
        let taken = files.iter().map(|file| {
            let goal = seq() + 600;
            eventually("the writers write", || (seq() >= goal).then_some(()));
            let before = seq();
            assert_exit(&server.command(&["backup"]).arg(file).output().unwrap(), 0, "saved");
            before
        });
        let before = taken.collect();
        let goal = seq() + 200;
        eventually("the writers go on", || (seq() >= goal).then_some(()));
        is_over.store(true, Ordering::SeqCst);
        before
    });
    let feed = lines(&server.run(&["export", "updates"]));
    assert!(server.stop().success());
    for (file, before) in files.iter().zip(before) {
        let copy = Site::new(&[]);
        let said = &lines(&restore(file, &copy.data(), &["--json"]))[0];
        let as_of_seq = said["as_of_seq"].as_u64().unwrap();
        assert!(as_of_seq >= before, "{before} was acknowledged, the backup ends at {as_of_seq}");
        let server = copy.start();
        let restored = lines(&server.run(&["export", "jobs"])).into_iter().map(|job| {
            let told = (job["seq"].as_u64().unwrap(), job["status"].clone(), job["error"].clone());
            (job["job_id"].as_str().unwrap().to_owned(), told)
        });
        let restored: Jobs = restored.collect();
        assert!(restored == jobs_at(&feed, as_of_seq), "another moment than {as_of_seq}");
        // The control: one update less, or one more, would be seen.
        assert!(restored != jobs_at(&feed, as_of_seq - 1));
        assert!(restored != jobs_at(&feed, as_of_seq + 1));
        assert_eq!(lines(&server.run(&["counts", "--json"]))[0]["total"], restored.len());
        let held = lines(&server.run(&["export", "updates"]));
        assert!(held == feed[..held.len()], "the feed is the beginning of the other");
        assert_eq!(held.len() as u64, as_of_seq);
        assert_exit(&server.run(&["check"]), 0, "");
    }
}

fn started(site: &Site) -> Server {
    let server = site.start();
    assert_exit(&server.run(&["set", "doc-1", "error", "--error", "no text"]), 0, "");
    server
}

#[test]
fn a_backup_goes_where_it_was_asked_and_replaces_nothing_unasked() {
    let site = Site::new(&[]);
    let server = started(&site);
    let (file, copy) = (site.path("a.backup"), site.path("copy"));
    let save = |flags: &[&str]| server.command(&["backup"]).arg(&file).args(flags).output();
    assert_exit(&save(&[]).unwrap(), 0, "saved 1 jobs as of update 1");
    assert_exit(&save(&[]).unwrap(), 73, "--force");
    assert_eq!(lines(&save(&["--force", "--json"]).unwrap())[0]["jobs"], 1);
    let piped = server.run(&["backup", "-"]);
    assert_exit(&piped, 0, "");
    // A reader that goes away gets no whole backup, and the exit code says so.
    let mut cut = server.command(&["backup", "-"]);
    cut.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut cut = cut.spawn().unwrap();
    drop(cut.stdout.take());
    assert_exit(&cut.wait_with_output().unwrap(), 74, "before the backup was whole");
    assert!(server.stop().success());
    // The store that no server has open says the same.
    let stopped = site.path("stopped.backup");
    let mut command = jobslate(&["backup", "--data-dir"]);
    let output = command.arg(site.data()).arg(&stopped).output().unwrap();
    assert_exit(&output, 0, "saved 1 jobs as of update 1");
    assert_exit(&restore(&stopped, &site.path("of-stopped"), &[]), 0, "restored 1 jobs");

    std::fs::write(&file, &piped.stdout).unwrap();
    let mut from_pipe = jobslate(&["restore", "-", "--data-dir"]);
    from_pipe.arg(&copy).stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    assert_exit(&from_pipe.output().unwrap(), 0, "restored 1 jobs as of update 1");
    assert_eq!(names(&copy), ["LOCK", "STORE", "journal.redb", "tables.redb"]);
}

#[test]
fn a_restore_says_with_its_exit_code_why_there_is_no_store() {
    let site = Site::new(&[]);
    let server = started(&site);
    let (file, cut) = (site.path("a.backup"), site.path("cut.backup"));
    assert_exit(&server.command(&["backup"]).arg(&file).output().unwrap(), 0, "");
    assert_exit(&restore(&file, &site.data(), &["--force"]), 75, "in use");
    server.kill();
    assert_exit(&restore(&file, &site.data(), &[]), 73, "--force replaces it");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    let missing = site.path("missing").join("deep");
    assert_exit(&restore(&cut, &missing, &[]), 76, "it is cut");
    assert!(!site.path("missing").exists(), "nothing is left");
    assert_exit(&restore(&cut, &site.data(), &["--force"]), 76, "it is cut");
    assert_exit(&restore(&site.path("none"), &missing, &[]), 66, "cannot read");
    let output = jobslate(&["backup", "--data-dir"]).arg(&missing).arg(&cut).output().unwrap();
    assert_exit(&output, 73, "--force");
    // What the kill left is still there, then replaced.
    assert_exit(&site.start().run(&["get", "doc-1"]), 0, "");
    assert_exit(&restore(&file, &site.data(), &["--force", "--quiet"]), 0, "");
    assert_exit(&site.start().run(&["get", "doc-1"]), 0, "");
}

/// Reads the head of `GET /v1/backup` and no more.
fn begin_backup(server: &Server) -> TcpStream {
    let mut connection = TcpStream::connect(server.address()).unwrap();
    let call = "GET /v1/backup HTTP/1.1\r\nhost: localhost\r\n\r\n";
    std::io::Write::write_all(&mut connection, call.as_bytes()).unwrap();
    let mut head = [0; 15];
    connection.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    connection
}

#[test]
fn kill_nine_during_a_backup_leaves_no_file_after_the_next_start() {
    let backups = tempfile::tempdir().unwrap();
    let directory = backups.path().to_str().unwrap();
    let site = Site::new(&["--backup-dir", directory, "--backup-interval", "1d"]);
    let server = started(&site);
    let connection = begin_backup(&server);
    assert_eq!(names(&site.data()), ["LOCK", "STORE", "journal.redb", "tables.redb"]);
    eventually("the first backup is made", || names(backups.path()).pop());
    server.kill();
    drop(connection);
    // What a kill at a worse moment leaves: before the name is gone, in the middle of a scheduled
    // backup, of a restore.
    std::fs::write(site.data().join("jobslate-backup.tmp"), "half").unwrap();
    let restoring = site.data().join("jobslate.restoring");
    std::fs::create_dir(&restoring).unwrap();
    std::fs::write(restoring.join("tables.redb"), "half").unwrap();
    for name in names(backups.path()) {
        // `jobslate-STORE-TIME-SEQ.backup`, and the part of another backup of the same store.
        let store = name.split('-').nth(1).unwrap();
        let left = format!("jobslate-{store}-20251124T150000.000Z.backup.part");
        std::fs::write(backups.path().join(left), "half").unwrap();
        std::fs::remove_file(backups.path().join(name)).unwrap();
    }
    let server = site.start();
    assert_eq!(names(&site.data()), ["LOCK", "STORE", "journal.redb", "tables.redb"]);
    let made = eventually("a backup is made", || {
        names(backups.path()).into_iter().find(|name| name.ends_with(".backup"))
    });
    assert_eq!(names(backups.path()), [made]);
    assert!(server.stop().success());
}

#[test]
fn a_server_makes_backups_by_itself_and_says_so() {
    let site = Site::new(&["--backup-dir", "backups", "--backup-keep", "2"]);
    let server = started(&site);
    let stats = || server.http.get("/v1/stats").ok()["backups"].clone();
    let made = eventually("a backup is made", || Some(stats()).filter(|it| it["made"] == 1));
    assert_eq!((&made["scheduled"], &made["failing"]), (&Value::from(true), &Value::from(false)));
    assert!(made["last_bytes"].as_u64().unwrap() > 100);
    assert!(site.log().contains("Backup made"), "{}", site.log());
    let name = names(&site.path("backups")).pop().unwrap();
    assert_exit(&restore(&site.path("backups").join(&name), &site.path("copy"), &[]), 0, "");
    assert!(server.stop().success());
    // The interval counts over restarts: a second start makes no second backup at once.
    let server = started(&site);
    assert!(server.stop().success());
    assert_eq!(names(&site.path("backups")), [name]);
}
