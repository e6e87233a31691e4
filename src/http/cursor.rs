//! The place where a walk goes on, as an opaque text.
//!
//! | offset | bytes | meaning |
//! | --- | --- | --- |
//! | 0 | 1 | version, 2 |
//! | 1 | 8 | hash of the filters, the order and the store, the first bytes of a BLAKE3 |
//! | 9 | 8 | `as_of_seq`, little-endian |
//! | 17 | 8 | the moment that `stalled_for` counts from, little-endian; 0 without it |
//! | 25 | 8, or the rest | the last seq, little-endian; in the order of ids, the last id |
//!
//! Written in hexadecimal. A cursor of other filters or of another store is refused, since the
//! walk that it belongs to is not the one that is asked for.

use std::fmt::Write as _;
use std::time::Duration;

use super::problem::Problem;
use crate::api::ProblemCode;
use crate::model::limits::JOB_ID_BYTES_MAX;
use crate::model::{Cursor, JobFilter, JobId, Order, Place, TimestampMs};

const VERSION: u8 = 2;
const HEAD_BYTES: usize = 25;

/// What a cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    hash: [u8; 8],
    order: Order,
}

/// A cursor, and the moment that its walk counts `stalled_for` from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub cursor: Cursor,
    pub stalled_since: Option<TimestampMs>,
}

impl Walk {
    /// The walk that a filter asks for in the store `store_id`. The order of words does not matter,
    /// nor does the length of the pages. `stalled_for` stands for the moment, which moves on.
    pub fn of(
        filter: &JobFilter,
        stalled_for: Option<Duration>,
        order: Order,
        store_id: &str,
    ) -> Self {
        let mut statuses: Vec<&str> = filter.statuses.iter().map(|it| it.as_str()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let mut kinds: Vec<&str> = filter.kinds.iter().map(|it| it.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let number = |it: Option<u64>| it.map_or_else(String::new, |it| it.to_string());
        let parts = [
            store_id.to_owned(),
            order.as_str().to_owned(),
            statuses.join(","),
            kinds.join(","),
            filter.pipeline.as_ref().map_or_else(String::new, |it| it.as_str().to_owned()),
            filter.prefix.clone(),
            number(filter.updated_from.map(|it| it.0)),
            number(filter.updated_before.map(|it| it.0)),
            number(stalled_for.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))),
        ];
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut hash = [0; 8];
        hasher.finalize_xof().fill(&mut hash);
        Self { hash, order }
    }

    pub fn encode(self, mark: &Mark) -> String {
        let as_of = mark.cursor.as_of_seq.to_le_bytes();
        let stalled = mark.stalled_since.map_or(0, |it| it.0).to_le_bytes();
        let seq;
        let place: &[u8] = match &mark.cursor.place {
            Place::Seq(last) => {
                seq = last.to_le_bytes();
                &seq
            }
            Place::Id(last) => last.as_str().as_bytes(),
        };
        let mut text = String::with_capacity(2 * (HEAD_BYTES + place.len()));
        let head = [VERSION].into_iter().chain(self.hash).chain(as_of).chain(stalled);
        for byte in head.chain(place.iter().copied()) {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The cursor in `text`, for a store whose last seq is `last_seq_held`.
    pub fn decode(self, text: &str, last_seq_held: u64) -> Result<Mark, Problem> {
        let broken = || bad("the cursor is broken; send 'next' of the last page as it is");
        let bytes = unhex(text).ok_or_else(broken)?;
        let (version, rest) = bytes.split_first().ok_or_else(broken)?;
        let (hash, rest) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let (as_of_seq, rest) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let (stalled, place) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        if *version != VERSION {
            return Err(broken());
        }
        if *hash != self.hash {
            return Err(bad(
                "the cursor belongs to other filters or another store; begin the walk again",
            ));
        }
        let as_of_seq = u64::from_le_bytes(*as_of_seq);
        if as_of_seq > last_seq_held {
            return Err(bad("the cursor is of a later state than the store has; begin again"));
        }
        let place = self.place(place).ok_or_else(broken)?;
        let stalled_since = Some(u64::from_le_bytes(*stalled)).filter(|it| *it != 0);
        let cursor = Cursor { place, as_of_seq };
        Ok(Mark { cursor, stalled_since: stalled_since.map(TimestampMs) })
    }

    fn place(self, bytes: &[u8]) -> Option<Place> {
        Some(match self.order {
            Order::Newest | Order::Oldest => Place::Seq(u64::from_le_bytes(bytes.try_into().ok()?)),
            Order::Id => Place::Id(JobId::parse(std::str::from_utf8(bytes).ok()?).ok()?),
        })
    }
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::BadCursor, detail)
}

/// The bytes of a text of hexadecimal digits that may be a cursor.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 2 * (HEAD_BYTES + JOB_ID_BYTES_MAX) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PipelineName, Status};

