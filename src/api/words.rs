//! The schemas of words, names and times in the API document: each bound is said once, here.
//!
//! A shape names one of these with `#[schema(value_type = words::Status)]` where the wire type of a
//! field is only a string. What is sent is read more widely than what is answered is written: a
//! sent status may be in upper case, a sent id an integer, a sent time Unix milliseconds.
//!
//! JSON Schema counts characters where the server counts bytes of UTF-8, and knows no bounds of
//! times; the descriptions say so.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::problem::ProblemCode;
use crate::model::limits::{
    AT_MS_END, AT_MS_MIN, JOB_ID_BYTES_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX,
    LABELS_MAX, PIPELINE_BYTES_MAX, STATUS_BYTES_MAX,
};
use crate::model::{Kind as ModelKind, RejectionCode as ModelRejectionCode};

macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident = $schema:expr, $example:tt;)*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    let schema: ObjectBuilder = $schema;
                    let description = concat!($($doc, "\n"),+);
                    let described = schema.description(Some(unindented(description)));
                    described.examples([json!($example)]).into()
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
            }
        )*
    };
}

words! {
    /// The name of a job: 1 to 256 bytes of UTF-8, no control characters, not `.` or `..`.
    JobId = name(JOB_ID_BYTES_MAX), "doc-0001";
    /// The name of a job. An integer is kept as its decimal digits.
    SentJobId = name(JOB_ID_BYTES_MAX)
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer])), "doc-0001";
    /// The name of a pipeline: 1 to 64 bytes of UTF-8, no control characters, not `.` or `..`.
    PipelineName = name(PIPELINE_BYTES_MAX), "pdf";
    /// What a job is doing: a known word like `queued`, `processing`, `completed` or `error`, or
    /// one of the pipeline's own.
    Status = text("^[a-z0-9_.-]+$", 1, STATUS_BYTES_MAX), "processing";
    /// A status. Upper case is lowered.
    SentStatus = text("^[A-Za-z0-9_.-]+$", 1, STATUS_BYTES_MAX), "processing";
    /// What a status means, derived from it when it is read.
    Kind = one_of(ModelKind::ALL.iter().map(|kind| kind.as_str())), "running";
    /// A moment: RFC 3339 in UTC with milliseconds.
    Time = typed(Type::String).format(Some(SchemaFormat::Custom("date-time".to_owned()))),
        "2025-11-24T16:00:00.123Z";
    /// When something happened: RFC 3339 with an offset, or Unix milliseconds; before 2200. An
    /// integer below 10^11 looks like seconds and is refused.
    SentTime = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
        .format(Some(SchemaFormat::Custom("date-time".to_owned())))
        .minimum(Some(AT_MS_MIN))
        .maximum(Some(AT_MS_END - 1)), 1_764_000_000_123_u64;
    /// The labels of a job: at most 16, with names of 1 to 64 bytes and values of up to 256.
    Labels = labels(SchemaType::Type(Type::String)), {"source": "scan"};
    /// The labels of a job, replaced as a whole. A name with `null` is left out.
    SentLabels = labels(SchemaType::from_iter([Type::String, Type::Null])), {"source": "scan"};
    /// The stable name of a problem; for programs.
    ProblemName = one_of(problem_names()), "queue_full";
    /// Why one update was refused; a stable name.
    RejectionName = one_of(ModelRejectionCode::ALL.iter().map(|code| code.as_str())),
        "invalid_status";
}

/// The text of a doc comment without the space before each line.
fn unindented(doc: &str) -> String {
    doc.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn typed(schema_type: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(schema_type)
}

fn text(pattern: &str, length_min: usize, length_max: usize) -> ObjectBuilder {
    typed(Type::String)
        .min_length(Some(length_min))
        .max_length(Some(length_max))
        .pattern(Some(pattern))
}

/// No control characters, and neither `.` nor `..`.
fn name(length_max: usize) -> ObjectBuilder {
    text(r"^(?!\.{1,2}$)[^\u0000-\u001f\u007f-\u009f]+$", 1, length_max)
}

fn one_of(words: impl Iterator<Item = &'static str>) -> ObjectBuilder {
    typed(Type::String).enum_values(Some(words.collect::<Vec<_>>()))
}

fn labels(value_type: SchemaType) -> ObjectBuilder {
    let name = text(r"^[^\u0000-\u001f\u007f-\u009f]+$", 1, LABEL_NAME_BYTES_MAX);
    let value = ObjectBuilder::new().schema_type(value_type);
    typed(Type::Object)
        .property_names(Some(name))
        .additional_properties(Some(value.max_length(Some(LABEL_VALUE_BYTES_MAX))))
        .max_properties(Some(LABELS_MAX))
}

fn problem_names() -> impl Iterator<Item = &'static str> {
    let rejections = ModelRejectionCode::ALL.iter().map(|code| ProblemCode::Rejected(*code));
    let mut names: Vec<_> =
        ProblemCode::ALL.iter().copied().chain(rejections).map(ProblemCode::as_str).collect();
    // `corrupt_record` is both a problem and a rejection.
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}
