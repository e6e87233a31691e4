//! The reading half of a backup's format: it hands on nothing that was not checked.

use std::io::{self, Read};

use redb::TableHandle as _;

use super::{
    BACKUP_FORMAT, BLOCK_BYTES, HEAD_BYTES, HEADER, KEY_BYTES_MAX, MAGIC, PACKED_BYTES_MAX, ROWS,
    TABLE, TRAILER, VALUE_BYTES_MAX, checksum,
};
use crate::model::TimestampMs;
use crate::store::redb::codec::{
    BackupHeader, BackupTrailer, Broken, decode_backup_header, decode_backup_trailer,
};
use crate::store::redb::directory::FORMATS_READ;
use crate::store::redb::ids::TABLE_PREFIX;
use crate::store::redb::schema::{OF_TABLES, SEGMENTS};
use crate::store::{BackupFault, BackupSummary};

/// Reads a backup to its end and checks that it is whole: every block's checksum, the order of the
/// keys, the number of rows, and the hash over all. Makes nothing; needs a few MiB, and room for
/// the longest row. Buffer the reader.
///
/// # Errors
/// [`BackupFault`]: it is no backup, it is cut, a byte is another, or it is of another build.
pub fn verify_backup(reader: impl Read) -> Result<BackupSummary, BackupFault> {
    BackupReader::open(reader)?.drain()
}

/// Whether checksums are compared. What a test finds without them is what they protect from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sums {
    Compared,
    #[cfg(any(test, fuzzing))]
    Ignored,
}

/// Reads a backup entry by entry. Only the end says that all of it was whole.
#[derive(Debug)]
pub struct BackupReader<R> {
    input: R,
    sums: Sums,
    hash: blake3::Hasher,
    /// The number of the next block.
    number: u64,
    bytes: u64,
    content_bytes: u64,
    /// The packed bytes of the last block.
    packed: Vec<u8>,
    /// Rows, and how much of them was read.
    content: Vec<u8>,
    content_read: usize,
    tables: Vec<(String, u64)>,
    key: Vec<u8>,
    value: Vec<u8>,
    header: BackupSummary,
}

/// What stands in a backup behind its header.
#[derive(Debug)]
pub enum Entry<'a> {
    /// The rows that follow are of this table.
    Table(String),
    Row(&'a [u8], &'a [u8]),
    /// The backup is whole.
    End(BackupSummary),
}

/// A block whose checksum is right; its packed bytes are in the reader.
struct Block {
    kind: u8,
    content_bytes: usize,
    /// Over every byte before it.
    hash: [u8; 32],
}

