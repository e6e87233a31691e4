//! The limit of open files, which bounds the connections of a server.
//!
//! Some are kept for the store: it opens its files anew after a failure, and that must not fail
//! because clients hold all that there are.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exit::{Exit, Failure};
use crate::http::TURNED_AWAY_MAX;
use crate::telemetry;

/// Files that are open besides connections: the store, the log, the runtime's own, and as many
/// again while a store is opened anew.
const OTHER_FILES: u64 = 64;

/// Fewer connections are no server.
const CONNECTIONS_MIN: u64 = 16;

/// Raises the soft limit of open files to the hard one; how many of `wanted` connections fit.
///
/// Warns if that is less than `wanted`.
///
/// # Errors
/// [`Failure`] if the limit leaves no room for connections. The operator raises it.
pub fn connections_max(wanted: usize) -> Result<usize, Failure> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(event = telemetry::OPEN_FILES, %error, "the limit of open files stays");
    }
    // `None` is "no limit".
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let Some(connections) = fitting(files, wanted) else {
        let needed = CONNECTIONS_MIN + kept();
        let message = format!(
            "only {files} files may be open, which leaves no room for connections beside the \
             store; raise the limit to {needed} or more (ulimit -n, LimitNOFILE)"
        );
        return Err(Failure::new(Exit::BadConfig, message));
    };
    if connections < wanted {
        tracing::warn!(
            event = telemetry::OPEN_FILES,
            files,
            connections_max = wanted,
            connections,
            "fewer files may be open than connections_max needs: fewer connections are served"
        );
    }
    Ok(connections)
}

/// What is not for the connections that are served.
fn kept() -> u64 {
    OTHER_FILES + TURNED_AWAY_MAX as u64
}

/// The connections of `wanted` for which `files` leave room; `None` if that is too few to serve.
fn fitting(files: u64, wanted: usize) -> Option<usize> {
    let room = files.checked_sub(kept()).filter(|room| *room >= CONNECTIONS_MIN)?;
    Some(usize::try_from(room).unwrap_or(usize::MAX).min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_for_the_store() {
        assert_eq!(fitting(u64::MAX, 1_024), Some(1_024));
        assert_eq!(fitting(1_024 + 128, 1_024), Some(1_024));
        assert_eq!(fitting(1_024, 1_024), Some(896));
        assert_eq!(fitting(144, 1_024), Some(16));
        assert_eq!(fitting(144, 1), Some(1));
        assert_eq!(fitting(143, 1), None);
        assert_eq!(fitting(0, 1), None);
    }
}
