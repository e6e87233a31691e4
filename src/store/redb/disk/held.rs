//! Changes of a file that are not made yet.

use std::collections::HashMap;
use std::io;

use redb::StorageBackend;

use super::blocks::BLOCK_BYTES;

#[derive(Debug)]
pub enum Operation {
    Write(u64, Box<[u8]>),
    SetLength(u64),
    Sync,
}

const PAGE_BYTES: u64 = BLOCK_BYTES as u64;

/// Held changes: as they came, and as whole pages to read from.
#[derive(Debug)]
pub struct Held {
    pub operations: Vec<Operation>,
    pages: HashMap<u64, Box<[u8]>>,
    pub length: u64,
    /// The shortest that the file has been: behind it, the file's old bytes do not count.
    floor: u64,
}

impl Held {
    pub fn new(length: u64) -> Self {
        Self { operations: Vec::new(), pages: HashMap::new(), length, floor: length }
    }

    pub fn read(&self, inner: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        if end > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_old(inner, offset, out)?;
        for number in offset / PAGE_BYTES..=end / PAGE_BYTES {
            let Some(page) = self.pages.get(&number) else { continue };
            overlay(page, number * PAGE_BYTES, out, offset);
        }
        Ok(())
    }

    /// What the file had before, as far as it counts; zeros behind that.
    fn read_old(&self, inner: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let old = self.floor.saturating_sub(offset).min(out.len() as u64);
        let (old, new) = out.split_at_mut(usize::try_from(old).unwrap_or(0));
        new.fill(0);
        if old.is_empty() { Ok(()) } else { inner.read(offset, old) }
    }

    pub fn write(
        &mut self,
        inner: &dyn StorageBackend,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        let end = offset + data.len() as u64;
        for number in offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let start = number * PAGE_BYTES;
            if !self.pages.contains_key(&number) {
                let mut page = vec![0; PAGE_BYTES as usize].into_boxed_slice();
                self.read_old(inner, start, &mut page)?;
                self.pages.insert(number, page);
            }
            if let Some(page) = self.pages.get_mut(&number) {
                overlay(data, offset, page, start);
            }
        }
        self.operations.push(Operation::Write(offset, data.into()));
        Ok(())
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.operations.push(Operation::Sync);
        Ok(())
    }

    pub fn set_length(&mut self, length: u64) -> io::Result<()> {
        // What is cut off must read as zeros if the file grows again.
        self.pages.retain(|number, _| number * PAGE_BYTES < length);
        if let Some(page) = self.pages.get_mut(&(length / PAGE_BYTES))
            && let Some(rest) = page.get_mut((length % PAGE_BYTES) as usize..)
        {
            rest.fill(0);
        }
        (self.length, self.floor) = (length, self.floor.min(length));
        self.operations.push(Operation::SetLength(length));
        Ok(())
    }
}

/// Copies what `from`, which stands at `from_start`, has of `to`, which stands at `to_start`.
fn overlay(from: &[u8], from_start: u64, to: &mut [u8], to_start: u64) {
    let start = from_start.max(to_start);
    let end = (from_start + from.len() as u64).min(to_start + to.len() as u64);
    let range = |begin: u64| Some((start - begin) as usize..end.checked_sub(begin)? as usize);
    let from = range(from_start).and_then(|range| from.get(range));
    let to = range(to_start).and_then(|range| to.get_mut(range));
    if let (Some(from), Some(to)) = (from, to) {
        to.copy_from_slice(from);
    }
}
