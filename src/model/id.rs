//! Names of jobs and pipelines: parsed once, cheap to clone, safe as keys and as path segments.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::limits::{JOB_ID_BYTES_MAX, PIPELINE_BYTES_MAX};

/// The name of a job: 1 to 256 bytes of UTF-8, no control characters, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Arc<str>);

/// The name of a pipeline: 1 to 64 bytes of UTF-8, no control characters, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineName(Arc<str>);

/// Why a text cannot be a name. `Display` is one line for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} is {bytes} bytes, the most is {bytes_max}")]
    TooLong { what: &'static str, bytes: usize, bytes_max: usize },
    #[error("{what} holds the control character U+{code:04X}")]
    ControlCharacter { what: &'static str, code: u32 },
    #[error("{what} is {text:?}, which no URL can name")]
    DotSegment { what: &'static str, text: String },
}

fn parse_name(text: &str, what: &'static str, bytes_max: usize) -> Result<Arc<str>, InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty { what });
    }
    if text.len() > bytes_max {
        return Err(InvalidName::TooLong { what, bytes: text.len(), bytes_max });
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(InvalidName::ControlCharacter { what, code: u32::from(c) });
    }
    if text == "." || text == ".." {
        return Err(InvalidName::DotSegment { what, text: text.to_owned() });
    }
    Ok(Arc::from(text))
}

impl JobId {
    /// Parses a job id. Allocates once.
    ///
    /// # Errors
    /// [`InvalidName`]: correct the id; nothing was queued.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        parse_name(text, "job id", JOB_ID_BYTES_MAX).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PipelineName {
    /// Parses a pipeline name. Allocates once.
    ///
    /// # Errors
    /// [`InvalidName`]: correct the name; nothing was queued.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        parse_name(text, "pipeline", PIPELINE_BYTES_MAX).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for PipelineName {
    /// The pipeline of a job that was never given one: `default`.
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

/// `HashMap<JobId, _>` can be asked with a `&str`; `Hash` and `Eq` of both are those of the text.
impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PipelineName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_and_hold_no_control_characters() {
        assert!(JobId::parse("a").is_ok());
        assert!(JobId::parse("a/b c\u{e9}").is_ok());
        assert!(JobId::parse(&"x".repeat(256)).is_ok());
        assert_eq!(
            JobId::parse(&"x".repeat(257)).unwrap_err().to_string(),
            "job id is 257 bytes, the most is 256"
        );
        for bad in ["", ".", "..", "a\nb", "a\u{0}", "a\u{7f}", "a\u{85}"] {
            assert!(JobId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(PipelineName::parse(&"p".repeat(65)).is_err());
    }
}
