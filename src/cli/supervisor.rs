//! What a supervisor such as systemd is told, by the protocol of sd_notify(3): datagrams of
//! `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.
//!
//! Nobody listens: nothing is sent. A send never waits and its failure changes nothing.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use crate::service::{HealthState, Service};
use crate::telemetry::{SUPERVISOR_NOT_TOLD, WRITER_STUCK};

/// The supervisor of this process, if there is one. Clones share one socket.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
    /// A beat is due this often; half of what the supervisor waits.
    beat: Option<Duration>,
}

impl Supervisor {
    /// That of `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        Self::of(&variable("NOTIFY_SOCKET"), &variable("WATCHDOG_USEC"), &variable("WATCHDOG_PID"))
    }

    /// The variables as they are set; an empty one is not. A watchdog of another process is none.
    fn of(socket: &OsStr, watchdog_usec: &OsStr, watchdog_pid: &OsStr) -> Self {
        if socket.is_empty() {
            return Self::default();
        }
        let socket = connect(socket).inspect_err(not_told).ok().map(Arc::new);
        let is_ours = watchdog_pid.is_empty() || *watchdog_pid == *std::process::id().to_string();
        let number = watchdog_usec.to_str().and_then(|it| it.parse().ok()).filter(|it| *it > 0);
        let beat = number.filter(|_| is_ours).map(|usec| Duration::from_micros(usec) / 2);
        Self { socket, beat }
    }

    /// The start is done.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The stop has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping: open requests finish, then all is stored");
    }

    /// One line for people.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// Beats as often as it is asked for, while the writer moves. That the runtime runs shows
    /// nothing: a writer that hangs in the store hangs every caller.
    pub async fn beat(&self, service: &Service) -> Infallible {
        let Some(period) = self.beat else { return std::future::pending().await };
        loop {
            let turns = service.turns();
            service.poke();
            tokio::time::sleep(period).await;
            // A writer that has ended told its callers, and reads go on; one that opens the store
            // again, or closes it, may be long at it. One that waits for room moves.
            let must_move = matches!(service.health(), HealthState::Ready | HealthState::Full)
                && !service.is_reopening();
            if service.turns() != turns || !must_move {
                self.tell("WATCHDOG=1");
            } else {
                tracing::error!(
                    event = WRITER_STUCK,
                    "The writer has not moved for {period:?}; the watchdog is not told"
                );
            }
        }
    }

    fn tell(&self, lines: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(lines.as_bytes())
        {
            not_told(&error);
        }
    }
}

/// A socket that sends to `address`: a path, or `@` and a name that is in no file system.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn not_told(error: &io::Error) {
    tracing::warn!(event = SUPERVISOR_NOT_TOLD, %error, "The supervisor was not told");
}

#[cfg(test)]
mod tests;
