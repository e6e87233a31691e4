//! The forms of an answer beside JSON, for the API document: lines, a table, events.
//!
//! Lines are described as the array of them, as OpenAPI 3.2 rules for such media types; events by
//! one of them, which is how readers of OpenAPI 3.1 take it.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::csv::jobs_csv;
use super::feed::FeedEntryBody;
use super::job::JobBody;
use super::problem::ProblemBody;
use super::{feed, job};

macro_rules! forms {
    ($($(#[doc = $doc:literal])+ $name:ident = $schema:expr;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let description = concat!($($doc, "\n"),+);
                let lines: Vec<&str> = description.lines().map(str::trim).collect();
                $schema.description(Some(lines.join("\n"))).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

forms! {
    /// One job a line, without the brackets and commas of an array.
    JobLines = lines(JobBody::name()).examples([json!([job::example()])]);
    /// The jobs as CSV (RFC 4180): a row with the names of the fields on the first page of a walk,
    /// then a row for each job. What is `null` is empty; labels are a JSON object.
    JobTable = ObjectBuilder::new().schema_type(Type::String).examples([table()]);
    /// One update a line, without the brackets and commas of an array. An empty line is a sign of
    /// life.
    FeedLines = lines(FeedEntryBody::name()).examples([json!([feed::example()])]);
    /// One event of the stream: an update, under its seq as `id`. An event without `data` is a
    /// sign of life, and its `id` the place to go on from. The last event of a stream that the
    /// server cannot go on with is named `gone` or `problem`, and its data is that problem; the
    /// others have no name, which readers take for `message`.
    FeedEvent = event().examples([json!({"id": "918273", "data": feed::example().to_string()})]);
}

fn lines(name: impl Into<String>) -> ArrayBuilder {
    ArrayBuilder::new().items(Ref::from_schema_name(name))
}

fn table() -> Value {
    let job: Option<JobBody<'static>> = serde_json::from_value(job::example()).ok();
    let jobs = Vec::from_iter(job);
    String::from_utf8_lossy(&jobs_csv(&jobs, true)).into()
}

fn event() -> ObjectBuilder {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let reference = |name: Cow<'_, str>| json!({"$ref": format!("#/components/schemas/{name}")});
    let shapes = [reference(FeedEntryBody::name()), reference(ProblemBody::name())];
    let data = text()
        .content_media_type("application/json")
        .extensions(Some(Extensions::from_iter([("contentSchema", json!({"anyOf": shapes}))])));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("id", text().pattern(Some("^[0-9]+$")))
        .property("event", text().enum_values(Some(["message", "gone", "problem"])))
        .property("data", data)
}
