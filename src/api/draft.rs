//! An update while it is being read: any JSON object, with the first thing that is wrong in it.
//!
//! A value of the wrong type does not end the reading, so that a refusal can still name the job.
//! Only broken JSON does. [`Draft::into_body`] gives the fields, or says what was wrong first.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::scalar::{LabelsValue, Scalar, Text, integer, shown};
use super::update::{AtBody, RefusedUpdate, UpdateBody};
use crate::model::RejectionCode;

/// The fields by name, which is looked at once. `Draft::seen` has a bit for each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    JobId,
    Status,
    Error,
    ErrorMessage,
    At,
    Attempt,
    Progress,
    Message,
    Labels,
    Pipeline,
    IfStatus,
}

impl Field {
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "job_id" => Self::JobId,
            "status" => Self::Status,
            "error" => Self::Error,
            "error_message" => Self::ErrorMessage,
            "at" => Self::At,
            "attempt" => Self::Attempt,
            "progress" => Self::Progress,
            "message" => Self::Message,
            "labels" => Self::Labels,
            "pipeline" => Self::Pipeline,
            "if_status" => Self::IfStatus,
            _ => return None,
        })
    }
}

/// What was read so far. `job_id` may be missing, for a path can name the job.
#[derive(Debug, Default)]
pub(super) struct Draft<'a> {
    body: UpdateBody<'a>,
    has_job_id: bool,
    /// One bit for each [`Field`].
    seen: u16,
    wrong: Option<(RejectionCode, String)>,
    /// `job_id`, if it is a number that is no integer of 64 bits.
    rounded_id: Option<f64>,
}

