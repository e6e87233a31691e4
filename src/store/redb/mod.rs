//! The store on disk: a small, hot journal and large, cold tables, both redb files.
//!
//! ```text
//! append:  decide -> one segment into journal.redb, commit, sync -> publish to the tail
//! fold:    the tail's jobs in key order and its segments -> tables.redb, with a mark
//! open:    the mark, then the journal's segments after it, replayed into the tail
//! ```
//!
//! redb is known in this room alone.

mod age;
mod backup;
mod check;
mod codec;
mod compact;
mod directory;
mod disk;
mod fold;
mod folder;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod journal;
mod media;
mod open;
mod page;
mod reader;
mod reopen;
mod replay;
mod schema;
mod scrub;
mod site;
mod snapshot;
mod tail;
mod timeline;
mod writer;

pub use backup::{keeping_all, restore, verify_backup};
pub use compact::compact;
pub use open::open;

#[cfg(test)]
pub(crate) mod tests;
