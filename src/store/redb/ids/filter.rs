//! Says of most ids that a run does not have them, without reading the run.
//!
//! A Bloom filter in blocks of one cache line (Putze, Sanders, Singler: Cache-, Hash- and
//! Space-Efficient Bloom Filters, 2007): an id sets [`BITS_PER_ID`] bits of one block. It is stored
//! beside its run, so the hash is one whose values never change.

use crate::store::redb::codec::Broken;

/// Words of a block: 64 bytes, a cache line.
const BLOCK_WORDS: usize = 8;
/// Ids that a block is made for: 16 bits each, of which about one foreign id in 500 finds all set.
const BLOCK_IDS: u64 = 32;
const BITS_PER_ID: u32 = 6;

type Block = [u64; BLOCK_WORDS];

/// The hash of an id, worked out once for all runs.
#[derive(Clone, Copy, Debug)]
pub struct IdHash {
    block: u64,
    bits: u64,
}

impl IdHash {
    pub fn of(job_id: &str) -> Self {
        let hash = blake3::hash(job_id.as_bytes());
        let word = |place: usize| {
            let bytes = hash.as_bytes().get(place..).and_then(|it| it.first_chunk());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        Self { block: word(0), bits: word(8) }
    }

    /// The bits of a block, as word and mask.
    fn places(self) -> impl Iterator<Item = (usize, u64)> {
        (0..BITS_PER_ID).map(move |number| {
            let place = (self.bits >> (9 * number)) & 0x1ff;
            ((place >> 6) as usize, 1 << (place & 63))
        })
    }
}

/// The ids that a run may have.
#[derive(Debug)]
pub struct Filter {
    blocks: Box<[Block]>,
}

impl Filter {
    /// An empty filter for about `ids` ids.
    pub fn for_ids(ids: u64) -> Self {
        let blocks = usize::try_from(blocks_for(ids)).expect("it fits the memory");
        Self { blocks: vec![[0; BLOCK_WORDS]; blocks].into_boxed_slice() }
    }

    /// True if it is more than twice as long as `ids` ids need: so many were removed since.
    pub fn is_sparse(&self, ids: u64) -> bool {
        self.blocks.len() as u64 > 2 * blocks_for(ids)
    }

    pub fn add(&mut self, hash: IdHash) {
        let place = self.place(hash);
        let Some(block) = self.blocks.get_mut(place) else { return };
        for (word, mask) in hash.places() {
            if let Some(word) = block.get_mut(word) {
                *word |= mask;
            }
        }
    }

    /// False: the id was never added.
    pub fn may_have(&self, hash: IdHash) -> bool {
        let block = self.blocks.get(self.place(hash));
        block.is_some_and(|block| {
            hash.places().all(|(word, mask)| block.get(word).is_some_and(|it| it & mask != 0))
        })
    }

    /// The block of an id: its hash scaled to their number.
    fn place(&self, hash: IdHash) -> usize {
        let scaled = u128::from(hash.block) * self.blocks.len() as u128;
        (scaled >> 64) as usize
    }

    /// All words, little endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// # Errors
    /// [`Broken`] if the bytes are not whole blocks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Broken> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|it| u64::from_le_bytes(*it)).collect();
        let (blocks, odd) = words.as_chunks::<BLOCK_WORDS>();
        if blocks.is_empty() || !odd.is_empty() || !rest.is_empty() {
            return Err(Broken(format!("a filter of {} bytes", bytes.len())));
        }
        Ok(Self { blocks: blocks.into() })
    }
}

fn blocks_for(ids: u64) -> u64 {
    ids.div_ceil(BLOCK_IDS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_each_id_that_was_added_and_few_others() {
        let ids = 20_000;
        let mut filter = Filter::for_ids(ids);
        (0..ids).for_each(|id| filter.add(IdHash::of(&id.to_string())));
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..ids).all(|id| filter.may_have(IdHash::of(&id.to_string()))));
        let others = (ids..2 * ids).filter(|id| filter.may_have(IdHash::of(&id.to_string())));
        assert!(others.count() < 100, "one in 200 at most");
        assert!(Filter::from_bytes(&[0; 63]).is_err() && Filter::from_bytes(&[]).is_err());
    }

    /// Filters are stored: another hash would miss jobs that are there.
    #[test]
    fn its_bits_never_change() {
        let mut filter = Filter::for_ids(1);
        filter.add(IdHash::of("8c2a6f0e-1b7d-4c39-9e55-0a1b2c3d4e5f"));
        let set: Vec<usize> =
            (0..512).filter(|it| filter.blocks[0][it / 64] >> (it % 64) & 1 == 1).collect();
        assert_eq!(set, [148, 220, 248, 286, 335, 499]);
    }
}
