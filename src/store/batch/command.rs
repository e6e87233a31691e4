//! What a request may ask for besides updates: the removal of a job, an expected total.

use std::sync::Arc;

use super::{Draft, Refused};
use crate::model::{
    Command, Expectation, JobId, JobRecord, Operation, PipelineName, Rejection, RejectionCode,
    Removal, TimestampMs,
};
use crate::store::StoreError;

impl<L> Draft<'_, L>
where
    L: FnMut(&JobId) -> Result<Option<Arc<JobRecord>>, StoreError>,
{
    /// Decides a command. Returns why it is refused, if it is.
    pub(super) fn command(
        &mut self,
        command: &Command,
        now: TimestampMs,
    ) -> Result<Option<Rejection>, StoreError> {
        let decided = match command {
            Command::Remove(job_id) => self.remove(job_id, now)?,
            Command::Expect { pipeline, total } => self.expect(pipeline, *total, now),
        };
        Ok(match decided {
            Ok(operation) => {
                self.operations.push(Some(operation));
                self.mergeable.push(false);
                None
            }
            Err((code, detail)) => {
                let job_id = match command {
                    Command::Remove(job_id) => Some(job_id.as_str()),
                    Command::Expect { .. } => None,
                };
                Some(Rejection::new(0, job_id, code, detail))
            }
        })
    }

    fn remove(
        &mut self,
        job_id: &JobId,
        now: TimestampMs,
    ) -> Result<Result<Operation, Refused>, StoreError> {
        let place = match self.open_slot(job_id)? {
            Ok(place) => place,
            Err(refused) => return Ok(Err(refused)),
        };
        let seq = self.next_seq();
        let Some(record) = self.slot(place).now.take() else {
            let detail = format!("no job {:?} to remove", job_id.as_str());
            return Ok(Err((RejectionCode::UnknownJob, detail)));
        };
        Ok(Ok(Operation::Removal(Removal {
            seq,
            job_id: job_id.clone(),
            at: now,
            status: record.status,
            kind: self.ground.kinds.kind(record.status),
            pipeline: record.pipeline.clone(),
        })))
    }

    fn expect(
        &mut self,
        pipeline: &PipelineName,
        total: Option<u64>,
        now: TimestampMs,
    ) -> Result<Operation, Refused> {
        let expected = self.ground.expectations.by_pipeline();
        let is_new = total.is_some()
            && !expected.contains_key(pipeline)
            && !self.new_expected.contains(pipeline);
        if is_new && expected.len() + self.new_expected.len() >= self.ground.pipelines_max {
            let pipelines_max = self.ground.pipelines_max;
            let detail = format!("{pipelines_max} pipelines have an expected total, the most");
            return Err((RejectionCode::TooManyPipelines, detail));
        }
        if is_new {
            self.new_expected.insert(pipeline.clone());
        }
        let (seq, pipeline) = (self.next_seq(), pipeline.clone());
        // Whether it finishes the pipeline is seen when the whole batch is known.
        let finishes_pipeline = false;
        Ok(Operation::Expectation(Expectation { seq, pipeline, at: now, total, finishes_pipeline }))
    }
}
