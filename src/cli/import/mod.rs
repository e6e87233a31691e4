//! `jobslate import`: a file of updates, over HTTP, so that it can be stopped and resumed.
//!
//! ```text
//! reader thread:  source -> chunker -> channel of one chunk       (decompresses ahead)
//! this task:      channel -> one request in flight -> summary     (order decides ties)
//! ```
//!
//! Every chunk has an idempotency key made of the content and its lines, so a chunk that is sent
//! again, after a broken connection or by a second run, is answered from memory and counts once.

mod chunk;
mod source;
mod summary;
#[cfg(test)]
mod tests;

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::args::ImportArgs;
use super::exit::{Exit, Failure};
use super::output;
use super::progress::{Measure, Position, Progress, Task};
use super::retry;
use super::signals::Signals;
use crate::client::{Client, ClientError, Sent};
use chunk::{Chunk, ChunkBounds, Chunker, LINE_BYTES_MAX};
use source::Input;
use summary::{Summary, counted_lines};

/// A chunk is closed by the line that reaches this, so that a request stays small.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Chunks that are ready while one is in flight.
const CHUNKS_AHEAD: usize = 1;

/// Imports a file or standard input.
///
/// # Errors
/// [`Failure`]: the input cannot be read, the server cannot be reached for long enough, or some
/// lines were rejected; what was stored until then is in the summary.
pub async fn run(args: ImportArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server.url)?;
    let input = Input::parse(&args.file);
    let mut signals = Signals::new().map_err(Failure::no_runtime)?;
    let (size_bytes, chunks) = read_ahead(&input, args.chunk)?;
    let task = Task { name: "import", noun: "updates", measure: Measure::Bytes, whole: size_bytes };
    let mut import = Import {
        client,
        retry_for: args.retry_for,
        progress: Progress::new(args.quiet || args.server.json, task),
        started: Instant::now(),
        summary: Summary::default(),
    };
    let result = tokio::select! {
        result = import.all(chunks, &input) => result,
        exit = signals.next() => Err(Failure::new(exit, "stopped by a signal")),
    };
    import.progress.end();
    let Import { mut summary, started, .. } = import;
    summary.end(started.elapsed(), result.is_ok());
    if args.server.json {
        output::json(&summary)?;
    } else if !args.quiet || summary.rejected > 0 {
        output::text(&summary.text())?;
    }
    match result {
        Err(failure) => Err(with_way_on(failure, &summary, size_bytes.is_none())),
        Ok(()) if summary.rejected > 0 => Err(Failure::new(
            Exit::BadData,
            match summary.rejected {
                1 => format!("1 of {} was rejected", counted_lines(summary.lines)),
                many => format!("{many} of {} were rejected", counted_lines(summary.lines)),
            },
        )),
        Ok(()) => Ok(()),
    }
}

/// Says what is stored after an end before the end, and how to go on if that helps.
fn with_way_on(failure: Failure, summary: &Summary, is_pipe: bool) -> Failure {
    let stored = match summary.last_line {
        0 => "nothing is stored yet".to_owned(),
        line => format!("everything up to line {line} is stored"),
    };
    let way_on = match failure.exit {
        // The same input would end at the same place.
        Exit::BadData => "",
        // What the pipe held is gone; the keys are the same only if all of it comes again.
        _ if is_pipe => "; the same input, piped again from its beginning, counts nothing twice",
        _ => "; the same command goes on from there and counts nothing twice",
    };
    Failure::new(failure.exit, format!("{}\n  {stored}{way_on}", failure.message))
}

/// A chunk, and how far the input was read for it.
type Ahead = io::Result<(Chunk, u64)>;

/// Starts the thread that reads, and returns the size of the input if it is known. The thread ends
/// with the input or with the receiver; one that waits for a terminal ends with the process.
fn read_ahead(
    input: &Input,
    lines_max: usize,
) -> Result<(Option<u64>, mpsc::Receiver<Ahead>), Failure> {
    let refused =
        |error: io::Error| Failure::new(Exit::NoInput, format!("cannot open {input}: {error}"));
    let source = input.open().map_err(refused)?;
    let size_bytes = source.size_bytes;
    let bounds = ChunkBounds { lines_max, bytes_max: CHUNK_BYTES_MAX };
    let (tx, rx) = mpsc::channel(CHUNKS_AHEAD);
    let input = input.clone();
    let read = move || {
        let content = match input.content_hash() {
            Ok(content) => content,
            Err(error) => return drop(tx.blocking_send(Err(error))),
        };
        let mut chunker = Chunker::new(source.reader, bounds, content);
        while let Some(ahead) = chunker.next_chunk().transpose() {
            let is_end = ahead.is_err();
            let ahead = ahead.map(|chunk| (chunk, source.read_bytes.get()));
            if tx.blocking_send(ahead).is_err() || is_end {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("import-reader".to_owned()).spawn(read);
    thread.map_err(Failure::no_runtime)?;
    Ok((size_bytes, rx))
}

/// One run.
struct Import {
    client: Client,
    retry_for: Duration,
    progress: Progress,
    started: Instant,
    summary: Summary,
}

impl Import {
    async fn all(
        &mut self,
        mut chunks: mpsc::Receiver<Ahead>,
        input: &Input,
    ) -> Result<(), Failure> {
        while let Some(ahead) = chunks.recv().await {
            let (chunk, read_bytes) = ahead.map_err(|error| unreadable(input, &error))?;
            self.deliver(chunk).await?;
            let position = Position {
                done: read_bytes,
                count: self.summary.fresh(),
                elapsed: self.started.elapsed(),
            };
            self.progress.show(position);
        }
        Ok(())
    }

    /// Sends a chunk; one that the server finds too large goes in halves, down to single lines.
    async fn deliver(&mut self, chunk: Chunk) -> Result<(), Failure> {
        let too_long = chunk.too_long.clone();
        let mut rest = vec![chunk];
        while let Some(chunk) = rest.pop() {
            if chunk.line_count() == 0 {
                continue;
            }
            match self.send(&chunk).await {
                Ok(sent) => self.summary.add(&chunk, &sent),
                Err(error) if is_too_large(&error) => {
                    let (line, bytes) = (chunk.line_range().0, chunk.body.len());
                    match chunk.halves() {
                        Some((first, second)) => rest.extend([second, first]),
                        None => {
                            let code = error.code().unwrap_or("too_large");
                            // The server advises to split the call, which a line cannot be.
                            let detail =
                                format!("the line is {bytes} bytes, more than the server takes");
                            self.summary.add_rejected(line, code, detail);
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Not before: the summary says that everything up to a noted line is stored.
        for line in too_long {
            let detail = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            self.summary.add_rejected(line, "line_too_long", detail);
        }
        Ok(())
    }

    /// Sends a chunk until there is an answer, for as long as it is worth it.
    async fn send(&mut self, chunk: &Chunk) -> Result<Sent, ClientError> {
        let key = chunk.key();
        let Self { client, progress, .. } = self;
        let call = || client.updates(chunk.body.clone(), Some(&key));
        retry::until_answered(self.retry_for, |why| progress.waiting(why), call).await
    }
}

fn is_too_large(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| problem.status == 413)
}

/// What the system says is an I/O error; what a decompressor says is about the data.
fn unreadable(input: &Input, error: &io::Error) -> Failure {
    let exit = if error.raw_os_error().is_some() { Exit::Io } else { Exit::BadData };
    Failure::new(exit, format!("cannot read {input}: {error}"))
}
