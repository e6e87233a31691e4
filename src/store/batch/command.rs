//! What a request may ask for besides updates: the removal of a job, an expected total.

use std::sync::Arc;

use super::slot::Now;
use super::{Draft, Note, Refused};
use crate::model::{
    Command, Expectation, JobId, JobRecord, Operation, PipelineName, Rejection, RejectionCode,
    Removal, TimestampMs,
};
use crate::store::StoreError;

impl<'a, L> Draft<'a, L>
where
    L: FnMut(&JobId) -> Result<Option<Arc<JobRecord>>, StoreError>,
{
    /// Decides a command. Returns why it is refused, if it is.
    pub(super) fn command(
        &mut self,
        command: &'a Command,
        now: TimestampMs,
    ) -> Result<Option<Rejection>, StoreError> {
        let (job_id, decided) = match command {
            Command::Remove(job_id) => (Some(job_id), self.remove(job_id, now)?),
            Command::Expect { pipeline, total } => (None, self.expect(pipeline, *total, now)),
            Command::RemoveUnchanged(jobs) => {
                for (job_id, seq) in jobs {
                    self.remove_unchanged(job_id, *seq, now)?;
                }
                return Ok(None);
            }
        };
        Ok(match decided {
            Ok(operation) => {
                self.push(operation);
                None
            }
            Err((code, detail)) => Some(Rejection::new(0, job_id.map(JobId::as_str), code, detail)),
        })
    }

    fn push(&mut self, operation: Operation) {
        let slot = operation.job_id().and_then(|job_id| self.places.get(job_id).copied());
        self.notes.push(Note { slot, is_mergeable: false });
        self.operations.push(Some(operation));
    }

    fn remove(
        &mut self,
        job_id: &'a JobId,
        now: TimestampMs,
    ) -> Result<Result<Operation, Refused>, StoreError> {
        let place = match self.open_slot(job_id)? {
            Ok(place) => place,
            Err(refused) => return Ok(Err(refused)),
        };
        Ok(self.take(place, now).ok_or_else(|| {
            let detail = format!("no job {:?} to remove", job_id.as_str());
            (RejectionCode::UnknownJob, detail)
        }))
    }

    /// Removes a job that is as its remover saw it: what changed it since, be it in this batch,
    /// spoke for it. A damaged one stays too, for `check` to find.
    fn remove_unchanged(
        &mut self,
        job_id: &'a JobId,
        seen_seq: u64,
        now: TimestampMs,
    ) -> Result<(), StoreError> {
        let Ok(place) = self.open_slot(job_id)? else { return Ok(()) };
        let slot = self.slot(place);
        let is_unchanged = matches!(slot.now, Now::AsBefore)
            && slot.base.as_ref().is_some_and(|it| it.seq == seen_seq);
        if is_unchanged && let Some(operation) = self.take(place, now) {
            self.push(operation);
        }
        Ok(())
    }

    /// The removal of the job in a slot; `None` if there is none.
    fn take(&mut self, place: usize, now: TimestampMs) -> Option<Operation> {
        let seq = self.next_seq();
        let slot = self.slots.get(place)?;
        let standing = slot.standing(&self.operations)?;
        let removal = Removal {
            seq,
            job_id: slot.job_id.clone(),
            at: now,
            status: standing.status,
            kind: self.ground.kinds.kind(standing.status),
            pipeline: standing.pipeline.clone(),
        };
        self.slot(place).now = Now::Removed;
        Some(Operation::Removal(removal))
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
