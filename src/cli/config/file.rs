//! The configuration file: TOML into raw values, each with the line it stands on.
//!
//! Only names and TOML types are judged here; ranges are judged once, for all sources, in
//! [`Config`](super::Config). Keys of the log may stand in a table: `[log] job_starts = true` and
//! `log.job_starts = true` are `log_job_starts = true`.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::keys::{self, Key, Shape};
use super::layers::Given;

/// The one table whose keys have a prefix in the flat spelling.
const LOG_TABLE: &str = "log";

/// Reads the file at `path`.
///
/// # Errors
/// [`ConfigError`]: unreadable, not TOML, an unknown key, or a value of another type.
pub fn read(path: &Path) -> Result<Vec<(&'static Key, Given)>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(&text, path)
}

/// Parses `text`, the content of the file at `path`.
///
/// # Errors
/// [`ConfigError`], as for [`read`].
pub fn parse(text: &str, path: &Path) -> Result<Vec<(&'static Key, Given)>, ConfigError> {
    let place = Place { text, path };
    let root = DeTable::parse(text).map_err(|error| ConfigError::NotToml {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })?;
    let mut named: Vec<(String, Range<usize>, &Spanned<DeValue<'_>>)> = Vec::new();
    for (name, value) in root.get_ref() {
        match value.get_ref() {
            DeValue::Table(table) if name.get_ref() == LOG_TABLE => {
                for (inner, value) in table {
                    named.push((format!("{LOG_TABLE}_{}", inner.get_ref()), inner.span(), value));
                }
            }
            _ => named.push((name.get_ref().to_string(), name.span(), value)),
        }
    }
    // The parser sorts by name; people read from top to bottom.
    named.sort_by_key(|(_, span, _)| span.start);
    let mut found: Vec<(&'static Key, Given)> = Vec::new();
    for (name, span, value) in named {
        let (key, given) = place.read(&name, span, value)?;
        if found.iter().any(|(other, _)| other.name == key.name) {
            return Err(ConfigError::Twice { key: key.name, origin: given.origin });
        }
        found.push((key, given));
    }
    Ok(found)
}

/// Where the parser stands, for messages.
struct Place<'t> {
    text: &'t str,
    path: &'t Path,
}

impl Place<'_> {
    fn read(
        &self,
        name: &str,
        span: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(&'static Key, Given), ConfigError> {
        let origin = self.origin(span);
        let Some(key) = keys::find(name) else {
            let names = keys::ALL.iter().map(|key| key.name);
            let nearest = keys::nearest(name, names).map(str::to_owned);
            return Err(ConfigError::UnknownKey { name: name.to_owned(), nearest, origin });
        };
        let Some(text) = raw_text(&key.shape, value.get_ref()) else {
            let shown = self.text.get(value.span()).unwrap_or_default();
            return Err(ConfigError::NotOfType {
                key: key.name,
                value: shown.lines().next().unwrap_or_default().to_owned(),
                expected: expected(&key.shape).to_owned(),
                origin,
            });
        };
        Ok((key, Given { text, origin }))
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Origin::File { path: self.path.to_owned(), line }
    }
}

/// The value as the text that a flag would have; `None` if it has another TOML type.
fn raw_text(shape: &Shape, value: &DeValue<'_>) -> Option<String> {
    match (shape, value) {
        (Shape::Count { .. } | Shape::Bytes { .. }, DeValue::Integer(number)) => decimal(number),
        (Shape::Flag, DeValue::Boolean(flag)) => Some(flag.to_string()),
        (Shape::Kinds, DeValue::Table(table)) => kinds_text(table),
        (Shape::Hosts, DeValue::Array(names)) => {
            let names = names.iter().map(|name| name.get_ref().as_str());
            names.collect::<Option<Vec<_>>>().map(|names| names.join(","))
        }
        (Shape::Count { .. } | Shape::Flag | Shape::Kinds, _) => None,
        (_, DeValue::String(text)) => Some(Cow::as_ref(text).to_owned()),
        _ => None,
    }
}

/// The integer in decimal digits, whatever base it was written in.
fn decimal(number: &DeInteger<'_>) -> Option<String> {
    i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

fn kinds_text(table: &DeTable<'_>) -> Option<String> {
    let pair = |(word, kind): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        kind.get_ref().as_str().map(|kind| format!("{}={kind}", word.get_ref()))
    };
    table.iter().map(pair).collect::<Option<Vec<_>>>().map(|pairs| pairs.join(","))
}

/// What the file should hold, in words.
fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Count { .. } => "a number without quotes",
        Shape::Bytes { .. } => "bytes, such as \"8MiB\" or 8388608",
        Shape::Period { .. } => "a duration in quotes, such as \"2s\"",
        Shape::Flag => "true or false without quotes",
        Shape::Hosts => "a list such as [\"jobs.example.org\"]",
        Shape::Kinds => "a table such as { parsing = \"running\" }",
        Shape::Choice(_) | Shape::Address | Shape::Path | Shape::LogFilter => "a text in quotes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(&'static str, String)>, String> {
        let found = parse(text, Path::new("jobslate.toml")).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|(key, given)| (key.name, given.text)).collect())
    }

    #[test]
    fn every_toml_type_has_its_text() {
        let text = "batch_size = 0x32\nflush_interval = \"250ms\"\nbatch_bytes_max = 1048576\n\
                    queue_bytes_max = \"8MiB\"\nstrict_statuses = true\n\
                    allowed_hosts = [\"a.example\", \"::1\"]\n[kinds]\nocr = \"running\"";
        let mut found = parsed(text).unwrap();
        found.sort();
        let expected = [
            ("allowed_hosts", "a.example,::1"),
            ("batch_bytes_max", "1048576"),
            ("batch_size", "50"),
            ("flush_interval", "250ms"),
            ("kinds", "ocr=running"),
            ("queue_bytes_max", "8MiB"),
            ("strict_statuses", "true"),
        ];
        assert_eq!(found, expected.map(|(name, text)| (name, text.to_owned())));
    }

    #[test]
    fn keys_of_the_log_may_stand_in_a_table() {
        let flat = vec![("log_job_starts", "true".to_owned())];
        assert_eq!(parsed("log.job_starts = true").unwrap(), flat);
        assert_eq!(parsed("[log]\njob_starts = true").unwrap(), flat);
        assert_eq!(parsed("log_job_starts = true").unwrap(), flat);
        assert_eq!(
            parsed("log_level = \"info\"\n[log]\nlevel = \"debug\"").unwrap_err(),
            "jobslate.toml:3: log_level is given a second time"
        );
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_known_one() {
        assert_eq!(
            parsed("# mine\n\nbatchsize = 50").unwrap_err(),
            "jobslate.toml:3: unknown key batchsize; did you mean batch_size?"
        );
        assert_eq!(
            parsed("[log]\ncolour = true").unwrap_err(),
            "jobslate.toml:2: unknown key log_colour"
        );
    }

    #[test]
    fn a_value_of_another_type_says_what_to_write() {
        assert_eq!(
            parsed("flush_interval = 2").unwrap_err(),
            "flush_interval is 2; give a duration in quotes, such as \"2s\" (jobslate.toml:1)"
        );
        assert_eq!(
            parsed("batch_size = \"50\"").unwrap_err(),
            "batch_size is \"50\"; give a number without quotes (jobslate.toml:1)"
        );
        assert!(parsed("batch_size = ").unwrap_err().contains("line 1"));
    }
}
