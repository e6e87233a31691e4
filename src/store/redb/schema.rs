//! The catalogue of the two files: every table, its key and its value.
//!
//! Keys and values are bytes of our own; see [`codec`](super::codec) for the values. Integers in
//! keys are big-endian, so that their bytes sort as the numbers do. Names hold no zero byte, so a
//! zero byte ends them.

use redb::{ReadOnlyTable, TableDefinition};

use crate::model::{PipelineName, Resolution, Status};

/// A table of a snapshot.
pub type SnapshotTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// journal.redb: one row per batch that is not yet folded, and the last one.
/// Key: batch number. Value: a sealed segment.
pub const SEGMENTS: Table = TableDefinition::new("segments");
/// Both files: one row. Key: `identity`. Value: format version and store id.
pub const IDENTITY: Table = TableDefinition::new("identity");
/// tables.redb: one row per job, changed by folds. Key: the job's slot, a number that it got when
/// it was first folded and that is never given again, so jobs that begin together stand together.
/// Value: job id and record, sealed.
pub const RECORDS: Table = TableDefinition::new("records");
/// tables.redb: one row per run of ids. Key: its number (4 bytes). Value: its level, how many ids
/// it has; sealed. The run itself is a table `ids_NUMBER` with a row for every 32 ids. Key: the
/// first of them. Value: ids and slots, sealed.
pub const RUNS: Table = TableDefinition::new("runs");
/// tables.redb: one row per run of ids, never changed. Key: its number. Value: the filter of its
/// ids, sealed.
pub const FILTERS: Table = TableDefinition::new("filters");
/// tables.redb: one row per job. Key: status, zero, seq of the record. Value: the job's slot
/// without its leading zeros; as format 4 wrote it, all 8 bytes of the slot and the job id.
pub const BY_STATUS: Table = TableDefinition::new("by_status");
/// tables.redb: one row per job. Key: pipeline, zero, status, zero, seq. Value: as of `by_status`.
pub const BY_PIPELINE: Table = TableDefinition::new("by_pipeline");
/// tables.redb: rows are added at the end and trimmed at the front. Key: first seq of the block.
/// Value: segments in a row, compressed.
pub const FEED: Table = TableDefinition::new("feed");
/// tables.redb: one row per pipeline and status in use. Key: pipeline, zero, status. Value: number.
pub const COUNTS: Table = TableDefinition::new("counts");
/// tables.redb: one row per level, step, pipeline and status that saw something; where all
/// pipelines are counted together, their name is empty. Key: level (1 byte), step since 1970
/// (4 bytes), pipeline, zero, status. Value: updates and net change.
pub const TIMELINE: Table = TableDefinition::new("timeline");
/// tables.redb: one row per pipeline of which something is expected. Key: pipeline. Value: the
/// expected total, and the seq that reached it.
pub const EXPECTED: Table = TableDefinition::new("expected");
/// tables.redb: one row per kept answer. Key: the idempotency key. Value: its ordinal, the answer.
pub const KEYS: Table = TableDefinition::new("keys");
/// tables.redb: one row per kept answer. Key: ordinal. Value: the idempotency key, plain.
pub const KEYS_BY_AGE: Table = TableDefinition::new("keys_by_age");
/// tables.redb: four rows. Key: `mark`. Value: how far the journal is folded. Key: `timeline`.
/// Value: the size of the timeline; missing before the first fold. Key: `slots`. Value: the next
/// slot; missing before the first job. Key: `ages`. Value: the clock of ages, and when which seq
/// was the last one; missing before the first fold by a build that knows it.
pub const META: Table = TableDefinition::new("meta");

pub const IDENTITY_KEY: &[u8] = b"identity";
pub const MARK_KEY: &[u8] = b"mark";
pub const TIMELINE_KEY: &[u8] = b"timeline";
pub const SLOTS_KEY: &[u8] = b"slots";
pub const AGES_KEY: &[u8] = b"ages";

