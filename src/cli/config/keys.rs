//! Every configuration key, once: name, shape with range, default, meaning, effect.
//!
//! This table is the only place that describes a key. The flags of `serve`, the sample file, the
//! Markdown table and the messages about wrong values are all made from it. A key `batch_size` is
//! the flag `--batch-size` and the environment variable `JOBSLATE_BATCH_SIZE`.

use std::time::Duration;

use super::quantity::{format_bytes, format_duration};
use crate::telemetry::logging::LEVELS;

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// As in the file: `snake_case`, unit in the name or in the value.
    pub name: &'static str,
    /// The heading under which it is shown.
    pub group: &'static str,
    pub shape: Shape,
    /// As one would write it; empty means "not set".
    pub default: &'static str,
    /// One line: what it is.
    pub meaning: &'static str,
    /// One line: what more, less, or the other choice does.
    pub effect: &'static str,
}

/// What a value looks like, and its range (both ends belong to it).
#[derive(Debug, PartialEq, Eq)]
pub enum Shape {
    /// A number of things.
    Count { min: u64, max: u64 },
    /// A number of bytes: `8MiB` or `8388608`.
    Bytes { min: u64, max: u64 },
    /// A duration with a unit: `2s`, `7d`.
    Period { min: Duration, max: Duration },
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An address with a port.
    Address,
    /// Names and addresses of hosts without ports; as text `name,name`.
    Hosts,
    /// A path of a file or directory.
    Path,
    /// What [`filter`](crate::telemetry::logging::filter) takes.
    LogFilter,
    /// A table of status words and kinds; as text `word=kind,word=kind`.
    Kinds,
}

impl Key {
    /// The flag's name without the dashes: `batch-size`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable: `JOBSLATE_BATCH_SIZE`.
    pub fn variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_ascii_uppercase())
    }
}

impl Shape {
    /// The type as people know it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Count { .. } => "number",
            Self::Bytes { .. } => "bytes",
            Self::Period { .. } => "duration",
            Self::Flag => "true or false",
            Self::Choice(_) => "word",
            Self::Address => "address",
            Self::Hosts => "list",
            Self::Path => "path",
            Self::LogFilter => "filter",
            Self::Kinds => "table",
        }
    }

    /// What stands for the value in a usage line.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Count { .. } => "N",
            Self::Bytes { .. } => "BYTES",
            Self::Period { .. } => "DURATION",
            Self::Flag => "BOOL",
            Self::Choice(_) => "WORD",
            Self::Address => "ADDR:PORT",
            Self::Hosts => "HOST,...",
            Self::Path => "PATH",
            Self::LogFilter => "FILTER",
            Self::Kinds => "WORD=KIND,...",
        }
    }

    /// What [`range`](Self::range) is to be called.
    pub fn range_title(&self) -> &'static str {
        match self {
            Self::Count { .. } | Self::Bytes { .. } | Self::Period { .. } => "range",
            _ => "values",
        }
    }

    /// The values that are taken, in words: `1 to 1000000`, `text or json`.
    pub fn range(&self) -> String {
        match self {
            Self::Count { min, max } => format!("{min} to {max}"),
            Self::Bytes { min, max } => format!("{} to {}", format_bytes(*min), format_bytes(*max)),
            Self::Period { min, max } => {
                format!("{} to {}", format_duration(*min), format_duration(*max))
            }
            Self::Flag => "true or false".to_owned(),
            Self::Choice(words) => words.join(" or "),
            Self::Address => "an IP address and a port".to_owned(),
            Self::Hosts => "names and addresses without ports".to_owned(),
            Self::Path => "any path".to_owned(),
            Self::LogFilter => LEVELS.to_owned(),
            Self::Kinds => "waiting, running, succeeded, failed, cancelled".to_owned(),
        }
    }
}

/// What every environment variable of this program begins with.
pub const ENV_PREFIX: &str = "JOBSLATE_";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const LONGEST: Duration = Duration::from_hours(24 * 36_500);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const fn count(min: u64, max: u64) -> Shape {
    Shape::Count { min, max }
}

const fn bytes(min: u64, max: u64) -> Shape {
    Shape::Bytes { min, max }
}

