//! Panics in the log: one line each like any other, so that no text of theirs breaks its form, and
//! few of them, for each reader of a damaged page may meet one.

use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::PANICKED;
use super::pressure::Limiter;
use crate::model::Clock;

const GAP: Duration = Duration::from_secs(1);

/// From now on a thread that panics says so in the log, and not on standard error.
pub fn log_panics() {
    let limiter = Mutex::new(Limiter::new(GAP));
    std::panic::set_hook(Box::new(move |panic| {
        let now = Clock::System.monotonic();
        if limiter.lock().unwrap_or_else(PoisonError::into_inner).pass(now) {
            log(panic);
        }
    }));
}

fn log(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("a panic without a text");
    let place = panic.location().map(ToString::to_string);
    tracing::error!(event = PANICKED, panic = text, place, "A thread panicked");
}
