//! `jobslate restore`: a store out of a backup, checked before anybody can open it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;
use std::time::Instant;

use super::args::RestoreArgs;
use super::backup::say;
use super::exit::{Exit, Failure};
use super::progress::{Measure, Position, Progress, Task};
use crate::store::redb::{restore, verify_backup};

const BUFFER_BYTES: usize = 1 << 20;

/// Makes a store in `--data-dir` of a backup.
///
/// # Errors
/// [`Failure`]: there is a store already, the backup is not whole, or the machine failed; then
/// everything is as it was.
pub fn run(args: RestoreArgs) -> Result<(), Failure> {
    let begin = Instant::now();
    let is_quiet = args.quiet || args.json;
    let source = Source::open(&args.file, is_quiet)?;
    let restored = match source {
        Source::Stream(stream) => restore(stream, &args.data_dir, args.force),
        Source::File(mut file, length) => {
            // Twice, so that nothing at all is made of one that is not whole.
            verify_backup(Counted::new(&file, "verify", Some(length), is_quiet))?;
            file.rewind().map_err(|error| unreadable(&args.file, &error))?;
            let counted = Counted::new(&file, "restore", Some(length), is_quiet);
            restore(counted, &args.data_dir, args.force)
        }
    };
    let summary = restored?;
    if args.quiet { Ok(()) } else { say(&summary, args.json, "restored", begin.elapsed()) }
}

/// Where a backup comes from.
enum Source {
    /// What can be read once alone.
    Stream(Counted<Box<dyn Read>>),
    /// With its length.
    File(File, u64),
}

impl Source {
    fn open(path: &Path, is_quiet: bool) -> Result<Self, Failure> {
        let stream =
            |input: Box<dyn Read>| Self::Stream(Counted::new(input, "restore", None, is_quiet));
        if path == Path::new("-") {
            return Ok(stream(Box::new(io::stdin().lock())));
        }
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let found = file.metadata().map_err(|error| unreadable(path, &error))?;
        if found.is_dir() {
            return Err(Failure::new(Exit::NoInput, format!("{} is a directory", path.display())));
        }
        Ok(if found.is_file() { Self::File(file, found.len()) } else { stream(Box::new(file)) })
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::NoInput, format!("cannot read {}: {error}", path.display()))
}

/// A buffered reader that shows how far it is.
struct Counted<R: Read> {
    input: BufReader<R>,
    progress: Progress,
    bytes: u64,
    begin: Instant,
}

impl<R: Read> Counted<R> {
    fn new(input: R, name: &'static str, whole: Option<u64>, is_quiet: bool) -> Self {
        let task = Task { name, noun: "MiB", measure: Measure::Bytes, whole };
        Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            progress: Progress::new(is_quiet, task),
            bytes: 0,
            begin: Instant::now(),
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(into)?;
        let mib = self.bytes >> 20;
        self.bytes += length as u64;
        // Not for each of the many short reads.
        if self.bytes >> 20 > mib {
            let elapsed = self.begin.elapsed();
            self.progress.show(Position { done: self.bytes, count: self.bytes >> 20, elapsed });
        }
        Ok(length)
    }
}

impl<R: Read> Drop for Counted<R> {
    fn drop(&mut self) {
        self.progress.end();
    }
}
