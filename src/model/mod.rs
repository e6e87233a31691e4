//! The words of jobslate as pure values: jobs, statuses, updates, requests, answers, queries, time.
//!
//! Nothing here does I/O, reads a clock or locks. Text is parsed once, at the edge, into [`JobId`],
//! [`PipelineName`], [`Status`] and [`Update`]; inside the program the types are trusted.
//! [`decide`] and [`apply`] hold the one rule that everything else serves: newest wins.

mod change;
mod counts;
mod id;
pub mod limits;
mod query;
mod record;
mod request;
mod status;
mod time;
mod update;

pub use change::{Change, Refusal, apply, decide};
pub use counts::{Counts, Miscounted};
pub use id::{InvalidName, JobId, PipelineName};
pub use query::{Cursor, Order, Page, PageQuery};
pub use record::{JobRecord, Transition};
pub use request::{Ack, Answer, IdempotencyKey, Rejection, RejectionCode, Request};
pub use status::{InvalidStatus, Kind, Kinds, Status};
pub use time::{Clock, InvalidTime, ManualClock, TimestampMs};
pub use update::{InvalidUpdate, Labels, Update, UpdateFields};
