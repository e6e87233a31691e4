//! A backup: one moment of a store as one file that proves that it is whole.
//!
//! ```text
//! backup := magic (16 bytes) block*
//! block  := kind (1) | content length (4) | packed length (4) | crc32c (4) | packed bytes
//!           H  header   what it is of: formats, store id, moment, last update, jobs    first, once
//!           T  table    a name                                                    before its rows
//!           R  rows     a zstd frame of at most 1 MiB of key length (4), value length (4), key,
//!                       value; a row may go on in the next block
//!           E  trailer  rows of each table, bytes of content, BLAKE3 of all that came before
//! ```
//!
//! Integers are little endian. The crc32c is over the number of the block (8 bytes), the rest of
//! its head and its packed bytes. Tables are those of tables.redb but for the identity, those of
//! the runs of ids, and `segments`: what the journal holds after the mark of the tables. Keys rise.
//! Nothing may follow the trailer.

mod copy;
mod read;
mod restore;
mod write;

pub use copy::copy;
#[cfg(any(test, fuzzing))]
pub use read::BackupReader;
#[cfg(test)]
use read::Entry;
pub use read::verify_backup;
pub use restore::{keeping_all, restore};

const MAGIC: &[u8; 16] = b"jobslate backup\n";
/// Of these bytes; the store has a format of its own.
const BACKUP_FORMAT: u32 = 1;
/// Most content of a block.
const BLOCK_BYTES: usize = 1 << 20;
/// Most packed bytes of a block: what cannot be compressed becomes a little longer.
const PACKED_BYTES_MAX: usize = BLOCK_BYTES + (64 << 10);
const HEAD_BYTES: usize = 13;
/// The longest key is a pipeline, a status and a number.
const KEY_BYTES_MAX: usize = 4 << 10;
/// Far above any segment that is written, and as long as the codec lets a filter be: a backup that
/// somebody made up may have a restore hold about as much.
const VALUE_BYTES_MAX: usize = 257 << 20;

const HEADER: u8 = b'H';
const TABLE: u8 = b'T';
const ROWS: u8 = b'R';
const TRAILER: u8 = b'E';

/// The first bytes of a block's head, and the checksum behind them.
fn head(kind: u8, content_bytes: u32, packed_bytes: u32) -> [u8; HEAD_BYTES - 4] {
    let [a, b, c, d] = content_bytes.to_le_bytes();
    let [e, f, g, h] = packed_bytes.to_le_bytes();
    [kind, a, b, c, d, e, f, g, h]
}

fn checksum(number: u64, head: &[u8], packed: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), head);
    crc32c::crc32c_append(sum, packed)
}

#[cfg(test)]
mod tests;
