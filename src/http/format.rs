//! In which form an answer is wanted: by `format=`, else by the `Accept` header.

use std::cmp::Ordering;

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use super::problem::Problem;
use super::query::{Params, invalid};

/// A form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    /// One JSON object a line.
    Lines,
    Csv,
    /// Server-Sent Events.
    Events,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Lines => "ndjson",
            Self::Csv => "csv",
            Self::Events => "sse",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Events => "text/event-stream",
        }
    }

    /// How well `media_range` names this form: 2 by its name, 1 by its group, 0 by `*/*`; `None` if
    /// it names another.
    fn named_by(self, media_range: &str) -> Option<u8> {
        let is = |name: &str| media_range.eq_ignore_ascii_case(name);
        let (names, group): (&[&str], &str) = match self {
            Self::Json => (&["application/json"], "application/*"),
            Self::Lines => {
                let names = &["application/x-ndjson", "application/ndjson", "application/jsonl"];
                (names, "application/*")
            }
            Self::Csv => (&["text/csv"], "text/*"),
            Self::Events => (&["text/event-stream"], "text/*"),
        };
        if names.iter().any(|name| is(name)) {
            Some(2)
        } else if is(group) {
            Some(1)
        } else {
            is("*/*").then_some(0)
        }
    }

    /// How much a client wants this form: the weight of the range that names it best.
    fn wanted(self, ranges: &[(&str, f32)]) -> f32 {
        let named = ranges
            .iter()
            .filter_map(|(name, weight)| self.named_by(name).map(|closeness| (closeness, *weight)));
        named.max_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal)).map_or(0.0, |it| it.1)
    }

    /// The form that is asked for, of those that there are. JSON, the first of them, is given to
    /// whoever accepts none.
    pub fn of(params: &mut Params, headers: &HeaderMap, offered: &[Self]) -> Result<Self, Problem> {
        if let Some(name) = params.one("format")? {
            let named = offered.iter().find(|format| format.name() == name);
            return named.copied().ok_or_else(|| {
                let names: Vec<&str> = offered.iter().map(|format| format.name()).collect();
                let shown: String = name.chars().take(64).collect();
                invalid(format!("format is {shown:?}; use {}", names.join(", ")))
            });
        }
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<_> = accepted.flat_map(|it| it.split(',')).map(weighed).collect();
        let mut best = (0.0, Self::Json);
        for format in offered {
            let weight = format.wanted(&ranges);
            if weight > best.0 {
                best = (weight, *format);
            }
        }
        Ok(best.1)
    }

    /// An answer in this form.
    pub fn response(self, body: impl Into<Body>) -> Response {
        let mut response = Response::new(body.into());
        let media_type = HeaderValue::from_static(self.media_type());
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response
    }
}

/// A page of CSV; only the first of a walk has the header.
pub(super) fn csv(body: Vec<u8>, is_first: bool) -> Response {
    let mut response = Format::Csv.response(body);
    if !is_first {
        let media_type = HeaderValue::from_static("text/csv; charset=utf-8; header=absent");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    response
}

/// A media range without its parameters, and its weight (`q`, 1 if it has none).
fn weighed(range: &str) -> (&str, f32) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (name, weight.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Format] = &[Format::Json, Format::Lines, Format::Csv];

    fn of(uri: &str, accept: &[&'static str]) -> Result<Format, Problem> {
        let mut params = Params::of(&uri.parse().unwrap()).unwrap();
        let values = accept.iter().map(|value| (ACCEPT, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        headers.extend(values);
        Format::of(&mut params, &headers, ALL)
    }

    #[test]
    fn the_query_counts_before_the_header() {
        assert_eq!(of("/?format=csv", &["application/json"]).unwrap(), Format::Csv);
        assert_eq!(of("/", &["text/csv"]).unwrap(), Format::Csv);
        assert_eq!(
            of("/", &["application/json;q=0.5, application/x-ndjson"]).unwrap(),
            Format::Lines
        );
        assert_eq!(of("/", &["text/html, */*;q=0.8"]).unwrap(), Format::Json);
        assert_eq!(of("/", &["text/html", "text/csv;q=0.1"]).unwrap(), Format::Csv);
        assert_eq!(of("/", &["text/*"]).unwrap(), Format::Csv);
        assert_eq!(of("/", &["application/json;q=0, */*"]).unwrap(), Format::Lines);
        assert_eq!(of("/", &["*/*;q=0.1, application/*;q=0.9"]).unwrap(), Format::Json);
        assert_eq!(of("/", &["image/png"]).unwrap(), Format::Json);
        assert_eq!(of("/", &[]).unwrap(), Format::Json);
        let problem = of("/?format=sse", &[]).unwrap_err();
        assert_eq!(problem.detail, r#"format is "sse"; use json, ndjson, csv"#);
    }
}
