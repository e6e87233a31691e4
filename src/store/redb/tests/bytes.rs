//! The bytes of a file in memory, and what may be done to them: whole, or as far as a disk comes
//! that loses its power.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::machine::Random;

/// What is done to a file.
#[derive(Clone, Debug)]
pub enum Change {
    Write(usize, Arc<[u8]>),
    SetLength(usize),
    Sync,
}

const PAGE_BYTES: usize = 4_096;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

type Page = [u8; PAGE_BYTES];

/// The bytes of a file, in pages that copies share.
#[derive(Clone, Debug, Default)]
pub struct Bytes {
    pages: HashMap<usize, Arc<Page>>,
    pub length: usize,
}

impl Bytes {
    pub fn read(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (place, byte_range) in pieces(offset, out.len()) {
            let out = &mut out[byte_range];
            let start = place % PAGE_BYTES;
            match self.pages.get(&(place / PAGE_BYTES)) {
                Some(page) => out.copy_from_slice(&page[start..start + out.len()]),
                None => out.fill(0),
            }
        }
        Ok(())
    }

    /// A write behind the end makes the file longer, as it does on a disk.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        for (place, byte_range) in pieces(offset, data.len()) {
            let data = &data[byte_range];
            let page = self.pages.entry(place / PAGE_BYTES);
            let page = Arc::make_mut(page.or_insert_with(|| Arc::new([0; PAGE_BYTES])));
            let start = place % PAGE_BYTES;
            page[start..start + data.len()].copy_from_slice(data);
        }
        self.length = self.length.max(offset + data.len());
    }

    fn set_length(&mut self, length: usize) {
        self.pages.retain(|number, _| number * PAGE_BYTES < length);
        if let Some(page) = self.pages.get_mut(&(length / PAGE_BYTES)) {
            Arc::make_mut(page)[length % PAGE_BYTES..].fill(0);
        }
        self.length = length;
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, data) => self.write(*offset, data),
            Change::SetLength(length) => self.set_length(*length),
            Change::Sync => {}
        }
    }

    /// As [`apply`](Self::apply), as far as a disk that loses its power in the middle comes.
    pub fn apply_in_part(&mut self, change: &Change, random: &mut Random) {
        let Change::Write(offset, data) = change else { return self.apply(change) };
        for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
            if random.below(2) == 0 {
                self.write(offset + number * SECTOR_BYTES, sector);
            }
        }
    }
}

/// Where the parts of a range of a file begin that lie in one page each; and their places in the
/// range.
fn pieces(offset: usize, length: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = offset + done;
        let size = (PAGE_BYTES - place % PAGE_BYTES).min(length - done);
        let range = done..done + size;
        done += size;
        (size > 0).then_some((place, range))
    })
}
