//! One reported fact about a job, checked and cut to its bounds.

use super::id::{InvalidName, JobId, PipelineName};
use super::limits::{
    ERROR_BYTES_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, MESSAGE_BYTES_MAX,
};
use super::status::{InvalidStatus, Status};
use super::time::TimestampMs;

/// One reported fact. Without `status` it is a heartbeat. Built by [`Update::new`] alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub job_id: JobId,
    pub status: Option<Status>,
    /// At most 8 KiB; a longer one was cut and ends in ` [cut, N bytes]`.
    pub error: Option<Box<str>>,
    /// What the reporter says; `None` means "now".
    pub at: Option<TimestampMs>,
    pub attempt: Option<u32>,
    /// From 0 to 1.
    pub progress: Option<f64>,
    /// At most 1 KiB, cut like `error`.
    pub message: Option<Box<str>>,
    /// Replaces all labels of the job.
    pub labels: Option<Labels>,
    pub pipeline: Option<PipelineName>,
    /// The status that the job must have now.
    pub if_status: Option<Status>,
}

/// The fields of an update as a caller has them, before they are checked.
#[derive(Clone, Debug, Default)]
pub struct UpdateFields<'a> {
    pub job_id: &'a str,
    pub status: Option<&'a str>,
    pub error: Option<&'a str>,
    pub at: Option<TimestampMs>,
    pub attempt: Option<u32>,
    pub progress: Option<f64>,
    pub message: Option<&'a str>,
    pub labels: Option<Vec<(String, String)>>,
    pub pipeline: Option<&'a str>,
    pub if_status: Option<&'a str>,
}

/// Why the fields are not an update. The caller corrects them; nothing was queued.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUpdate {
    #[error(transparent)]
    JobId(InvalidName),
    #[error(transparent)]
    Pipeline(InvalidName),
    #[error(transparent)]
    Status(#[from] InvalidStatus),
    #[error("progress is {0}; use a number from 0 to 1")]
    Progress(f64),
    #[error("{count} labels, the most is {LABELS_MAX}")]
    LabelsTooMany { count: usize },
    #[error("label {name:?} is {bytes} bytes, the most is {bytes_max}")]
    LabelTooLong { name: String, bytes: usize, bytes_max: usize },
    #[error("label name {0:?} is empty or holds a control character")]
    LabelName(String),
}

impl Update {
    /// Checks `fields` and cuts long texts at a character boundary.
    ///
    /// # Errors
    /// [`InvalidUpdate`]: the value that was wrong and the limit that it broke.
    pub fn new(fields: UpdateFields<'_>) -> Result<Self, InvalidUpdate> {
        let progress = match fields.progress {
            Some(progress) if !(0.0..=1.0).contains(&progress) => {
                return Err(InvalidUpdate::Progress(progress));
            }
            // Turns -0.0 into 0.0, so that equal values have equal bytes.
            progress => progress.map(|progress| progress + 0.0),
        };
        Ok(Self {
            job_id: JobId::parse(fields.job_id).map_err(InvalidUpdate::JobId)?,
            status: fields.status.map(Status::parse).transpose()?,
            error: fields.error.map(|text| cut(text, ERROR_BYTES_MAX)),
            at: fields.at,
            attempt: fields.attempt,
            progress,
            message: fields.message.map(|text| cut(text, MESSAGE_BYTES_MAX)),
            labels: fields.labels.map(Labels::new).transpose()?,
            pipeline: fields
                .pipeline
                .map(PipelineName::parse)
                .transpose()
                .map_err(InvalidUpdate::Pipeline)?,
            if_status: fields.if_status.map(Status::parse).transpose()?,
        })
    }

    /// The plainest update: this job has this status now.
    ///
    /// # Errors
    /// [`InvalidUpdate`] as for [`Update::new`].
    pub fn status(job_id: &str, status: &str) -> Result<Self, InvalidUpdate> {
        Self::new(UpdateFields { job_id, status: Some(status), ..UpdateFields::default() })
    }

    pub fn is_heartbeat(&self) -> bool {
        self.status.is_none()
    }

    /// What this update weighs in the queue, in bytes: its texts and the room of the struct.
    pub fn weight_bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Self>()
            + self.job_id.as_str().len()
            + self.pipeline.as_ref().map_or(0, |name| name.as_str().len())
            + text(&self.error)
            + text(&self.message)
            + self.labels.as_ref().map_or(0, Labels::weight_bytes)
    }
}

/// Up to 16 name and value pairs, ordered by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Checks the pairs; of a name given twice the last value stays, as in a JSON object.
    ///
    /// # Errors
    /// [`InvalidUpdate`]: too many labels, or a name or value that is too long.
    pub fn new(pairs: Vec<(String, String)>) -> Result<Self, InvalidUpdate> {
        let mut by_name = std::collections::BTreeMap::new();
        for (name, value) in pairs {
            for (text, bytes_max) in
                [(&name, LABEL_NAME_BYTES_MAX), (&value, LABEL_VALUE_BYTES_MAX)]
            {
                if text.len() > bytes_max {
                    let (name, bytes) = (name.chars().take(64).collect(), text.len());
                    return Err(InvalidUpdate::LabelTooLong { name, bytes, bytes_max });
                }
            }
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(InvalidUpdate::LabelName(name));
            }
            by_name.insert(name.into_boxed_str(), value.into_boxed_str());
        }
        if by_name.len() > LABELS_MAX {
            return Err(InvalidUpdate::LabelsTooMany { count: by_name.len() });
        }
        Ok(Self(by_name.into_iter().collect()))
    }

    /// The pairs in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn weight_bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    }
}

/// Cuts `text` to `bytes_max` bytes, the note ` [cut, N bytes]` included, at a character boundary.
/// `N` is the length of the whole text.
pub(super) fn cut(text: &str, bytes_max: usize) -> Box<str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    let note = format!(" [cut, {} bytes]", text.len());
    let end = text.floor_char_boundary(bytes_max.saturating_sub(note.len()));
    let (kept, _) = text.split_at(end);
    format!("{kept}{note}").into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character_boundary() {
        let text = "\u{e9}".repeat(5_000_000);
        let kept = cut(&text, ERROR_BYTES_MAX);
        assert!(kept.len() <= ERROR_BYTES_MAX && kept.len() > ERROR_BYTES_MAX - 4);
        assert!(kept.ends_with(" [cut, 10000000 bytes]"), "{}", &kept[kept.len() - 30..]);
        assert_eq!(&*cut("short", ERROR_BYTES_MAX), "short");
        assert_eq!(&*cut(&"x".repeat(8192), ERROR_BYTES_MAX), "x".repeat(8192));
    }

    #[test]
    fn progress_and_labels_are_checked() {
        let fields = |progress| UpdateFields {
            job_id: "j",
            progress: Some(progress),
            ..UpdateFields::default()
        };
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Update::new(fields(bad)).is_err(), "{bad}");
        }
        let zero = Update::new(fields(-0.0)).unwrap().progress.unwrap();
        assert!(zero.is_sign_positive());
        let pairs = |count: usize| (0..count).map(|i| (format!("n{i}"), "v".into())).collect();
        assert!(Labels::new(pairs(16)).is_ok());
        assert!(Labels::new(pairs(17)).is_err());
        assert!(Labels::new(vec![("x".repeat(65), String::new())]).is_err());
        assert!(Labels::new(vec![("x".into(), "y".repeat(257))]).is_err());
        assert!(Labels::new(vec![(String::new(), "y".into())]).is_err());
    }
}
