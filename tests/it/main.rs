//! The tests from outside: the house rules, and the real binary as its users meet it.
//!
//! One binary, so that it links once. Every test has a directory and a port of its own, and none is
//! judged by the clock: bounds on waiting only tell a hang from an answer.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed, and says where"
)]

mod backup;
mod bad_input;
mod benches;
mod cli;
mod commands;
mod crowd;
mod damaged;
mod double;
mod ends;
mod events;
mod examples;
mod failing_disk;
mod false_clock;
mod follow;
mod format;
mod full_disk;
mod headers;
mod http;
mod import;
mod kill;
mod logs;
mod model;
mod monitors;
mod open_files;
mod papers;
mod prune;
mod queries;
mod random;
mod retry;
mod server;
mod shuffle;
mod stop;
mod supervisor;
mod tidy;
mod trace;
mod turned_pages;
mod walk;
mod watch;
mod watchers;
mod workload;
