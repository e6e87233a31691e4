//! The bounds and periods of the server.

use std::time::Duration;

use super::hosts::Hosts;

/// How the server reads, answers and stops. Every bound is named here.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The hosts that requests may name.
    pub hosts: Hosts,
    /// Largest body, in bytes after decompression.
    pub body_bytes_max: usize,
    /// Most bytes that all bodies may hold together while they are read and parsed.
    pub bodies_bytes_max: usize,
    /// Most bytes that long answers may hold together while their readers take them.
    pub answers_bytes_max: usize,
    /// Most bytes of jobs, or of updates, on one page; then it ends short.
    pub page_bytes_max: usize,
    /// Longest wait for the next piece of a body.
    pub body_timeout: Duration,
    /// Most index entries that one page of a list may examine.
    pub page_scan_max: usize,
    /// Most connections that are served. For the next one, one that is idle is closed.
    pub connections_max: usize,
    /// Most streams of the feed, and pages of it that wait.
    pub watchers_max: usize,
    /// Longest wait for the first request of a connection, and for the whole head of a further
    /// one from its first byte on.
    pub header_timeout: Duration,
    /// Longest wait for a further request of a connection.
    pub idle_timeout: Duration,
    /// How long open requests may take to finish at a stop.
    pub drain_timeout: Duration,
}

/// A whole body may take this many times `body_timeout`.
const BODY_TIMEOUTS_MAX: u32 = 10;

impl HttpOptions {
    /// Longest wait for the end of a body: five minutes by default, in which the largest body
    /// comes at 28 kB/s. Without it, a byte now and then would hold a connection for ever.
    pub fn body_duration_max(&self) -> Duration {
        self.body_timeout.saturating_mul(BODY_TIMEOUTS_MAX)
    }
}

impl HttpOptions {
    /// Lowers `watchers_max` so that connections are left for others: an eighth, at most 24.
    /// Watchers are never idle, so none of them is closed for somebody else.
    pub fn leave_room_beside_watchers(&mut self) {
        let others = self.connections_max.div_ceil(8).min(24);
        self.watchers_max = self.watchers_max.min(self.connections_max - others);
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            hosts: Hosts::default(),
            body_bytes_max: 8 << 20,
            bodies_bytes_max: 128 << 20,
            answers_bytes_max: 64 << 20,
            page_bytes_max: 4 << 20,
            body_timeout: Duration::from_secs(30),
            page_scan_max: 10_000,
            connections_max: 1_024,
            watchers_max: 1_000,
            header_timeout: Duration::from_secs(10),
            // Clients keep their connections longer than they wait for an answer; a client that
            // finds its connection closed on reuse may have to send an update again.
            idle_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_leave_connections_for_others() {
        for (connections_max, watchers_max) in [(1_024, 1_000), (896, 872), (100, 87), (1, 0)] {
            let mut options = HttpOptions { connections_max, ..HttpOptions::default() };
            options.leave_room_beside_watchers();
            assert_eq!(options.watchers_max, watchers_max);
        }
    }
}
