//! Why a call to a server failed, and whether it is worth another try.

use std::time::Duration;

use reqwest::StatusCode;

use crate::api::{OutcomeBody, ProblemBody};

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The caller corrects the URL.
    #[error("{url:?} is not the URL of a server: {why}")]
    BadUrl { url: String, why: String },
    /// No connection, a broken one, or no answer in time; what became of a write is unknown.
    #[error("no answer from {url}: {why}")]
    Unavailable { url: String, why: String },
    /// The server refused the call and said why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Somebody answered, but not jobslate: a proxy, or another program on that port. The body is
    /// as it came: escape it before a terminal sees it.
    #[error("{url} answered {status}, not as jobslate does: {body}")]
    Foreign { url: String, status: StatusCode, body: String },
    /// The server has another store than before: its updates are others, whatever their numbers.
    #[error("{url} has another store now: {found}, and no more {known}")]
    OtherStore { url: String, known: String, found: String },
}

/// A refusal of the server, with the time after which to call again, if it named one.
#[derive(Debug, thiserror::Error)]
#[error("{} ({})", .body.detail, .body.code)]
pub struct Problem {
    pub body: ProblemBody<'static>,
    pub retry_after: Option<Duration>,
    /// True if this is the first answer to the same call, made before with the same key.
    pub replayed: bool,
}

impl ClientError {
    /// True if the same call may succeed later. A write needs an idempotency key to be repeated,
    /// unless [`is_not_applied`](Self::is_not_applied).
    pub fn is_retryable(&self) -> bool {
        match self {
            // The network or the process may come back.
            Self::Unavailable { .. } => true,
            // The server knows best.
            Self::Problem(problem) => problem.body.retryable,
            // A proxy before a server that restarts.
            Self::Foreign { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            // The next answer would come from the other store too.
            Self::OtherStore { .. } | Self::BadUrl { .. } => false,
        }
    }

    /// True if it is certain that no update of the call was applied.
    pub fn is_not_applied(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.body.outcome != Some(OutcomeBody::Unknown),
            Self::BadUrl { .. } => true,
            Self::Unavailable { .. } | Self::Foreign { .. } | Self::OtherStore { .. } => false,
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            _ => None,
        }
    }

    /// The refusal, if it is one.
    pub fn problem(&self) -> Option<&ProblemBody<'static>> {
        match self {
            Self::Problem(problem) => Some(&problem.body),
            _ => None,
        }
    }

    /// The stable name of the refusal, if it is one.
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|body| &*body.code)
    }
}