const fn period(min: Duration, max: Duration) -> Shape {
    Shape::Period { min, max }
}

macro_rules! keys {
    ($($group:literal { $(
        $constant:ident = $name:literal, $shape:expr, $default:literal,
        $meaning:literal, $effect:literal;
    )* })*) => {
        $($(
            #[doc = $meaning]
            pub static $constant: Key = Key {
                name: $name, group: $group, shape: $shape, default: $default,
                meaning: $meaning, effect: $effect,
            };
        )*)*
        /// All of them, in the order in which they are shown.
        pub static ALL: &[&Key] = &[$($(&$constant,)*)*];
    };
}

keys! {
    "Listening" {
        LISTEN = "listen", Shape::Address, "127.0.0.1:7411",
            "Address and port of the HTTP server",
            "port 0 takes a free one; other hosts reach only an address that is not loopback";
        INSECURE_LISTEN = "insecure_listen", Shape::Flag, "false",
            "Allow an address that is not loopback",
            "true: everybody who reaches the port can read and write, as nobody has to log in";
        ALLOWED_HOSTS = "allowed_hosts", Shape::Hosts, "",
            "Names by which a proxy calls it, beside localhost and the address it listens on",
            "a request for any other name is 421; pages of these hosts may send updates";
        CONNECTIONS_MAX = "connections_max", count(1, 1_000_000), "1024",
            "Most open connections",
            "above it the longest idle is closed, else the new one is 503; each costs a file";
        WATCHERS_MAX = "watchers_max", count(1, 1_000_000), "1000",
            "Most streams of the feed, and waiting pages of it, that are open",
            "more are 429; near connections_max: watchers may leave others no connection";
        HEADER_TIMEOUT = "header_timeout", period(SECOND, HOUR), "10s",
            "Longest wait for the head of a request, and for the first of a connection",
            "short: slow clients are cut off; long: silent ones hold connections";
        IDLE_TIMEOUT = "idle_timeout", period(SECOND, DAY), "2m",
            "Longest wait for a further request, or for the client to take more of an answer",
            "short: clients connect anew; long: idle ones hold connections";
        BODY_TIMEOUT = "body_timeout", period(SECOND, HOUR), "30s",
            "Longest wait for the next piece of a request body",
            "short: slow clients are cut off; long: stuck ones hold memory";
        BODY_BYTES_MAX = "body_bytes_max", bytes(KIB, GIB), "8MiB",
            "Largest request body, after decompression",
            "a larger one is 413; at most batch_bytes_max";
        BODIES_BYTES_MAX = "bodies_bytes_max", bytes(KIB, TIB), "128MiB",
            "Most bytes of all request bodies that are being read at one time",
            "less: callers are told to wait when many send; more: more memory";
        ANSWERS_BYTES_MAX = "answers_bytes_max", bytes(64 * KIB, TIB), "64MiB",
            "Most bytes of all long answers that wait for slow readers",
            "less: reads with long answers are told earlier to wait; more: more memory";
        PAGE_BYTES_MAX = "page_bytes_max", bytes(64 * KIB, GIB), "4MiB",
            "Most bytes of jobs, or of updates, on one page",
            "less: shorter pages of jobs with long errors; more: more memory for each reader";
        PAGE_SCAN_MAX = "page_scan_max", count(1_000, 10_000_000), "10000",
            "Most index entries that one page of a list examines",
            "less: shorter pages under narrow filters; more: longer single reads";
        DRAIN_TIMEOUT = "drain_timeout", period(Duration::ZERO, HOUR), "10s",
            "Longest wait for open requests at a stop",
            "0s cuts them off at once; what was accepted is stored in any case";
    }
    "Store" {
        DATA_DIR = "data_dir", Shape::Path, "jobslate-data",
            "Directory of the store; made if it does not exist",
            "one process at a time; never copy the files while it runs";
        FOLD_INTERVAL = "fold_interval", period(Duration::from_millis(100), DAY), "30s",
            "Oldest age of an update in the journal before it is folded into the tables",
            "short: more writing; long: a larger journal and a slower start after a kill";
        TAIL_JOBS_MAX = "tail_jobs_max", count(1_000, 100_000_000), "200000",
            "Most jobs in memory that are not yet folded",
            "less: more folds; more: more memory and longer folds";
        TAIL_BYTES_MAX = "tail_bytes_max", bytes(MIB, TIB), "32MiB",
            "Most bytes in memory that are not yet folded",
            "less: more folds; two such tails can exist at a time";
        DISK_RESERVE = "disk_reserve", bytes(MIB, TIB), "256MiB",
            "While less of the disk is free, no update is taken",
            "at least two tails, the queue and 64MiB, for what was taken; backups leave twice it";
        CACHE_BYTES = "cache_bytes", bytes(MIB, TIB), "128MiB",
            "Page cache for the tables",
            "less than the hot part of the tables: reads go to the disk";
        SCRUB_INTERVAL = "scrub_interval",
            period(Duration::ZERO, Duration::from_hours(24 * 365)), "7d",
            "Time from one scrub to the next: all that is stored is read again, slowly",
            "short: more reading; long: damage is found later; 0s: none, a start reads all anyway";
        FEED_AGE_MAX = "feed_age_max", period(MINUTE, LONGEST), "7d",
            "Oldest update that the feed keeps, in time that a server ran",
            "long: a larger file; short: a follower that was away has to start anew";
        FEED_BYTES_MAX = "feed_bytes_max", bytes(MIB, 1024 * TIB), "1GiB",
            "Most bytes of updates that the feed keeps",
            "as feed_age_max; the first of the two that is reached counts";
        PIPELINES_MAX = "pipelines_max", count(1, 10_000_000), "10000",
            "Most different pipelines",
            "updates that would make one more are rejected; each costs some memory";
        TIMELINE_ROWS_MAX = "timeline_rows_max", count(1_000, 1_000_000_000), "1000000",
            "Most rows of the timeline of single pipelines, of hours and of days each",
            "less: plots reach less far back when there are many pipelines; more: a larger file";
        IDEMPOTENCY_KEYS_MAX = "idempotency_keys_max", count(1, 100_000_000), "100000",
            "Most idempotency keys that are remembered",
            "less: a late retry may count twice; more: a larger file";
        IDEMPOTENCY_AGE_MAX = "idempotency_age_max",
            period(SECOND, Duration::from_hours(24 * 3_650)), "24h",
            "How long an idempotency key is remembered",
            "short: a late retry may count twice; long: a larger file";
    }
    "Retention" {
        RETAIN_SUCCEEDED_FOR = "retain_succeeded_for", period(Duration::ZERO, LONGEST), "0s",
            "How long a succeeded job stays after its last change, in time that a server ran",
            "0s: for ever; removed jobs are gone, but for what feed and backups still hold";
        RETAIN_FAILED_FOR = "retain_failed_for", period(Duration::ZERO, LONGEST), "0s",
            "How long a failed job stays after its last change, in time that a server ran",
            "as retain_succeeded_for";
        RETAIN_CANCELLED_FOR = "retain_cancelled_for", period(Duration::ZERO, LONGEST), "0s",
            "How long a cancelled job stays after its last change, in time that a server ran",
            "as retain_succeeded_for";
        RETAIN_SUCCEEDED_MAX = "retain_succeeded_max", count(0, 1_000_000_000), "0",
            "Most succeeded jobs that stay; the longest unchanged go first",
            "0: all; of this and retain_succeeded_for each holds by itself";
        RETAIN_FAILED_MAX = "retain_failed_max", count(0, 1_000_000_000), "0",
            "Most failed jobs that stay; the longest unchanged go first",
            "as retain_succeeded_max";
        RETAIN_CANCELLED_MAX = "retain_cancelled_max", count(0, 1_000_000_000), "0",
            "Most cancelled jobs that stay; the longest unchanged go first",
            "as retain_succeeded_max";
        RETENTION_INTERVAL = "retention_interval", period(SECOND, DAY), "10m",
            "Time from one look for jobs to remove to the next",
            "short: few at a time; long: many at a time, in requests of at most 500";
    }
    "Backups" {
        BACKUP_DIR = "backup_dir", Shape::Path, "",
            "Directory of backups that the server makes by itself; made if it does not exist",
            "not set: none are made; another disk than that of the data survives its loss";
        BACKUP_INTERVAL = "backup_interval", period(MINUTE, Duration::from_hours(24 * 365)), "1d",
            "Time from one backup to the next, also over restarts",
            "short: more reading and writing; long: a restored store is older";
        BACKUP_KEEP = "backup_keep", count(1, 10_000), "7",
            "Backups that are kept; the oldest goes once a new one is complete",
            "more: more room; files with other names in that directory are never touched";
    }
    "Batching" {
        BATCH_SIZE = "batch_size", count(1, 1_000_000), "50",
            "Queued updates that close a batch; a trigger, not a cap",
            "less: more and smaller commits; more: queued updates wait longer to be durable";
        FLUSH_INTERVAL = "flush_interval", period(Duration::from_millis(1), HOUR), "2s",
            "Age of the oldest queued update that closes a batch",
            "short: more commits; long: a power cut takes more of what was only queued";
        BATCH_UPDATES_MAX = "batch_updates_max", count(1, 1_000_000), "10000",
            "Most updates of one request and of one batch",
            "a larger request is 413; more: longer commits";
        BATCH_BYTES_MAX = "batch_bytes_max", bytes(64 * KIB, GIB), "8MiB",
            "Most bytes of one request and of one batch",
            "a larger request is 413; more: longer commits and more memory";
        QUEUE_UPDATES_MAX = "queue_updates_max", count(1, 100_000_000), "100000",
            "Most updates in the queue; above it a call is 429",
            "less: reporters are told earlier to wait; more: more memory, longer waits";
        QUEUE_BYTES_MAX = "queue_bytes_max", bytes(64 * KIB, TIB), "64MiB",
            "Most bytes in the queue; above it a call is 429",
            "as queue_updates_max; the first of the two that is reached counts";
    }
    "Statuses" {
        STRICT_STATUSES = "strict_statuses", Shape::Flag, "false",
            "Reject status words that are neither known nor in kinds",
            "false: an unknown word is taken and counts as running";
        STATUSES_MAX = "statuses_max", count(1, 100_000), "256",
            "Most different status words",
            "updates that would make one more are rejected";
        KINDS = "kinds", Shape::Kinds, "",
            "What the pipeline's own status words mean, by kind",
            "may also change a known word; read anew at every start, never stored";
    }
    "Log" {
        LOG_LEVEL = "log_level", Shape::LogFilter, "info",
            "What is logged",
            "debug has a line for every batch; `info,jobslate::http=debug` chooses by room";
        LOG_FORMAT = "log_format", Shape::Choice(&["text", "json"]), "text",
            "How a log line is written",
            "json: one object a line, for machines";
        LOG_FILE = "log_file", Shape::Path, "",
            "File that the log is appended to, instead of standard error",
            "readable for its owner alone; rotate it by copy and truncate, or by a move and SIGHUP";
        LOG_JOB_STARTS = "log_job_starts", Shape::Flag, "false",
            "Log a line for each job that starts running",
            "true: as many lines as starts, also under load";
    }
}

/// The key with this name in the file, if there is one.
pub fn find(name: &str) -> Option<&'static Key> {
    ALL.iter().copied().find(|key| key.name == name)
}

/// The name of `names` that is most like `name`, if any is like enough to be meant.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    const LIKENESS_MIN: f64 = 0.7;
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(name, known);
    let best = names.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS_MIN).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_name_and_one_line_for_each_text() {
        for (index, key) in ALL.iter().enumerate() {
            assert!(!ALL.iter().skip(index + 1).any(|other| other.name == key.name));
            for text in [key.meaning, key.effect] {
                assert!(!text.contains('\n') && text.len() <= 90, "{text}");
                assert!(!text.ends_with('.'), "{text}");
            }
        }
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let names = || ALL.iter().map(|key| key.name);
        assert_eq!(nearest("batchsize", names()), Some("batch_size"));
        assert_eq!(nearest("flush_intervall", names()), Some("flush_interval"));
        assert_eq!(nearest("colour", names()), None);
    }
}
