//! A disk that others fill up: updates are refused while it lasts, reads go on, what was accepted
//! is stored once there is room, and nobody has to start the server again.
//!
//! The disk is a small file system in memory, mounted for the server alone.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::{Server, Site, eventually, skip};

const DISK_MIB: usize = 400;

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

fn updates(from: usize, count: usize) -> String {
    let error = "x".repeat(600);
    let line = |number| {
        format!("{{\"job_id\":\"job-{number}\",\"status\":\"error\",\"error\":\"{error}\"}}\n")
    };
    (from..from + count).map(line).collect()
}

fn total(server: &Server) -> u64 {
    let counts: Value = server.http.get("/v1/counts").json();
    counts["total"].as_u64().unwrap()
}

#[test]
fn a_full_disk_refuses_updates_loses_none_and_takes_them_again_by_itself() {
    let site = Site::new(&[]);
    let Some(serve) = on_small_disk(&site) else {
        skip("a full disk", "nobody may mount a file system here (unshare, mount)");
        return;
    };
    let server = site.start_as(serve);
    let lines = |ack: &str, body: &str| {
        let path = format!("/v1/updates?ack={ack}");
        server.http.post_as("application/x-ndjson", &path, body)
    };
    assert_eq!(lines("durable", &updates(0, 10)).status, 200);

    // Below the reserve: nothing more is taken, though there is room for it.
    let filler = filler(&site, &server);
    fill(&filler, DISK_MIB / 2);
    eventually("the server finds the disk full", || {
        (server.http.get("/readyz").status == 507).then_some(())
    });
    let refused = lines("durable", &updates(10, 1));
    assert_eq!(refused.status, 507, "{}", refused.text);
    let problem: Value = refused.json();
    assert_eq!(
        (&problem["code"], &problem["outcome"]),
        (&Value::from("storage_full"), &Value::from("not_applied"),)
    );
    assert_eq!(total(&server), 10, "reads go on");
    std::fs::remove_file(&filler).unwrap();
    eventually("there is room again", || (server.http.get("/readyz").status == 200).then_some(()));

    // All at once, before anybody looked: the write itself fails, and what was accepted waits.
    fill(&filler, DISK_MIB);
    let accepted = lines("queued", &updates(10, 5_000));
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    eventually("the write fails", || (server.http.get("/readyz").status == 507).then_some(()));
    assert_eq!(total(&server), 10, "what could not be written is not shown");
    std::fs::remove_file(&filler).unwrap();
    eventually("there is room again", || (server.http.get("/readyz").status == 200).then_some(()));
    assert_eq!(server.http.post("/v1/flush", "").status, 200);
    assert_eq!(total(&server), 5_010);
    let check: Value = server.http.get("/v1/check").json();
    assert_eq!(check["clean"], true, "{check}");
    assert!(site.log().contains("store_reopened"), "{}", site.log());
    assert!(server.stop().success());
}