impl<R: Read> BackupReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`BackupFault`]
    pub fn open(input: R) -> Result<Self, BackupFault> {
        Self::open_with(input, Sums::Compared)
    }

    /// A reader that takes any checksum for right.
    #[cfg(any(test, fuzzing))]
    pub fn trusting(input: R) -> Result<Self, BackupFault> {
        Self::open_with(input, Sums::Ignored)
    }

    fn open_with(input: R, sums: Sums) -> Result<Self, BackupFault> {
        let mut reader = Self {
            input,
            sums,
            hash: blake3::Hasher::new(),
            number: 0,
            bytes: 0,
            content_bytes: 0,
            packed: Vec::new(),
            content: Vec::new(),
            content_read: 0,
            tables: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
            header: BackupSummary {
                store_id: String::new(),
                made_at: TimestampMs(0),
                as_of_seq: 0,
                jobs: 0,
                rows: 0,
                content_bytes: 0,
                bytes: 0,
            },
        };
        if reader.take::<{ MAGIC.len() }>()? != *MAGIC {
            return Err(damaged("it does not begin as a backup does"));
        }
        if reader.block()?.kind != HEADER {
            return Err(damaged("it has no header"));
        }
        let header = decode_backup_header(&reader.packed).map_err(broken)?;
        let (backup, store) = (header.backup_format, header.store_format);
        if backup != BACKUP_FORMAT || !FORMATS_READ.contains(&store) {
            let found = format!("{backup} of a store of {store}");
            let (oldest, newest) = (FORMATS_READ.start(), FORMATS_READ.end());
            let known = format!("{BACKUP_FORMAT} of a store of {oldest} to {newest}");
            return Err(BackupFault::OtherFormat { found, known });
        }
        let BackupHeader { store_id, made_at, as_of_seq, jobs, .. } = header;
        let store_id = store_id.to_owned();
        reader.header = BackupSummary {
            store_id,
            made_at: TimestampMs(made_at),
            as_of_seq,
            jobs,
            ..reader.header
        };
        Ok(reader)
    }

    /// The next entry; after [`Entry::End`] there is none.
    ///
    /// # Errors
    /// [`BackupFault`]: nothing that was read before may be used.
    pub fn next(&mut self) -> Result<Entry<'_>, BackupFault> {
        while self.content_read == self.content.len() {
            let block = self.block()?;
            match block.kind {
                ROWS if !self.tables.is_empty() => self.unpack(&block)?,
                TABLE => return self.begin_table().map(Entry::Table),
                TRAILER => return self.end(&block).map(Entry::End),
                _ => return Err(damaged("a block is where it should not be")),
            }
        }
        let mut lengths = Vec::with_capacity(8);
        self.collect(8, &mut lengths)?;
        let length = |at: usize| {
            let bytes = lengths.get(at..).and_then(|it| it.first_chunk()).copied();
            u32::from_le_bytes(bytes.unwrap_or_default()) as usize
        };
        let (key_bytes, value_bytes) = (length(0), length(4));
        if key_bytes > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
            return Err(damaged("a row is too long"));
        }
        let (mut key, mut value) = (Vec::new(), std::mem::take(&mut self.value));
        value.clear();
        self.collect(key_bytes, &mut key)?;
        self.collect(value_bytes, &mut value)?;
        self.count_row(key)?;
        self.value = value;
        Ok(Entry::Row(&self.key, &self.value))
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// [`BackupFault`]
    pub fn drain(mut self) -> Result<BackupSummary, BackupFault> {
        loop {
            if let Entry::End(summary) = self.next()? {
                return Ok(summary);
            }
        }
    }

    fn count_row(&mut self, key: Vec<u8>) -> Result<(), BackupFault> {
        let Some((name, rows)) = self.tables.last_mut() else {
            return Err(damaged("a row is of no table"));
        };
        if *rows > 0 && key <= self.key {
            return Err(damaged(&format!("the keys of {name} do not rise")));
        }
        *rows += 1;
        self.key = key;
        Ok(())
    }

    fn begin_table(&mut self) -> Result<String, BackupFault> {
        let name = String::from_utf8(self.packed.clone()).unwrap_or_default();
        if !is_table(&name) {
            return Err(damaged("a table is none of a store"));
        }
        if self.tables.iter().any(|(before, _)| *before == name) {
            return Err(damaged(&format!("the table {name} comes twice")));
        }
        self.tables.push((name.clone(), 0));
        Ok(name)
    }

    fn end(&mut self, block: &Block) -> Result<BackupSummary, BackupFault> {
        let BackupTrailer { tables, content_bytes, hash } =
            decode_backup_trailer(&self.packed).map_err(broken)?;
        let found = self.tables.iter().map(|(name, rows)| (name.as_str(), *rows));
        if !found.eq(tables.iter().copied()) || content_bytes != self.content_bytes {
            return Err(damaged("it holds other rows than its end says"));
        }
        if self.sums == Sums::Compared && hash != block.hash {
            return Err(damaged("the checksum over all of it does not match"));
        }
        let is_there = |name: &str| tables.iter().any(|(found, _)| *found == name);
        if !OF_TABLES.iter().chain([&SEGMENTS]).all(|table| is_there(table.name())) {
            return Err(damaged("a table is missing"));
        }
        let rows = tables.iter().map(|(_, rows)| rows).sum();
        let mut after = [0];
        match self.input.read(&mut after) {
            Ok(0) => {}
            Ok(_) => return Err(damaged("something follows its end")),
            Err(error) => return Err(error.into()),
        }
        let (content_bytes, bytes) = (self.content_bytes, self.bytes);
        Ok(BackupSummary { rows, content_bytes, bytes, ..self.header.clone() })
    }

    /// Appends the next `length` bytes of rows, over as many blocks as they take.
    fn collect(&mut self, length: usize, into: &mut Vec<u8>) -> Result<(), BackupFault> {
        let mut missing = length;
        while missing > 0 {
            let left = self.content.get(self.content_read..).unwrap_or_default();
            if left.is_empty() {
                let block = self.block()?;
                if block.kind != ROWS {
                    return Err(damaged("a table ends in the middle of a row"));
                }
                self.unpack(&block)?;
                continue;
            }
            let part = left.get(..missing).unwrap_or(left);
            into.extend_from_slice(part);
            missing -= part.len();
            self.content_read += part.len();
        }
        Ok(())
    }

    fn unpack(&mut self, block: &Block) -> Result<(), BackupFault> {
        let unpacked = zstd::bulk::decompress(&self.packed, block.content_bytes);
        self.content = unpacked.map_err(|error| damaged(&error.to_string()))?;
        self.content_read = 0;
        self.content_bytes += self.content.len() as u64;
        if self.content.len() != block.content_bytes || self.content.is_empty() {
            return Err(damaged("a block has another length than it says"));
        }
        Ok(())
    }

    fn block(&mut self) -> Result<Block, BackupFault> {
        let hash = self.hash.finalize().into();
        let head: [u8; HEAD_BYTES] = self.take()?;
        let [kind, a, b, c, d, e, f, g, h, sum @ ..] = head;
        let content_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        let packed_bytes = u32::from_le_bytes([e, f, g, h]) as usize;
        if content_bytes > BLOCK_BYTES || packed_bytes > PACKED_BYTES_MAX {
            return Err(damaged("a block is too long"));
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.resize(packed_bytes, 0);
        self.input.read_exact(&mut packed).map_err(cut)?;
        self.packed = packed;
        self.hash.update(&self.packed);
        self.bytes += packed_bytes as u64;
        let found = checksum(self.number, head.get(..HEAD_BYTES - 4).unwrap_or(&[]), &self.packed);
        if self.sums == Sums::Compared && found != u32::from_le_bytes(sum) {
            return Err(damaged(&format!("the checksum of block {} does not match", self.number)));
        }
        self.number += 1;
        Ok(Block { kind, content_bytes, hash })
    }

    /// The next bytes as they stand.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BackupFault> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(cut)?;
        self.hash.update(&bytes);
        self.bytes += N as u64;
        Ok(bytes)
    }
}

/// True for the tables that a backup may hold.
fn is_table(name: &str) -> bool {
    let is_number = |text: &str| text.len() == 10 && text.bytes().all(|it| it.is_ascii_digit());
    name.strip_prefix(TABLE_PREFIX).is_some_and(is_number)
        || OF_TABLES.iter().chain([&SEGMENTS]).any(|table| table.name() == name)
}

fn damaged(what: &str) -> BackupFault {
    BackupFault::Damaged(what.to_owned())
}

fn broken(error: Broken) -> BackupFault {
    BackupFault::Damaged(error.0)
}

fn cut(error: io::Error) -> BackupFault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it is cut: it has no end"),
        _ => error.into(),
    }
}
