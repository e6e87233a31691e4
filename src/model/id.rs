//! Names of jobs and pipelines: parsed once, cheap to clone, safe as keys and as path segments.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use super::limits::{JOB_ID_BYTES_MAX, PIPELINE_BYTES_MAX};

/// The name of a job: 1 to 256 bytes of UTF-8, no control characters, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Name);

/// The name of a pipeline: 1 to 64 bytes of UTF-8, no control characters, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineName(Name);

/// A map whose keys hold names: their texts are not hashed again.
pub type NameMap<K, V> = std::collections::HashMap<K, V, rustc_hash::FxBuildHasher>;

/// A text and its hash, which is worked out where the name is parsed, once and not by the writer
/// thread at each look-up. Names come from outside, so the hash is SipHash under a key of this
/// process: nobody can choose names that meet in one place.
#[derive(Clone)]
struct Name {
    text: Arc<str>,
    hash: u64,
}

static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Pipeline names that one thread remembers: few are in use, and each update and row names one.
const RECENT_NAMES: usize = 64;

thread_local! {
    static RECENT: RefCell<[Option<PipelineName>; RECENT_NAMES]> =
        const { RefCell::new([const { None }; RECENT_NAMES]) };
}

/// Where a name is remembered. Names often differ in their last digits alone.
fn recent_place(text: &str) -> usize {
    let last = text.bytes().rev().take(3);
    last.fold(text.len(), |place, byte| place * 7 + usize::from(byte)) % RECENT_NAMES
}

impl Name {
    fn new(text: &str) -> Self {
        Self { text: Arc::from(text), hash: HASHES.hash_one(text) }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    /// That of the texts.
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

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

fn parse_name(text: &str, what: &'static str, bytes_max: usize) -> Result<Name, InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty { what });
    }
    if text.len() > bytes_max {
        return Err(InvalidName::TooLong { what, bytes: text.len(), bytes_max });
    }
    // Nearly all names are printable ASCII, which is seen without a look at each character.
    let is_plain = text.bytes().fold(true, |is_plain, it| is_plain & matches!(it, b' '..=b'~'));
    if !is_plain && let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(InvalidName::ControlCharacter { what, code: u32::from(c) });
    }
    if text == "." || text == ".." {
        return Err(InvalidName::DotSegment { what, text: text.to_owned() });
    }
    Ok(Name::new(text))
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
        &self.0.text
    }
}

impl PipelineName {
    /// Parses a pipeline name. Allocates only if this thread has not parsed it lately.
    ///
    /// # Errors
    /// [`InvalidName`]: correct the name; nothing was queued.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let parse = || parse_name(text, "pipeline", PIPELINE_BYTES_MAX).map(Self);
        RECENT.with_borrow_mut(|recent| {
            let Some(slot) = recent.get_mut(recent_place(text)) else { return parse() };
            match slot {
                Some(name) if name.as_str() == text => Ok(name.clone()),
                slot => Ok(slot.insert(parse()?).clone()),
            }
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl Default for PipelineName {
    /// The pipeline of a job that was never given one: `default`.
    fn default() -> Self {
        static DEFAULT: LazyLock<PipelineName> =
            LazyLock::new(|| PipelineName(Name::new("default")));
        DEFAULT.clone()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
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

    #[test]
    fn a_remembered_pipeline_is_the_one_that_was_asked_for() {
        for round in 0..3 {
            for number in 0..1_000 {
                let text = format!("pipeline-{number}");
                assert_eq!(PipelineName::parse(&text).unwrap().as_str(), text, "round {round}");
            }
            assert!(PipelineName::parse("..").is_err());
        }
        let (a, b) = (PipelineName::parse("pdf").unwrap(), PipelineName::parse("pdf").unwrap());
        assert!(Arc::ptr_eq(&a.0.text, &b.0.text));
    }
}