/// All tables of tables.redb, besides [`IDENTITY`].
pub const OF_TABLES: [Table; 12] = [
    RECORDS,
    RUNS,
    FILTERS,
    BY_STATUS,
    BY_PIPELINE,
    FEED,
    COUNTS,
    TIMELINE,
    EXPECTED,
    KEYS,
    KEYS_BY_AGE,
    META,
];

/// A part of the timeline that is bounded by itself: steps of one length, of all pipelines together
/// or of each alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub resolution: Resolution,
    pub is_by_pipeline: bool,
}

impl Level {
    /// All of them; the place is the number on disk.
    pub const ALL: [Self; 5] = [
        Self { resolution: Resolution::Minute, is_by_pipeline: false },
        Self { resolution: Resolution::Hour, is_by_pipeline: false },
        Self { resolution: Resolution::Day, is_by_pipeline: false },
        Self { resolution: Resolution::Hour, is_by_pipeline: true },
        Self { resolution: Resolution::Day, is_by_pipeline: true },
    ];

    /// The place in [`ALL`](Self::ALL).
    pub fn place(self) -> usize {
        match (self.resolution, self.is_by_pipeline) {
            // Minutes are kept for all pipelines together alone.
            (Resolution::Minute, _) => 0,
            (Resolution::Hour, false) => 1,
            (Resolution::Day, false) => 2,
            (Resolution::Hour, true) => 3,
            (Resolution::Day, true) => 4,
        }
    }
}

/// `level step`: the rows of one step in [`TIMELINE`].
pub fn step_prefix(level: Level, step: u32) -> [u8; 5] {
    let number = u8::try_from(level.place()).expect("there are five levels");
    let [a, b, c, d] = step.to_be_bytes();
    [number, a, b, c, d]
}

/// `level step pipeline 0`: the rows of one pipeline, or (`None`) of all together.
pub fn tally_prefix(level: Level, step: u32, pipeline: Option<&PipelineName>) -> Vec<u8> {
    let mut key = Vec::with_capacity(104);
    key.extend_from_slice(&step_prefix(level, step));
    key.extend_from_slice(pipeline.map_or(b"", |name| name.as_str().as_bytes()));
    key.push(0);
    key
}

/// The step of a row of [`TIMELINE`]; `None` if the key is too short.
pub fn step_of(key: &[u8]) -> Option<u32> {
    key.get(1..5)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Pipeline (`None`: all together) and status of a row of [`TIMELINE`]; `None` if it is not one.
pub fn parse_tally_key(key: &[u8]) -> Option<(Option<PipelineName>, Status)> {
    let text = std::str::from_utf8(key.get(5..)?).ok()?;
    let (pipeline, status) = text.split_once('\0')?;
    let pipeline = match pipeline {
        "" => None,
        name => Some(PipelineName::parse(name).ok()?),
    };
    Some((pipeline, Status::parse(status).ok()?))
}

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

/// The value of an index row: the slot, big-endian, without its leading zeros.
pub fn index_value(slot: u64) -> Vec<u8> {
    let zeros = (slot.leading_zeros() / 8) as usize;
    slot.to_be_bytes().into_iter().skip(zeros).collect()
}

/// The slot of an index row; `None` if the value is not one. What format 4 wrote is longer than a
/// slot: the id of the job follows it, which the record at the slot has too.
pub fn parse_index_value(value: &[u8]) -> Option<u64> {
    let slot = match value.split_first_chunk() {
        Some((slot, _)) => *slot,
        None => {
            let mut slot = [0; 8];
            slot.get_mut(8_usize.checked_sub(value.len())?..)?.copy_from_slice(value);
            slot
        }
    };
    Some(u64::from_be_bytes(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_values_are_short_and_those_of_format_4_are_read() {
        for (slot, bytes) in
            [(0, 0), (1, 1), (255, 1), (256, 2), (999_999, 3), (1 << 56, 8), (u64::MAX, 8)]
        {
            let value = index_value(slot);
            assert_eq!(value.len(), bytes, "{slot}");
            assert_eq!(parse_index_value(&value), Some(slot));
            let old = [slot.to_be_bytes().as_slice(), b"a"].concat();
            assert_eq!(parse_index_value(&old), Some(slot));
        }
    }
}
