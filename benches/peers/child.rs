//! A store in a process of its own: this executable started again, so that its memory is its own
//! and a kill is a kill.
//!
//! What the child is to do stands in one environment variable, for the tests start their harness
//! with it. It tells its parent with lines on standard output that begin with [`MARK`].

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

/// Set in children alone; holds a [`Task`] as JSON.
pub const TASK_VARIABLE: &str = "JOBSLATE_PEERS_TASK";
const MARK: &str = "peers: ";

/// What a child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub directory: PathBuf,
    pub jobs: usize,
    /// What comes after the store was filled.
    pub then: Then,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Then {
    /// A clean close.
    Close,
    /// One thread writes, another reads, for so many milliseconds; then the clean close.
    Load { ms: u64 },
    /// It writes until it is killed.
    WriteForEver,
}

/// What a child says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Word {
    /// So many updates are stored, and the calls of all of them took so long, in seconds.
    Step { updates: usize, seconds: f64 },
    /// The store holds all jobs. What the closing fold took is not in here.
    Filled,
    /// Under load: updates written and questions answered, each a second.
    Loaded { writes: f64, reads: f64 },
    /// Of the whole process, in bytes: the most ever and now.
    Memory { peak: u64, resident: u64 },
    /// The clean close took so long, in seconds.
    Closed { seconds: f64 },
}

impl Word {
    /// Tells the parent.
    pub fn say(self) {
        // A line of its own, also below a test harness that began one.
        println!("\n{MARK}{}", serde_json::to_string(&self).expect("a word is JSON"));
    }
}

/// A child that runs; killed when dropped.
pub struct Child {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts `command`, which must lead to [`run_if_child`].
    pub fn start(mut command: Command, task: &Task) -> Self {
        let task = serde_json::to_string(task).expect("a task is JSON");
        command.env(TASK_VARIABLE, task).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("this executable starts again");
        let stdout = process.stdout.take().expect("its output is piped");
        Self { process, lines: BufReader::new(stdout).lines() }
    }

    /// The next word; `None` once the child has ended well.
    pub fn next_word(&mut self) -> Option<Word> {
        for line in self.lines.by_ref() {
            let line = line.expect("the child can be heard");
            if let Some(word) = line.strip_prefix(MARK) {
                return Some(serde_json::from_str(word).expect("the child speaks well"));
            }
        }
        let status = self.process.wait().expect("the child was started");
        assert!(status.success(), "the child ended with {status}");
        None
    }

    /// Waits until the store is filled.
    pub fn wait_filled(&mut self) {
        while !matches!(self.next_word().expect("the child fills the store"), Word::Filled) {}
    }
}

impl Drop for Child {
    /// `SIGKILL`.
    fn drop(&mut self) {
        // After an end both say that there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Does the task of the environment, if there is one: then this process is a child.
pub fn run_if_child() -> bool {
    let Ok(task) = std::env::var(TASK_VARIABLE) else { return false };
    super::fill::run(&serde_json::from_str(&task).expect("the task is JSON"));
    true
}

/// Starts this executable again, for its `main` to find out that it is a child. Not by its path:
/// a build during a long run puts another one there.
pub fn this_executable() -> Command {
    Command::new("/proc/self/exe")
}

/// The data directory of the store that a child fills in `directory`.
pub fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}
