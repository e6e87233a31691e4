//! jobslate inside a pipeline of plain threads: no server and no async.
//!
//! ```text
//! cargo run --example embed_threads [DIRECTORY]
//! ```
//!
//! Threads count the words of all files below a directory (this project's own sources and test
//! data, if none is named). Files that are not text fail. Each thread hands its updates to
//! [`Service::queue`], which returns at once, so that a job costs no sync; one flush at the end
//! makes them durable. The store outlives the run: a second one on it finds what is done.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jobslate::model::{JobId, Update, UpdateFields};
use jobslate::service::{Service, ServiceOptions, SubmitError};

const THREADS: usize = 8;

type Failure = Box<dyn Error + Send + Sync>;

/// What became of a run.
#[derive(Debug, PartialEq)]
pub struct Summary {
    pub jobs_by_status: BTreeMap<String, u64>,
    pub skipped: usize,
    pub updates: u64,
    pub transactions: u64,
}

pub fn main() -> Result<(), Failure> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = match std::env::args_os().nth(1) {
        Some(directory) => vec![PathBuf::from(directory)],
        None => vec![project.join("src"), project.join("tests")],
    };
    let store = std::env::temp_dir().join(format!("embed-threads-{}", std::process::id()));
    let summaries = [run(&roots, &store), run(&roots, &store)];
    std::fs::remove_dir_all(&store)?;
    for summary in summaries {
        let Summary { jobs_by_status, skipped, updates, transactions } = summary?;
        println!("{updates} updates in {transactions} write transactions; {skipped} done before");
        for (status, jobs) in jobs_by_status {
            println!("{status:12} {jobs:6}");
        }
    }
    Ok(())
}

/// Counts the words of all files below `roots` that are not yet `completed` in `store`.
pub fn run(roots: &[PathBuf], store: &Path) -> Result<Summary, Failure> {
    let mut options = ServiceOptions::default();
    options.store.directory = store.to_owned();
    let service = Service::open(options, Arc::new(|_percent| ()))?;

    let (mut files, mut skipped) = (Vec::new(), 0);
    for file in files_below(roots)? {
        let record = service.get(&JobId::parse(&file.to_string_lossy())?)?;
        if record.is_some_and(|record| record.status.as_str() == "completed") {
            skipped += 1;
            continue;
        }
        queue(&service, Update::status(&file.to_string_lossy(), "queued")?)?;
        files.push(file);
    }
    let next = Mutex::new(files.into_iter());
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| work_off(&service, &next))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err("a thread of the pipeline panicked".into()))
        })
    })?;

    service.flush_blocking()?;
    let (counts, _) = service.counts();
    let by_status = counts.by_status().iter();
    let jobs_by_status = by_status.map(|(status, jobs)| (status.to_string(), *jobs)).collect();
    let stats = service.stats();
    service.drain_blocking()?;
    Ok(Summary { jobs_by_status, skipped, updates: stats.accepted, transactions: stats.batches })
}

/// What a thread does: takes files until there are no more.
fn work_off(service: &Service, next: &Mutex<std::vec::IntoIter<PathBuf>>) -> Result<(), Failure> {
    loop {
        let file = next.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(file) = file else { return Ok(()) };
        let job_id = file.to_string_lossy();
        queue(service, Update::status(&job_id, "processing")?)?;
        let words = std::fs::read_to_string(&file).map(|text| text.split_whitespace().count());
        let (status, error, message) = match words {
            Ok(words) => ("completed", None, Some(format!("{words} words"))),
            Err(what) => ("error", Some(what.to_string()), None),
        };
        queue(
            service,
            Update::new(UpdateFields {
                job_id: &job_id,
                status: Some(status),
                error: error.as_deref(),
                message: message.as_deref(),
                ..UpdateFields::default()
            })?,
        )?;
    }
}

/// Queues an update. A full queue means that the disk is slower than the pipeline: then it waits.
fn queue(service: &Service, update: Update) -> Result<(), SubmitError> {
    loop {
        match service.queue(update.clone()) {
            Err(SubmitError::QueueFull { retry_after, .. }) => std::thread::sleep(retry_after),
            done => return done,
        }
    }
}

fn files_below(roots: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let (mut files, mut pending) = (Vec::new(), roots.to_vec());
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() { pending.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}
