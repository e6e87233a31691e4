//! Where updates come from: the synthetic stream of `benches/spine`, or a recorded trace.

use std::io::Read;
use std::path::Path;

use jobslate::api::read_update;
use jobslate::model::Update;

use super::workload::Workload;

/// What a plan is fed with.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// So many jobs with ids like UUIDs, four updates each, 4,000 jobs in flight.
    Synthetic { jobs: usize },
    /// A file of `tests/data`, in its order.
    Trace { name: &'static str },
}

impl Source {
    /// The same updates each time.
    pub fn open(self) -> Stream {
        match self {
            Self::Synthetic { jobs } => Stream::Synthetic(Workload::new(jobs)),
            Self::Trace { name } => Stream::Trace(read_trace(name).into_iter()),
        }
    }
}

/// Updates that come batch by batch.
pub enum Stream {
    Synthetic(Workload),
    Trace(std::vec::IntoIter<Update>),
}

impl Stream {
    /// The next `length` updates; fewer at the end.
    pub fn batch(&mut self, length: usize) -> Vec<Update> {
        match self {
            Self::Synthetic(workload) => workload.batch(length),
            Self::Trace(updates) => updates.take(length).collect(),
        }
    }
}

fn read_trace(name: &str) -> Vec<Update> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let file = std::fs::File::open(data.join(format!("{name}.ndjson.gz")));
    let file = file.expect("the traces are part of the project");
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(file);
    decoder.read_to_string(&mut text).expect("the trace is whole");
    let update = |line: &str| read_update(line.as_bytes()).expect("the trace is valid");
    text.lines().map(update).collect()
}
