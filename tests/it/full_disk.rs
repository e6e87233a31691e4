//! A disk that others fill up: updates are refused while it lasts, reads go on, what was accepted
//! is stored once there is room, and nobody has to start the server again.
//!
//! The disk is a small file system in memory, mounted for the server alone.

use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::http::Reply;
use crate::random::{Random, number_from_environment};
use crate::server::{Server, Site, eventually, skip};
use crate::walk::lost;

const DISK_MIB: usize = 400;
/// Lines about the first failure, and five tries ten seconds apart to open the store again. Three
/// end the process if it is not for want of room.
const TROUBLE_LINES: usize = 6;

/// The command that serves `site` with its data on a disk of its own; `None` where the system
/// allows nobody to mount one.
fn on_small_disk(site: &Site) -> Option<Command> {
    let isolated = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).stdin(Stdio::null());
        command
    };
    let data = site.data();
    std::fs::create_dir(&data).unwrap();
    let mount = format!("mount -t tmpfs -o size={DISK_MIB}m none {}", data.display());
    let allowed = isolated().args(["sh", "-c", &mount]).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return None;
    }
    let serve = site.serve();
    let mut command = isolated();
    command.arg("sh").arg("-c").arg(format!("{mount} && exec \"$0\" \"$@\""));
    command.arg(serve.get_program()).args(serve.get_args());
    for (name, _) in serve.get_envs() {
        command.env_remove(name);
    }
    Some(command)
}

/// A file beside the data, seen through the server's own mount.
fn filler(site: &Site, server: &Server) -> PathBuf {
    let data = site.data();
    let data = data.strip_prefix("/").unwrap();
    let root = format!("/proc/{}/root", server.pid().as_raw_nonzero());
    PathBuf::from(root).join(data).join("filler")
}

/// Writes until the disk is full, or `mib` are written.
fn fill(path: &PathBuf, mib: usize) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let block = vec![1; 1 << 20];
    for _ in 0..mib {
        if file.write_all(&block).is_err() {
            break;
        }
    }
}

/// A job for each of `numbers`, on a line each.
fn updates(numbers: Range<usize>) -> String {
    let error = "x".repeat(600);
    let line = |number| {
        format!("{{\"job_id\":\"job-{number}\",\"status\":\"error\",\"error\":\"{error}\"}}\n")
    };
    numbers.map(line).collect()
}

fn send(server: &Server, ack: &str, numbers: Range<usize>) -> Reply {
    let path = format!("/v1/updates?ack={ack}");
    server.http.post_as("application/x-ndjson", &path, &updates(numbers))
}

fn total(server: &Server) -> usize {
    let counts: Value = server.http.get("/v1/counts").json();
    counts["total"].as_u64().unwrap() as usize
}

/// Waits until the server says that it takes updates, or that its disk is full.
fn wait_for(server: &Server, status: u16) {
    eventually("the server sees it", || (server.http.get("/readyz").status == status).then_some(()))
}

/// `JOBSLATE_DISK_ROUNDS` says how often; after the first, with other numbers of updates. With more
/// than one, the disk of the second stays full for longer than a disk that fails may.
#[test]
fn a_full_disk_refuses_updates_loses_none_and_takes_them_again_by_itself() {
    let rounds = number_from_environment("JOBSLATE_DISK_ROUNDS", 1);
    let mut random = Random::from_environment();
    let mut accepted = 0;
    for round in 0..rounds {
        let (durable, queued) = match round {
            0 => (10, 5_000),
            _ => (1 + random.below(500), 3_000 + random.below(4_000)),
        };
        let site = Site::new(&[]);
        let Some(serve) = on_small_disk(&site) else {
            skip("a full disk", "nobody may mount a file system here (unshare, mount)");
            return;
        };
        let server = site.start_as(serve);
        let sent = send(&server, "durable", 0..durable);
        assert_eq!((sent.status, sent.retry_after_s()), (200, None), "{}", sent.text);
        fill_below_reserve(&site, &server, durable);
        fill_under_write(&site, &server, durable..durable + queued, round == 1);
        assert_all_there(&server, durable + queued);
        assert!(server.stop().success());
        accepted += durable + queued;
    }
    println!("{rounds} rounds, {accepted} updates accepted, lost 0");
}

/// Below the reserve: nothing more is taken, though there is room for it.
fn fill_below_reserve(site: &Site, server: &Server, jobs: usize) {
    let filler = filler(site, server);
    fill(&filler, DISK_MIB / 2);
    wait_for(server, 507);
    for ack in ["durable", "queued"] {
        let refused = send(server, ack, jobs..jobs + 1);
        assert_eq!(refused.status, 507, "{}", refused.text);
        let problem: Value = refused.json();
        assert_eq!(
            (&problem["code"], &problem["outcome"]),
            (&Value::from("storage_full"), &Value::from("not_applied"),)
        );
        assert!(refused.retry_after_s() >= Some(1), "{refused:?}");
    }
    assert_eq!(total(server), jobs, "reads go on");
    std::fs::remove_file(&filler).unwrap();
    wait_for(server, 200);
}

/// All at once, before anybody looked: the write itself fails, and what was accepted waits.
fn fill_under_write(site: &Site, server: &Server, numbers: Range<usize>, is_long: bool) {
    let filler = filler(site, server);
    let before = numbers.start;
    fill(&filler, DISK_MIB);
    let accepted = send(server, "queued", numbers);
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    wait_for(server, 507);
    if is_long {
        eventually("it was tried more than three times", || {
            (site.log().matches("store_trouble").count() >= TROUBLE_LINES).then_some(())
        });
        assert_eq!(send(server, "durable", 0..1).status, 507);
    }
    assert_eq!(total(server), before, "what could not be written is not shown");
    std::fs::remove_file(&filler).unwrap();
    wait_for(server, 200);
    assert!(site.log().contains("store_reopened"), "{}", site.log());
}

/// The judge is told of a job that was never sent, too, which it must find.
fn assert_all_there(server: &Server, jobs: usize) {
    assert_eq!(server.http.post("/v1/flush", "").status, 200);
    assert_eq!(total(server), jobs);
    let job_ids: Vec<String> = (0..=jobs).map(|number| format!("job-{number}")).collect();
    let lost = lost(&server.http, job_ids.iter().map(|job_id| (&**job_id, "error")));
    assert_eq!(lost, [format!("job-{jobs}")]);
    let check: Value = server.http.get("/v1/check").json();
    assert_eq!(check["clean"], true, "{check}");
}
