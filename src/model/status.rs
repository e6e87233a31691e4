//! Status words and what they mean.
//!
//! A status is stored as the word; its [`Kind`] is derived when read, so that a change of the
//! configuration needs no rewrite of the store.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use rustc_hash::FxBuildHasher;

use super::limits::STATUS_BYTES_MAX;

/// A status word: `[a-z0-9_.-]{1,32}`. Upper case is lowered. `Copy`, no allocation.
#[derive(Clone, Copy)]
pub struct Status {
    /// The word, filled up with zeros, which no word holds.
    bytes: [u8; STATUS_BYTES_MAX],
    length: u8,
}

/// The text that cannot be a status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("status is {0:?}; use [a-z0-9_.-]{{1,32}}")]
pub struct InvalidStatus(pub String);

impl Status {
    /// Parses a status word; upper case is lowered.
    ///
    /// # Errors
    /// [`InvalidStatus`] with the text (at most 64 characters of it).
    pub fn parse(text: &str) -> Result<Self, InvalidStatus> {
        let refused = || InvalidStatus(text.chars().take(64).collect());
        if text.is_empty() || text.len() > STATUS_BYTES_MAX {
            return Err(refused());
        }
        let mut bytes = [0; STATUS_BYTES_MAX];
        for (slot, byte) in bytes.iter_mut().zip(text.bytes()) {
            let lower = byte.to_ascii_lowercase();
            if !matches!(lower, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-') {
                return Err(refused());
            }
            *slot = lower;
        }
        let length = u8::try_from(text.len()).map_err(|_| refused())?;
        Ok(Self { bytes, length })
    }

    pub fn as_str(&self) -> &str {
        let word = self.bytes.get(..usize::from(self.length)).unwrap_or(&[]);
        // The bytes are ASCII by construction.
        std::str::from_utf8(word).unwrap_or("")
    }
}

impl Status {
    /// The word as numbers whose order is that of the words. Statuses are compared several times
    /// for each update, and most differ in the first number.
    fn numbers(&self) -> [u64; STATUS_BYTES_MAX / 8] {
        let (chunks, _) = self.bytes.as_chunks::<8>();
        let mut numbers = [0; STATUS_BYTES_MAX / 8];
        for (number, chunk) in numbers.iter_mut().zip(chunks) {
            *number = u64::from_be_bytes(*chunk);
        }
        numbers
    }
}

impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Status {}

impl PartialOrd for Status {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Status {
    /// That of the words.
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers().cmp(&other.numbers())
    }
}

impl Hash for Status {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What is zero behind the word says nothing more.
        for number in self.numbers().into_iter().take_while(|number| *number != 0) {
            state.write_u64(number);
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// True for succeeded, failed and cancelled. No status is final: a newer update may restart.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The kind with this name, if there is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The known words, from DESIGN, section 2.
const KNOWN: [(&str, Kind); 21] = [
    ("queued", Kind::Waiting),
    ("pending", Kind::Waiting),
    ("scheduled", Kind::Waiting),
    ("waiting", Kind::Waiting),
    ("processing", Kind::Running),
    ("running", Kind::Running),
    ("started", Kind::Running),
    ("retrying", Kind::Running),
    ("completed", Kind::Succeeded),
    ("done", Kind::Succeeded),
    ("success", Kind::Succeeded),
    ("succeeded", Kind::Succeeded),
    ("finished", Kind::Succeeded),
    ("error", Kind::Failed),
    ("failed", Kind::Failed),
    ("failure", Kind::Failed),
    ("timeout", Kind::Failed),
    ("cancelled", Kind::Cancelled),
    ("canceled", Kind::Cancelled),
    ("aborted", Kind::Cancelled),
    ("skipped", Kind::Cancelled),
];

/// The map from status words to kinds: the known words, changed by the configuration.
#[derive(Clone, Debug)]
pub struct Kinds {
    by_status: HashMap<Status, Kind, FxBuildHasher>,
    strict: bool,
}

impl Default for Kinds {
    fn default() -> Self {
        Self::new([], false)
    }
}

impl Kinds {
    /// The known words, then `changed` over them. With `strict`, a word in neither is unknown and
    /// rejected; without, it counts as running.
    pub fn new(changed: impl IntoIterator<Item = (Status, Kind)>, strict: bool) -> Self {
        let known = KNOWN
            .into_iter()
            .filter_map(|(word, kind)| Status::parse(word).ok().map(|status| (status, kind)));
        Self { by_status: known.chain(changed).collect(), strict }
    }

    pub fn kind(&self, status: Status) -> Kind {
        self.by_status.get(&status).copied().unwrap_or(Kind::Running)
    }

    /// False only with `strict_statuses` and a word that nobody defined.
    pub fn is_allowed(&self, status: Status) -> bool {
        !self.strict || self.by_status.contains_key(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_lowered_and_bounded() {
        assert_eq!(Status::parse("Queued").unwrap().as_str(), "queued");
        assert_eq!(
            Status::parse("a b").unwrap_err().to_string(),
            r#"status is "a b"; use [a-z0-9_.-]{1,32}"#
        );
        assert!(Status::parse("").is_err());
        assert!(Status::parse(&"s".repeat(33)).is_err());
        assert!(Status::parse("s\u{e9}").is_err());
    }

    #[test]
    fn statuses_are_ordered_as_their_words_are() {
        let words = ["0", "a", "a-b", "ab", "abcdefgh", "abcdefgh.", "abcdefghi", "b", "\u{7f}"];
        let parsed: Vec<Status> = words.iter().filter_map(|it| Status::parse(it).ok()).collect();
        assert_eq!(parsed.len(), words.len() - 1);
        for (place, a) in parsed.iter().enumerate() {
            for (other, b) in parsed.iter().enumerate() {
                assert_eq!(a.cmp(b), a.as_str().cmp(b.as_str()), "{a} {b}");
                assert_eq!(a == b, place == other);
            }
        }
    }

    #[test]
    fn unknown_words_run_unless_strict() {
        let own = Status::parse("ocr-pass.2").unwrap();
        assert_eq!(Kinds::default().kind(own), Kind::Running);
        assert!(Kinds::default().is_allowed(own));
        assert!(!Kinds::new([], true).is_allowed(own));
        assert_eq!(Kinds::new([(own, Kind::Waiting)], true).kind(own), Kind::Waiting);
        assert_eq!(Kinds::default().kind(Status::parse("skipped").unwrap()), Kind::Cancelled);
    }
}
