//! The catalogue of the two files: every table, its key and its value.
//!
//! Keys and values are bytes of our own; see [`codec`](super::codec) for the values. Integers in
//! keys are big-endian, so that their bytes sort as the numbers do. Names hold no zero byte, so a
//! zero byte ends them.

use redb::TableDefinition;

use crate::model::{PipelineName, Status};

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// journal.redb: one row per batch that is not yet folded, and the last one.
/// Key: batch number. Value: a sealed segment.
pub const SEGMENTS: Table = TableDefinition::new("segments");
/// Both files: one row. Key: `identity`. Value: format version and store id.
pub const IDENTITY: Table = TableDefinition::new("identity");
/// tables.redb: one row per job, changed by folds. Key: job id. Value: a sealed record.
pub const JOBS: Table = TableDefinition::new("jobs");
/// tables.redb: one row per job. Key: status, zero, seq of the record. Value: job id, plain:
/// whoever reads it reads the record too, and compares.
pub const BY_STATUS: Table = TableDefinition::new("by_status");
/// tables.redb: one row per job. Key: pipeline, zero, status, zero, seq. Value: job id, plain.
pub const BY_PIPELINE: Table = TableDefinition::new("by_pipeline");
/// tables.redb: rows are added at the end and trimmed at the front. Key: first seq of the block.
/// Value: segments in a row, compressed.
pub const FEED: Table = TableDefinition::new("feed");
/// tables.redb: one row per pipeline and status in use. Key: pipeline, zero, status. Value: number.
pub const COUNTS: Table = TableDefinition::new("counts");
/// tables.redb: one row per kept answer. Key: the idempotency key. Value: its ordinal, the answer.
pub const KEYS: Table = TableDefinition::new("keys");
/// tables.redb: one row per kept answer. Key: ordinal. Value: the idempotency key, plain.
pub const KEYS_BY_AGE: Table = TableDefinition::new("keys_by_age");
/// tables.redb: one row. Key: `mark`. Value: how far the journal is folded.
pub const META: Table = TableDefinition::new("meta");

pub const IDENTITY_KEY: &[u8] = b"identity";
pub const MARK_KEY: &[u8] = b"mark";

/// `status 0`: the rows of one status in [`BY_STATUS`].
pub fn status_prefix(status: Status) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    key.extend_from_slice(status.as_str().as_bytes());
    key.push(0);
    key
}

/// `pipeline 0 status 0`: the rows of one pipeline and status in [`BY_PIPELINE`].
pub fn pipeline_prefix(pipeline: &PipelineName, status: Status) -> Vec<u8> {
    let mut key = counts_key(pipeline, status);
    key.push(0);
    key
}

/// `pipeline 0 status`: a row of [`COUNTS`].
pub fn counts_key(pipeline: &PipelineName, status: Status) -> Vec<u8> {
    let mut key = Vec::with_capacity(112);
    key.extend_from_slice(pipeline.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(status.as_str().as_bytes());
    key
}

/// The pipeline and status of a row of [`COUNTS`]; `None` if the key is not one.
pub fn parse_counts_key(key: &[u8]) -> Option<(PipelineName, Status)> {
    let text = std::str::from_utf8(key).ok()?;
    let (pipeline, status) = text.split_once('\0')?;
    Some((PipelineName::parse(pipeline).ok()?, Status::parse(status).ok()?))
}

/// A row of an index: the prefix, then the seq.
pub fn with_seq(mut prefix: Vec<u8>, seq: u64) -> Vec<u8> {
    prefix.extend_from_slice(&seq.to_be_bytes());
    prefix
}

/// The seq at the end of an index row; `None` if the key is too short.
pub fn seq_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
