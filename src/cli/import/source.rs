//! The input of an import: a file or standard input, plain, gzip or zstd by its first bytes.
//!
//! Names say nothing here: `import x` reads `x` whether it is packed or not. A pipe brings the same
//! lines under other keys, since only a file can be hashed before its first chunk is sent; so
//! `zcat x | import -` after `import x` is another import.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Enough to tell the formats.
const MAGIC_BYTES: usize = 4;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const READ_BYTES: usize = 256 << 10;

/// What to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    File(PathBuf),
    Stdin,
}

/// An open input, decompressed.
pub struct Source {
    pub reader: Box<dyn BufRead + Send>,
    /// Bytes of the input that were read so far, as they are on disk.
    pub read_bytes: ReadBytes,
    /// Size of the input on disk; `None` for a pipe.
    pub size_bytes: Option<u64>,
}

/// A counter that another thread may read.
#[derive(Clone, Debug, Default)]
pub struct ReadBytes(Arc<AtomicU64>);

impl ReadBytes {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Input {
    /// `-` is standard input, everything else a path.
    pub fn parse(text: &str) -> Self {
        if text == "-" { Self::Stdin } else { Self::File(PathBuf::from(text)) }
    }

    /// Opens the input and reads its first bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(&self) -> io::Result<Source> {
        match self {
            Self::Stdin => Source::new(io::stdin(), None),
            Self::File(path) => {
                let file = File::open(path)?;
                let meta = file.metadata()?;
                if meta.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Source::new(file, meta.is_file().then_some(meta.len()))
            }
        }
    }

    /// BLAKE3 of the decompressed content; `None` if the input can be read only once.
    ///
    /// # Errors
    /// As for reading it.
    pub fn content_hash(&self) -> io::Result<Option<blake3::Hash>> {
        let source = match self {
            Self::Stdin => return Ok(None),
            // Opening a pipe (`<(...)`) twice would lose what the first reader took.
            Self::File(path) if !is_regular(path)? => return Ok(None),
            Self::File(_) => self.open()?,
        };
        Ok(Some(blake3::Hasher::new().update_reader(source.reader)?.finalize()))
    }
}

fn is_regular(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.is_file())
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

impl Source {
    /// Looks at the first bytes of `input` and decompresses what follows, if it is compressed.
    fn new(input: impl Read + Send + 'static, size_bytes: Option<u64>) -> io::Result<Self> {
        let read_bytes = ReadBytes::default();
        let mut input = Counted { input, read_bytes: read_bytes.clone() };
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        input.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
        let is_gzip = magic.starts_with(&GZIP_MAGIC);
        let is_zstd = magic.starts_with(&ZSTD_MAGIC);
        let whole = BufReader::with_capacity(READ_BYTES, Cursor::new(magic).chain(input));
        let reader: Box<dyn BufRead + Send> = if is_gzip {
            buffered(flate2::bufread::MultiGzDecoder::new(whole))
        } else if is_zstd {
            buffered(zstd::stream::read::Decoder::with_buffer(whole)?)
        } else {
            Box::new(whole)
        };
        Ok(Self { reader, read_bytes, size_bytes })
    }
}

fn buffered(reader: impl Read + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(READ_BYTES, reader))
}

/// Counts what passes.
struct Counted<R> {
    input: R,
    read_bytes: ReadBytes,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read_bytes.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TEXT: &[u8] = b"{\"job_id\":\"a\"}\n{\"job_id\":\"b\"}\n";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn content(bytes: Vec<u8>) -> Vec<u8> {
        let mut content = Vec::new();
        Source::new(Cursor::new(bytes), None).unwrap().reader.read_to_end(&mut content).unwrap();
        content
    }

    #[test]
    fn the_format_is_told_by_the_first_bytes() {
        assert_eq!(content(TEXT.to_vec()), TEXT);
        assert_eq!(content(gzip(TEXT)), TEXT);
        assert_eq!(content(zstd::encode_all(TEXT, 1).unwrap()), TEXT);
        assert_eq!(content(Vec::new()), b"");
        assert_eq!(content(b"{}".to_vec()), b"{}");
    }

    #[test]
    fn joined_compressed_files_are_read_to_the_end() {
        let (first, second) = TEXT.split_at(15);
        assert_eq!(content([gzip(first), gzip(second)].concat()), TEXT);
        let zstd = |text| zstd::encode_all(text, 1).unwrap();
        assert_eq!(content([zstd(first), zstd(second)].concat()), TEXT);
    }

    #[test]
    fn a_truncated_file_is_an_error_and_not_its_end() {
        for mut bytes in [gzip(TEXT), zstd::encode_all(TEXT, 1).unwrap()] {
            bytes.truncate(bytes.len() - 3);
            let mut source = Source::new(Cursor::new(bytes), None).unwrap();
            assert!(source.reader.read_to_end(&mut Vec::new()).is_err());
        }
    }

    #[test]
    fn equal_content_has_one_hash_however_it_is_packed() {
        let directory = tempfile::tempdir().unwrap();
        let hash = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Input::File(path).content_hash().unwrap().unwrap()
        };
        assert_eq!(hash("plain", TEXT), hash("packed", &gzip(TEXT)));
        assert_ne!(hash("plain", TEXT), hash("other", b"{}"));
        assert_eq!(Input::Stdin.content_hash().unwrap(), None);
    }
}
