//! The bytes of everything on disk. The one room that knows wincode.
//!
//! A value is `[version: 1][payload][crc32c over key, version and payload: 4, little endian]`. The
//! payload is bincode's format (varint, little endian: bincode 2 `standard()`), written by wincode,
//! its maintained implementation. The key is under the checksum, so that a page in the wrong place
//! is found as surely as a flipped bit; redb does not verify pages on ordinary reads.
//!
//! To change a shape: add a struct of the next version, keep the old one readable, raise the
//! version written, add golden bytes to the tests. Never reorder or remove fields.

use wincode::config::{Configuration, deserialize_exact, serialize_into};
use wincode::int_encoding::{LittleEndian, VarInt};
use wincode::len::BincodeLen;
use wincode::{SchemaRead, SchemaWrite};

mod ages;
mod backup;
mod ids;
mod kept;
mod record;
mod segment;

pub use ages::{decode_ages, encode_ages};
pub use backup::{
    BackupHeader, BackupTrailer, decode_backup_header, decode_backup_trailer, encode_backup_header,
    encode_backup_trailer,
};
pub use ids::{PackedId, decode_ids, encode_ids};
pub use kept::{decode_kept, encode_kept};
pub use record::{decode_job, encode_job};
pub use segment::{Segment, decode_segment, encode_segment};

use crate::model::{Expected, Kind, Labels, PipelineName, Status, Tally};
use crate::store::StoreError;

/// The version that values are written with, but for those whose shape has changed since.
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Room for a usual value, a job with four transitions, at once.
const VALUE_BYTES_EXPECTED: usize = 384;
/// Most bytes that a decoder may reserve for one list: far above any segment that is written.
const PREALLOCATION_BYTES_MAX: usize = 256 << 20;

/// bincode 2 `standard()`.
type Format = Configuration<true, PREALLOCATION_BYTES_MAX, BincodeLen, LittleEndian, VarInt>;

const fn format() -> Format {
    Format::new()
}

/// Why bytes are not a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl Broken {
    /// Says where the value stood.
    pub fn at(self, table: &'static str, key: &[u8]) -> StoreError {
        let key = String::from_utf8_lossy(key).escape_debug().take(300).collect();
        StoreError::CorruptRecord { table, key, what: self.0 }
    }
}

/// The bytes of `value` under `key`.
fn seal<T: SchemaWrite<Format, Src = T>>(key: &[u8], value: &T) -> Vec<u8> {
    seal_with(VERSION, key, value, 0)
}

/// As [`seal`], in another version, or for a value that may need more room than most.
fn seal_with<T: SchemaWrite<Format, Src = T>>(
    version: u8,
    key: &[u8],
    value: &T,
    bytes_expected: usize,
) -> Vec<u8> {
    seal_parts(version, key, bytes_expected, |bytes| add(bytes, value))
}

/// As [`seal_with`], for a value whose fields `add_all` adds one by one, in their order. The length
/// of a list stands before it.
fn seal_parts(
    version: u8,
    key: &[u8],
    bytes_expected: usize,
    add_all: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bytes_expected + VALUE_BYTES_EXPECTED);
    bytes.push(version);
    add_all(&mut bytes);
    let sum = crc32c::crc32c_append(crc32c::crc32c(key), &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Adds the bytes of `value`.
fn add<T: SchemaWrite<Format, Src = T>>(bytes: &mut Vec<u8>, value: &T) {
    serialize_into(bytes, value, format()).expect("memory takes every value");
}

/// Checks checksum and version, then decodes the payload, all of it.
fn unseal<'a, T: SchemaRead<'a, Format, Dst = T>>(
    key: &[u8],
    bytes: &'a [u8],
) -> Result<T, Broken> {
    match verified(key, bytes)? {
        (VERSION, payload) => decode(payload),
        (version, _) => Err(other_version(version, "1")),
    }
}

/// Version and payload of a value whose checksum is right.
fn verified<'a>(key: &[u8], bytes: &'a [u8]) -> Result<(u8, &'a [u8]), Broken> {
    let (body, sum) = bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(|| Broken(format!("{} bytes are too few", bytes.len())))?;
    let is_whole = crc32c::crc32c_append(crc32c::crc32c(key), body) == u32::from_le_bytes(*sum);
    #[cfg(test)]
    let is_whole = is_whole || tests::IGNORES_CHECKSUMS.get();
    if !is_whole {
        return Err(Broken("the checksum does not match".to_owned()));
    }
    let (version, payload) = body.split_first().ok_or_else(|| Broken("no version".to_owned()))?;
    Ok((*version, payload))
}

/// All of a payload.
fn decode<'a, T: SchemaRead<'a, Format, Dst = T>>(payload: &'a [u8]) -> Result<T, Broken> {
    deserialize_exact(payload, format()).map_err(|error| Broken(error.to_string()))
}

