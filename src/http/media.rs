//! What kind of text a body is, by its content type alone: nothing is guessed from its bytes.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use super::problem::Problem;
use crate::api::ProblemCode;

/// The two kinds of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// One object, or an array of objects.
    Json,
    /// One object a line.
    Lines,
}

impl Media {
    /// The kind that the headers name.
    ///
    /// A form, which is what curl and browsers send unasked, is refused: so that a page of another
    /// site cannot post updates to a server on the reader's machine.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let name = named(headers);
        match name.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonlines"
            | "application/x-jsonlines"
            | "application/jsonl" => Ok(Self::Lines),
            _ => {
                let detail = format!(
                    "content-type is {name:?}; add the header 'content-type: application/json', \
                     or 'content-type: application/x-ndjson' for one update a line"
                );
                Err(Problem::new(ProblemCode::UnsupportedMediaType, detail))
            }
        }
    }

    /// For a body that is one JSON object and no updates.
    pub fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
        match Self::of(headers) {
            Ok(Self::Json) => Ok(()),
            _ => {
                let detail = "add the header 'content-type: application/json'";
                Err(Problem::new(ProblemCode::UnsupportedMediaType, detail))
            }
        }
    }

    /// For a call whose query says all: a body of another kind was meant for something else, and a
    /// page of another site cannot send what names JSON unasked.
    pub fn check_bodyless(headers: &HeaderMap) -> Result<(), Problem> {
        if named(headers).is_empty() { Ok(()) } else { Self::check_json(headers) }
    }

    /// For the one update of a `PUT`, which no page of another site can send without being
    /// allowed: what curl sends unasked is taken for JSON.
    pub fn check_put(headers: &HeaderMap) -> Result<(), Problem> {
        let name = named(headers);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if name.is_empty() || is("application/x-www-form-urlencoded") || is("application/json") {
            return Ok(());
        }
        let detail =
            format!("content-type is {name:?}; add the header 'content-type: application/json'");
        Err(Problem::new(ProblemCode::UnsupportedMediaType, detail))
    }
}

/// The media type without its parameters; empty if there is none.
fn named(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    value.split(';').next().unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn the_content_type_alone_decides() {
        let of = |content_type| Media::of(&headers(content_type));
        assert_eq!(of("application/json").unwrap(), Media::Json);
        assert_eq!(of("Application/JSON; charset=utf-8").unwrap(), Media::Json);
        assert_eq!(of("application/x-ndjson").unwrap(), Media::Lines);
        assert_eq!(of("application/jsonlines").unwrap(), Media::Lines);
        for bad in ["", "text/plain", "application/x-www-form-urlencoded"] {
            let problem = of(bad).unwrap_err();
            assert_eq!(problem.code, ProblemCode::UnsupportedMediaType);
            assert!(problem.detail.contains("'content-type: application/json'"), "{bad}");
        }
        assert!(Media::of(&HeaderMap::new()).is_err());
        assert!(Media::check_put(&HeaderMap::new()).is_ok());
        assert!(Media::check_put(&headers("application/x-www-form-urlencoded")).is_ok());
        assert!(Media::check_put(&headers("application/x-ndjson")).is_err());
        assert!(Media::check_bodyless(&HeaderMap::new()).is_ok());
        assert!(Media::check_bodyless(&headers("application/json")).is_ok());
        assert!(Media::check_bodyless(&headers("text/plain")).is_err());
    }
}
