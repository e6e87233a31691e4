//! Shapes of the API document that no single type has: what may be sent, and refusals with
//! counters.
//!
//! [`UpdateBody`] is what the client writes. What the server reads is a little more: the alias of
//! `error`, and `job_id` left out where the path names the job. Those are derived here from the
//! schema of the type, so that a new field of it is documented at once.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{
    AdditionalProperties, AllOfBuilder, ArrayBuilder, OneOfBuilder, Schema,
};
use utoipa::openapi::{Object, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::answer::AnswerBody;
use super::problem::ProblemBody;
use super::update::UpdateBody;

/// The update of a call that names its job in the body.
#[derive(Clone, Copy, Debug)]
pub struct Update;

/// The update of a call whose path names the job.
#[derive(Clone, Copy, Debug)]
pub struct UpdateOfJob;

/// A body of updates: one, or an array of them.
#[derive(Clone, Copy, Debug)]
pub struct Updates;

/// A body of updates, one a line.
///
/// A media type of lines is described as the array of them, as OpenAPI 3.2 rules.
#[derive(Clone, Copy, Debug)]
pub struct UpdateLines;

/// A problem with the counters of the answer beside its members.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

/// Most updates of one call, unless `batch_updates_max` says otherwise.
const UPDATES_MAX: usize = 10_000;

impl PartialSchema for Update {
    fn schema() -> RefOr<Schema> {
        let mut object = sent();
        object.description = Some(
            "One reported fact about a job. `null` is the same as leaving a field out; a field of \
             another name is refused."
                .to_owned(),
        );
        object.examples = vec![
            json!({"job_id": "doc-0001", "status": "processing"}),
            json!({
                "job_id": "doc-0001", "status": "error", "error": "ocr timed out",
                "at": 1_764_000_000_123_u64, "attempt": 2, "pipeline": "pdf", "progress": 0.4,
                "message": "page 12", "labels": {"source": "scan"}, "if_status": "processing",
            }),
            json!({"job_id": 4711, "progress": 0.5, "message": "a heartbeat"}),
        ];
        RefOr::T(object.into())
    }
}

impl PartialSchema for UpdateOfJob {
    fn schema() -> RefOr<Schema> {
        let mut object = sent();
        object.properties.remove("job_id");
        object.required.retain(|name| name != "job_id");
        object.description = Some(
            "One reported fact about the job that the path names. A `job_id` beside it must name \
             the same job, and is best left out."
                .to_owned(),
        );
        object.examples = vec![
            json!({"status": "processing", "at": "2025-11-24T16:00:00.123Z"}),
            json!({"status": "completed", "if_status": "processing"}),
            json!({"progress": 0.5, "message": "page 12"}),
        ];
        RefOr::T(object.into())
    }
}

impl PartialSchema for Updates {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .description(Some("One update, or an array of them."))
            .item(Ref::from_schema_name(Update::name()))
            .item(many())
            .examples([
                json!({"job_id": "doc-0001", "status": "processing"}),
                json!([
                    {"job_id": "doc-0001", "status": "completed"},
                    {"job_id": "doc-0002", "status": "error", "error": "ocr timed out"},
                ]),
            ])
            .into()
    }
}

impl PartialSchema for UpdateLines {
    fn schema() -> RefOr<Schema> {
        many()
            .description(Some("One update a line, without the brackets and commas of an array."))
            .examples([json!([
                {"job_id": "doc-0001", "status": "completed"},
                {"job_id": "doc-0002", "status": "error", "error": "ocr timed out"},
            ])])
            .into()
    }
}

impl PartialSchema for Refused {
    fn schema() -> RefOr<Schema> {
        AllOfBuilder::new()
            .description(Some("A problem, and what became of each update."))
            .item(Ref::from_schema_name(ProblemBody::name()))
            .item(Ref::from_schema_name(AnswerBody::name()))
            .examples([json!({
                "type": "urn:jobslate:problem:all_rejected", "title": "All updates rejected",
                "status": 422, "code": "all_rejected",
                "detail": "no update was accepted; 'errors' says why",
                "outcome": "not_applied", "retryable": false,
                "accepted": 0, "applied": 0, "stale": 0, "merged": 0, "rejected": 1,
                "durable": true, "first_seq": null, "last_seq": null,
                "errors": [{
                    "index": 0, "job_id": "doc-0001", "code": "invalid_status",
                    "detail": "status is \"a b\"; use [a-z0-9_.-]{1,32}",
                }],
            })])
            .into()
    }
}

impl ToSchema for Update {
    fn name() -> Cow<'static, str> {
        "Update".into()
    }

    fn schemas(schemas: &mut Named) {
        UpdateBody::schemas(schemas);
    }
}

impl ToSchema for UpdateOfJob {
    fn name() -> Cow<'static, str> {
        "UpdateOfJob".into()
    }

    fn schemas(schemas: &mut Named) {
        UpdateBody::schemas(schemas);
    }
}

impl ToSchema for Updates {
    fn name() -> Cow<'static, str> {
        "Updates".into()
    }

    fn schemas(schemas: &mut Named) {
        schemas.push((Update::name().into_owned(), Update::schema()));
        Update::schemas(schemas);
    }
}

impl ToSchema for UpdateLines {
    fn name() -> Cow<'static, str> {
        "UpdateLines".into()
    }

    fn schemas(schemas: &mut Named) {
        Updates::schemas(schemas);
    }
}

impl ToSchema for Refused {
    fn name() -> Cow<'static, str> {
        "Refused".into()
    }

    fn schemas(schemas: &mut Named) {
        schemas.push((AnswerBody::name().into_owned(), AnswerBody::schema()));
        AnswerBody::schemas(schemas);
        schemas.push((ProblemBody::name().into_owned(), ProblemBody::schema()));
        ProblemBody::schemas(schemas);
    }
}

/// Schemas with their names, as the document collects them.
type Named = Vec<(String, RefOr<Schema>)>;

/// At least one update, and no more than a batch may hold.
fn many() -> ArrayBuilder {
    ArrayBuilder::new()
        .items(Ref::from_schema_name(Update::name()))
        .min_items(Some(1))
        .max_items(Some(UPDATES_MAX))
}

/// The fields of an update as they are read.
fn sent() -> Object {
    let RefOr::T(Schema::Object(mut object)) = UpdateBody::schema() else {
        unreachable!("the schema of a struct is an object");
    };
    if let Some(RefOr::T(Schema::Object(error))) = object.properties.get("error") {
        let mut alias = error.clone();
        alias.description = Some("Another name of `error`; send one of them.".to_owned());
        object.properties.insert("error_message".to_owned(), RefOr::T(alias.into()));
    }
    let both = json!({
        "required": ["error", "error_message"],
        "properties": {"error": {"type": "string"}, "error_message": {"type": "string"}},
    });
    object.extensions = Some(Extensions::from_iter([("not", both)]));
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::draft::Field;

    #[test]
    fn the_documented_fields_are_those_that_are_read() {
        let RefOr::T(Schema::Object(update)) = Update::schema() else { panic!("not an object") };
        let unread = update.properties.keys().find(|name| Field::of(name).is_none());
        assert_eq!(unread, None);
        assert_eq!(update.properties.len(), Field::IfStatus as usize + 1, "the last of them");
        assert_eq!(update.required, ["job_id"]);
    }
}