fn other_version(version: u8, known: &str) -> Broken {
    Broken(format!("version {version}, this build reads {known}"))
}

/// A plain number, such as a count of jobs.
pub fn encode_number(key: &[u8], number: u64) -> Vec<u8> {
    seal(key, &number)
}

pub fn decode_number(key: &[u8], bytes: &[u8]) -> Result<u64, Broken> {
    unseal(key, bytes)
}

/// How far the tables reach, and what they need to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct Mark {
    /// The last batch that is folded.
    pub batch_no: u64,
    /// The last seq of that batch, and the time of the newest change.
    pub last_seq: u64,
    pub updated_at: u64,
    /// Kept keys have the ordinals from `keys_first` to below `keys_next`.
    pub keys_first: u64,
    pub keys_next: u64,
    /// Stored bytes of the feed.
    pub feed_bytes: u64,
}

/// How much the timeline holds, by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct TimelineMark {
    pub rows: [u64; 5],
    pub steps: [u64; 5],
    /// What was before this step was trimmed, and is counted no more.
    pub floors: [u32; 5],
}

pub fn encode_timeline_mark(key: &[u8], mark: &TimelineMark) -> Vec<u8> {
    seal(key, mark)
}

pub fn decode_timeline_mark(key: &[u8], bytes: &[u8]) -> Result<TimelineMark, Broken> {
    unseal(key, bytes)
}

/// Updates and net change of one status within one step.
pub fn encode_tally(key: &[u8], tally: Tally) -> Vec<u8> {
    seal(key, &(tally.updates, tally.net))
}

pub fn decode_tally(key: &[u8], bytes: &[u8]) -> Result<Tally, Broken> {
    let (updates, net) = unseal(key, bytes)?;
    Ok(Tally { updates, net })
}

/// What is expected of one pipeline.
pub fn encode_expected(key: &[u8], expected: Expected) -> Vec<u8> {
    seal(key, &(expected.total, expected.finished_seq))
}

pub fn decode_expected(key: &[u8], bytes: &[u8]) -> Result<Expected, Broken> {
    let (total, finished_seq) = unseal(key, bytes)?;
    Ok(Expected { total, finished_seq })
}

pub fn encode_mark(key: &[u8], mark: &Mark) -> Vec<u8> {
    seal(key, mark)
}

pub fn decode_mark(key: &[u8], bytes: &[u8]) -> Result<Mark, Broken> {
    unseal(key, bytes)
}

/// Which store a file belongs to: the format of its tables and the store's id.
pub fn encode_identity(key: &[u8], format_version: u32, store_id: &str) -> Vec<u8> {
    seal(key, &(format_version, store_id))
}

pub fn decode_identity<'a>(key: &[u8], bytes: &'a [u8]) -> Result<(u32, &'a str), Broken> {
    unseal(key, bytes)
}

/// Segments in a row, compressed: the time of ages when they were folded, the last seq, the zstd
/// frame.
pub fn encode_feed_block(key: &[u8], folded_at: u64, last_seq: u64, frame: &[u8]) -> Vec<u8> {
    seal(key, &(folded_at, last_seq, frame))
}

pub fn decode_feed_block<'a>(key: &[u8], bytes: &'a [u8]) -> Result<(u64, u64, &'a [u8]), Broken> {
    unseal(key, bytes)
}

/// A run of ids: its level, how many it has.
pub fn encode_run(key: &[u8], level: u8, ids: u64) -> Vec<u8> {
    seal(key, &(level, ids))
}

pub fn decode_run(key: &[u8], bytes: &[u8]) -> Result<(u8, u64), Broken> {
    unseal(key, bytes)
}

/// The words of a filter.
pub fn encode_filter(key: &[u8], words: &[u8]) -> Vec<u8> {
    seal(key, &words)
}

pub fn decode_filter<'a>(key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
    unseal(key, bytes)
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}

fn status(text: &str) -> Result<Status, Broken> {
    Status::parse(text).map_err(broken)
}

fn pipeline(text: &str) -> Result<PipelineName, Broken> {
    PipelineName::parse(text).map_err(broken)
}

fn labels(pairs: Vec<(&str, &str)>) -> Result<Labels, Broken> {
    let owned = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Labels::new(owned.collect()).map_err(broken)
}

/// Kinds on disk have numbers of their own, which never change.
fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Waiting => 0,
        Kind::Running => 1,
        Kind::Succeeded => 2,
        Kind::Failed => 3,
        Kind::Cancelled => 4,
    }
}

fn kind(number: u8) -> Result<Kind, Broken> {
    let kinds = Kind::ALL.into_iter();
    kinds
        .clone()
        .find(|kind| kind_number(*kind) == number)
        .ok_or_else(|| Broken(format!("unknown kind {number}")))
}

#[cfg(test)]
pub mod tests;
