//! What is wrong with a configuration, said so that it can be mended without the manual.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    File {
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// The name of the environment variable.
    Environment(String),
    /// The name of the flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why there is no valid configuration. The operator corrects the place that it names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The parser's own message, with the place and the line.
    #[error("{}: {message}", .path.display())]
    NotToml { path: PathBuf, message: String },
    #[error("{origin}: unknown key {name}{}", hint(.nearest))]
    UnknownKey { name: String, nearest: Option<String>, origin: Origin },
    #[error("{origin}: {key} is given a second time")]
    Twice { key: &'static str, origin: Origin },
    /// The value is not of the key's type.
    #[error("{key} is {value}; give {expected} ({origin})")]
    NotOfType { key: &'static str, value: String, expected: String, origin: Origin },
    #[error("{key} is {value}, the range is {range} ({origin})")]
    OutOfRange { key: &'static str, value: String, range: String, origin: Origin },
    /// Two keys that contradict each other.
    #[error("{lower}, but {upper}: {} must not be more than {}", .lower.key, .upper.key)]
    Above { lower: Box<Assigned>, upper: Box<Assigned> },
    #[error(
        "{reserve}, but it must hold two tails, the queue and 64MiB: give at least {least}, or \
         less tail_bytes_max or queue_bytes_max"
    )]
    Reserve { reserve: Box<Assigned>, least: String },
    #[error(
        "listen is {address} ({origin}), which other hosts may reach, and there is no \
         authentication; to allow it, set insecure_listen = true (--insecure-listen)"
    )]
    NotLoopback { address: String, origin: Origin },
}

/// A key with its value: `batch_size is 50 (default)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub key: &'static str,
    pub value: String,
    pub origin: Origin,
}

impl fmt::Display for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} ({})", self.key, self.value, self.origin)
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean {name}?"))
}
