//! Jobs and updates as CSV (RFC 4180): one header, one row each, UTF-8, lines that end in CRLF.
//!
//! What is `null` or absent is empty; labels are a JSON object. The texts are those of the
//! reporters: a spreadsheet may take one that begins with `=` for a formula.

use csv::{Terminator, Writer, WriterBuilder};
use serde::Serialize;
use serde_json::Value;

use super::feed::FeedEntryBody;
use super::job::JobBody;

const JOB_COLUMNS: &[&str] = &[
    "job_id",
    "pipeline",
    "status",
    "kind",
    "error",
    "message",
    "attempt",
    "progress",
    "labels",
    "created_at",
    "status_at",
    "seen_at",
    "started_at",
    "finished_at",
    "updated_at",
    "seq",
    "transitions",
];

const ENTRY_COLUMNS: &[&str] = &[
    "seq",
    "job_id",
    "pipeline",
    "previous_pipeline",
    "status",
    "kind",
    "previous",
    "applied",
    "at",
    "attempt",
    "error",
    "message",
    "progress",
    "labels",
    "heartbeat",
    "deleted",
    "pipeline_finished",
    "expected_total",
];

/// Jobs as CSV; with the header, if `is_first` of a walk.
pub fn jobs_csv(jobs: &[JobBody<'_>], is_first: bool) -> Vec<u8> {
    table(JOB_COLUMNS, jobs, is_first)
}

/// Entries of the feed as CSV; with the header, if `is_first` of an export.
pub fn entries_csv(entries: &[FeedEntryBody<'_>], is_first: bool) -> Vec<u8> {
    table(ENTRY_COLUMNS, entries, is_first)
}

fn table(columns: &[&str], rows: &[impl Serialize], is_first: bool) -> Vec<u8> {
    let mut writer =
        WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::with_capacity(4096));
    if is_first {
        write(&mut writer, columns.iter().map(|name| (*name).to_owned()));
    }
    for row in rows {
        let row = serde_json::to_value(row).expect("a shape of the wire has JSON");
        write(&mut writer, columns.iter().map(|name| cell(row.get(name))));
    }
    writer.into_inner().expect("memory takes every row")
}

fn write(writer: &mut Writer<Vec<u8>>, cells: impl Iterator<Item = String>) {
    writer.write_record(cells).expect("memory takes every row, and all have as many cells");
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = r#"{"job_id":"a,\"b\"","pipeline":"p","status":"error","kind":"failed",
        "error":"two\nlines","message":null,"attempt":2,"progress":0.5,"labels":{"k":"v"},
        "created_at":"2025-11-24T16:00:00.123Z","status_at":"2025-11-24T16:00:00.123Z",
        "seen_at":"2025-11-24T16:00:00.123Z","started_at":null,"finished_at":null,
        "updated_at":"2025-11-24T16:00:00.123Z","seq":5,"transitions":1}"#;

    #[test]
    fn every_field_has_a_column() {
        let names = |json: &str| {
            let value: Value = serde_json::from_str(json).unwrap();
            let names = value.as_object().unwrap().keys().map(String::as_str);
            names.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let columns = |it: &[&str]| {
            it.iter().map(|it| (*it).to_owned()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(JOB), columns(JOB_COLUMNS));
        let entry = FeedEntryBody::with_everything();
        assert_eq!(names(&serde_json::to_string(&entry).unwrap()), columns(ENTRY_COLUMNS));
    }

    #[test]
    fn commas_quotes_and_line_ends_are_kept() {
        let job: JobBody<'_> = serde_json::from_str(JOB).unwrap();
        let text = String::from_utf8(jobs_csv(&[job], true)).unwrap();
        let (header, row) = text.split_once("\r\n").unwrap();
        assert_eq!(header, JOB_COLUMNS.join(","));
        assert!(row.starts_with("\"a,\"\"b\"\"\",p,error,failed,\"two\nlines\",,2,0.5,"), "{row}");
        assert!(row.contains(",\"{\"\"k\"\":\"\"v\"\"}\","), "{row}");
        assert!(row.ends_with(",5,1\r\n"), "{row}");
    }
}
