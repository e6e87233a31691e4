//! The writing half of a backup's format.

use std::io::{self, Write};

use super::{
    BLOCK_BYTES, HEADER, KEY_BYTES_MAX, MAGIC, ROWS, TABLE, TRAILER, VALUE_BYTES_MAX, checksum,
    head,
};
use crate::store::redb::codec::{
    BackupHeader, BackupTrailer, encode_backup_header, encode_backup_trailer,
};

/// Fast, as the disk is to be the bound; most of a store shrinks to a third even so.
const ZSTD_LEVEL: i32 = 1;

/// Writes a backup table by table. It is whole when [`finish`](Self::finish) returned.
pub struct BackupWriter<W> {
    out: W,
    hash: blake3::Hasher,
    packer: zstd::bulk::Compressor<'static>,
    /// The number of the next block.
    number: u64,
    bytes: u64,
    content_bytes: u64,
    /// Rows that are not written yet.
    pending: Vec<u8>,
    tables: Vec<(String, u64)>,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub rows: u64,
    pub content_bytes: u64,
    pub bytes: u64,
}

impl<W: Write> BackupWriter<W> {
    pub fn new(out: W, header: &BackupHeader<'_>) -> io::Result<Self> {
        let mut writer = Self {
            out,
            hash: blake3::Hasher::new(),
            packer: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            number: 0,
            bytes: 0,
            content_bytes: 0,
            pending: Vec::with_capacity(BLOCK_BYTES),
            tables: Vec::new(),
        };
        writer.put(MAGIC)?;
        writer.block(HEADER, None, &encode_backup_header(header))?;
        Ok(writer)
    }

    /// Ends the table before, and begins another.
    pub fn table(&mut self, name: &str) -> io::Result<()> {
        self.flush_rows()?;
        self.tables.push((name.to_owned(), 0));
        self.block(TABLE, None, name.as_bytes())
    }

    /// A row of the table that was begun last; keys rise.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        // No reader would take it.
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            let lengths = (key.len(), value.len());
            return Err(io::Error::other(format!("a row is too long: {lengths:?} bytes")));
        }
        let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
        let (key_bytes, value_bytes) = (length(key.len())?, length(value.len())?);
        for part in [&key_bytes.to_le_bytes()[..], &value_bytes.to_le_bytes(), key, value] {
            self.content(part)?;
        }
        if let Some((_, rows)) = self.tables.last_mut() {
            *rows += 1;
        }
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<Written> {
        self.flush_rows()?;
        let tables = std::mem::take(&mut self.tables);
        let trailer = BackupTrailer {
            tables: tables.iter().map(|(name, rows)| (&**name, *rows)).collect(),
            content_bytes: self.content_bytes,
            hash: self.hash.finalize().into(),
        };
        self.block(TRAILER, None, &encode_backup_trailer(&trailer))?;
        self.out.flush()?;
        let rows = tables.iter().map(|(_, rows)| rows).sum();
        Ok(Written { rows, content_bytes: self.content_bytes, bytes: self.bytes })
    }

    fn content(&mut self, part: &[u8]) -> io::Result<()> {
        let mut part = part;
        while self.pending.len() + part.len() >= BLOCK_BYTES {
            let (fits, rest) = part.split_at(BLOCK_BYTES - self.pending.len());
            self.pending.extend_from_slice(fits);
            self.flush_rows()?;
            part = rest;
        }
        self.pending.extend_from_slice(part);
        Ok(())
    }

    fn flush_rows(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut content = std::mem::take(&mut self.pending);
        let packed = self.packer.compress(&content)?;
        self.content_bytes += content.len() as u64;
        self.block(ROWS, Some(content.len()), &packed)?;
        content.clear();
        self.pending = content;
        Ok(())
    }

    /// A block; without a length of its own, the content is as long as it is packed.
    fn block(&mut self, kind: u8, content_bytes: Option<usize>, packed: &[u8]) -> io::Result<()> {
        let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
        let content_bytes = length(content_bytes.unwrap_or(packed.len()))?;
        let head = head(kind, content_bytes, length(packed.len())?);
        let sum = checksum(self.number, &head, packed);
        self.number += 1;
        self.put(&head)?;
        self.put(&sum.to_le_bytes())?;
        self.put(packed)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
