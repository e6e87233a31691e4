//! How many jobs there are, by pipeline and status; changed with every batch, never scanned.

use std::collections::BTreeMap;

use super::id::PipelineName;
use super::operation::Operation;
use super::status::{Kinds, Status};

/// Exact numbers of jobs. Cost of a change: O(log pipelines).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    by_pipeline: BTreeMap<PipelineName, BTreeMap<Status, u64>>,
    by_status: BTreeMap<Status, u64>,
}

impl Counts {
    /// Adds `jobs` jobs; used when the stored counts are read.
    pub fn add(&mut self, pipeline: &PipelineName, status: Status, jobs: u64) {
        if jobs == 0 {
            return;
        }
        *self.by_status.entry(status).or_default() += jobs;
        match self.by_pipeline.get_mut(pipeline) {
            Some(statuses) => *statuses.entry(status).or_default() += jobs,
            None => {
                self.by_pipeline.insert(pipeline.clone(), BTreeMap::from([(status, jobs)]));
            }
        }
    }

    /// Adds or takes away `change` jobs.
    ///
    /// # Errors
    /// [`Miscounted`] if there are not as many: the counts and the records disagree.
    pub fn shift(
        &mut self,
        pipeline: &PipelineName,
        status: Status,
        change: i64,
    ) -> Result<(), Miscounted> {
        if change >= 0 {
            self.add(pipeline, status, change.unsigned_abs());
            return Ok(());
        }
        let statuses = self.by_pipeline.get_mut(pipeline).ok_or(Miscounted)?;
        remove(statuses, status, change.unsigned_abs())?;
        if statuses.is_empty() {
            self.by_pipeline.remove(pipeline);
        }
        remove(&mut self.by_status, status, change.unsigned_abs())
    }

    /// Moves the job of an operation from where it was to where it is.
    ///
    /// # Errors
    /// [`Miscounted`] if it was not counted where it was.
    pub fn apply(&mut self, operation: &Operation) -> Result<(), Miscounted> {
        let places = operation.places();
        if !places.is_moved() {
            return Ok(());
        }
        if let Some((pipeline, status)) = places.before {
            self.shift(pipeline, status, -1)?;
        }
        if let Some((pipeline, status)) = places.after {
            self.add(pipeline, status, 1);
        }
        Ok(())
    }

    /// Jobs of a pipeline whose status is of a finished kind.
    pub fn finished(&self, pipeline: &PipelineName, kinds: &Kinds) -> u64 {
        let statuses = self.by_pipeline.get(pipeline).into_iter().flatten();
        statuses
            .filter(|(status, _)| kinds.kind(**status).is_finished())
            .map(|(_, jobs)| jobs)
            .sum()
    }

    /// Jobs with a status that passes, of one pipeline or of all.
    pub fn with_status(
        &self,
        pipeline: Option<&PipelineName>,
        passes: impl Fn(Status) -> bool,
    ) -> u64 {
        let statuses = match pipeline {
            None => Some(&self.by_status),
            Some(pipeline) => self.by_pipeline.get(pipeline),
        };
        let passing = statuses.into_iter().flatten().filter(|(status, _)| passes(**status));
        passing.map(|(_, jobs)| jobs).sum()
    }

    pub fn total(&self) -> u64 {
        self.by_status.values().sum()
    }

    /// Numbers by status, in the order of the words; no zeros.
    pub fn by_status(&self) -> &BTreeMap<Status, u64> {
        &self.by_status
    }

    /// Numbers by pipeline and status, in the order of the names; no zeros.
    pub fn by_pipeline(&self) -> &BTreeMap<PipelineName, BTreeMap<Status, u64>> {
        &self.by_pipeline
    }
}

/// A job was to leave a count that does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counts do not have a job that the records have")]
pub struct Miscounted;

fn remove(
    statuses: &mut BTreeMap<Status, u64>,
    status: Status,
    count: u64,
) -> Result<(), Miscounted> {
    let jobs = statuses.get_mut(&status).ok_or(Miscounted)?;
    // A count of zero is never kept.
    *jobs = jobs.checked_sub(count).ok_or(Miscounted)?;
    if *jobs == 0 {
        statuses.remove(&status);
    }
    Ok(())
}
