//! How long a server takes to be ready after it was killed while it wrote.
//!
//! A child fills a store and is killed at work. Copies of what it left are opened by the real
//! binary: one whose files are in memory, one of which the system holds nothing. A cold start is
//! compared with reading the same files once, as cold.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::child::{Child, Task, Then, data};
use super::cold::{copy, files, make_cold, make_warm, read_all};
use super::{Figure, MIB, StartChild};

/// How often it is asked whether it is ready.
const POLL: Duration = Duration::from_millis(2);
/// A start that takes longer than this hangs.
const HANG: Duration = Duration::from_secs(300);
/// How long the child writes on after the store was filled, so that the kill meets a write.
const WRITING: Duration = Duration::from_millis(300);

pub fn run(
    jobs: usize,
    round: usize,
    directory: &Path,
    start_child: StartChild<'_>,
) -> Vec<Figure> {
    let home = tempfile::tempdir_in(directory).expect("the directory of the benchmark is writable");
    let task = Task { directory: home.path().to_owned(), jobs, then: Then::WriteForEver };
    let mut child = Child::start(start_child(), &task);
    child.wait_filled();
    std::thread::sleep(WRITING);
    drop(child);
    let left = data(home.path());
    let (warm, cold) = (home.path().join("warm"), home.path().join("cold"));
    copy(&left, &warm);
    copy(&left, &cold);
    make_cold(&cold);
    let reading = read_all(&cold).as_secs_f64();
    make_cold(&warm);
    make_warm(&warm);
    let warm_seconds = time_to_ready(&warm).as_secs_f64();
    make_cold(&cold);
    let cold_seconds = time_to_ready(&cold).as_secs_f64();
    let length = |path: &PathBuf| path.metadata().map_or(0, |it| it.len());
    let bytes: u64 = files(&left).iter().map(length).sum();
    let figure = |name, value| Figure { plan: "ready", name, round, value };
    eprintln!(
        "ready round {round}: warm {warm_seconds:.2} s, cold {cold_seconds:.2} s, \
         read once {reading:.2} s"
    );
    vec![
        figure("files_mib", bytes as f64 / MIB),
        figure("warm_s", warm_seconds),
        figure("cold_s", cold_seconds),
        figure("read_once_s", reading),
        figure("cold_ratio", cold_seconds / reading),
    ]
}

/// From the start of `jobslate serve` on the directory until it says that it is ready.
fn time_to_ready(directory: &Path) -> Duration {
    // Free a moment ago; the server has it next.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    drop(listener);
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobslate"));
    // Deaf to the configuration of whoever measures.
    command.env_clear();
    command.args(["serve", "--listen", &address.to_string(), "--data-dir"]).arg(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut server = Server(command.spawn().expect("the binary starts"));
    while !is_ready(address) {
        let ended = server.0.try_wait().expect("the server was started");
        assert!(ended.is_none() && start.elapsed() < HANG, "the server is not ready: {ended:?}");
        std::thread::sleep(POLL);
    }
    start.elapsed()
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        let head = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok::<_, std::io::Error>(reply.starts_with("HTTP/1.1 200 "))
    };
    // Refused means not yet.
    ask().unwrap_or(false)
}

/// Killed when dropped.
struct Server(Process);

impl Drop for Server {
    fn drop(&mut self) {
        // After an end both say that there is nothing left to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
