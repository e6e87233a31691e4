use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use super::*;
use crate::api::{
    AnswerBody, AtBody, CheckBody, CountsBody, ExpectBody, FeedBody, FeedEntryBody, FlushBody,
    HealthBody, HistoryBody, JobBody, ListBody, LookupBody, LookupRequestBody, OutcomeBody,
    PipelineBody, PipelineCountsBody, PipelineJobBody, PipelinesBody, ProblemBody, ProblemCode,
    PruneBody, QueuedBody, RejectionBody, StatsBody, TimeBody, TimelineBody, TimelineStepBody,
    TransitionBody, read_update, read_update_of,
};
use crate::http::{Gate, HttpOptions, app};
use crate::model::{JobId, Kind, PipelineName, RejectionCode, Status};

fn document() -> Value {
    serde_json::from_slice(&DOCUMENT).unwrap()
}

fn schemas() -> BTreeMap<String, Value> {
    serde_json::from_value(document()["components"]["schemas"].clone()).unwrap()
}

#[test]
fn the_document_is_the_one_that_was_reviewed() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/openapi.json");
    let made = std::str::from_utf8(&DOCUMENT).unwrap();
    if std::env::var_os("JOBSLATE_WRITE_OPENAPI").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = made.lines().zip(reviewed.lines()).position(|(made, kept)| made != kept);
    assert!(
        made == reviewed,
        "the API changed: {} is not what the types and routes say (line {}). If the change is \
         meant, run JOBSLATE_WRITE_OPENAPI=1 cargo test openapi, and review the difference.",
        path.display(),
        differs.map_or_else(|| "count".to_owned(), |index| (index + 1).to_string()),
    );
}

#[tokio::test]
async fn the_document_is_served_while_the_store_is_being_opened() {
    let request =
        Request::get("/openapi.json").header("host", "localhost").body(Body::empty()).unwrap();
    let closed = Gate::new(HttpOptions::default());
    let response = app(closed).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let served: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(served["info"]["license"]["identifier"], "Apache-2.0");
}

/// Whoever adds a route by other means than `routes!` leaves it out of the document.
#[test]
fn every_route_is_added_with_its_documentation() {
    let router = include_str!("../mod.rs");
    for bypass in [".route(", ".route_service(", ".nest(", ".nest_service(", ".merge("] {
        assert!(!router.contains(bypass), "{bypass} adds routes that the document does not have");
    }
}

#[tokio::test]
async fn every_documented_path_takes_the_documented_methods_and_no_others() {
    let document = document();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let uri = path.replace("{job_id}", "doc-0001").replace("{name}", "pdf");
        assert!(!uri.contains('{'), "name the parameter of {path} here");
        let unknown = Method::from_bytes(b"BREW").unwrap();
        let request = Request::builder().method(unknown).uri(&uri).header("host", "localhost");
        let request = request.body(Body::empty()).unwrap();
        let gate = Gate::new(HttpOptions::default());
        let response = app(gate).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        let allowed = response.headers()["allow"].to_str().unwrap().to_ascii_lowercase();
        let allowed: BTreeSet<&str> =
            allowed.split(',').map(str::trim).filter(|method| *method != "head").collect();
        let documented: BTreeSet<&str> =
            operations.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented, allowed, "{path}");
    }
}

#[test]
fn every_operation_is_named_described_and_in_a_group() {
    let document = document();
    let groups = document["tags"].as_array().unwrap();
    let groups: Vec<&Value> = groups.iter().map(|tag| &tag["name"]).collect();
    let mut names = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} names two operations");
            assert!(operation["summary"].is_string(), "{method} {path}");
            let tags = operation["tags"].as_array().unwrap();
            assert!(tags.len() == 1 && groups.contains(&&tags[0]), "{method} {path}: {tags:?}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value, schemas: &BTreeMap<String, Value>) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{reference} leads nowhere");
        }
        match value {
            Value::Array(values) => values.iter().for_each(|value| check(value, schemas)),
            Value::Object(fields) => fields.values().for_each(|value| check(value, schemas)),
            _ => (),
        }
    }
    check(&document(), &schemas());
}

