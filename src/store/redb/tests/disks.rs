//! What a disk may hold after a cut of the power, of everything that was done to it.

use super::machine::{Bytes, Change, Random};

/// How a disk takes a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// What was written before is there to stay.
    Kept,
    /// It says so, and nothing was done: the control that a test must find out.
    Lied,
}

/// Walks through what was done to a disk, and tells at each place what it may hold.
pub struct Disks<'a> {
    log: &'a [(usize, Change)],
    place: usize,
    syncs: Syncs,
    durable: [Bytes; 2],
    /// Changes that no sync has followed yet.
    pending: [Vec<&'a Change>; 2],
}

impl<'a> Disks<'a> {
    /// `before` is what the disk held before the first change of `log`.
    pub fn new(before: [Bytes; 2], log: &'a [(usize, Change)], syncs: Syncs) -> Self {
        Self { log, place: 0, syncs, durable: before, pending: [Vec::new(), Vec::new()] }
    }

    /// Goes on to the moment after `place` changes.
    pub fn go_to(&mut self, place: usize) {
        for (file, change) in &self.log[self.place..place] {
            let (durable, pending) = (&mut self.durable[*file], &mut self.pending[*file]);
            match change {
                Change::Sync if self.syncs == Syncs::Lied => {}
                Change::Sync => pending.drain(..).for_each(|change| durable.apply(change)),
                change => pending.push(change),
            }
        }
        self.place = place;
    }

    /// What is there if the power is cut now: all that was synced; of the rest everything, nothing,
    /// or any part, in any order of sectors.
    pub fn after_cut(&self, random: &mut Random) -> [Bytes; 2] {
        let mut files = self.durable.clone();
        let manner = random.below(4);
        for (bytes, pending) in files.iter_mut().zip(&self.pending) {
            for change in pending {
                match manner {
                    0 => {}
                    1 => bytes.apply(change),
                    _ => match random.below(3) {
                        0 => {}
                        1 => bytes.apply(change),
                        _ => bytes.apply_in_part(change, random),
                    },
                }
            }
        }
        files
    }
}
