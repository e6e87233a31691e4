//! The place where a walk goes on, as an opaque text.
//!
//! | offset | bytes | meaning |
//! | --- | --- | --- |
//! | 0 | 1 | version, 1 |
//! | 1 | 8 | hash of the filters, the order and the store, the first bytes of a BLAKE3 |
//! | 9 | 8 | `last_seq`, little-endian |
//! | 17 | 8 | `as_of_seq`, little-endian |
//!
//! Written in hexadecimal. A cursor of other filters or of another store is refused, since the
//! walk that it belongs to is not the one that is asked for.

use std::fmt::Write as _;

use super::problem::Problem;
use crate::api::ProblemCode;
use crate::model::{Cursor, Order, PageQuery};

const VERSION: u8 = 1;
const BYTES: usize = 25;

/// What a cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk([u8; 8]);

impl Walk {
    /// The walk that `query` asks for, in the store `store_id`. The order of the statuses does not
    /// matter, nor does the length of the pages.
    pub fn of(query: &PageQuery, store_id: &str) -> Self {
        let mut statuses: Vec<&str> = query.statuses.iter().map(|status| status.as_str()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let statuses = statuses.join(",");
        let pipeline = query.pipeline.as_ref().map(|name| name.as_str());
        let order = match query.order {
            Order::Newest => "newest",
        };
        let mut hasher = blake3::Hasher::new();
        for part in [store_id, order, &statuses, pipeline.unwrap_or("")] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut hash = [0; 8];
        hasher.finalize_xof().fill(&mut hash);
        Self(hash)
    }

    pub fn encode(self, cursor: Cursor) -> String {
        let (last, as_of) = (cursor.last_seq.to_le_bytes(), cursor.as_of_seq.to_le_bytes());
        let mut text = String::with_capacity(2 * BYTES);
        for byte in [VERSION].iter().chain(&self.0).chain(&last).chain(&as_of) {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The cursor in `text`, for a store whose last seq is `last_seq_held`.
    pub fn decode(self, text: &str, last_seq_held: u64) -> Result<Cursor, Problem> {
        let broken = || bad("the cursor is broken; send 'next' of the last page as it is");
        let bytes = unhex(text).ok_or_else(broken)?;
        let (version, rest) = bytes.split_first().ok_or_else(broken)?;
        let (hash, rest) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let (last_seq, as_of_seq) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        if *version != VERSION {
            return Err(broken());
        }
        if *hash != self.0 {
            return Err(bad(
                "the cursor belongs to other filters or another store; begin the walk again",
            ));
        }
        let as_of_seq = as_of_seq.first_chunk::<8>().ok_or_else(broken)?;
        let as_of_seq = u64::from_le_bytes(*as_of_seq);
        if as_of_seq > last_seq_held {
            return Err(bad("the cursor is of a later state than the store has; begin again"));
        }
        Ok(Cursor { last_seq: u64::from_le_bytes(*last_seq), as_of_seq })
    }
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::BadCursor, detail)
}

/// The bytes of a text of exactly `2 * BYTES` hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * BYTES {
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

    const CURSOR: Cursor = Cursor { last_seq: 17, as_of_seq: 1 << 60 };

    fn query(statuses: &[&str], pipeline: Option<&str>) -> PageQuery {
        PageQuery {
            statuses: statuses.iter().map(|word| Status::parse(word).unwrap()).collect(),
            pipeline: pipeline.map(|name| PipelineName::parse(name).unwrap()),
            ..PageQuery::default()
        }
    }

    #[test]
    fn a_cursor_comes_back_under_the_same_filters_alone() {
        let walk = Walk::of(&query(&["queued", "error"], None), "store");
        let text = walk.encode(CURSOR);
        assert_eq!(walk.decode(&text, CURSOR.as_of_seq).unwrap(), CURSOR);
        let reordered = query(&["error", "queued", "error"], None);
        assert_eq!(Walk::of(&reordered, "store").decode(&text, CURSOR.as_of_seq).unwrap(), CURSOR);
        let longer = PageQuery { limit: 7, ..query(&["queued", "error"], None) };
        assert_eq!(Walk::of(&longer, "store").decode(&text, CURSOR.as_of_seq).unwrap(), CURSOR);
        let others = [query(&["queued"], None), query(&["queued", "error"], Some("pdf"))];
        for other in &others {
            let problem = Walk::of(other, "store").decode(&text, CURSOR.as_of_seq).unwrap_err();
            assert_eq!(problem.code, ProblemCode::BadCursor);
        }
        assert!(
            Walk::of(&query(&["queued", "error"], None), "another")
                .decode(&text, CURSOR.as_of_seq)
                .is_err()
        );
    }

    #[test]
    fn a_cursor_of_a_state_that_the_store_never_had_is_refused() {
        let walk = Walk::of(&query(&[], None), "store");
        let text = walk.encode(CURSOR);
        assert!(walk.decode(&text, CURSOR.as_of_seq + 1).is_ok());
        let problem = walk.decode(&text, CURSOR.as_of_seq - 1).unwrap_err();
        assert_eq!(problem.code, ProblemCode::BadCursor);
    }

    #[test]
    fn garbage_is_no_cursor() {
        let walk = Walk::of(&query(&[], None), "");
        let text = walk.encode(CURSOR);
        let version_2 = format!("02{}", &text[2..]);
        let not_ascii = "\u{e9}".repeat(25);
        for bad in ["", "x", &text[2..], &format!("{text}00"), &version_2, &not_ascii] {
            assert_eq!(
                walk.decode(bad, CURSOR.as_of_seq).unwrap_err().code,
                ProblemCode::BadCursor,
                "{bad}"
            );
        }
        assert!(walk.decode(&text.to_uppercase(), CURSOR.as_of_seq).is_ok());
    }
}
