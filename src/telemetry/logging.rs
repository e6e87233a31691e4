//! Where log lines go and how they look: text for people, JSON for machines.
//!
//! In the text form the message stands literally on one line, before its fields, so that monitors
//! that search for `Batch updated 50 job statuses` find it. Colours only on a terminal. A log file
//! is appended to, line by line, so that `copytruncate` rotates it; one that was moved away is made
//! anew by [`Log::reopen`].

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// What a log level may be, in words.
pub const LEVELS: &str =
    "error, warn, info, debug, trace, off; for one room jobslate::telemetry=debug, after a comma";
/// The rooms that log; the name of the crate alone means all of them.
const ROOMS: [&str; 9] =
    ["api", "batch", "cli", "client", "http", "model", "service", "store", "telemetry"];

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What is logged, how, and where to.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// What [`filter`] takes.
    pub level: String,
    pub format: LogFormat,
    /// Standard error if there is none.
    pub file: Option<PathBuf>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text, file: None }
    }
}

/// Why there is no log. The operator acts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    #[error("cannot append to the log file {}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("log_level is {0:?}; give {LEVELS}")]
    Filter(String),
    #[error("a log was set up before")]
    Twice,
}

/// The log of this process.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// `None`: standard error.
    file: Option<LogFile>,
}

impl Log {
    /// Opens the log file by its name again, after it was moved away. False if there is none.
    ///
    /// # Errors
    /// [`LogError::File`]; the old file is written on.
    pub fn reopen(&self) -> Result<bool, LogError> {
        let Some(LogFile { path, file }) = &self.file else { return Ok(false) };
        let opened =
            open(path).map_err(|source| LogError::File { path: path.to_path_buf(), source })?;
        *lock(file) = opened;
        Ok(true)
    }
}

/// A file that may be changed for another between two lines. Clones share it.
#[derive(Clone, Debug)]
struct LogFile {
    path: Arc<PathBuf>,
    /// Held for the writing of a line.
    file: Arc<Mutex<File>>,
}

impl LogFile {
    fn open(path: &PathBuf) -> io::Result<Self> {
        Ok(Self { path: Arc::new(path.clone()), file: Arc::new(Mutex::new(open(path)?)) })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.file).write(bytes)
    }

    /// A line must not be cut in two by a change of the file.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        lock(&self.file).write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        lock(&self.file).flush()
    }
}

fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets up the log of this process, to which panics go from then on; may be called once.
///
/// # Errors
/// [`LogError`]: the file cannot be opened, or the level is not a filter.
pub fn init(options: &LogOptions) -> Result<Log, LogError> {
    let level = &options.level;
    let filter = filter(level).ok_or_else(|| LogError::Filter(level.clone()))?;
    let file = options.file.as_ref().map(|path| {
        LogFile::open(path).map_err(|source| LogError::File { path: path.clone(), source })
    });
    let file = file.transpose()?;
    let subscriber = match file.clone() {
        Some(file) => subscriber(filter, options.format, move || file.clone(), false),
        None => subscriber(filter, options.format, io::stderr, has_colours()),
    };
    subscriber.try_init().map_err(|_| LogError::Twice)?;
    super::panics::log_panics(file.is_some());
    Ok(Log { file })
}

/// The filter that `text` means: levels and `jobslate::room=level` pairs, separated by commas.
/// `None` for anything else: to [`EnvFilter`] an unknown word is the name of a target, so that a
/// misspelt level would turn the whole log off.
pub fn filter(text: &str) -> Option<EnvFilter> {
    let is_known = |directive: &str| match directive.split_once('=') {
        None => is_level(directive),
        Some((target, level)) => is_target(target) && is_level(level),
    };
    let is_valid = text.split(',').map(str::trim).all(is_known);
    is_valid.then(|| EnvFilter::try_new(text).ok()).flatten()
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|level| level.eq_ignore_ascii_case(word))
}

fn is_target(target: &str) -> bool {
    let mut names = target.split("::");
    names.next() == Some("jobslate") && names.next().is_none_or(|room| ROOMS.contains(&room))
}

/// Readable for its owner alone: log lines hold job ids.
fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn subscriber<W>(
    filter: EnvFilter,
    format: LogFormat,
    writer: W,
    ansi: bool,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A line that cannot be written is lost. To say so on standard error, as the subscriber would,
    // is a panic where that is what cannot be written: of whichever thread logs, the writer too.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(ansi).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A writer that tests can read.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let filter = filter(level).unwrap();
        let subscriber = subscriber(filter, format, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, events);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_filter_is_of_known_words_alone() {
        let good =
            ["info", "WARN", "off", "info,jobslate::telemetry=debug", "jobslate=trace, error"];
        assert!(good.iter().all(|text| filter(text).is_some()));
        let bad = [
            "",
            "warning",
            "inof",
            "loud",
            "http=debug",
            "jobslate::htpp=debug",
            "info,",
            "jobslate::telemetry",
            "jobslate::telemetry=loud",
            "[span]=debug",
            "info,=x=y",
        ];
        for text in bad {
            assert!(filter(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn the_rooms_of_a_filter_are_those_of_the_crate() {
        let modules = include_str!("../lib.rs").lines().filter_map(|line| {
            line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')
        });
        assert_eq!(modules.collect::<Vec<_>>(), ROOMS);
    }

    #[test]
    fn a_message_stands_literally_on_one_line() {
        let log = logged("info", LogFormat::Text, || {
            tracing::info!(updates = 50, id = "a\nb\u{1b}[2J", "Batch updated 50 job statuses");
            tracing::debug!("not shown");
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(": Batch updated 50 job statuses updates=50"), "{log}");
        assert!(!log.contains('\u{1b}'), "{log}");
    }

    #[test]
    fn json_lines_hold_message_and_fields_side_by_side() {
        let log = logged("info", LogFormat::Json, || tracing::warn!(used = 81, "pressure"));
        let line: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
        assert_eq!(line["message"], "pressure");
        assert_eq!(line["used"], 81);
        assert_eq!(line["level"], "WARN");
    }

    #[test]
    fn a_log_file_is_appended_to_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for _ in 0..2 {
            open(&path).unwrap().write_all(b"line\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\nline\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
