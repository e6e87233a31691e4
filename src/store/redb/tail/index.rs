//! The tail's index: the jobs by status and by pipeline and status, each in the order of seqs.
//!
//! Nobody keeps it up while updates come in: a list first adds what came since the last one, and
//! passes over what changed again by then. So writers pay nothing, and many lists pay for an update
//! once together.
//!
//! A row whose job changed after it was added is dead. Dead rows stay until they are half of a
//! stream; so adding a row costs the same at any size, and a reader meets at most about as many
//! dead rows as live ones.

use std::collections::BTreeMap;

use super::generation::Content;
use crate::model::{JobFilter, JobId, JobRecord, Kinds, NameMap, PipelineName, Status};

#[derive(Debug, Default)]
pub struct Index {
    streams: Vec<Stream>,
    /// Places in `streams`.
    by_status: BTreeMap<Status, usize>,
    by_pipeline: NameMap<PipelineName, BTreeMap<Status, usize>>,
    /// Where each job has its rows.
    live: NameMap<JobId, Live>,
    /// How many of the changes of the generation are in it.
    covered: usize,
}

/// The seq of the live rows of a job, and the streams that have one.
#[derive(Clone, Copy, Debug)]
struct Live {
    seq: u64,
    streams: [usize; 2],
}

/// A seq, and the job whose newest change it is; `None`: the job changed again.
pub type Row = (u64, Option<JobId>);

/// The rows of one status, the oldest seq first.
#[derive(Debug, Default)]
pub struct Stream {
    rows: Vec<Row>,
    dead: usize,
}

/// A stream shorter than this is never cleared of dead rows.
const ROWS_CLEARED_FROM: usize = 64;

impl Stream {
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Marks the row of `seq` dead.
    fn bury(&mut self, seq: u64) {
        let Some(row) = self.place_of(seq).and_then(|place| self.rows.get_mut(place)) else {
            return;
        };
        self.dead += usize::from(row.1.take().is_some());
        if self.rows.len() >= ROWS_CLEARED_FROM && self.dead * 2 > self.rows.len() {
            self.rows.retain(|(_, job_id)| job_id.is_some());
            self.dead = 0;
        }
    }

    /// Where `seq` stands. In growing steps from the end, as jobs mostly change again soon.
    fn place_of(&self, seq: u64) -> Option<usize> {
        let length = self.rows.len();
        let mut step = 1;
        while step < length && self.rows.get(length - step).is_some_and(|row| row.0 > seq) {
            step *= 2;
        }
        let start = length.saturating_sub(step);
        let tail = self.rows.get(start..).unwrap_or_default();
        let place = tail.binary_search_by_key(&seq, |row| row.0).ok()?;
        Some(start + place)
    }
}

impl Index {
    /// What a job costs here, in bytes: its rows in two streams, as many dead ones, its entry.
    pub const JOB_BYTES: usize = 4 * size_of::<Row>() + size_of::<(JobId, Live)>();

    /// Changes that are looked at under one hold of the generation's lock, so that the writer never
    /// waits long for it.
    const SLICE_CHANGES: usize = 1_024;

    /// True if every change of the generation is in it.
    pub fn covers(&self, content: &Content) -> bool {
        self.covered == content.changes.len()
    }

    /// Adds the next changes of the generation, a slice of them; false if there are none.
    pub fn add_slice(&mut self, content: &Content) -> bool {
        let before = self.covered;
        let changes = content.changes.iter().skip(self.covered).take(Self::SLICE_CHANGES);
        for (seq, job_id) in changes {
            self.covered += 1;
            match content.records.get(job_id) {
                Some(Some(record)) if record.seq == *seq => self.add(job_id, record),
                // It changed again: that change comes later.
                Some(Some(_)) | None => (),
                Some(None) => self.remove(job_id),
            }
        }
        self.covered > before
    }

    /// Adds the newest row of a job. Seqs rise from call to call.
    fn add(&mut self, job_id: &JobId, record: &JobRecord) {
        let streams = [
            Self::stream(&mut self.streams, &mut self.by_status, record.status),
            Self::stream(
                &mut self.streams,
                match self.by_pipeline.get_mut(&record.pipeline) {
                    Some(statuses) => statuses,
                    None => self.by_pipeline.entry(record.pipeline.clone()).or_default(),
                },
                record.status,
            ),
        ];
        for place in streams {
            if let Some(stream) = self.streams.get_mut(place) {
                stream.rows.push((record.seq, Some(job_id.clone())));
            }
        }
        let live = Live { seq: record.seq, streams };
        match self.live.get_mut(job_id) {
            Some(before) => {
                let before = std::mem::replace(before, live);
                self.bury(before);
            }
            None => drop(self.live.insert(job_id.clone(), live)),
        }
    }

    fn stream(
        streams: &mut Vec<Stream>,
        statuses: &mut BTreeMap<Status, usize>,
        status: Status,
    ) -> usize {
        *statuses.entry(status).or_insert_with(|| {
            streams.push(Stream::default());
            streams.len() - 1
        })
    }

