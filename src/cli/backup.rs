//! `jobslate backup`: one moment of the store as a file that was verified, or as a stream.

use std::io::{self, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::BackupArgs;
use super::check;
use super::exit::{Exit, Failure};
use super::output::{self, grouped};
use super::progress::{Measure, Position, Progress, Task};
use super::retry;
use super::signals::Signals;
use super::stats::about_bytes;
use super::target::Target;
use crate::client::Client;
use crate::service::{Service, ServiceOptions};
use crate::store::BackupSummary;
use crate::store::redb::{keeping_all, verify_backup};

/// Saves the store of the running server, or the one in `--data-dir`.
///
/// # Errors
/// [`Failure`]: no server for long enough, a file that cannot be made, or a signal; then no file is
/// made.
pub async fn run(args: BackupArgs) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(Failure::no_runtime)?;
    tokio::select! {
        done = save(args) => done,
        exit = signals.next() => Err(Failure::new(exit, "stopped by a signal")),
    }
}

async fn save(args: BackupArgs) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut target = Target::open(&args.file, args.force)?;
    if target.is_terminal() {
        let what = "a backup is no text: name a file, or send it to a pipe";
        return Err(Failure::new(Exit::Usage, what));
    }
    let is_quiet = args.quiet || args.server.json;
    let mut progress = Progress::new(is_quiet, SAVING);
    let target = match args.data_dir {
        Some(directory) => {
            let saved = tokio::task::spawn_blocking(move || from_directory(&directory, target));
            saved.await.map_err(|error| Failure::new(Exit::Internal, error.to_string()))??
        }
        None => {
            let client = Client::new(&args.server.url)?;
            from_server(&client, args.retry_for, &mut target, &mut progress).await?;
            target
        }
    };
    let saved = finish(target)?;
    progress.end();
    if let Some(summary) = saved.filter(|_| !args.quiet) {
        say(&summary, args.server.json, "saved", begin.elapsed())?;
    }
    Ok(())
}

const SAVING: Task = Task { name: "backup", noun: "MiB", measure: Measure::Bytes, whole: None };

async fn from_server(
    client: &Client,
    retry_for: Duration,
    target: &mut Target,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let waiting = |why: &str| progress.waiting(why);
    let mut download = retry::until_answered(retry_for, waiting, || client.backup()).await?;
    progress.set_whole(download.length());
    let (begin, mut bytes) = (Instant::now(), 0);
    while let Some(piece) = download.piece().await? {
        target.write(piece.as_ref()).map_err(cut_off)?;
        bytes += piece.as_ref().len() as u64;
        progress.show(Position { done: bytes, count: bytes >> 20, elapsed: begin.elapsed() });
    }
    Ok(())
}

/// A reader that has gone is no failure of a list; of a backup it is.
fn cut_off(failure: Failure) -> Failure {
    match failure.exit {
        Exit::Done => Failure::new(Exit::Io, "the output was closed before the backup was whole"),
        _ => failure,
    }
}

/// Opens the store as a server would, but forgets nothing of it.
fn from_directory(directory: &Path, mut target: Target) -> Result<Target, Failure> {
    check::has_store(directory)?;
    let options = ServiceOptions { store: keeping_all(directory), ..ServiceOptions::default() };
    let service = Service::open(options, Arc::new(|_| ()))?;
    let mut out = Out { target: &mut target, failure: None };
    let saved = service.backup(&mut out);
    let failure = out.failure.take();
    service.drain_blocking()?;
    match failure {
        Some(failure) => Err(failure),
        None => saved.map(|_| target).map_err(Failure::from),
    }
}

/// Reads a file as a restore would, and lets it have its name. What a pipe got, its reader
/// verifies.
fn finish(mut target: Target) -> Result<Option<BackupSummary>, Failure> {
    let summary = match target.written()? {
        Some(file) => Some(verify_backup(BufReader::with_capacity(1 << 20, file))?),
        None => None,
    };
    target.finish()?;
    Ok(summary)
}

/// A target as a writer; it keeps the failure that the writer cannot tell.
struct Out<'a> {
    target: &'a mut Target,
    failure: Option<Failure>,
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.target.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(failure) => {
                let error = io::Error::other(failure.message.clone());
                self.failure = Some(cut_off(failure));
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was saved or restored.
#[derive(Debug, Serialize)]
struct Said<'a> {
    jobs: u64,
    as_of_seq: u64,
    made_at: String,
    bytes: u64,
    /// The store that the backup was made of.
    store_id: &'a str,
    seconds: f64,
}

/// Says what was done with a backup: to machines on standard output, to people beside it.
///
/// # Errors
/// The output cannot be written.
pub fn say(
    summary: &BackupSummary,
    is_json: bool,
    what: &str,
    elapsed: Duration,
) -> Result<(), Failure> {
    let BackupSummary { store_id, made_at, as_of_seq, jobs, bytes, .. } = summary;
    let seconds = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
    if is_json {
        let (made_at, bytes) = (made_at.to_string(), *bytes);
        let (jobs, as_of_seq) = (*jobs, *as_of_seq);
        let said = Said { jobs, as_of_seq, made_at, bytes, store_id, seconds };
        return Ok(output::json(&said)?);
    }
    let (jobs, bytes) = (grouped(*jobs), about_bytes(*bytes));
    // The number goes into another command as it is.
    output::note(&format!(
        "{what} {jobs} jobs as of update {as_of_seq}, {bytes}, in {seconds:.1} s"
    ));
    Ok(())
}
