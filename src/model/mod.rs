//! The words of jobslate as pure values: jobs, statuses, updates, requests, answers, operations,
//! queries, time.
//!
//! Nothing here does I/O, reads a clock or locks. Text is parsed once, at the edge, into [`JobId`],
//! [`PipelineName`], [`Status`] and [`Update`]; inside the program the types are trusted.
//! [`decide`] and [`apply`] hold the one rule that everything else serves: newest wins.

mod change;
mod counts;
mod expected;
mod id;
pub mod limits;
mod operation;
mod query;
mod record;
mod request;
mod status;
mod time;
mod timeline;
mod update;

pub use change::{Change, Refusal, Standing, apply, decide};
pub use counts::{Counts, Miscounted};
pub use expected::{Expectations, Expected};
pub use id::{InvalidName, JobId, NameMap, PipelineName};
pub use operation::{Expectation, Operation, Places, Removal};
pub use query::{Cursor, FeedPage, JobFilter, Lookup, Order, Page, PageQuery, Place};
pub use record::{JobRecord, Transition};
pub use request::{Ack, Answer, Command, IdempotencyKey, Rejection, RejectionCode, Request};
pub use status::{InvalidStatus, Kind, Kinds, Status};
pub use time::{Clock, InvalidTime, ManualClock, TimestampMs, parse_duration};
pub use timeline::{Resolution, Tally, Timeline, TimelineQuery, minute_of, tally};
pub use update::{InvalidUpdate, Labels, Update, UpdateFields};
