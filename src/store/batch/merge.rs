//! Heartbeats of one job merge within a batch; then the operations get their final numbers.

use super::Draft;
use crate::model::{JobId, NameMap, Operation};

impl<L> Draft<'_, L> {
    /// Folds each heartbeat into the next one of its job, if nothing else of the job is between.
    pub(super) fn merge_heartbeats(&mut self) -> bool {
        if self.notes.iter().filter(|it| it.is_mergeable).count() < 2 {
            return false;
        }
        let mut is_merged = false;
        // Where the next mergeable heartbeat of a job stands, seen from the back.
        let mut later: NameMap<JobId, usize> = NameMap::default();
        for place in (0..self.operations.len()).rev() {
            let Some(slot) = self.operations.get_mut(place) else { continue };
            match slot.take() {
                Some(Operation::Update(change))
                    if self.notes.get(place).is_some_and(|note| note.is_mergeable) =>
                {
                    if let Some(&into) = later.get(&change.job_id) {
                        let into = self.operations.get_mut(into).and_then(Option::as_mut);
                        let Some(Operation::Update(into)) = into else {
                            unreachable!("a later heartbeat stands at its place");
                        };
                        into.merge(change);
                        is_merged = true;
                    } else {
                        later.insert(change.job_id.clone(), place);
                        *slot = Some(Operation::Update(change));
                    }
                }
                other => {
                    if let Some(job_id) = other.as_ref().and_then(Operation::job_id) {
                        later.remove(job_id);
                    }
                    *slot = other;
                }
            }
        }
        is_merged
    }

    /// Gives the final seqs. After a merge they differ from the provisional ones.
    pub(super) fn number(&mut self, is_merged: bool) {
        if !is_merged {
            return;
        }
        let mut seq = self.ground.last_seq;
        for operation in self.operations.iter_mut().flatten() {
            seq += 1;
            operation.set_seq(seq);
        }
    }
}
