//! A part of the feed, encoded once for all who read it.
//!
//! The text is that of Server-Sent Events; the JSON of each update stands inside it. An index by
//! job and by pipeline is made when the first reader with such a filter comes, so that a thousand
//! filtered readers do not look at a thousand updates each.

use std::collections::HashMap;
use std::io::Write as _;
use std::ops::Range;
use std::sync::OnceLock;

use axum::body::Bytes;

use super::filter::{Filter, pipelines};
use crate::api::FeedEntryBody;
use crate::model::{JobId, Kind, Kinds, Operation, PipelineName, Status};

/// A chunk ends when its text is this long; one update may exceed it.
const TEXT_BYTES: usize = 16 << 10;

/// Some operations in a row.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The seq before its first operation.
    pub after: u64,
    pub last_seq: u64,
    text: Bytes,
    entries: Vec<Entry>,
    operations: Vec<Operation>,
    index: OnceLock<Index>,
}

/// Where an operation stands in the text.
#[derive(Debug)]
struct Entry {
    seq: u64,
    /// `None`: it is about no job, or its job is gone.
    status: Option<(Status, Kind)>,
    /// From `id:` to the empty line.
    event: Range<usize>,
    json: Range<usize>,
}

#[derive(Debug, Default)]
struct Index {
    by_job: HashMap<JobId, Vec<usize>>,
    by_pipeline: HashMap<PipelineName, Vec<usize>>,
}

/// One update of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Update<'a> {
    pub seq: u64,
    /// With its id and the empty line, as an event.
    pub event: &'a [u8],
    pub json: &'a [u8],
}

impl Chunk {
    /// Cuts operations in a row, which come after seq `after`, into chunks.
    pub fn encode(after: u64, operations: Vec<Operation>, kinds: &Kinds) -> Vec<Self> {
        let mut chunks = Vec::new();
        let mut operations = operations.into_iter().peekable();
        let mut after = after;
        while operations.peek().is_some() {
            let chunk = Self::take(after, &mut operations, kinds);
            after = chunk.last_seq;
            chunks.push(chunk);
        }
        chunks
    }

    fn take(after: u64, operations: &mut impl Iterator<Item = Operation>, kinds: &Kinds) -> Self {
        let (mut text, mut entries, mut taken) = (Vec::new(), Vec::new(), Vec::new());
        let mut last_seq = after;
        while text.len() < TEXT_BYTES
            && let Some(operation) = operations.next()
        {
            last_seq = operation.seq();
            entries.push(write(&mut text, &operation, kinds));
            taken.push(operation);
        }
        let text = Bytes::from(text);
        Self { after, last_seq, text, entries, operations: taken, index: OnceLock::new() }
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What it weighs in memory, in bytes, about.
    pub fn weight_bytes(&self) -> usize {
        self.text.len() + self.entries.len() * (size_of::<Entry>() + size_of::<Operation>())
    }

    /// All of it as events; shared, not copied.
    pub fn events(&self) -> Bytes {
        self.text.clone()
    }

    /// The updates that pass, in order.
    pub fn updates<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = Update<'a>> {
        let places: Box<dyn Iterator<Item = usize>> = match filter {
            Filter { job_id: Some(job_id), .. } => {
                let places = self.index().by_job.get(job_id).into_iter().flatten().copied();
                Box::new(places.filter(|place| self.is_in(*place, filter.pipeline.as_ref())))
            }
            Filter { pipeline: Some(pipeline), .. } => {
                Box::new(self.index().by_pipeline.get(pipeline).into_iter().flatten().copied())
            }
            _ => Box::new(0..self.entries.len()),
        };
        let entries = places.filter_map(|place| self.entries.get(place));
        entries.filter(|entry| filter.takes(entry.status)).map(|entry| Update {
            seq: entry.seq,
            event: self.text.get(entry.event.clone()).unwrap_or_default(),
            json: self.text.get(entry.json.clone()).unwrap_or_default(),
        })
    }

