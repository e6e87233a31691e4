//! What checks, scrubs and compactions of a store say.

/// The length of a file before and after it was compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub before_bytes: u64,
    pub after_bytes: u64,
}

/// Where a scrub goes on; the default is its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubPlace {
    /// The number of a table, as the store counts them.
    pub table: u64,
    /// The last key of it that was read.
    pub after: Option<Vec<u8>>,
}

/// What one step of a scrub read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// Where the next step begins; `None` once all was read.
    pub next: Option<ScrubPlace>,
    pub rows: u64,
    /// Rows of the whole store at present.
    pub rows_in_all: u64,
    /// One sentence each.
    pub problems: Vec<String>,
}

/// What `check` found. Clean if `problems` is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub jobs: u64,
    /// Updates in the stored feed and the tail.
    pub updates: u64,
    pub last_seq: u64,
    /// One sentence each; at most 100.
    pub problems: Vec<String>,
}

impl CheckReport {
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes a problem; after 100 it only says that there are more.
    pub fn note(&mut self, problem: String) {
        const PROBLEMS_MAX: usize = 100;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else if self.problems.len() == PROBLEMS_MAX {
            self.problems.push("and more".to_owned());
        }
    }
}
