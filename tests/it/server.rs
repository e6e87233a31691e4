//! The real binary as a child process, in a directory and on a port of its own.
//!
//! A [`Site`] is the directory and the flags; it outlives the processes that are started, killed
//! and started again on it. Waiting always means polling with a generous bound, which only tells a
//! hang from an answer.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Http;

/// A wait that takes longer than this hangs.
const HANG: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);

/// Polls `look` until it gives something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < HANG, "waited {HANG:?} in vain: {what}");
        std::thread::sleep(POLL);
    }
}

/// The binary, deaf to the environment of whoever runs the tests.
pub fn jobslate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobslate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("JOBSLATE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Says why a test, or a part of one, is not run here. As root under CI nobody would read that, and
/// all that is needed can be had: there it is a failure.
pub fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
    let is_root = rustix::process::getuid().is_root();
    let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!(is_root && is_ci), "{test} needs what is missing here: {why}");
}

/// A data directory, a log and the flags of the servers that run there.
pub struct Site {
    directory: tempfile::TempDir,
    flags: Vec<String>,
    variables: Vec<(String, OsString)>,
    /// 0: each server takes a free one.
    port: u16,
    /// True if the servers log to a pipe, and not to the file themselves.
    is_piped: bool,
}

impl Site {
    pub fn new(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self { directory, flags, variables: Vec::new(), port: 0, is_piped: false }
    }

    /// Servers of this site find the environment variable `name`.
    pub fn with_variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// All servers of this site listen on `port`, so that a client finds the next one.
    pub fn on_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Servers of this site log to a pipe, so that the log outlives what befalls their files.
    pub fn logging_to_a_pipe(self) -> Self {
        Self { is_piped: true, ..self }
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The log of all processes that ran here.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The command that serves this site.
    pub fn serve(&self) -> Command {
        let mut command = jobslate(&["serve", "--listen", &format!("127.0.0.1:{}", self.port)]);
        command.arg("--data-dir").arg(self.data());
        if !self.is_piped {
            command.arg("--log-file").arg(self.log_path());
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(&self.flags).current_dir(self.directory.path());
        command
    }

    /// Starts a server and waits until it is ready.
    pub fn start(&self) -> Server {
        self.start_as(self.serve())
    }

    /// [`start`](Self::start), by a command that ends as [`serve`](Self::serve).
    pub fn start_as(&self, mut command: Command) -> Server {
        let logged_before = self.log().len();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        if self.is_piped {
            let mut pipe = child.stderr.take().unwrap();
            let mut log = File::options().create(true).append(true).open(self.log_path()).unwrap();
            // Ends with the process, which is the only one that writes.
            std::thread::spawn(move || std::io::copy(&mut pipe, &mut log));
        }
        let address = eventually("the server logs its address", || {
            let log = self.log();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}\n{log}", stderr_of(&mut child));
            }
            find_address(log.get(logged_before..)?)
        });
        let url = format!("http://{address}");
        let server = Server::of(child, Http::new(&url), url);
        server.wait_until_ready();
        server
    }
}

fn stderr_of(child: &mut Child) -> String {
    child.stderr.take().and_then(|pipe| std::io::read_to_string(pipe).ok()).unwrap_or_default()
}

/// The first loopback address with a real port in the log.
fn find_address(log: &str) -> Option<String> {
    log.match_indices("127.0.0.1:").find_map(|(start, host)| {
        let tail = &log[start + host.len()..];
        let port: String = tail.chars().take_while(char::is_ascii_digit).collect();
        // A port at the very end may not be written whole yet.
        let is_whole = port.len() < tail.len() && port != "0";
        is_whole.then(|| format!("{host}{port}"))
    })
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub url: String,
    pub http: Http,
}

impl Server {
    /// A process that was started otherwise than by a [`Site`].
    pub fn of(child: Child, http: Http, url: String) -> Self {
        Self { child, url, http }
    }

    /// Waits until it is.
    pub fn wait_until_ready(&self) {
        eventually("the server is ready", || {
            self.http.try_get("/readyz").ok().filter(|reply| reply.status == 200)
        });
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Runs a command of the binary against this server, to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A command of the binary against this server.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = jobslate(arguments);
        command.env("JOBSLATE_URL", &self.url);
        command
    }

    /// `jobslate import PATH`, not waited for.
    pub fn import(&self, path: &Path) -> Child {
        self.import_with(path, &[])
    }

    pub fn import_with(&self, path: &Path, flags: &[&str]) -> Child {
        let mut command = self.command(&["import"]);
        command.args(flags).arg(path).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// SIGKILL: no clean stop, no last words.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: asks for the clean stop and returns at once.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub fn wait(mut self) -> ExitStatus {
        eventually("the server ends", || self.child.try_wait().unwrap())
    }

    /// The clean stop.
    pub fn stop(self) -> ExitStatus {
        self.terminate();
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a clean end both say that there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
