//! This store: through its own door, and as the whole program without HTTP.

use std::path::Path;
use std::sync::Arc;

use jobslate::model::{Clock, Counts, JobId, JobRecord, Status};
use jobslate::service::{Service, ServiceOptions};
use jobslate::store::{OpenHooks, ReadStore, StoreOptions, WriteStore};

use super::{Arm, Batch, Facts};

fn store_options(directory: &Path) -> StoreOptions {
    StoreOptions { directory: directory.join("data"), ..StoreOptions::default() }
}

fn job_id(text: &str) -> JobId {
    JobId::parse(text).expect("the workload is valid")
}

fn facts(record: Option<Arc<JobRecord>>) -> Option<Facts> {
    let record = record?;
    Some(Facts {
        status: record.status.as_str().to_owned(),
        at: record.status_at.0,
        transitions: record.transition_count as usize,
    })
}

fn count(counts: &Counts, status: &str) -> Option<usize> {
    let status = Status::parse(status).expect("the workload is valid");
    Some(counts.by_status().get(&status).map_or(0, |count| *count as usize))
}

/// The store as the writer thread uses it.
pub struct StoreArm {
    writer: Box<dyn WriteStore>,
    reader: Arc<dyn ReadStore>,
    clock: Clock,
}

impl StoreArm {
    pub fn open(directory: &Path) -> Self {
        let options = store_options(directory);
        let (writer, reader) =
            jobslate::store::redb::open(options, OpenHooks::default()).expect("the store opens");
        Self { writer, reader, clock: Clock::System }
    }
}

impl Arm for StoreArm {
    fn append(&mut self, batch: Batch) -> usize {
        let appended = self.writer.append(&[batch.request], self.clock.wall()).expect("it appends");
        assert_eq!(appended.answers[0].rejected, 0, "the workload is accepted");
        self.writer.maintain(self.clock.monotonic()).expect("it is maintained");
        appended.segment_bytes
    }

    fn close(self: Box<Self>) {
        self.writer.close().expect("the store closes");
    }

    fn look(&mut self, text: &str) -> Option<Facts> {
        facts(self.reader.get(&job_id(text)).expect("it reads"))
    }

    fn count(&mut self, status: &str) -> Option<usize> {
        count(&self.reader.counts().0, status)
    }
}

/// The whole program without HTTP: one caller that waits for each batch.
pub struct ServiceArm {
    service: Service,
}

impl ServiceArm {
    pub fn open(directory: &Path) -> Self {
        let store = store_options(directory);
        let options = ServiceOptions { store, ..ServiceOptions::default() };
        Self { service: Service::open(options, Arc::new(|_| ())).expect("the service opens") }
    }
}

impl Arm for ServiceArm {
    fn append(&mut self, batch: Batch) -> usize {
        let receipt = self.service.submit_blocking(batch.request).expect("it is accepted");
        assert!(receipt.answer.durable, "a durable answer");
        0
    }

    fn close(self: Box<Self>) {
        self.service.drain_blocking().expect("the service drains");
    }

    fn look(&mut self, text: &str) -> Option<Facts> {
        facts(self.service.get(&job_id(text)).expect("it reads"))
    }

    fn count(&mut self, status: &str) -> Option<usize> {
        count(&self.service.counts().0, status)
    }
}
