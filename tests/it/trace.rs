//! The recorded traces of `tests/data`: their lines, and the truth about them, worked out here by
//! replaying the file from top to bottom with nothing but a map.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::PathBuf;

use jobslate::model::{TimestampMs, Update, UpdateFields};
use serde::Deserialize;

/// One line of a trace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceUpdate {
    pub job_id: String,
    pub status: String,
    pub at: i64,
    pub error: Option<String>,
    pub pipeline: String,
}

impl TraceUpdate {
    /// The update that it stands for.
    pub fn to_update(&self) -> Update {
        Update::new(UpdateFields {
            job_id: &self.job_id,
            status: Some(&self.status),
            error: self.error.as_deref(),
            at: Some(TimestampMs::from_unix_ms(self.at).unwrap()),
            pipeline: Some(&self.pipeline),
            ..UpdateFields::default()
        })
        .unwrap()
    }
}

/// A whole trace in memory.
#[derive(Debug)]
pub struct Trace {
    pub path: PathBuf,
    pub updates: Vec<TraceUpdate>,
}

/// What a job is after the last update: status, error and pipeline.
pub type JobEnd = (String, Option<String>, String);

impl Trace {
    /// Reads `tests/data/<name>.ndjson.gz`.
    pub fn read(name: &str) -> Self {
        let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let path = data.join(format!("{name}.ndjson.gz"));
        let file = std::fs::File::open(&path).expect("the traces are part of the project");
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let updates = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { path, updates }
    }

    /// Every job after the last update: the truth that a store must end in.
    pub fn ends(&self) -> HashMap<String, JobEnd> {
        let end = |update: &TraceUpdate| {
            (update.status.clone(), update.error.clone(), update.pipeline.clone())
        };
        self.updates.iter().map(|update| (update.job_id.clone(), end(update))).collect()
    }

    /// The number of jobs by status after the last update.
    pub fn by_status(&self) -> BTreeMap<String, u64> {
        let mut by_status = BTreeMap::new();
        for (status, _, _) in self.ends().into_values() {
            *by_status.entry(status).or_default() += 1;
        }
        by_status
    }
}

/// One row of the table in `tests/data/README.md`.
#[derive(Debug, PartialEq, Eq)]
pub struct TableRow {
    pub jobs: u64,
    pub updates: u64,
    pub by_status: BTreeMap<String, u64>,
}

impl TableRow {
    /// The row of the trace `name`.
    pub fn read(name: &str) -> Self {
        let table = include_str!("../data/README.md");
        let row = table.lines().find(|line| line.starts_with(&format!("| {name}.ndjson.gz |")));
        let cells: Vec<&str> = row.expect("the table has this row").split('|').collect();
        let number = |text: &str| text.trim().replace(',', "").parse::<u64>().unwrap();
        // `, ` stands between statuses, a bare `,` inside numbers.
        let by_status = cells[5].trim().split(", ").map(|pair| {
            let (status, jobs) = pair.split_once(' ').unwrap();
            (status.to_owned(), number(jobs))
        });
        Self { jobs: number(cells[3]), updates: number(cells[4]), by_status: by_status.collect() }
    }
}

pub const NAMES: [&str; 3] = ["google2011-jobs", "google2011-tasks", "pegasus-dagman"];

#[test]
fn the_traces_are_what_their_table_says() {
    for name in NAMES {
        let trace = Trace::read(name);
        let counted = TableRow {
            jobs: trace.ends().len() as u64,
            updates: trace.updates.len() as u64,
            by_status: trace.by_status(),
        };
        assert_eq!(counted, TableRow::read(name), "{name}");
        assert!(trace.updates.is_sorted_by_key(|update| update.at), "{name} is in time order");
    }
}
