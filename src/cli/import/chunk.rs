//! The input in chunks: each becomes one request, with a key that a second run makes again.
//!
//! Lines pass through as they are; only blank ones are left out, since the server does not count
//! them either. A chunk ends after `lines_max` lines or once it has `bytes_max` bytes. Its key is
//! made of a hash of the content and of its first and last line, so that it is the same in every
//! run over the same content with the same bounds, and in no other.

use std::io::{self, BufRead, Read};

/// A longer line is not kept in memory and not sent.
pub const LINE_BYTES_MAX: usize = 16 << 20;
const KEY_HASH_CHARS: usize = 32;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// When a chunk is full.
#[derive(Clone, Copy, Debug)]
pub struct ChunkBounds {
    pub lines_max: usize,
    /// Reached by the last line, which belongs to the chunk.
    pub bytes_max: usize,
}

/// Some lines of the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Lines with their ends, ready to be sent.
    pub body: Vec<u8>,
    /// Where each line of the body begins, and its number in the input, from 1.
    lines: Vec<(usize, u64)>,
    /// Numbers of lines above [`LINE_BYTES_MAX`].
    pub too_long: Vec<u64>,
    /// What identifies the content: `file-<hash>` or `pipe-<hash>`.
    content: String,
}

impl Chunk {
    /// Updates in the body.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// The number in the input of the update at `index`.
    pub fn line_number(&self, index: usize) -> Option<u64> {
        self.lines.get(index).map(|(_, number)| *number)
    }

    /// The numbers of the first and last line of the body; zeros if it is empty.
    pub fn line_range(&self) -> (u64, u64) {
        let number = |line: Option<&(usize, u64)>| line.map_or(0, |(_, number)| *number);
        (number(self.lines.first()), number(self.lines.last()))
    }

    /// The idempotency key: `import:file-<hash>:<first line>-<last line>`.
    pub fn key(&self) -> String {
        let (first, last) = self.line_range();
        format!("import:{}:{first}-{last}", self.content)
    }

    /// Two chunks of about half the lines each; `None` if there is only one line.
    pub fn halves(mut self) -> Option<(Self, Self)> {
        if self.lines.len() < 2 {
            return None;
        }
        let mut lines = self.lines.split_off(self.lines.len() / 2);
        let cut = lines.first().map_or(0, |(start, _)| *start);
        let body = self.body.split_off(cut);
        for (start, _) in &mut lines {
            *start -= cut;
        }
        let second = Self { body, lines, too_long: Vec::new(), content: self.content.clone() };
        Some((self, second))
    }
}

/// Cuts an input into chunks.
pub struct Chunker<R> {
    reader: R,
    bounds: ChunkBounds,
    identity: Identity,
    /// The last line that was read, from 1.
    line_number: u64,
    line: Vec<u8>,
}

/// What the keys stand on.
enum Identity {
    /// The hash of the whole content.
    Content(blake3::Hash),
    /// For a pipe: everything up to the end of the chunk.
    Running(Box<blake3::Hasher>),
}

/// What the next line is.
enum Line {
    End,
    Kept,
    Blank,
    TooLong,
}

impl<R: BufRead> Chunker<R> {
    /// `content` is the hash of everything that `reader` will give, if it is known.
    pub fn new(reader: R, bounds: ChunkBounds, content: Option<blake3::Hash>) -> Self {
        let identity = match content {
            Some(hash) => Identity::Content(hash),
            None => Identity::Running(Box::default()),
        };
        Self { reader, bounds, identity, line_number: 0, line: Vec::new() }
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// The input cannot be read, or is not what its compression says.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        let mut chunk = Chunk::default();
        while chunk.lines.len() < self.bounds.lines_max && chunk.body.len() < self.bounds.bytes_max
        {
            match self.read_line()? {
                Line::End => break,
                Line::Blank => (),
                Line::TooLong => chunk.too_long.push(self.line_number),
                Line::Kept => {
                    chunk.lines.push((chunk.body.len(), self.line_number));
                    chunk.body.extend_from_slice(&self.line);
                    if !self.line.ends_with(b"\n") {
                        chunk.body.push(b'\n');
                    }
                }
            }
        }
        if chunk.lines.is_empty() && chunk.too_long.is_empty() {
            return Ok(None);
        }
        // The two differ in name, for at the end of a pipe their hashes are the same.
        let (kind, hash) = match &self.identity {
            Identity::Content(hash) => ("file", *hash),
            Identity::Running(hasher) => ("pipe", hasher.finalize()),
        };
        let hash: String = hash.to_hex().chars().take(KEY_HASH_CHARS).collect();
        chunk.content = format!("{kind}-{hash}");
        Ok(Some(chunk))
    }

