//! The exit codes of the program, after `sysexits.h`, and what leads to each.
//!
//! Every failure of every command becomes a [`Failure`] by a conversion in this file, so that the
//! code for a cause is chosen once.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::config::ConfigError;
use super::output::shown;
use crate::api::ProblemBody;
use crate::client::ClientError;
use crate::model::{InvalidName, RejectionCode};
use crate::store::{BackupError, BackupFault, OpenError, RestoreError, StoreError};
use crate::telemetry::logging::LogError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// The answer is no: no such job, a job that finished otherwise, a check that found something.
    No = 1,
    /// The command line is wrong.
    Usage = 64,
    /// Updates were rejected, or the input is broken.
    BadData = 65,
    /// The input cannot be opened, the feed no longer holds it, or it is of another store.
    NoInput = 66,
    /// No server answers, or not as ours does.
    Unavailable = 69,
    /// A bug.
    Internal = 70,
    /// The output file or store cannot be made, or is there already.
    CannotCreate = 73,
    /// The machine failed to read or write.
    Io = 74,
    /// Try again later: the store is in use, the queue is full, the server stops, a wait took too
    /// long.
    TryLater = 75,
    /// The store or the backup is damaged, or of another build; nothing was changed.
    Damaged = 76,
    BadConfig = 78,
    /// Stopped by SIGINT or SIGTERM before the end.
    Interrupted = 130,
    Terminated = 143,
}

/// Why a command ended without success.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// For people, on standard error; empty if all was said.
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The failure of a call that reports one update: that it was rejected is bad data, also when
    /// the reason is that there is no such job.
    pub fn of_update(error: ClientError) -> Self {
        let is_rejected = error.code().and_then(RejectionCode::parse).is_some();
        let failure = Self::from(error);
        if is_rejected { Self { exit: Exit::BadData, ..failure } } else { failure }
    }

    /// The system gave no threads, or no signals, to run with.
    pub fn no_runtime(error: io::Error) -> Self {
        Self::new(Exit::Io, format!("cannot start: {error}"))
    }

    /// A failure that needs no more words.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Output that nobody reads any more (`jobslate list | head`) is no failure; anything else is.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::silent(Exit::Done),
            _ => Self::new(Exit::Io, format!("cannot write the output: {error}")),
        }
    }
}

/// A job id or pipeline name that cannot be one; it must not become another path.
impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Self {
        Self::new(Exit::BadData, error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::BadConfig, error.to_string())
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        let exit = match error {
            LogError::Filter(_) => Exit::BadConfig,
            LogError::Twice => Exit::Internal,
            _ => Exit::Io,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match error {
            OpenError::Locked { .. } => Exit::TryLater,
            OpenError::Damaged { .. } => Exit::Damaged,
            OpenError::Failed { .. } => Exit::Io,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::Failed(_) | StoreError::Full(_) => Exit::Io,
            StoreError::Panicked(_) => Exit::Internal,
            StoreError::CorruptRecord { .. } => Exit::Damaged,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Store(error) => Self::from(error),
            error => Self::new(Exit::Io, error.to_string()),
        }
    }
}

impl From<BackupFault> for Failure {
    fn from(fault: BackupFault) -> Self {
        let exit = match fault {
            BackupFault::Unreadable(_) => Exit::Io,
            BackupFault::Damaged(_) | BackupFault::OtherFormat { .. } => Exit::Damaged,
        };
        Self::new(exit, fault.to_string())
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Fault(fault) => Self::from(fault),
            RestoreError::Open(error) => Self::from(error),
            RestoreError::Store(error) => Self::from(error),
            error @ RestoreError::Exists { .. } => Self::new(Exit::CannotCreate, error.to_string()),
            error @ RestoreError::Unsound(_) => Self::new(Exit::Damaged, error.to_string()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::BadUrl { .. } => Exit::Usage,
            ClientError::Unavailable { .. } | ClientError::Foreign { .. } => Exit::Unavailable,
            ClientError::OtherStore { .. } => Exit::NoInput,
            ClientError::Problem(problem) => problem_exit(problem.body.status, &problem.body.code),
        };
        let message = match &error {
            ClientError::Unavailable { .. } => {
                format!("{error}\n  is `jobslate serve` running, and is --url right?")
            }
            ClientError::Problem(problem) if problem.body.code == "gone" => gone(&problem.body),
            // The words of whoever answered; a terminal must not obey them.
            _ => shown(&error.to_string()),
        };
        Self::new(exit, message)
    }
}

/// The place to begin at instead, beside the words of the server.
fn gone(problem: &ProblemBody<'_>) -> String {
    let detail = shown(&problem.detail);
    match (problem.first_seq_held, problem.last_seq_held) {
        (Some(first), Some(last)) if first > last => {
            format!("{detail}\n  the feed holds nothing; begin with --after {last}")
        }
        (Some(first), Some(last)) => format!(
            "{detail}\n  the feed holds the updates {first} to {last}; --after {} gives them all",
            first.saturating_sub(1)
        ),
        _ => detail,
    }
}

fn problem_exit(status: u16, code: &str) -> Exit {
    match (status, code) {
        (404, "unknown_job" | "unknown_pipeline") => Exit::No,
        (410, _) => Exit::NoInput,
        (500, "corrupt_record") => Exit::Damaged,
        (503 | 507, "storage_failed" | "storage_full") => Exit::Io,
        (408 | 429 | 503 | 507, _) => Exit::TryLater,
        (400 | 409 | 413 | 422, _) => Exit::BadData,
        (404 | 405 | 415, _) => Exit::Unavailable,
        _ => Exit::Internal,
    }
}
