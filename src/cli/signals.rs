//! The signals that ask a command to stop, and the one that asks for a new log file.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;
use crate::telemetry::logging::Log;
use crate::telemetry::{LOG_NOT_REOPENED, LOG_REOPENED};

/// Listens from its making on; the signals no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Must be called inside a runtime.
    ///
    /// # Errors
    /// The system refused.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for SIGINT or SIGTERM, and says with what a process ends that obeys at once.
    pub async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// SIGHUP, which no longer ends the process from its making on.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Must be called inside a runtime.
    ///
    /// # Errors
    /// The system refused.
    pub fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Opens the log file again at each signal, as logrotate asks for. Without a log file a signal
    /// changes nothing: the terminal went away, the server stays.
    pub async fn obey(mut self, log: &Log) -> Infallible {
        loop {
            if self.0.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            match log.reopen() {
                Ok(true) => tracing::info!(event = LOG_REOPENED, "the log file was opened again"),
                Ok(false) => {}
                Err(error) => tracing::error!(event = LOG_NOT_REOPENED, "{error}"),
            }
        }
    }
}
