//! Which updates a reader wants. A job that moves between pipelines is an update of both.

use crate::http::problem::Problem;
use crate::http::query::{Params, invalid};
use crate::model::{JobId, Kind, Operation, PipelineName, Status};

/// An empty filter wants all. An update must pass every part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filter {
    pub job_id: Option<JobId>,
    pub pipeline: Option<PipelineName>,
    /// Any of these, as the job's status is after the update.
    pub statuses: Vec<Status>,
    pub kinds: Vec<Kind>,
}

impl Filter {
    pub fn of(params: &mut Params) -> Result<Self, Problem> {
        let job_id = params.one("job")?.map(|text| JobId::parse(&text)).transpose();
        Ok(Self {
            job_id: job_id.map_err(|error| invalid(error.to_string()))?,
            pipeline: params.pipeline("pipeline")?,
            statuses: params.statuses()?,
            kinds: params.kinds()?,
        })
    }

    pub fn wants_all(&self) -> bool {
        *self == Self::default()
    }

    /// The part that no index of a chunk answers.
    pub fn takes(&self, status: Option<(Status, Kind)>) -> bool {
        let is_among = |(status, kind): (Status, Kind)| {
            (self.statuses.is_empty() || self.statuses.contains(&status))
                && (self.kinds.is_empty() || self.kinds.contains(&kind))
        };
        match status {
            Some(status) => is_among(status),
            // Removals and expected totals have no status.
            None => self.statuses.is_empty() && self.kinds.is_empty(),
        }
    }
}

/// The pipelines that an operation is an update of.
pub(super) fn pipelines(operation: &Operation) -> impl Iterator<Item = &PipelineName> {
    let previous = operation.change().and_then(|change| change.previous_pipeline.as_ref());
    std::iter::once(operation.pipeline()).chain(previous)
}
