//! The wire: JSON shapes and problem codes, shared by the server and the client.
//!
//! Every type goes both ways; the names of its fields are API and do not change. One file per
//! noun, its literal JSON beside the struct. Shapes are built from the values of `model` and
//! `service` by `of`; [`read_update`] is the only way in. No HTTP here: no headers, no sockets.

mod answer;
mod care;
mod counts;
mod csv;
mod draft;
mod feed;
pub(crate) mod forms;
mod job;
mod list;
mod lookup;
mod pipelines;
mod problem;
mod scalar;
pub(crate) mod schema;
mod stats;
mod time;
mod timeline;
mod update;
pub(crate) mod words;

pub use answer::{AnswerBody, QueuedBody, RejectionBody};
pub use care::{
    BACKUP_MEDIA_TYPE, CheckBody, FlushBody, HealthBody, PruneBody, RetentionBody, ScrubBody,
};
pub use counts::{CountsBody, PipelineCountsBody};
pub use csv::{entries_csv, jobs_csv};
pub use feed::{FeedBody, FeedEntryBody};
pub use job::{HistoryBody, JobBody, TransitionBody};
pub use list::ListBody;
pub use lookup::{LookupBody, LookupRequestBody};
pub use pipelines::{ExpectBody, PipelineBody, PipelineJobBody, PipelinesBody};
pub use problem::{OutcomeBody, PROBLEM_MEDIA_TYPE, ProblemBody, ProblemCode};
pub use scalar::IdText;
pub use stats::{
    BackupsBody, BatchesBody, ClosedByBody, CommitMsBody, ConnectionsBody, FilesBody, FoldBody,
    HttpBody, IdempotencyBody, ProcessBody, QueueBody, ResponsesBody, StatsBody, TailBody,
    UpdatesBody,
};
pub use time::TimeBody;
pub use timeline::{TimelineBody, TimelineStepBody};
pub use update::{AtBody, RefusedUpdate, UpdateBody, read_update, read_update_of};