impl<'a> Draft<'a> {
    /// Reads the JSON of one update.
    pub fn read(json: &'a [u8]) -> Result<Self, RefusedUpdate> {
        // Checked once, its texts need no check each. What is broken is judged by the reader of
        // bytes, which says where.
        let read = match std::str::from_utf8(json) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(json),
        };
        let mut draft: Self = read.map_err(|error| RefusedUpdate {
            job_id: None,
            code: RejectionCode::InvalidUpdate,
            detail: without_line(&error),
        })?;
        if draft.rounded_id.is_some() {
            draft.restore_id(json);
        }
        Ok(draft)
    }

    /// Takes the digits of an integer id from the text, since the number has lost some.
    fn restore_id(&mut self, json: &'a [u8]) {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            job_id: &'a RawValue,
        }
        // A name that is given twice has been noted already.
        let Ok(Named { job_id }) = serde_json::from_slice(json) else { return };
        if let Some(digits) = integer(job_id) {
            self.rounded_id = None;
            self.has_job_id = true;
            self.body.job_id = Cow::Borrowed(digits);
        }
    }

    /// The fields; `path` names the job if the JSON does not.
    pub fn into_body(self, path: Option<&str>) -> Result<UpdateBody<'a>, RefusedUpdate> {
        let Self { mut body, has_job_id, wrong, rounded_id, .. } = self;
        let wrong = wrong.or_else(|| {
            let detail = format!("job_id is {:?}; send a string or an integer", rounded_id?);
            Some((RejectionCode::InvalidJobId, detail))
        });
        let wrong = match (wrong, path) {
            (Some(wrong), _) => Some(wrong),
            (None, None) if !has_job_id => {
                Some((RejectionCode::InvalidJobId, "job_id is missing".to_owned()))
            }
            (None, Some(path)) if has_job_id && *path != *body.job_id => {
                let named = shown(&body.job_id);
                let detail = format!("job_id is {named:?}, the path names {:?}", shown(path));
                Some((RejectionCode::InvalidJobId, detail))
            }
            (None, _) => None,
        };
        if let Some(path) = path {
            body.job_id = Cow::Owned(path.to_owned());
        }
        match wrong {
            None => Ok(body),
            Some((code, detail)) => {
                let job_id = (!body.job_id.is_empty()).then(|| Box::from(&*body.job_id));
                Err(RefusedUpdate { job_id, code, detail })
            }
        }
    }

    /// Notes what is wrong, unless something was before.
    fn note(&mut self, code: RejectionCode, detail: String) {
        self.wrong.get_or_insert((code, detail));
    }

    /// Notes a field that was given before.
    fn mark_seen(&mut self, field: Field, name: &str) {
        let bit = 1 << field as u16;
        if self.seen & bit != 0 {
            self.note(RejectionCode::InvalidUpdate, format!("{name} is given twice"));
        }
        self.seen |= bit;
    }

    fn set(&mut self, field: Field, name: &str, value: Scalar<'a>) {
        match field {
            Field::JobId => self.set_job_id(value),
            Field::Status => {
                self.body.status = self.text(name, value, RejectionCode::InvalidStatus);
            }
            Field::Error | Field::ErrorMessage => self.set_error(name, value),
            Field::At => self.set_at(value),
            Field::Attempt => self.set_attempt(value),
            Field::Progress => self.set_progress(value),
            Field::Message => {
                self.body.message = self.text(name, value, RejectionCode::InvalidUpdate);
            }
            // Its value is not a scalar.
            Field::Labels => (),
            Field::Pipeline => {
                self.body.pipeline = self.text(name, value, RejectionCode::InvalidPipeline);
            }
            Field::IfStatus => {
                self.body.if_status = self.text(name, value, RejectionCode::InvalidStatus);
            }
        }
    }

    fn note_unknown(&mut self, name: &str) {
        let known = "job_id, status, error, at, attempt, progress, message, labels, pipeline, \
                     if_status";
        let detail = format!("unknown field {:?}; the fields are {known}", shown(name));
        self.note(RejectionCode::UnknownField, detail);
    }

    fn text(&mut self, name: &str, value: Scalar<'a>, code: RejectionCode) -> Option<Cow<'a, str>> {
        match value {
            Scalar::Null => None,
            Scalar::Text(text) => Some(text),
            other => {
                self.note(code, format!("{name} is {other}; send a string"));
                None
            }
        }
    }

    fn set_job_id(&mut self, value: Scalar<'a>) {
        let id = match value {
            Scalar::Null => return,
            Scalar::Text(text) => text,
            Scalar::Integer(integer) => Cow::Owned(integer.to_string()),
            Scalar::Float(number) => {
                self.rounded_id = Some(number);
                return;
            }
            other => {
                let detail = format!("job_id is {other}; send a string or an integer");
                return self.note(RejectionCode::InvalidJobId, detail);
            }
        };
        self.has_job_id = true;
        self.body.job_id = id;
    }

    fn set_error(&mut self, name: &str, value: Scalar<'a>) {
        let text = self.text(name, value, RejectionCode::InvalidUpdate);
        if text.is_none() {
            return;
        }
        if self.body.error.is_some() {
            let detail = "error and error_message are one field; send one of them".to_owned();
            return self.note(RejectionCode::InvalidUpdate, detail);
        }
        self.body.error = text;
    }

    fn set_at(&mut self, value: Scalar<'a>) {
        self.body.at = match value {
            Scalar::Null => None,
            Scalar::Text(text) => Some(AtBody::Rfc3339(text)),
            Scalar::Integer(ms) => {
                // Whatever 64 bits cannot hold is refused by the bounds of time just the same.
                let ms = i64::try_from(ms).unwrap_or(i64::MAX);
                Some(AtBody::UnixMs(ms))
            }
            other => {
                let detail = format!(
                    "at is {other}; send an integer of Unix milliseconds or RFC 3339 like \
                     2025-11-24T16:00:00Z"
                );
                return self.note(RejectionCode::InvalidTime, detail);
            }
        };
    }

    fn set_attempt(&mut self, value: Scalar<'a>) {
        self.body.attempt = match value {
            Scalar::Null => None,
            Scalar::Integer(attempt) if u32::try_from(attempt).is_ok() => {
                u32::try_from(attempt).ok()
            }
            other => {
                let detail = format!("attempt is {other}; use an integer from 0 to {}", u32::MAX);
                return self.note(RejectionCode::InvalidAttempt, detail);
            }
        };
    }

    fn set_progress(&mut self, value: Scalar<'a>) {
        self.body.progress = match value {
            Scalar::Null => None,
            Scalar::Float(progress) => Some(progress),
            #[expect(clippy::cast_precision_loss, reason = "only 0 and 1 pass the check to come")]
            Scalar::Integer(progress) => Some(progress as f64),
            other => {
                let detail = format!("progress is {other}; use a number from 0 to 1");
                return self.note(RejectionCode::InvalidProgress, detail);
            }
        };
    }

    fn set_labels(&mut self, value: LabelsValue) {
        match value {
            LabelsValue::Null => (),
            LabelsValue::Labels(labels) => self.body.labels = Some(labels),
            LabelsValue::Wrong(detail) => self.note(RejectionCode::InvalidLabels, detail),
        }
    }
}

/// The message of serde_json; the line is always the first here, so only the column is said.
fn without_line(error: &serde_json::Error) -> String {
    let (text, column) = (error.to_string(), error.column());
    match text.strip_suffix(&format!(" at line 1 column {column}")) {
        Some(message) => format!("{message} at column {column}"),
        None => text,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Draft<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DraftVisitor)
    }
}

struct DraftVisitor;

impl<'de> Visitor<'de> for DraftVisitor {
    type Value = Draft<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object of an update")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft<'de>, A::Error> {
        let mut draft = Draft::default();
        while let Some(Text(name)) = map.next_key()? {
            let Some(field) = Field::of(&name) else {
                draft.note_unknown(&name);
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            draft.mark_seen(field, &name);
            match field {
                Field::Labels => draft.set_labels(map.next_value()?),
                _ => draft.set(field, &name, map.next_value()?),
            }
        }
        Ok(draft)
    }
}

/// Reads what a sender writes; what is wrong in it is an error of the format.
impl<'de: 'a, 'a> Deserialize<'de> for UpdateBody<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Draft::deserialize(deserializer)?.into_body(None).map_err(D::Error::custom)
    }
}
