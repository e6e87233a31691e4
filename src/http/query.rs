//! The query of a call, read strictly: an unknown or repeated parameter is refused by name.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;

use super::path;
use super::problem::Problem;
use crate::api::ProblemCode;
use crate::model::{Kind, PipelineName, Status, TimestampMs, parse_duration};

/// Most words of one filter: as many statuses as a store keeps unless it is told otherwise.
const WORDS_MAX: usize = 256;

/// The parameters that nobody has asked for yet. Ask for each, then [`end`](Self::end).
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes the query. Allocates nothing if there is none.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        let raw = uri.query().unwrap_or_default();
        if path::has_bad_escape(raw) {
            let detail = "the query holds a % without two hexadecimal digits; send % as %25";
            return Err(invalid(detail.to_owned()));
        }
        match Query::<Vec<(String, String)>>::try_from_uri(uri) {
            // What is not UTF-8 would be replaced, and so ask for something else.
            Ok(Query(pairs)) if is_replaced(&pairs, raw) => {
                Err(invalid("the query is not UTF-8".to_owned()))
            }
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(invalid(error.body_text())),
        }
    }

    /// The value of `name`; refused if it is given twice.
    pub fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        let first = values.pop();
        if values.is_empty() { Ok(first) } else { Err(invalid(format!("{name} is given twice"))) }
    }

    /// All values of `name`.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        let matching = self.0.extract_if(.., |(key, _)| key == name);
        matching.map(|(_, value)| value).collect()
    }

    /// `true` or `false`; absent is false.
    pub fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.one(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(invalid(format!("{name} is {:?}; use true or false", shown(other)))),
        }
    }

    /// A moment: Unix milliseconds or RFC 3339.
    pub fn moment(&mut self, name: &str) -> Result<Option<TimestampMs>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let parsed = match text.parse() {
            Ok(ms) => TimestampMs::from_unix_ms(ms),
            Err(_) => TimestampMs::from_rfc3339(&text),
        };
        parsed.map(Some).map_err(|error| {
            let error = error.to_string();
            invalid(format!("{name} {}", error.strip_prefix("at ").unwrap_or(&error)))
        })
    }

    /// A duration with a unit, such as `10m`.
    pub fn duration(&mut self, name: &str) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        parse_duration(&text).map(Some).ok_or_else(|| {
            let shown = shown(&text);
            invalid(format!("{name} is {shown:?}; use a duration with a unit, such as 10m"))
        })
    }

    /// A number within `range`; `default` if it is not given.
    pub fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize, Problem> {
        Ok(self.optional_number(name, range)?.unwrap_or(default))
    }

    /// A number within `range`, if it is given.
    pub fn optional_number(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            invalid(format!("{name} is {:?}; use {least} to {most}", shown(&text)))
        })
    }

    /// A pipeline name.
    pub fn pipeline(&mut self, name: &str) -> Result<Option<PipelineName>, Problem> {
        let given = self.one(name)?.map(|text| PipelineName::parse(&text)).transpose();
        given.map_err(|error| invalid(error.to_string()))
    }

    /// Status words, separated by commas and repeated at will; each once.
    pub fn statuses(&mut self) -> Result<Vec<Status>, Problem> {
        self.words("status", |word| Status::parse(word).map_err(|error| error.to_string()))
    }

    /// Kinds, as [`statuses`](Self::statuses).
    pub fn kinds(&mut self) -> Result<Vec<Kind>, Problem> {
        self.words("kind", |word| {
            Kind::parse(word).ok_or_else(|| {
                let known = Kind::ALL.map(Kind::as_str).join(", ");
                format!("kind is {:?}; use {known}", shown(word))
            })
        })
    }

    fn words<T: Ord>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Problem> {
        let given = self.all(name);
        let words = || given.iter().flat_map(|words| words.split(','));
        let count = words().count();
        if count > WORDS_MAX {
            return Err(invalid(format!("{name} has {count} words, the most is {WORDS_MAX}")));
        }
        let words: Result<BTreeSet<T>, String> = words().map(parse).collect();
        Ok(words.map_err(invalid)?.into_iter().collect())
    }

    /// Refuses what is left.
    pub fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(format!("unknown parameter {:?}", shown(name)))),
        }
    }
}

/// True if decoding put a replacement character where the sender had none.
fn is_replaced(pairs: &[(String, String)], raw: &str) -> bool {
    let marks = |text: &str| text.matches('\u{fffd}').count();
    let decoded: usize = pairs.iter().map(|(name, value)| marks(name) + marks(value)).sum();
    decoded > raw.to_ascii_uppercase().matches("%EF%BF%BD").count()
}

/// As much of a value as a refusal shows.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The refusal of a query.
pub(super) fn invalid(detail: String) -> Problem {
    Problem::new(ProblemCode::InvalidQuery, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(uri: &str) -> Params {
        Params::of(&uri.parse().unwrap()).unwrap()
    }

    #[test]
    fn parameters_are_decoded_and_taken_once() {
        let mut asked = params("/v1/jobs?status=a&pipeline=p%20q+r&status=b,c&fresh=true");
        assert_eq!(asked.all("status"), ["a", "b,c"]);
        assert_eq!(asked.one("pipeline").unwrap().as_deref(), Some("p q r"));
        assert!(asked.flag("fresh").unwrap());
        assert!(!asked.flag("atomic").unwrap());
        asked.end().unwrap();
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        for bad in ["/?pipeline=%", "/?prefix=%zz", "/?prefix=%FF", "/?a=%C3"] {
            let problem = Params::of(&bad.parse().unwrap()).unwrap_err();
            assert_eq!(problem.code, ProblemCode::InvalidQuery, "{bad}");
        }
        assert_eq!(
            params("/?prefix=%ef%bf%bd").one("prefix").unwrap().as_deref(),
            Some("\u{fffd}")
        );
        let long = format!("/?limit={}", "9".repeat(20_000));
        assert!(params(&long).number("limit", 1..=9, 1).unwrap_err().detail.len() < 200);
    }

    #[test]
    fn unknown_repeated_and_bad_parameters_are_refused_by_name() {
        let left = params("/v1/jobs?limt=5").end().unwrap_err();
        assert_eq!(left.code, ProblemCode::InvalidQuery);
        assert_eq!(left.detail, r#"unknown parameter "limt""#);
        let twice = params("/?ack=queued&ack=durable").one("ack").unwrap_err();
        assert_eq!(twice.detail, "ack is given twice");
        let bad = params("/?fresh=yes").flag("fresh").unwrap_err();
        assert_eq!(bad.detail, r#"fresh is "yes"; use true or false"#);
    }
}