/// True if an example is what the schema of this name stands for; `None` for an unknown name.
fn is_read(name: &str, example: &Value) -> Option<bool> {
    fn is<T: DeserializeOwned>(example: &Value) -> bool {
        serde_json::from_value::<T>(example.clone()).is_ok()
    }
    let text = example.as_str().unwrap_or_default();
    let json = example.to_string();
    Some(match name {
        "Answer" => is::<AnswerBody<'static>>(example),
        "Check" => is::<CheckBody>(example),
        "Counts" => is::<CountsBody<'static>>(example),
        "Expect" => is::<ExpectBody>(example),
        "Feed" => is::<FeedBody<'static>>(example),
        "FeedEntry" => is::<FeedEntryBody<'static>>(example),
        "FeedEvent" => {
            let data = example["data"].as_str().and_then(|data| serde_json::from_str(data).ok());
            data.is_some_and(|data: Value| is::<FeedEntryBody<'static>>(&data))
        }
        "FeedLines" => is::<Vec<FeedEntryBody<'static>>>(example),
        "Flush" => is::<FlushBody>(example),
        "Health" => is::<HealthBody>(example),
        "History" => is::<HistoryBody<'static>>(example),
        "Job" => is::<JobBody<'static>>(example),
        "JobLines" => is::<Vec<JobBody<'static>>>(example),
        "JobTable" => text.starts_with("job_id,") && text.ends_with("\r\n"),
        "JobId" => JobId::parse(text).is_ok(),
        "Kind" => Kind::parse(text).is_some(),
        "Labels" | "SentLabels" => is::<BTreeMap<String, String>>(example),
        "List" => is::<ListBody<'static>>(example),
        "Lookup" => is::<LookupBody<'static>>(example),
        "LookupRequest" => is::<LookupRequestBody>(example),
        "Outcome" => is::<OutcomeBody>(example),
        "Pipeline" => is::<PipelineBody<'static>>(example),
        "PipelineCounts" => is::<PipelineCountsBody<'static>>(example),
        "PipelineJob" => is::<PipelineJobBody<'static>>(example),
        "PipelineName" => PipelineName::parse(text).is_ok(),
        "Pipelines" => is::<PipelinesBody<'static>>(example),
        "Problem" => is::<ProblemBody<'static>>(example),
        "ProblemName" => ProblemCode::parse(text).is_some(),
        "Prune" => is::<PruneBody>(example),
        "Queued" => is::<QueuedBody<'static>>(example),
        "Refused" => is::<ProblemBody<'static>>(example) && is::<AnswerBody<'static>>(example),
        "Rejection" => is::<RejectionBody<'static>>(example),
        "RejectionName" => RejectionCode::parse(text).is_some(),
        "SentJobId" => read_update(format!("{{\"job_id\":{json}}}").as_bytes()).is_ok(),
        "SentTime" => is::<AtBody<'static>>(example),
        "Stats" => is::<StatsBody>(example),
        "Status" | "SentStatus" => Status::parse(text).is_ok(),
        "Time" => is::<TimeBody>(example),
        "Timeline" => is::<TimelineBody<'static>>(example),
        "TimelineStep" => is::<TimelineStepBody<'static>>(example),
        "Transition" => is::<TransitionBody<'static>>(example),
        "Update" => read_update(json.as_bytes()).is_ok(),
        "UpdateOfJob" => read_update_of("doc-0001", json.as_bytes()).is_ok(),
        "Updates" | "UpdateLines" => match example.as_array() {
            Some(updates) => updates.iter().all(|update| is_read("Update", update) == Some(true)),
            None => read_update(json.as_bytes()).is_ok(),
        },
        _ => return is_read_as_numbers(name, example),
    })
}

/// The parts of the page of numbers, each read in its place.
fn is_read_as_numbers(name: &str, example: &Value) -> Option<bool> {
    let place = match name {
        "ClosedByStats" => "/batches/closed_by",
        "ConnectionsStats" => "/http/connections",
        "ResponsesStats" => "/http/responses",
        "UpdatesStats" => "/updates",
        "BatchesStats" => "/batches",
        "CommitMsStats" => "/commit_ms",
        "QueueStats" => "/queue",
        "IdempotencyStats" => "/idempotency",
        "TailStats" => "/tail",
        "FoldStats" => "/fold",
        "FilesStats" => "/files",
        "BackupsStats" => "/backups",
        "ScrubStats" => "/scrub",
        "RetentionStats" => "/retention",
        "HttpStats" => "/http",
        "ProcessStats" => "/process",
        _ => return None,
    };
    let mut stats = schemas()["Stats"]["examples"][0].clone();
    *stats.pointer_mut(place).unwrap() = example.clone();
    Some(serde_json::from_value::<StatsBody>(stats).is_ok())
}

#[test]
fn every_shape_has_examples_that_are_what_they_show() {
    for (name, schema) in schemas() {
        assert!(schema["description"].is_string(), "{name} has no description");
        let examples = schema["examples"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            match is_read(&name, example) {
                Some(is_read) => assert!(is_read, "{name} is not like {example}"),
                None => panic!("say in is_read what a {name} is"),
            }
        }
    }
}
