//! The parameters that calls share, and those whose bounds attributes cannot say.
//!
//! A handler names them in its attribute: `params(params::JobPath, params::Fresh)`.

use utoipa::IntoParams;
use utoipa::PartialSchema as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Header, RefOr, Required, Schema};

use crate::api::words;
use crate::model::limits::{
    IDEMPOTENCY_KEY_BYTES_MAX, JOB_ID_BYTES_MAX, PAGE_JOBS_DEFAULT, PAGE_JOBS_MAX,
    PAGE_PIPELINES_DEFAULT, PAGE_PIPELINES_MAX, PAGE_UPDATES_DEFAULT, PAGE_UPDATES_MAX,
    PRUNE_JOBS_DEFAULT, PRUNE_JOBS_MAX, PRUNE_KEEP_MAX,
};

macro_rules! params {
    ($($(#[doc = $doc:literal])+ $name:ident = $($param:expr),+;)*) => {$(
        $(#[doc = $doc])+
        pub struct $name;

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$($param.build()),+]
            }
        }
    )*};
}

params! {
    /// The job that the path names.
    JobPath = path("job_id", words::JobId::schema())
        .description(Some("The name of the job, percent-encoded; a slash is `%2F`."));
    /// The pipeline that the path names.
    PipelinePath = path("name", words::PipelineName::schema())
        .description(Some("The name of the pipeline, percent-encoded; a slash is `%2F`."));
    /// What every read takes.
    Fresh = query("fresh", flag())
        .description(Some("`true`: waits until all accepted before is durable, then reads."));
    /// When a call with updates returns.
    Ack = query("ack", one_of(&["durable", "queued"]).default(Some("durable".into())))
        .description(Some(
            "`durable`: after the commit, with 200. `queued`: at once, with 202; it becomes \
             durable with the next batch, and goes neither with `atomic=true` nor with \
             `if_status`.",
        ));
    /// All or nothing.
    Atomic = query("atomic", flag())
        .description(Some("`true`: one refused update refuses the whole call."));
    /// What makes a retry safe.
    IdempotencyKey = header("Idempotency-Key", visible(IDEMPOTENCY_KEY_BYTES_MAX))
        .description(Some(
            "A name for this call. When it comes a second time, with the same body, the first \
             answer is returned and nothing is applied again.",
        ));
    /// What the caller has already.
    IfNoneMatch = header("If-None-Match", ObjectBuilder::new().schema_type(Type::String))
        .description(Some("The `ETag` of an earlier answer: 304 if the job is still the same."));
    /// Which jobs a list shows.
    ListFilters =
        any_of("status", words::SentStatus::schema())
            .description(Some("Jobs with any of these; repeated, or with commas between.")),
        any_of("kind", words::Kind::schema())
            .description(Some("Jobs with any of these; repeated, or with commas between.")),
        query("pipeline", words::PipelineName::schema())
            .description(Some("Jobs of this pipeline.")),
        query("prefix", ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(JOB_ID_BYTES_MAX)))
            .description(Some(
                "Jobs whose id begins with this. In the order `id`, which a prefix alone goes by, \
                 no others are looked at.",
            )),
        query("updated_after", words::SentTime::schema())
            .description(Some("Jobs last changed at this moment or later, by `updated_at`.")),
        query("updated_before", words::SentTime::schema())
            .description(Some("Jobs last changed before this moment.")),
        query("stalled_for", duration("^[0-9]{1,6}(ms|s|m|h|d)$", "10m"))
            .description(Some("Jobs that are not finished, and have not changed for so long.")),
        query("order", one_of(&["newest", "oldest", "id"]))
            .description(Some(
                "`newest`: the last changed first, unless a `prefix` is given. `oldest`: the last \
                 changed last. `id`: by the bytes of the id.",
            )),
        query("limit", limit(PAGE_JOBS_MAX, PAGE_JOBS_DEFAULT))
            .description(Some("Most jobs on the page.")),
        query("cursor", ObjectBuilder::new().schema_type(Type::String))
            .description(Some("`next` of the page before, under the same filters."));
    /// Which jobs a prune removes.
    Prune =
        any_of("status", words::SentStatus::schema())
            .description(Some("Jobs with any of these; repeated, or with commas between.")),
        any_of("kind", words::Kind::schema())
            .description(Some(
                "Jobs with any of these; repeated, or with commas between. Without `kind` and \
                 `status`: jobs that are finished.",
            )),
        query("pipeline", words::PipelineName::schema())
            .description(Some("Jobs of this pipeline.")),
        query("updated_before", words::SentTime::schema())
            .description(Some("Jobs last changed before this moment, by `updated_at`.")),
        query("older_than", duration("^[0-9]{1,6}(ms|s|m|h|d)$", "30d"))
            .description(Some(
                "Jobs that have not changed for so long, in time that a server ran: no jump of \
                 its clock makes a job old.",
            )),
        query("keep", ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(PRUNE_KEEP_MAX)))
            .description(Some(
                "So many stay of those with these kinds, statuses and pipeline: the last changed \
                 ones, however old.",
            )),
        query("limit", limit(PRUNE_JOBS_MAX, PRUNE_JOBS_DEFAULT))
            .description(Some(
                "Most jobs that this call removes, the longest unchanged first. `dry_run` counts \
                 them all.",
            )),
        query("dry_run", flag())
            .description(Some("`true`: counts the jobs and removes none."));
    /// In which form a list is answered.
    JobFormat = query("format", one_of(&["json", "ndjson", "csv"]))
        .description(Some(FORMAT));
    /// The part of time that is shown.
    TimelineWindow =
        query("from", words::SentTime::schema())
            .description(Some("The first moment; a day before `to` unless it is given.")),
        query("to", words::SentTime::schema())
            .description(Some("The first moment outside; now unless it is given.")),
        query("step", duration("^[1-9][0-9]{0,3}(m|h|d)$", "1h"))
            .description(Some(
                "The length of a step: whole minutes, and with a `pipeline` whole hours. The \
                 shortest that makes few enough steps for a plot, unless it is given.",
            )),
        query("pipeline", words::PipelineName::schema())
            .description(Some("Updates of this pipeline; all together unless it is given."));
    /// Which pipelines are shown.
    PipelinesPage =
        query("after", words::PipelineName::schema())
            .description(Some("`next` of the page before: begins after this name.")),
        query("limit", limit(PAGE_PIPELINES_MAX, PAGE_PIPELINES_DEFAULT))
            .description(Some("Most pipelines on the page."));
    /// Where the feed goes on.
    FeedPlace =
        query("after", ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .maximum(Some(u64::MAX)))
            .description(Some(
                "The last seq that the reader has seen, or 0 for all that is held. Without it the \
                 feed begins now.",
            )),
        header("Last-Event-ID", ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9]{0,19}$")))
            .description(Some(
                "The same, as an event source sends it when it was cut off. It counts before \
                 `after`, unless it is empty.",
            ));
    /// Which updates the feed shows.
    FeedFilters =
        query("job", words::JobId::schema())
            .description(Some("Updates of this job.")),
        query("pipeline", words::PipelineName::schema())
            .description(Some("Updates of this pipeline, also those that move a job out of it.")),
        any_of("status", words::SentStatus::schema())
            .description(Some(
                "Updates after which the job has any of these; repeated, or with commas between.",
            )),
        any_of("kind", words::Kind::schema())
            .description(Some(
                "Updates after which the job has any of these; repeated, or with commas between.",
            ));
    /// How much of the feed one answer holds, and how long it waits.
    FeedPage =
        query("limit", limit(PAGE_UPDATES_MAX, PAGE_UPDATES_DEFAULT))
            .description(Some("Most updates on the page; streams have no pages.")),
        query("wait", duration(WAIT, "30s"))
            .description(Some(
                "How long to wait for the first update if there is none yet, at most `5m`. For \
                 JSON alone: streams wait anyway.",
            ));
    /// In which form the feed is answered.
    FeedFormat = query("format", one_of(&["json", "ndjson", "sse"]))
        .description(Some(FORMAT));
}

