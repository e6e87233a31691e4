//! From a body to updates: each array element and each line is judged alone.
//!
//! Only a body that is broken as a whole is refused as a whole: no update in it, an array or object
//! that is not JSON. No more updates are read than one batch may hold.

use std::fmt;
use std::io::BufRead as _;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::media::Media;
use super::problem::Problem;
use crate::api::{ProblemCode, RefusedUpdate, read_update};
use crate::model::{Rejection, Update};

/// The updates of a body, and what was refused.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub updates: Vec<(u32, Update)>,
    pub rejections: Vec<Rejection>,
    updates_max: usize,
}

/// Parses a body of at most `updates_max` updates. Takes milliseconds for a megabyte.
pub(super) fn parse(media: Media, body: &[u8], updates_max: usize) -> Result<Parsed, Problem> {
    let body = unmarked(body);
    let mut parsed = Parsed { updates_max, ..Parsed::default() };
    match media {
        Media::Lines => parsed.read_lines(body)?,
        Media::Json => match body.trim_ascii_start().first() {
            Some(b'[') => parsed.read_array(body)?,
            Some(b'{') => parsed.read_object(body, read_update)?,
            Some(_) => {
                return Err(invalid("the body is neither an object nor an array".to_owned()));
            }
            None => (),
        },
    }
    if parsed.count() == 0 {
        return Err(invalid("the body holds no updates".to_owned()));
    }
    Ok(parsed)
}

/// The body without the byte order mark that some editors and shells write.
fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn invalid(detail: String) -> Problem {
    Problem::new(ProblemCode::InvalidBody, detail)
}

impl Parsed {
    /// The one update of a body, as `read` reads it.
    pub fn one(
        body: &[u8],
        read: impl FnOnce(&[u8]) -> Result<Update, RefusedUpdate>,
    ) -> Result<Self, Problem> {
        let body = unmarked(body);
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid("the body is not one JSON object".to_owned()));
        }
        let mut parsed = Self { updates_max: 1, ..Self::default() };
        parsed.read_object(body, read)?;
        Ok(parsed)
    }

    fn count(&self) -> usize {
        self.updates.len() + self.rejections.len()
    }

    /// Adds the next update, as it was read.
    fn push(&mut self, read: Result<Update, RefusedUpdate>) -> Result<(), Problem> {
        if self.count() >= self.updates_max {
            let detail = format!("the body holds more than {} updates; split it", self.updates_max);
            return Err(Problem::new(ProblemCode::RequestTooLarge, detail));
        }
        let index = u32::try_from(self.count()).unwrap_or(u32::MAX);
        match read {
            Ok(update) => self.updates.push((index, update)),
            Err(refused) => self.rejections.push(refused.into_rejection(index)),
        }
        Ok(())
    }

    fn read_lines(&mut self, body: &[u8]) -> Result<(), Problem> {
        let mut rest = body;
        while !rest.is_empty() {
            let mut after = rest;
            // A slice is read without a failure, and searched faster than byte by byte.
            let length = after.skip_until(b'\n').unwrap_or(rest.len());
            let line = rest.get(..length).unwrap_or(rest).trim_ascii();
            rest = after;
            if !line.is_empty() {
                self.push(read_update(line))?;
            }
        }
        Ok(())
    }

    fn read_object(
        &mut self,
        body: &[u8],
        read: impl FnOnce(&[u8]) -> Result<Update, RefusedUpdate>,
    ) -> Result<(), Problem> {
        let raw: &RawValue = serde_json::from_slice(body).map_err(|error| {
            invalid(format!(
                "the body is not one JSON object: {error}; for one update a line, add the header \
                 'content-type: application/x-ndjson'"
            ))
        })?;
        self.push(read(raw.get().as_bytes()))
    }

    fn read_array(&mut self, body: &[u8]) -> Result<(), Problem> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let mut stopped_by = None;
        let elements = Elements { parsed: self, stopped_by: &mut stopped_by };
        let read = deserializer.deserialize_seq(elements).and_then(|()| deserializer.end());
        match (stopped_by, read) {
            (Some(problem), _) => Err(problem),
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => Err(invalid(format!("the body is not one JSON array: {error}"))),
        }
    }
}

/// Reads the elements of an array one by one, so that none but the present one is held.
struct Elements<'p> {
    parsed: &'p mut Parsed,
    /// Why the rest was not read.
    stopped_by: &'p mut Option<Problem>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of updates")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            if let Err(problem) = self.parsed.push(read_update(raw.get().as_bytes())) {
                *self.stopped_by = Some(problem);
                return Err(A::Error::custom("the rest is not read"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
