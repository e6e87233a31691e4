//! The first and the last block of a backup.

use wincode::{SchemaRead, SchemaWrite};

use super::{Broken, seal, unseal};

const HEADER_KEY: &[u8] = b"backup header";
const TRAILER_KEY: &[u8] = b"backup trailer";

/// What a backup is of. The two formats come first in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct BackupHeader<'a> {
    /// Of the backup's own bytes.
    pub backup_format: u32,
    /// Of the tables in it.
    pub store_format: u32,
    pub store_id: &'a str,
    pub made_at: u64,
    pub as_of_seq: u64,
    pub jobs: u64,
}

/// What must have come before the end of a backup.
#[derive(Clone, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct BackupTrailer<'a> {
    /// The tables in their order, with the number of their rows.
    #[cfg_attr(test, serde(borrow))]
    pub tables: Vec<(&'a str, u64)>,
    pub content_bytes: u64,
    /// BLAKE3 of every byte before the trailer's block.
    pub hash: [u8; 32],
}

pub fn encode_backup_header(header: &BackupHeader<'_>) -> Vec<u8> {
    seal(HEADER_KEY, header)
}

pub fn decode_backup_header(bytes: &[u8]) -> Result<BackupHeader<'_>, Broken> {
    unseal(HEADER_KEY, bytes)
}

pub fn encode_backup_trailer(trailer: &BackupTrailer<'_>) -> Vec<u8> {
    seal(TRAILER_KEY, trailer)
}

pub fn decode_backup_trailer(bytes: &[u8]) -> Result<BackupTrailer<'_>, Broken> {
    unseal(TRAILER_KEY, bytes)
}
