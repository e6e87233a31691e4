//! jobslate keeps the status of every job of an ingestion pipeline: batches of updates become
//! durable in one write transaction each, and questions are answered at once.
//!
//! The rooms, from the user down; imports point downward only:
//!
//! ```text
//! cli            command line, configuration, composition root
//!  |   client    talks to a running server
//!  |   http      the server
//!  |   api       wire types and problem codes, shared by http and client
//! service        the one API of the program: start here to use it as a library
//!  |    batch    queue, policy, the writer thread
//! store          the two doors of a store; on disk, and in memory as the oracle
//! model          jobs, statuses, updates, newest wins
//! telemetry      names of log events
//! ```
//!
//! [`service::Service`] has a running example; `packaging/examples` has a tokio pipeline and a
//! threaded one that embed it.

#![forbid(unsafe_code)]

pub mod api;
mod batch;
pub mod cli;
pub mod client;
pub mod http;
pub mod model;
pub mod service;
pub mod store;
pub mod telemetry;
