//! What the program says about itself: the names of its log events, and the lines that monitors
//! read.
//!
//! Each line has a fixed snake_case `event`, a readable sentence, and fields with units. What may
//! come often is limited by pure limiters that are given the time. Texts of jobs (errors, messages)
//! never appear; names of jobs appear escaped.

pub mod batch_log;
#[cfg(test)]
pub(crate) mod capture;
pub mod histogram;
pub mod logging;
mod panics;
pub mod pressure;

/// Sums of committed batches, at most one line a second.
pub const BATCH_COMMITTED: &str = "batch_committed";
/// One batch, at debug. Another name than the sums, so that nobody counts a batch twice.
pub const BATCH_APPENDED: &str = "batch_appended";
/// A job began to run.
pub const JOB_STARTED: &str = "job_started";
/// Rejections of queued updates, which no caller waits for.
pub const REJECTED_AT_COMMIT: &str = "rejected_at_commit";
/// More than 80 % of a bounded thing is in use.
pub const POOL_PRESSURE: &str = "pool_pressure";
/// The store refused something; it is being opened again.
pub const STORE_TROUBLE: &str = "store_trouble";
/// The store works again.
pub const STORE_REOPENED: &str = "store_reopened";
/// The disk changed a page of the tables under the running store.
pub const BLOCK_CHANGED: &str = "block_changed";
/// There is too little room on the disk for more updates; and there is again.
pub const DISK_FULL: &str = "disk_full";
pub const DISK_HAS_ROOM: &str = "disk_has_room";
/// The writer gave up: writes are refused from now on.
pub const STORE_FAILED: &str = "store_failed";
/// Ids were found damaged while their runs were merged; those runs stay as they are.
pub const MERGE_GIVEN_UP: &str = "merge_given_up";
/// A scheduled backup is complete and synced.
pub const BACKUP_MADE: &str = "backup_made";
/// A scheduled backup was not made; it is tried again.
pub const BACKUP_FAILED: &str = "backup_failed";
/// A round of the scrub ended.
pub const SCRUB_DONE: &str = "scrub_done";
/// The scrub found something that is not what was written.
pub const SCRUB_PROBLEM: &str = "scrub_problem";
/// A round of retention is over.
pub const RETENTION_DONE: &str = "retention_done";
/// A round of retention met an error of the store; the next one tries again.
pub const RETENTION_FAILED: &str = "retention_failed";
/// The clean stop is done.
pub const DRAINED: &str = "drained";
/// The last handle went away without a drain.
pub const DROPPED_WITHOUT_DRAIN: &str = "dropped_without_drain";

/// The listener is there, the store is being opened.
pub const OPENING: &str = "opening";
/// The store is open, calls are answered.
pub const READY: &str = "ready";
/// The listener can be reached from other machines, without authentication.
pub const INSECURE_LISTEN: &str = "insecure_listen";
/// The limit of open files at the start.
pub const OPEN_FILES: &str = "open_files";
/// A `JOBSLATE_` variable that is no key of the configuration.
pub const VARIABLE_IGNORED: &str = "variable_ignored";
/// The log file was opened again, by its name.
pub const LOG_REOPENED: &str = "log_reopened";
/// The log file cannot be opened again; the old one is written on.
pub const LOG_NOT_REOPENED: &str = "log_not_reopened";
/// The writer has not moved for half of the watchdog's time: no beat is sent.
pub const WRITER_STUCK: &str = "writer_stuck";
/// The supervisor was not told.
pub const SUPERVISOR_NOT_TOLD: &str = "supervisor_not_told";
/// The clean stop began.
pub const STOPPING: &str = "stopping";
/// A second signal ended the process before the stop was done.
pub const STOP_BROKEN_OFF: &str = "stop_broken_off";
/// The process ends and not everything is stored.
pub const STOPPED_BY_FAILURE: &str = "stopped_by_failure";
/// The system gives no connection.
pub const ACCEPT_FAILED: &str = "accept_failed";
/// A call met an error of the store.
pub const CALL_FAILED: &str = "call_failed";
/// A thread panicked; the same panic at most once a second.
pub const PANICKED: &str = "panicked";
/// A handler panicked; the caller got 500.
pub const HANDLER_PANICKED: &str = "handler_panicked";
/// An answer could not be made.
pub const ANSWER_NOT_WRITTEN: &str = "answer_not_written";

/// A name as it may stand in a log line: no control, bidirectional or other invisible characters.
pub fn escaped(name: &str) -> impl std::fmt::Display + '_ {
    name.escape_debug()
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn escaped_names_cannot_forge_or_reorder_a_line() {
        let name = "a\nb\u{1b}[31m\u{202e}c\u{2066}d\u{2028}e\u{200b}";
        let line = escaped(name).to_string();
        assert_eq!(line, r"a\nb\u{1b}[31m\u{202e}c\u{2066}d\u{2028}e\u{200b}");
        assert_eq!(escaped("doc-0001 \u{e9}").to_string(), "doc-0001 \u{e9}");
    }
}
