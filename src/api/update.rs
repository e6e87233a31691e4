//! An update as it is sent, and its way to a checked [`Update`].
//!
//! ```json
//! {"job_id":"doc-0001","status":"error","error":"ocr timed out","at":1764000000123,"attempt":2,
//!  "pipeline":"pdf","progress":0.4,"message":"page 12","labels":{"source":"scan"},
//!  "if_status":"processing"}
//! ```
//!
//! Only `job_id` is demanded. Every problem becomes a [`RejectionCode`] and a sentence for the
//! sender; it says what was wrong and what would be right.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::draft::Draft;
use super::words;
use crate::model::{
    InvalidTime, InvalidUpdate, Rejection, RejectionCode, Status, TimestampMs, Update, UpdateFields,
};

/// One update on the wire. Reading it refuses unknown fields by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct UpdateBody<'a> {
    #[schema(value_type = words::SentJobId)]
    pub job_id: Cow<'a, str>,
    /// Without one, the update is a heartbeat: it raises `seen_at` and sets the fields it gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<words::SentStatus>)]
    pub status: Option<Cow<'a, str>>,
    /// What went wrong; longer than 8 KiB is cut. Also read under the name `error_message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'a, str>>,
    /// When it happened; without one, now. Of two updates of a job the newer wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<words::SentTime>)]
    pub at: Option<AtBody<'a>>,
    /// A higher attempt is newer, whatever its `at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, maximum = 4_294_967_295_u64)]
    pub attempt: Option<u32>,
    /// Moves the job; without one, it stays where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<words::PipelineName>)]
    pub pipeline: Option<Cow<'a, str>>,
    /// From 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub progress: Option<f64>,
    /// A few words on what is going on; longer than 1 KiB is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<words::SentLabels>)]
    pub labels: Option<BTreeMap<String, String>>,
    /// The status that the job must have now; then times are not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<words::SentStatus>)]
    pub if_status: Option<Cow<'a, str>>,
}

/// The time of an update: an integer of Unix milliseconds, or an RFC 3339 text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AtBody<'a> {
    UnixMs(i64),
    Rfc3339(Cow<'a, str>),
}

/// Why a text is not an update. The sender corrects it; its neighbours are not affected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct RefusedUpdate {
    /// As far as it could be read.
    pub job_id: Option<Box<str>>,
    pub code: RejectionCode,
    pub detail: String,
}

impl RefusedUpdate {
    /// The entry of the answer for the update at `index` of its request.
    pub fn into_rejection(self, index: u32) -> Rejection {
        Rejection::new(index, self.job_id.as_deref(), self.code, self.detail)
    }
}

/// Reads one update from its JSON text. Texts without escapes are not copied before the check.
///
/// # Errors
/// [`RefusedUpdate`]: broken JSON, an unknown field, or a value outside its bounds.
pub fn read_update(json: &[u8]) -> Result<Update, RefusedUpdate> {
    Draft::read(json)?.into_body(None)?.to_update()
}

/// Reads one update of the job `job_id`, which the JSON need not name.
///
/// # Errors
/// [`RefusedUpdate`] as for [`read_update`], and if the JSON names another job.
pub fn read_update_of(job_id: &str, json: &[u8]) -> Result<Update, RefusedUpdate> {
    Draft::read(json)?.into_body(Some(job_id))?.to_update()
}

impl UpdateBody<'_> {
    /// Checks the values and cuts long texts.
    ///
    /// # Errors
    /// [`RefusedUpdate`]: the first value outside its bounds.
    pub fn to_update(&self) -> Result<Update, RefusedUpdate> {
        let refused = |code, detail| self.refused(code, detail);
        let at = match &self.at {
            None => None,
            Some(AtBody::UnixMs(ms)) => Some(TimestampMs::from_unix_ms(*ms)),
            Some(AtBody::Rfc3339(text)) => Some(TimestampMs::from_rfc3339(text)),
        };
        let at = at
            .transpose()
            .map_err(|why: InvalidTime| refused(RejectionCode::InvalidTime, why.to_string()))?;
        if let Some(Err(why)) = self.if_status.as_deref().map(Status::parse) {
            return Err(refused(RejectionCode::InvalidStatus, format!("if_status: {why}")));
        }
        let labels = self.labels.as_ref().map(|labels| labels.clone().into_iter().collect());
        Update::new(UpdateFields {
            job_id: &self.job_id,
            status: self.status.as_deref(),
            error: self.error.as_deref(),
            at,
            attempt: self.attempt,
            progress: self.progress,
            message: self.message.as_deref(),
            labels,
            pipeline: self.pipeline.as_deref(),
            if_status: self.if_status.as_deref(),
        })
        .map_err(|why| refused(code_of(&why), why.to_string()))
    }

    fn refused(&self, code: RejectionCode, detail: String) -> RefusedUpdate {
        let job_id = Some(self.job_id.as_ref()).filter(|id| !id.is_empty()).map(Box::from);
        RefusedUpdate { job_id, code, detail }
    }
}

fn code_of(why: &InvalidUpdate) -> RejectionCode {
    match why {
        InvalidUpdate::JobId(_) => RejectionCode::InvalidJobId,
        InvalidUpdate::Pipeline(_) => RejectionCode::InvalidPipeline,
        InvalidUpdate::Status(_) => RejectionCode::InvalidStatus,
        InvalidUpdate::Progress(_) => RejectionCode::InvalidProgress,
        InvalidUpdate::LabelsTooMany { .. }
        | InvalidUpdate::LabelTooLong { .. }
        | InvalidUpdate::LabelName(_) => RejectionCode::InvalidLabels,
    }
}

#[cfg(test)]
mod tests;
