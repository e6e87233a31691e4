//! The query of a call, read strictly: an unknown or repeated parameter is refused by name.

use axum::extract::Query;
use axum::http::Uri;

use super::problem::Problem;
use crate::api::ProblemCode;

/// The parameters that nobody has asked for yet. Ask for each, then [`end`](Self::end).
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes the query. Allocates nothing if there is none.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        match Query::try_from_uri(uri) {
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
            Some(other) => Err(invalid(format!("{name} is {other:?}; use true or false"))),
        }
    }

    /// Refuses what is left.
    pub fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(format!("unknown parameter {name:?}"))),
        }
    }
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
