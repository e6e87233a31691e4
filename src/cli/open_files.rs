//! The limit of open files, which bounds the connections of a server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::telemetry;

/// Files that are open besides connections: the store, the log, the runtime's own.
const OTHER_FILES: u64 = 64;

/// Raises the soft limit to the hard one; warns if `connections_max` connections still do not fit.
pub fn raise_limit(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(event = telemetry::OPEN_FILES, %error, "the limit of open files stays");
    }
    let needed = connections_max as u64 + OTHER_FILES;
    // `None` is "no limit".
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|files| *files < needed) {
        tracing::warn!(
            event = telemetry::OPEN_FILES,
            files,
            connections_max,
            "fewer files may be open than connections_max needs"
        );
    }
}