    fn remove(&mut self, job_id: &JobId) {
        if let Some(before) = self.live.remove(job_id) {
            self.bury(before);
        }
    }

    /// Notes that rows are dead.
    fn bury(&mut self, before: Live) {
        for place in before.streams {
            if let Some(stream) = self.streams.get_mut(place) {
                stream.bury(before.seq);
            }
        }
    }

    /// The streams that hold every job with the pipeline and a status of the filter, and no other.
    pub fn streams<'a>(&'a self, filter: &JobFilter, kinds: &Kinds) -> Vec<&'a Stream> {
        let statuses = match &filter.pipeline {
            Some(pipeline) => self.by_pipeline.get(pipeline),
            None => Some(&self.by_status),
        };
        let asked = statuses.into_iter().flatten();
        let asked = asked.filter(|(status, _)| filter.takes_status(**status, kinds));
        asked.filter_map(|(_, place)| self.streams.get(*place)).collect()
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kinds, Update, apply, decide};
    use crate::store::redb::tail::Held;

    fn id(text: &str) -> JobId {
        JobId::parse(text).unwrap()
    }

    /// Notes that a job has a status from `seq` on; `None`: it was removed.
    fn change(content: &mut Content, seq: u64, job: &str, status: Option<&str>) {
        let held: Held = status.map(|status| {
            let update = Update::status(job, status).unwrap();
            let now = crate::model::TimestampMs(1_764_000_000_000);
            let mut change = decide(None, &update, &Kinds::default(), now).unwrap();
            change.seq = seq;
            apply(None, &change, now)
        });
        content.records.insert(id(job), held);
        content.changes.push((seq, id(job)));
    }

    /// The live rows of a status.
    fn rows(index: &Index, status: &str) -> Vec<(u64, String)> {
        let status = Status::parse(status).unwrap();
        let place = index.by_status.get(&status).copied();
        let stream = place.and_then(|place| index.streams.get(place));
        let rows = stream.map_or(&[][..], Stream::rows).iter();
        rows.filter_map(|(seq, job)| Some((*seq, job.as_ref()?.to_string()))).collect()
    }

    #[test]
    fn it_has_the_newest_change_of_each_job_whenever_somebody_asks() {
        let (mut content, mut asked_often) = (Content::default(), Index::default());
        let changes = [
            (1, "a", Some("queued")),
            (2, "b", Some("queued")),
            (3, "a", Some("processing")),
            (4, "c", Some("queued")),
            (5, "b", None),
            (6, "a", Some("queued")),
            (7, "c", None),
            (8, "b", Some("queued")),
            (9, "c", Some("processing")),
        ];
        for (seq, job, status) in changes {
            change(&mut content, seq, job, status);
            while asked_often.add_slice(&content) {}
            assert!(asked_often.covers(&content));
            let mut asked_once = Index::default();
            while asked_once.add_slice(&content) {}
            for status in ["queued", "processing"] {
                assert_eq!(rows(&asked_often, status), rows(&asked_once, status), "{seq}");
            }
        }
        let row = |seq: u64, job: &str| (seq, job.to_owned());
        assert_eq!(rows(&asked_often, "queued"), [row(6, "a"), row(8, "b")]);
        assert_eq!(rows(&asked_often, "processing"), [row(9, "c")]);
        let by_pipeline = asked_often.by_pipeline.get(&PipelineName::default()).unwrap();
        let streams = by_pipeline.values().filter_map(|place| asked_often.streams.get(*place));
        let live = |it: &Stream| it.rows().iter().filter(|row| row.1.is_some()).count();
        assert_eq!(streams.map(live).sum::<usize>(), 3);
    }

    #[test]
    fn dead_rows_are_found_wherever_they_stand_and_go_when_they_are_half() {
        let mut stream = Stream::default();
        let seqs: Vec<u64> = (1..=1_000).map(|number| number * 3).collect();
        for seq in &seqs {
            stream.rows.push((*seq, JobId::parse(&seq.to_string()).ok()));
        }
        for seq in &seqs {
            let place = stream.place_of(*seq).unwrap();
            assert_eq!(stream.rows[place].0, *seq);
            assert_eq!(stream.place_of(seq + 1), None);
        }
        assert_eq!(stream.place_of(0), None);
        // Forwards, backwards, and twice.
        seqs.iter().take(300).for_each(|seq| stream.bury(*seq));
        seqs.iter().rev().take(200).for_each(|seq| stream.bury(*seq));
        stream.bury(3);
        assert_eq!((stream.rows.len(), stream.dead), (1_000, 500));
        stream.bury(seqs[500]);
        assert_eq!((stream.rows.len(), stream.dead), (499, 0));
        assert!(stream.rows.iter().all(|row| row.1.is_some()) && stream.rows.is_sorted());
    }
}