    fn is_in(&self, place: usize, pipeline: Option<&PipelineName>) -> bool {
        let operation = self.operations.get(place);
        pipeline.is_none_or(|asked| operation.is_some_and(|it| pipelines(it).any(|it| it == asked)))
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            for (place, operation) in self.operations.iter().enumerate() {
                if let Some(job_id) = operation.job_id() {
                    index.by_job.entry(job_id.clone()).or_default().push(place);
                }
                for pipeline in pipelines(operation) {
                    index.by_pipeline.entry(pipeline.clone()).or_default().push(place);
                }
            }
            index
        })
    }
}

/// Writes an operation as an event.
fn write(text: &mut Vec<u8>, operation: &Operation, kinds: &Kinds) -> Entry {
    let (start, seq) = (text.len(), operation.seq());
    // Writing to memory does not fail, and JSON holds no line end outside its texts, which are
    // escaped: one line of data is enough.
    let _ = write!(text, "id: {seq}\ndata: ");
    let json_start = text.len();
    let _ = serde_json::to_writer(&mut *text, &FeedEntryBody::of(operation, kinds));
    let json = json_start..text.len();
    text.extend_from_slice(b"\n\n");
    let status = operation.change().map(|change| (change.status, kinds.kind(change.status)));
    Entry { seq, status, event: start..text.len(), json }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TimestampMs, Update as Reported, UpdateFields, decide};

    fn operation(seq: u64, job_id: &str, status: &str, pipeline: &str) -> Operation {
        let fields = UpdateFields {
            job_id,
            status: Some(status),
            pipeline: Some(pipeline),
            ..UpdateFields::default()
        };
        let update = Reported::new(fields).unwrap();
        let change = decide(None, &update, &Kinds::default(), TimestampMs(0)).unwrap();
        Operation::Update(crate::model::Change { seq, ..change })
    }

    fn seqs(chunk: &Chunk, filter: &Filter) -> Vec<u64> {
        chunk.updates(filter).map(|update| update.seq).collect()
    }

    #[test]
    fn each_filter_gives_its_updates_in_order() {
        let operations = vec![
            operation(5, "a", "queued", "x"),
            operation(6, "b", "error", "y"),
            operation(7, "a", "error", "x"),
        ];
        let chunk = Chunk::encode(4, operations, &Kinds::default()).pop().unwrap();
        assert_eq!((chunk.after, chunk.last_seq, chunk.len()), (4, 7, 3));
        let all = Filter::default();
        assert_eq!(seqs(&chunk, &all), [5, 6, 7]);
        let job = Filter { job_id: JobId::parse("a").ok(), ..all.clone() };
        assert_eq!(seqs(&chunk, &job), [5, 7]);
        let pipeline = Filter { pipeline: PipelineName::parse("y").ok(), ..all.clone() };
        assert_eq!(seqs(&chunk, &pipeline), [6]);
        assert_eq!(seqs(&chunk, &Filter { pipeline: pipeline.pipeline, ..job.clone() }), [0; 0]);
        let failed = Filter { kinds: vec![Kind::Failed], ..job };
        assert_eq!(seqs(&chunk, &failed), [7]);
        let events: Vec<u8> = chunk.updates(&all).flat_map(|it| it.event).copied().collect();
        assert_eq!(chunk.events(), events);
        let first = chunk.updates(&all).next().unwrap();
        assert_eq!(first.event, [b"id: 5\ndata: ", first.json, b"\n\n"].concat());
    }

    #[test]
    fn chunks_are_bounded_and_follow_one_another() {
        let job = |seq| operation(seq, &"j".repeat(200), "queued", "x");
        let chunks = Chunk::encode(0, (1..1_000).map(job).collect(), &Kinds::default());
        assert!(chunks.len() > 5);
        assert!(chunks.iter().all(|it| it.events().len() < TEXT_BYTES + 1_000));
        assert!(chunks.windows(2).all(|pair| pair[0].last_seq == pair[1].after));
        assert_eq!(chunks.iter().map(Chunk::len).sum::<usize>(), 999);
    }
}
