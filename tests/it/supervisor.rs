//! What systemd and logrotate do with the real binary: readiness, beats, the unit file, a log file
//! that is moved away.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::server::{Site, eventually, skip};

/// The next datagram; a wait of minutes is a hang.
fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 512];
    let length = socket.recv(&mut bytes).expect("the server tells something");
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn the_supervisor_hears_of_readiness_beats_and_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let name = format!("jobslate-it-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    let sockets = [
        (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
        (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
    ];
    for (socket, address) in sockets {
        socket.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        let site = Site::new(&[]).with_variable("NOTIFY_SOCKET", address);
        let server = site.with_variable("WATCHDOG_USEC", "100000").start();
        assert_eq!(next(&socket), "STATUS=opening the store");
        let ready = next(&socket);
        assert!(ready.starts_with("READY=1\nSTATUS=ready on http://127.0.0.1:"), "{ready}");
        for _ in 0..3 {
            assert_eq!(next(&socket), "WATCHDOG=1");
        }
        assert!(server.stop().success());
        let is_told = (0..10_000).map(|_| next(&socket)).any(|it| it.starts_with("STOPPING=1"));
        assert!(is_told, "the stop was told");
    }
}

/// logrotate's `create`: the file is moved, then the process is told.
#[test]
fn a_log_file_that_was_moved_away_is_made_anew_at_sighup() {
    let site = Site::new(&[]);
    let server = site.start();
    let moved = site.path("log.1");
    std::fs::rename(site.path("log"), &moved).unwrap();
    let read_moved = || std::fs::read_to_string(&moved).unwrap();
    // Until it is told, it goes on with the file that it has.
    let before = read_moved().len();
    server.http.put("a", "", r#"{"status":"queued"}"#).unwrap();
    eventually("the batch is logged", || (read_moved().len() > before).then_some(()));
    assert_eq!(site.log(), "");
    server.signal(Signal::HUP);
    eventually("the log is opened again", || site.log().contains("log_reopened").then_some(()));
    let moved_whole = read_moved();
    assert_eq!(server.http.get("/v1/jobs/a").status, 200, "the server goes on");
    assert!(server.stop().success());
    assert!(site.log().contains("drained"), "{}", site.log());
    assert_eq!(read_moved(), moved_whole, "nothing more came to the old file");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(site.path("log")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

const UNIT: &str = include_str!("../../packaging/jobslate.service");

/// The values of a setting of the unit file.
fn setting(name: &str) -> Vec<&'static str> {
    let values = UNIT.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.flat_map(str::split_whitespace).collect()
}

#[test]
fn the_unit_file_says_what_the_binary_does() {
    assert_eq!(setting("Type"), ["notify"]);
    assert_eq!(setting("Restart"), ["on-failure"]);
    // Wrong usage, a damaged store, a wrong configuration: a restart would meet them again.
    assert_eq!(setting("RestartPreventExitStatus"), ["64", "76", "78"]);
    assert!(!setting("WatchdogSec").is_empty());
    let site = Site::new(&["--batch-size=nonsense"]);
    assert_eq!(site.serve().output().unwrap().status.code(), Some(78));
}

/// Where systemd is installed; elsewhere there is nothing that could judge the file.
#[test]
fn the_unit_file_is_valid() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        return skip("the unit file", "systemd-analyze is not installed");
    };
    assert!(version.status.success());
    let directory = tempfile::tempdir().unwrap();
    let verify = |text: &str| {
        let unit = directory.path().join("jobslate.service");
        std::fs::write(&unit, text).unwrap();
        Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap()
    };
    // The binary is not installed here, but another one is there.
    let unit = UNIT.replace("/usr/bin/jobslate", "/bin/true");
    let good = verify(&unit);
    assert!(good.status.success() && good.stderr.is_empty(), "{good:?}");
    // The control.
    let bad = verify(&unit.replace("ProtectSystem=strict", "ProtectSystem=mostly"));
    assert!(!bad.stderr.is_empty(), "{bad:?}");
}