    fn read_line(&mut self) -> io::Result<Line> {
        self.line.clear();
        let most = LINE_BYTES_MAX as u64 + 1;
        self.reader.by_ref().take(most).read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            return Ok(Line::End);
        }
        self.line_number += 1;
        self.hash_line();
        if self.line.len() > LINE_BYTES_MAX && !self.line.ends_with(b"\n") {
            self.skip_line()?;
            return Ok(Line::TooLong);
        }
        if self.line_number == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(if self.line.trim_ascii().is_empty() { Line::Blank } else { Line::Kept })
    }

    /// Reads on to the end of a line without keeping it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            self.line.clear();
            self.reader.by_ref().take(1 << 20).read_until(b'\n', &mut self.line)?;
            self.hash_line();
            if self.line.is_empty() || self.line.ends_with(b"\n") {
                return Ok(());
            }
        }
    }

    fn hash_line(&mut self) {
        if let Identity::Running(hasher) = &mut self.identity {
            hasher.update(&self.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ChunkBounds = ChunkBounds { lines_max: 2, bytes_max: 1 << 20 };

    fn chunks(text: &[u8], bounds: ChunkBounds, content: Option<blake3::Hash>) -> Vec<Chunk> {
        let mut chunker = Chunker::new(text, bounds, content);
        std::iter::from_fn(|| chunker.next_chunk().unwrap()).collect()
    }

    fn keys(text: &[u8], content: Option<blake3::Hash>) -> Vec<String> {
        chunks(text, BOUNDS, content).iter().map(Chunk::key).collect()
    }

    #[test]
    fn blank_lines_are_left_out_and_the_others_keep_their_numbers() {
        let chunks = chunks(b"\xef\xbb\xbfa\n\n  \r\nb\r\nc\n\nd", BOUNDS, None);
        let bodies: Vec<&[u8]> = chunks.iter().map(|chunk| &*chunk.body).collect();
        assert_eq!(bodies, [b"a\nb\r\n".as_slice(), b"c\nd\n"]);
        assert_eq!(chunks[0].line_number(1), Some(4));
        assert_eq!(chunks[1].line_range(), (5, 7));
        assert_eq!(chunks[1].line_number(2), None);
    }

    #[test]
    fn a_chunk_ends_once_it_has_enough_bytes() {
        let bounds = ChunkBounds { lines_max: 100, bytes_max: 4 };
        let sizes: Vec<usize> =
            chunks(b"aa\nbbbbbb\nc\nd\ne\n", bounds, None).iter().map(Chunk::line_count).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }

    #[test]
    fn keys_of_a_file_are_the_same_in_every_run_and_differ_by_chunk() {
        let text = b"a\nb\nc\n";
        let hash = blake3::hash(text);
        let first = keys(text, Some(hash));
        assert_eq!(first, keys(text, Some(hash)));
        assert_eq!(first[0], format!("import:file-{}:1-2", &hash.to_hex()[..32]));
        assert_eq!(first[1], format!("import:file-{}:3-3", &hash.to_hex()[..32]));
    }

    #[test]
    fn keys_of_a_pipe_stand_on_everything_before_them() {
        let first = keys(b"a\nb\nc\nd\n", None);
        assert_eq!(first[0], keys(b"a\nb\nX\nd\n", None)[0]);
        assert_ne!(first[1], keys(b"X\nb\nc\nd\n", None)[1]);
        // Blank lines count as well, or line numbers would be ambiguous.
        assert_ne!(first[1], keys(b"a\nb\n\nc\nd\n", None)[1]);
        // A file of the same content is another import, down to its last chunk.
        let text = b"a\nb\nc\nd\n";
        assert!(keys(text, Some(blake3::hash(text))).iter().all(|key| !first.contains(key)));
    }

    #[test]
    fn halves_hold_all_lines_and_their_own_ranges() {
        let bounds = ChunkBounds { lines_max: 3, bytes_max: 100 };
        let chunk = chunks(b"a\n\nbb\nccc\n", bounds, None).remove(0);
        let key = chunk.key();
        let (first, second) = chunk.halves().unwrap();
        assert_eq!((&*first.body, first.line_range()), (b"a\n".as_slice(), (1, 1)));
        assert_eq!((&*second.body, second.line_range()), (b"bb\nccc\n".as_slice(), (3, 4)));
        assert!(key != first.key() && key != second.key() && first.key() != second.key());
        assert_eq!(first.halves(), None);
        let (third, fourth) = second.halves().unwrap();
        assert_eq!((&*third.body, &*fourth.body), (b"bb\n".as_slice(), b"ccc\n".as_slice()));
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept() {
        let mut text = b"a\n".to_vec();
        text.resize(text.len() + LINE_BYTES_MAX + 5_000_000, b'x');
        text.extend_from_slice(b"\nb\n");
        let bounds = ChunkBounds { lines_max: 10, bytes_max: 1 << 20 };
        let chunks = chunks(&text, bounds, None);
        assert_eq!(chunks.len(), 1);
        assert_eq!(
            (&*chunks[0].body, &*chunks[0].too_long),
            (b"a\nb\n".as_slice(), [2].as_slice())
        );
        assert_eq!(chunks[0].line_range(), (1, 3));
    }
}
