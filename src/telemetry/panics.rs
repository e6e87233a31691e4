//! Panics in the log: one line each like any other, so that no text of theirs breaks its form; and
//! the same one at most once a second, for each reader of a damaged page may meet it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::HashMap;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::PANICKED;
use super::pressure::Limiter;
use crate::model::Clock;

const GAP: Duration = Duration::from_secs(1);

/// From now on a thread that panics says so in the log; and as before on standard error, unless
/// that is the log and has lines of errors. (A log file may be on a disk that is full.)
pub fn log_panics(is_log_a_file: bool) {
    let (places, before) = (Places::default(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if !places.pass(&place, Clock::System.monotonic()) {
            return;
        }
        log(panic, &place);
        if is_log_a_file || !tracing::enabled!(tracing::Level::ERROR) {
            before(panic);
        }
    }));
}

fn log(panic: &PanicHookInfo<'_>, place: &str) {
    // Only if the environment asks for it.
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        event = PANICKED,
        panic = panic.payload_as_str().unwrap_or("a panic without a text"),
        thread = std::thread::current().name(),
        place,
        backtrace = is_captured.then(|| backtrace.to_string()),
        "A thread panicked"
    );
}

/// Where panics were seen. There are no more places than the program has.
#[derive(Debug, Default)]
struct Places(Mutex<HashMap<String, Limiter>>);

impl Places {
    /// True if a panic at `place` is to be logged.
    fn pass(&self, place: &str, now: Duration) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(place.to_owned()).or_insert_with(|| Limiter::new(GAP)).pass(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_panic_is_logged_once_a_second_and_another_at_once() {
        let (places, millis) = (Places::default(), Duration::from_millis);
        let seen = [("a", 0), ("a", 999), ("b", 999), ("b", 1_000), ("a", 1_000)];
        let passed = seen.map(|(place, at)| places.pass(place, millis(at)));
        assert_eq!(passed, [true, false, true, false, true]);
    }
}
