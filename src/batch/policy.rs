//! When a batch closes: a pure function of what is queued and the time.
//!
//! The writer asks only when no commit is running, so "a durable caller waits and no commit is
//! running" is "a durable caller waits" here: a lone caller waits for one sync, and what arrives
//! during a commit gathers for the next.

use std::time::Duration;

use super::limits::Limits;

/// Why a batch closed, in the order in which the reasons are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Drain,
    Flush,
    Waiter,
    Size,
    Interval,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Flush => "flush",
            Self::Waiter => "waiter",
            Self::Size => "size",
            Self::Interval => "interval",
        }
    }
}

/// What is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub updates: usize,
    /// When the oldest request was admitted (monotonic); `None` if there is none.
    pub oldest_at: Option<Duration>,
    pub has_waiter: bool,
    pub has_flush: bool,
    pub has_drain: bool,
}

/// What the writer does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Close(Reason),
    /// Nothing until then, unless something arrives.
    WaitUntil(Duration),
    /// Nothing until something arrives.
    Wait,
}

/// The first reason that holds at `now` (monotonic).
pub(crate) fn decide(backlog: &Backlog, limits: &Limits, now: Duration) -> Decision {
    if backlog.has_drain {
        return Decision::Close(Reason::Drain);
    }
    if backlog.has_flush {
        return Decision::Close(Reason::Flush);
    }
    if backlog.has_waiter {
        return Decision::Close(Reason::Waiter);
    }
    let Some(oldest_at) = backlog.oldest_at else {
        return Decision::Wait;
    };
    if backlog.updates >= limits.batch_size {
        return Decision::Close(Reason::Size);
    }
    let due_at = oldest_at.saturating_add(limits.flush_interval);
    if due_at <= now { Decision::Close(Reason::Interval) } else { Decision::WaitUntil(due_at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn backlog(updates: usize, age_ms: u64) -> Backlog {
        let oldest_at = (updates > 0).then(|| NOW - Duration::from_millis(age_ms));
        Backlog { updates, oldest_at, ..Backlog::default() }
    }

    #[test]
    fn the_first_reason_that_holds_wins() {
        let due = backlog(50, 2000);
        let cases = [
            (backlog(0, 0), Decision::Wait),
            (backlog(1, 0), Decision::WaitUntil(NOW + Duration::from_secs(2))),
            (backlog(49, 1999), Decision::WaitUntil(NOW + Duration::from_millis(1))),
            (backlog(49, 2000), Decision::Close(Reason::Interval)),
            (backlog(1, 60_000), Decision::Close(Reason::Interval)),
            (backlog(50, 0), Decision::Close(Reason::Size)),
            (due, Decision::Close(Reason::Size)),
            (Backlog { has_waiter: true, ..backlog(1, 0) }, Decision::Close(Reason::Waiter)),
            (Backlog { has_waiter: true, ..due }, Decision::Close(Reason::Waiter)),
            (Backlog { has_flush: true, ..backlog(0, 0) }, Decision::Close(Reason::Flush)),
            (Backlog { has_flush: true, has_waiter: true, ..due }, Decision::Close(Reason::Flush)),
            (
                Backlog { has_drain: true, has_flush: true, has_waiter: true, ..due },
                Decision::Close(Reason::Drain),
            ),
        ];
        for (backlog, decision) in cases {
            assert_eq!(decide(&backlog, &Limits::DEFAULT, NOW), decision, "{backlog:?}");
        }
    }
}
