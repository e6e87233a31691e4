//! What an import came to, for people and for machines.

use std::time::Duration;

use serde::Serialize;

use super::chunk::Chunk;
use crate::api::RejectionBody;
use crate::cli::output::shown;
use crate::cli::progress::rate;
use crate::client::Sent;

/// How many rejected lines are named; the rest is counted.
const REJECTIONS_SHOWN_MAX: usize = 20;

/// The sums over all chunks so far. A replayed chunk counts as it did the first time.
///
/// ```json
/// {"lines":369,"accepted":368,"applied":368,"stale":0,"merged":0,"rejected":1,"chunks":1,
///  "replayed_chunks":0,"replayed_updates":0,"last_line":369,"complete":true,"seconds":0.05,
///  "updates_per_second":7360.0,
///  "rejections":[{"line":17,"job_id":"x","code":"invalid_status","detail":"..."}]}
/// ```
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Lines that are not blank.
    pub lines: u64,
    pub accepted: u64,
    pub applied: u64,
    pub stale: u64,
    pub merged: u64,
    pub rejected: u64,
    pub chunks: u64,
    /// Chunks that the server had already, from a run or a try before.
    pub replayed_chunks: u64,
    /// What was accepted of those, then.
    pub replayed_updates: u64,
    /// Everything up to this line of the input is stored or rejected.
    pub last_line: u64,
    /// False if the import ended before the input did.
    pub complete: bool,
    pub seconds: f64,
    /// Of this run: without what was replayed.
    pub updates_per_second: f64,
    /// The first 20.
    pub rejections: Vec<RejectedLine>,
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedLine {
    /// Its number in the input, from 1.
    pub line: u64,
    pub job_id: Option<String>,
    pub code: String,
    pub detail: String,
}

impl Summary {
    /// Adds what the server answered to `chunk`.
    pub fn add(&mut self, chunk: &Chunk, sent: &Sent) {
        let answer = &sent.answer;
        self.lines += chunk.line_count() as u64;
        self.accepted += answer.accepted;
        self.applied += answer.applied;
        self.stale += answer.stale;
        self.merged += answer.merged;
        self.rejected += answer.rejected;
        self.chunks += 1;
        if sent.replayed {
            self.replayed_chunks += 1;
            self.replayed_updates += answer.accepted;
        }
        self.last_line = self.last_line.max(chunk.line_range().1);
        for error in &answer.errors {
            self.note(RejectedLine::of(chunk, error));
        }
        // An answer that was kept for a replay may have lost its details.
        if answer.rejected > 0 && answer.errors.is_empty() {
            let (first, last) = chunk.line_range();
            self.note(RejectedLine {
                line: first,
                job_id: None,
                code: "not_kept".to_owned(),
                detail: format!(
                    "{} of the lines {first} to {last} were rejected when they came first",
                    answer.rejected
                ),
            });
        }
    }

    /// Adds a line that was not sent, or that the server did not take for its size.
    pub fn add_rejected(&mut self, line: u64, code: &str, detail: String) {
        self.lines += 1;
        self.rejected += 1;
        self.last_line = self.last_line.max(line);
        self.note(RejectedLine { line, job_id: None, code: code.to_owned(), detail });
    }

    /// Sets what is known only at the end.
    pub fn end(&mut self, elapsed: Duration, complete: bool) {
        self.complete = complete;
        // Lines that were too long are noted after the others of their chunk.
        self.rejections.sort_by_key(|rejected| rejected.line);
        self.seconds = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
        self.updates_per_second = (rate(self.fresh(), elapsed) * 10.0).round() / 10.0;
    }

    /// Updates that this run was the first to bring.
    pub fn fresh(&self) -> u64 {
        self.accepted.saturating_sub(self.replayed_updates)
    }

    fn note(&mut self, rejected: RejectedLine) {
        if self.rejections.len() < REJECTIONS_SHOWN_MAX {
            self.rejections.push(rejected);
        }
    }

    /// Several lines for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for rejected in &self.rejections {
            let RejectedLine { line, job_id, code, detail } = rejected;
            let job =
                job_id.as_ref().map_or_else(String::new, |id| format!(" (job {})", shown(id)));
            text.push_str(&format!("line {line}: {code}: {}{job}\n", shown(detail)));
        }
        let named = self.rejections.len() as u64;
        if self.rejected > named && named == REJECTIONS_SHOWN_MAX as u64 {
            text.push_str(&format!("... and {} rejected lines more\n", self.rejected - named));
        }
        text.push_str(&format!(
            "{} in {:.1} s: {} accepted ({} applied, {} stale, {} merged), {} rejected",
            counted_lines(self.lines),
            self.seconds,
            self.accepted,
            self.applied,
            self.stale,
            self.merged,
            self.rejected,
        ));
        if self.replayed_chunks > 0 {
            text.push_str(&format!(
                "\n{} of {} chunks were stored already ({} updates, not counted again)",
                self.replayed_chunks, self.chunks, self.replayed_updates,
            ));
        }
        if self.updates_per_second > 0.0 {
            text.push_str(&format!("\n{:.0} updates/s", self.updates_per_second));
        }
        text.push('\n');
        text
    }
}

/// `1 line`, `2 lines`.
pub fn counted_lines(lines: u64) -> String {
    if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") }
}

impl RejectedLine {
    fn of(chunk: &Chunk, error: &RejectionBody<'_>) -> Self {
        let index = usize::try_from(error.index).unwrap_or(usize::MAX);
        Self {
            line: chunk.line_number(index).unwrap_or_default(),
            job_id: error.job_id.as_ref().map(|id| id.clone().into_owned()),
            code: error.code.clone().into_owned(),
            detail: error.detail.clone().into_owned(),
        }
    }
}
