//! The sources of the configuration, one over the other: file, environment, flags.
//!
//! Values stay texts here, each with its origin; [`Config`](super::Config) judges them once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Origin};
use super::keys::{self, ENV_PREFIX, Key, Shape};
use super::quantity::{format_bytes, format_duration, parse_bytes, parse_duration};
use super::{file, flags::ConfigFlags};

/// Variables that begin like ours but are no key.
const OTHER_VARIABLES: [&str; 2] = ["JOBSLATE_CONFIG", "JOBSLATE_URL"];

/// A value as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub text: String,
    pub origin: Origin,
}

/// For each key the value of the topmost source that gives it.
#[derive(Debug, Default)]
pub struct Layers {
    by_name: BTreeMap<&'static str, Given>,
    /// One sentence each: what looks like a mistake but is none for certain.
    notices: Vec<String>,
}

impl Layers {
    /// Reads the file (if `--config` or `JOBSLATE_CONFIG` names one), then `environment`, then
    /// `flags`; a later source replaces the value of an earlier one.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read, or holds something that no key is.
    pub fn read(
        flags: &ConfigFlags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        if let Some(path) = &flags.config {
            for (key, given) in file::read(path)? {
                layers.by_name.insert(key.name, given);
            }
        }
        for (variable, text) in environment {
            // A name that is not UTF-8 is not ours; a value that is not is no value of any key.
            if let Ok(variable) = variable.into_string() {
                layers.take_variable(variable, text.to_string_lossy().into_owned());
            }
        }
        for (key, text) in &flags.values {
            let origin = Origin::Flag(format!("--{}", key.flag()));
            layers.by_name.insert(key.name, Given { text: text.clone(), origin });
        }
        Ok(layers)
    }

    /// An unknown variable is no error, since a cluster may set some that begin with our name
    /// (`JOBSLATE_PORT`, for a service of this name); one that is nearly a key is a notice.
    fn take_variable(&mut self, variable: String, text: String) {
        let Some(rest) = variable.strip_prefix(ENV_PREFIX) else {
            return;
        };
        // Who sets a variable to nothing takes it away, as far as a compose file can.
        if text.is_empty() || OTHER_VARIABLES.contains(&variable.as_str()) {
            return;
        }
        let name = rest.to_ascii_lowercase();
        match keys::find(&name) {
            Some(key) => {
                self.by_name
                    .insert(key.name, Given { text, origin: Origin::Environment(variable) });
            }
            None => {
                let names = keys::ALL.iter().map(|key| key.name);
                if let Some(nearest) = keys::nearest(&name, names).and_then(keys::find) {
                    let meant = nearest.variable();
                    self.notices.push(format!("{variable} is ignored; did you mean {meant}?"));
                }
            }
        }
    }

    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The text that counts for `key`, and where it came from.
    pub fn given(&self, key: &Key) -> Given {
        let default = || Given { text: key.default.to_owned(), origin: Origin::Default };
        self.by_name.get(key.name).cloned().unwrap_or_else(default)
    }

    pub fn origin(&self, key: &Key) -> Origin {
        self.given(key).origin
    }

    /// The value of a [`Shape::Count`].
    ///
    /// # Errors
    /// [`ConfigError`]: not a number, or out of range.
    pub fn count(&self, key: &'static Key) -> Result<usize, ConfigError> {
        let given = self.given(key);
        let number = given.text.trim().replace('_', "").parse::<i128>();
        let number = number.map_err(|_| not_of_type(key, &given, "a number"))?;
        let (min, max) = match key.shape {
            Shape::Count { min, max } => (i128::from(min), i128::from(max)),
            _ => (0, i128::from(u64::MAX)),
        };
        let in_range = Some(number).filter(|number| (min..=max).contains(number));
        in_range
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| out_of_range(key, given.text, given.origin))
    }

    /// The value of a [`Shape::Bytes`].
    ///
    /// # Errors
    /// [`ConfigError`]: not an amount of bytes, or out of range.
    pub fn bytes(&self, key: &'static Key) -> Result<u64, ConfigError> {
        let given = self.given(key);
        let bytes = parse_bytes(&given.text)
            .ok_or_else(|| not_of_type(key, &given, "bytes, such as 8MiB or 8388608"))?;
        match key.shape {
            Shape::Bytes { min, max } if !(min..=max).contains(&bytes) => {
                Err(out_of_range(key, format_bytes(bytes), given.origin))
            }
            _ => Ok(bytes),
        }
    }

    /// [`bytes`](Self::bytes), for a bound of memory.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes), or more than this machine can address.
    pub fn memory_bytes(&self, key: &'static Key) -> Result<usize, ConfigError> {
        let bytes = self.bytes(key)?;
        usize::try_from(bytes).map_err(|_| out_of_range(key, format_bytes(bytes), self.origin(key)))
    }

    /// The value of a [`Shape::Period`].
    ///
    /// # Errors
    /// [`ConfigError`]: not a duration with a unit, or out of range.
    pub fn period(&self, key: &'static Key) -> Result<Duration, ConfigError> {
        let given = self.given(key);
        let period = parse_duration(&given.text)
            .ok_or_else(|| not_of_type(key, &given, "a duration with a unit, such as 2s"))?;
        match key.shape {
            Shape::Period { min, max } if !(min..=max).contains(&period) => {
                Err(out_of_range(key, format_duration(period), given.origin))
            }
            _ => Ok(period),
        }
    }

    /// The value of a [`Shape::Flag`].
    ///
    /// # Errors
    /// [`ConfigError`]: neither true nor false.
    pub fn is_set(&self, key: &'static Key) -> Result<bool, ConfigError> {
        let given = self.given(key);
        match given.text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(not_of_type(key, &given, "true or false")),
        }
    }

    /// The value of a [`Shape::Choice`].
    ///
    /// # Errors
    /// [`ConfigError`]: none of the words.
    pub fn choice(&self, key: &'static Key) -> Result<&'static str, ConfigError> {
        let given = self.given(key);
        let words = match key.shape {
            Shape::Choice(words) => words,
            _ => &[],
        };
        let chosen = words.iter().find(|word| word.eq_ignore_ascii_case(given.text.trim()));
        chosen.copied().ok_or_else(|| not_of_type(key, &given, &key.shape.range()))
    }

    /// The value of a [`Shape::Address`]; `localhost` is 127.0.0.1, other names are refused.
    ///
    /// # Errors
    /// [`ConfigError`]: not an address with a port.
    pub fn address(&self, key: &'static Key) -> Result<SocketAddr, ConfigError> {
        let given = self.given(key);
        let numeric = given.text.trim().replace("localhost:", "127.0.0.1:");
        numeric.parse().map_err(|_| {
            not_of_type(key, &given, "an IP address and a port, such as 127.0.0.1:7411")
        })
    }

    /// The value of a [`Shape::Path`]; `None` if it is empty.
    pub fn path(&self, key: &'static Key) -> Option<PathBuf> {
        let text = self.given(key).text;
        (!text.is_empty()).then(|| PathBuf::from(text))
    }
}

/// The value of `key` is something else than `expected`.
pub fn not_of_type(key: &'static Key, given: &Given, expected: &str) -> ConfigError {
    ConfigError::NotOfType {
        key: key.name,
        value: format!("{:?}", given.text),
        expected: expected.to_owned(),
        origin: given.origin.clone(),
    }
}

fn out_of_range(key: &'static Key, value: String, origin: Origin) -> ConfigError {
    ConfigError::OutOfRange { key: key.name, value, range: key.shape.range(), origin }
}