    fn mark() -> Mark {
        let cursor = Cursor { place: Place::Seq(17), as_of_seq: 1 << 60 };
        Mark { cursor, stalled_since: None }
    }

    fn filter(statuses: &[&str], pipeline: Option<&str>) -> JobFilter {
        JobFilter {
            statuses: statuses.iter().map(|word| Status::parse(word).unwrap()).collect(),
            pipeline: pipeline.map(|name| PipelineName::parse(name).unwrap()),
            ..JobFilter::default()
        }
    }

    fn walk(filter: &JobFilter) -> Walk {
        Walk::of(filter, None, Order::Newest, "store")
    }

    #[test]
    fn a_cursor_comes_back_under_the_same_filters_alone() {
        let both = filter(&["queued", "error"], None);
        let text = walk(&both).encode(&mark());
        assert_eq!(walk(&both).decode(&text, 1 << 60).unwrap(), mark());
        let reordered = filter(&["error", "queued", "error"], None);
        assert_eq!(walk(&reordered).decode(&text, 1 << 60).unwrap(), mark());
        let minute = Some(Duration::from_secs(60));
        let others = [
            walk(&filter(&["queued"], None)),
            walk(&filter(&["queued", "error"], Some("pdf"))),
            walk(&JobFilter { prefix: "a".to_owned(), ..both.clone() }),
            walk(&JobFilter { updated_from: Some(TimestampMs(1)), ..both.clone() }),
            walk(&JobFilter { updated_before: Some(TimestampMs(1)), ..both.clone() }),
            walk(&JobFilter { kinds: vec![crate::model::Kind::Failed], ..both.clone() }),
            Walk::of(&both, minute, Order::Newest, "store"),
            Walk::of(&both, None, Order::Oldest, "store"),
            Walk::of(&both, None, Order::Newest, "another"),
        ];
        for other in others {
            let problem = other.decode(&text, 1 << 60).unwrap_err();
            assert_eq!(problem.code, ProblemCode::BadCursor);
        }
    }

    #[test]
    fn a_cursor_by_id_holds_any_id_and_the_moment_of_the_walk() {
        let stalled = Some(Duration::from_secs(600));
        let walk = Walk::of(&JobFilter::default(), stalled, Order::Id, "store");
        for id in ["a", "a/b c\u{e9}", &"x".repeat(256)] {
            let place = Place::Id(JobId::parse(id).unwrap());
            let cursor = Cursor { place, as_of_seq: 5 };
            let mark = Mark { cursor, stalled_since: Some(TimestampMs(1_764_000_000_000)) };
            assert_eq!(walk.decode(&walk.encode(&mark), 5).unwrap(), mark);
        }
    }

    #[test]
    fn a_cursor_of_a_state_that_the_store_never_had_is_refused() {
        let walk = walk(&filter(&[], None));
        let text = walk.encode(&mark());
        assert!(walk.decode(&text, (1 << 60) + 1).is_ok());
        let problem = walk.decode(&text, (1 << 60) - 1).unwrap_err();
        assert_eq!(problem.code, ProblemCode::BadCursor);
    }

    #[test]
    fn garbage_is_no_cursor() {
        let walk = walk(&filter(&[], None));
        let text = walk.encode(&mark());
        let version_1 = format!("01{}", &text[2..]);
        let not_ascii = "\u{e9}".repeat(33);
        let long = "0".repeat(2 * (HEAD_BYTES + JOB_ID_BYTES_MAX) + 2);
        for bad in ["", "x", &text[2..], &format!("{text}00"), &version_1, &not_ascii, &long] {
            let problem = walk.decode(bad, 1 << 60).unwrap_err();
            assert_eq!(problem.code, ProblemCode::BadCursor, "{bad}");
        }
        assert!(walk.decode(&text.to_uppercase(), 1 << 60).is_ok());
    }
}
