//! What the blocks of a file must hold: the sum of what was last written there or, before anything
//! was, of what was read first.
//!
//! redb verifies the pages of a file while it opens it, and none later. All that is read in that
//! check has its sum here from then on, so a block that the disk changes under a running store is
//! known before a row of it is believed, or written anew under another sum. It is read as
//! [`BLANK`]s, which redb's cache keeps like any page. An error of the read itself would close the
//! file for everybody.
//!
//! NB: the header of the file, 320 bytes, is no block. redb reads it when it opens the file, and it
//! has sums of its own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

/// redb's smallest page, which is also what it aligns the others to.
pub const BLOCK_BYTES: usize = 4096;
/// What a changed block reads as. No page of redb is of this type; and where redb does not look at
/// the type, as in joining two pages, it reads that there are 65,535 rows which end 4 GiB behind
/// the begin of the page, and panics. (All our keys and values are of variable length, so that
/// these ends are looked up.)
const BLANK: u8 = 0xff;
/// No sum: nothing is known of the block.
const UNKNOWN: u32 = 0;

/// The sums of a file's blocks: four bytes for each, 1 MiB for a file of 1 GiB.
#[derive(Debug)]
pub struct Blocks {
    sums: RwLock<Vec<AtomicU32>>,
    /// The reads that met a changed block, by their offset.
    changed: Mutex<BTreeSet<u64>>,
}

impl Blocks {
    /// Of a file of `length` bytes.
    pub fn new(length: u64) -> Self {
        let blocks = Self { sums: RwLock::default(), changed: Mutex::default() };
        blocks.set_length(length);
        blocks
    }

    /// The file is `length` bytes long now. What it grows by is new.
    pub fn set_length(&self, length: u64) {
        let mut sums = self.sums.write().unwrap_or_else(PoisonError::into_inner);
        let blocks = number(length);
        sums.truncate(blocks);
        let new = blocks - sums.len();
        sums.reserve_exact(new);
        sums.resize_with(blocks, AtomicU32::default);
    }

    /// What is about to be written. Of a block that is written in part nothing is known any more.
    pub fn note_written(&self, offset: u64, data: &[u8]) {
        let end = number((offset + data.len() as u64).next_multiple_of(BLOCK_BYTES as u64));
        let sums = self.sums.read().unwrap_or_else(PoisonError::into_inner);
        for sum in sums.iter().take(end).skip(number(offset)) {
            sum.store(UNKNOWN, Ordering::Relaxed);
        }
        for (sum, block) in whole(&sums, offset, data) {
            sum.store(sum_of(block), Ordering::Relaxed);
        }
    }

    /// Whether what was read from `offset` on is as it must be. Of blocks that were read in part
    /// nothing is said.
    pub fn are_whole(&self, offset: u64, read: &[u8]) -> bool {
        let sums = self.sums.read().unwrap_or_else(PoisonError::into_inner);
        whole(&sums, offset, read).all(|(sum, block)| {
            let found = sum_of(block);
            let known = match sum.load(Ordering::Relaxed) {
                // Two may read it first.
                UNKNOWN => sum
                    .compare_exchange(UNKNOWN, found, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|other| other, |_unknown| found),
                known => known,
            };
            known == found
        })
    }

    /// Blanks what was read from `offset` on; true for the first time there.
    pub fn blank(&self, offset: u64, read: &mut [u8]) -> bool {
        read.fill(BLANK);
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(offset)
    }
}

/// The whole blocks of `data`, which stand at `offset`, with their sums.
fn whole<'a>(
    sums: &'a [AtomicU32],
    offset: u64,
    data: &'a [u8],
) -> impl Iterator<Item = (&'a AtomicU32, &'a [u8])> {
    let first = offset.next_multiple_of(BLOCK_BYTES as u64);
    let skipped = usize::try_from(first - offset).unwrap_or(usize::MAX);
    let blocks = data.get(skipped..).unwrap_or_default().chunks_exact(BLOCK_BYTES);
    sums.get(number(first)..).unwrap_or_default().iter().zip(blocks)
}

/// How many whole blocks end at or before `offset`, which is also the number of the one it is in.
fn number(offset: u64) -> usize {
    usize::try_from(offset / BLOCK_BYTES as u64).unwrap_or(usize::MAX)
}

/// Never [`UNKNOWN`].
fn sum_of(block: &[u8]) -> u32 {
    crc32c::crc32c(block).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = BLOCK_BYTES as u64;

    #[test]
    fn what_was_written_or_read_must_be_read_again() {
        let blocks = Blocks::new(20 * BLOCK);
        let mut written = [7_u8; 3 * BLOCK_BYTES];
        blocks.note_written(2 * BLOCK, &written);
        assert!(blocks.are_whole(2 * BLOCK, &written));
        written[2 * BLOCK_BYTES] ^= 1;
        assert!(!blocks.are_whole(2 * BLOCK, &written));
        // The third of them is the changed one; the others are read alone.
        assert!(blocks.are_whole(3 * BLOCK, &written[..BLOCK_BYTES]));
        // What was there before is believed once.
        assert!(blocks.are_whole(9 * BLOCK, &[9; BLOCK_BYTES]));
        assert!(!blocks.are_whole(9 * BLOCK, &[8; BLOCK_BYTES]));
        blocks.note_written(9 * BLOCK, &[8; BLOCK_BYTES]);
        assert!(blocks.are_whole(9 * BLOCK, &[8; BLOCK_BYTES]));
    }

    #[test]
    fn of_parts_of_blocks_nothing_is_said() {
        let blocks = Blocks::new(3 * BLOCK);
        blocks.note_written(0, &[7; 3 * BLOCK_BYTES]);
        assert!(blocks.are_whole(1, &[8; BLOCK_BYTES]));
        assert!(!blocks.are_whole(1, &[8; 2 * BLOCK_BYTES]), "the second is whole");
        blocks.note_written(BLOCK - 1, &[7; 2]);
        assert!(blocks.are_whole(0, &[8; 2 * BLOCK_BYTES]), "both were written in part");
        assert!(!blocks.are_whole(2 * BLOCK, &[8; BLOCK_BYTES]));
    }

    #[test]
    fn what_a_file_grows_by_is_new() {
        let blocks = Blocks::new(3 * BLOCK);
        blocks.note_written(0, &[7; 3 * BLOCK_BYTES]);
        blocks.set_length(BLOCK + 1);
        blocks.set_length(3 * BLOCK);
        assert!(!blocks.are_whole(0, &[8; BLOCK_BYTES]));
        assert!(blocks.are_whole(BLOCK, &[0; 2 * BLOCK_BYTES]));
    }

    #[test]
    fn a_changed_block_is_told_once() {
        let blocks = Blocks::new(BLOCK);
        let mut read = [7; BLOCK_BYTES];
        assert!(blocks.blank(0, &mut read) && !blocks.blank(0, &mut read));
        assert_eq!(read, [BLANK; BLOCK_BYTES]);
    }
}