const FORMAT: &str = "\
The form of the answer. It counts before the `Accept` header; JSON unless either asks for another.";

/// Up to five minutes.
const WAIT: &str = "^([0-9]{1,5}ms|([12]?[0-9]{1,2}|300)s|[0-5]m)$";

/// The header of an answer that is a first one returned again.
pub fn replayed() -> Header {
    HeaderBuilder::new()
        .schema(Some(one_of(&["true"])))
        .description(Some("Present if this is the first answer to the key, again."))
        .build()
}

fn parameter(name: &str, place: ParameterIn, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(schema))
}

fn path(name: &str, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    parameter(name, ParameterIn::Path, schema)
}

fn query(name: &str, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    parameter(name, ParameterIn::Query, schema)
}

fn header(name: &str, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    parameter(name, ParameterIn::Header, schema)
}

fn flag() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean).default(Some(false.into()))
}

fn one_of(words: &[&str]) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied()))
}

/// Text that a header can hold: visible ASCII, spaces between.
fn visible(length_max: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(length_max))
        .pattern(Some("^[!-~]([ -~]*[!-~])?$"))
}

/// A filter of words, of which any may match.
fn any_of(name: &str, word: RefOr<Schema>) -> ParameterBuilder {
    query(name, ArrayBuilder::new().items(word).max_items(Some(256)))
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
}

/// A duration with a unit. The server reads more forms than the pattern names.
fn duration(pattern: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).examples([example])
}

fn limit(most: usize, default: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(most))
        .default(Some(default.into()))
}
