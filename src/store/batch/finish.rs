//! Which operation of a batch finishes a pipeline: the first with which as many of its jobs have
//! finished as are expected.

use super::Ground;
use crate::model::{Kind, NameMap, Operation, PipelineName};

/// A pipeline of which something is expected, or will be within the batch.
#[derive(Debug)]
struct Count {
    finished: u64,
    total: Option<u64>,
    /// True if nobody has said yet that it finished.
    is_open: bool,
}

/// Marks the operations that finish a pipeline. Costs next to nothing if nothing is expected.
pub fn mark_finishes(operations: &mut [Option<Operation>], ground: &Ground<'_>) {
    let mut counts = counts(operations, ground);
    if counts.is_empty() {
        return;
    }
    for operation in operations.iter_mut().flatten() {
        match operation {
            Operation::Update(change) if change.applied => {
                let before = change.previous_pipeline.as_ref().unwrap_or(&change.pipeline);
                leave(&mut counts, before, change.previous_kind);
                change.finishes_pipeline = enter(&mut counts, &change.pipeline, change.kind);
            }
            Operation::Update(_) => (),
            Operation::Removal(it) => leave(&mut counts, &it.pipeline, Some(it.kind)),
            Operation::Expectation(it) => {
                let Some(count) = counts.get_mut(&it.pipeline) else { continue };
                // The same total is no news, unless it was reached without an update: by another
                // meaning of a status.
                if count.total != it.total || count.is_open {
                    count.total = it.total;
                    let is_reached = it.total.is_some_and(|total| count.finished >= total);
                    it.finishes_pipeline = is_reached;
                    count.is_open = !is_reached;
                }
            }
        }
    }
}

/// The pipelines to watch, as they are before the batch: the open ones that it touches, and those
/// that it gives a total.
fn counts(operations: &[Option<Operation>], ground: &Ground<'_>) -> NameMap<PipelineName, Count> {
    let expected = ground.expectations.by_pipeline();
    let mut counts = NameMap::default();
    let mut watch = |name: &PipelineName, is_named: bool| {
        let it = expected.get(name);
        let is_open = it.is_some_and(|it| it.finished_seq.is_none());
        if (is_named || is_open) && !counts.contains_key(name) {
            let finished = ground.counts.finished(name, ground.kinds);
            counts.insert(name.clone(), Count { finished, total: it.map(|it| it.total), is_open });
        }
    };
    for operation in operations.iter().flatten() {
        match operation {
            Operation::Expectation(it) => watch(&it.pipeline, true),
            _ if expected.is_empty() => (),
            Operation::Update(it) => {
                it.previous_pipeline.iter().for_each(|name| watch(name, false));
                watch(&it.pipeline, false);
            }
            Operation::Removal(it) => watch(&it.pipeline, false),
        }
    }
    counts
}

fn leave(counts: &mut NameMap<PipelineName, Count>, pipeline: &PipelineName, kind: Option<Kind>) {
    if kind.is_some_and(Kind::is_finished)
        && let Some(count) = counts.get_mut(pipeline)
    {
        count.finished = count.finished.saturating_sub(1);
    }
}

/// Counts a job that is in the pipeline now; true if the pipeline is finished with it.
fn enter(counts: &mut NameMap<PipelineName, Count>, pipeline: &PipelineName, kind: Kind) -> bool {
    let Some(count) = counts.get_mut(pipeline).filter(|_| kind.is_finished()) else {
        return false;
    };
    count.finished += 1;
    let is_reached = count.is_open && count.total.is_some_and(|total| count.finished >= total);
    count.is_open = count.is_open && !is_reached;
    is_reached
}
