//! How many jobs pipelines are expected to finish.
//!
//! ```text
//! open --so many jobs have finished: one operation says so--> finished --another total--> open
//! ```
//!
//! A job that restarts afterwards does not open a finished pipeline again: that it finished is said
//! once for each expected total.

use std::collections::BTreeMap;

use super::id::PipelineName;
use super::operation::Operation;

/// What is expected of one pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Jobs that are to finish, however they end.
    pub total: u64,
    /// The operation that said that so many had; `None` while fewer have.
    pub finished_seq: Option<u64>,
}

/// The pipelines of which something is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    by_pipeline: BTreeMap<PipelineName, Expected>,
}

impl Expectations {
    pub fn get(&self, pipeline: &PipelineName) -> Option<Expected> {
        self.by_pipeline.get(pipeline).copied()
    }

    /// Sets or clears what is expected of a pipeline; used when the stored rows are read.
    pub fn set(&mut self, pipeline: PipelineName, expected: Option<Expected>) {
        match expected {
            Some(expected) => drop(self.by_pipeline.insert(pipeline, expected)),
            None => drop(self.by_pipeline.remove(&pipeline)),
        }
    }

    /// All of them, in the order of the names.
    pub fn by_pipeline(&self) -> &BTreeMap<PipelineName, Expected> {
        &self.by_pipeline
    }

    /// True if [`apply`](Self::apply) would do something.
    pub fn are_changed_by(operation: &Operation) -> bool {
        match operation {
            Operation::Update(change) => change.finishes_pipeline,
            Operation::Expectation(_) => true,
            Operation::Removal(_) => false,
        }
    }

    /// What an operation does to them.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Update(change) if change.finishes_pipeline => {
                if let Some(expected) = self.by_pipeline.get_mut(&change.pipeline) {
                    expected.finished_seq = Some(change.seq);
                }
            }
            Operation::Expectation(it) => {
                let present = self.get(&it.pipeline);
                let next = it.total.map(|total| match present {
                    Some(present) if present.total == total && !it.finishes_pipeline => present,
                    _ => Expected { total, finished_seq: it.finishes_pipeline.then_some(it.seq) },
                });
                self.set(it.pipeline.clone(), next);
            }
            Operation::Update(_) | Operation::Removal(_) => (),
        }
    }
}
