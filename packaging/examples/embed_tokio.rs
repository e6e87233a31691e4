//! jobslate inside a tokio pipeline: the same store and promises as the server, without one.
//!
//! ```text
//! cargo run --example embed_tokio
//! ```
//!
//! Some hundred small tables are read by concurrent tasks. A task reports what it is about to do
//! with [`Service::queue`], which returns at once, and what it has done with [`Service::submit`],
//! which returns when that is on disk; tasks that wait at one time share a sync. Tables with a bad
//! line fail, and are tried again without it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jobslate::model::{Request, Update, UpdateFields};
use jobslate::service::{Service, ServiceOptions, SubmitError};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

const JOBS: usize = 300;
/// Jobs in work at one time.
const TASKS: usize = 32;
/// A table that the second attempt cannot read either has failed.
const ATTEMPTS_MAX: u32 = 2;

type Failure = Box<dyn Error + Send + Sync>;

/// What became of a run.
#[derive(Debug, PartialEq)]
pub struct Summary {
    pub jobs_by_status: BTreeMap<String, u64>,
    pub updates: u64,
    pub transactions: u64,
}

pub fn main() -> Result<(), Failure> {
    let directory = std::env::temp_dir().join(format!("embed-tokio-{}", std::process::id()));
    let runtime = tokio::runtime::Runtime::new()?;
    let summary = runtime.block_on(run(&directory, JOBS));
    std::fs::remove_dir_all(&directory)?;
    let Summary { jobs_by_status, updates, transactions } = summary?;
    println!("{updates} updates in {transactions} write transactions");
    for (status, jobs) in jobs_by_status {
        println!("{status:12} {jobs:6}");
    }
    Ok(())
}

/// Makes `jobs` tables in `directory`, reads them all, and leaves the store there.
pub async fn run(directory: &Path, jobs: usize) -> Result<Summary, Failure> {
    let tables = make_tables(&directory.join("tables"), jobs)?;
    let mut options = ServiceOptions::default();
    options.store.directory = directory.join("store");
    // Opening reads the files of the store: not on an async worker.
    let service = spawn_blocking(|| Service::open(options, Arc::new(|_percent| ()))).await??;

    let room = Arc::new(Semaphore::new(TASKS));
    let mut tasks = JoinSet::new();
    for table in tables {
        queue(&service, Update::status(&name(&table), "queued")?).await?;
        let permit = Arc::clone(&room).acquire_owned().await?;
        let service = service.clone();
        tasks.spawn(async move {
            let done = work(&service, table).await;
            drop(permit);
            done
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }

    // All is durable by now but for what was only queued, which a flush or the drain stores.
    service.flush().await?;
    let (counts, _) = service.counts();
    let by_status = counts.by_status().iter();
    let jobs_by_status = by_status.map(|(status, jobs)| (status.to_string(), *jobs)).collect();
    let stats = service.stats();
    service.drain().await?;
    Ok(Summary { jobs_by_status, updates: stats.accepted, transactions: stats.batches })
}

/// What a task does with one job: report, try, report.
async fn work(service: &Service, table: PathBuf) -> Result<(), Failure> {
    let job_id = name(&table);
    for attempt in 1..=ATTEMPTS_MAX {
        let report = |status, error| {
            let attempt = Some(attempt);
            let status = Some(status);
            Update::new(UpdateFields {
                job_id: &job_id,
                status,
                error,
                attempt,
                ..Default::default()
            })
        };
        queue(service, report("processing", None)?).await?;
        let table = table.clone();
        match spawn_blocking(move || sum_of(&table, attempt > 1)).await? {
            Ok(_sum) => {
                service.submit(Request::new(vec![report("completed", None)?])).await?;
                return Ok(());
            }
            Err(what) => {
                service.submit(Request::new(vec![report("error", Some(&what))?])).await?;
            }
        }
    }
    Ok(())
}

/// Queues an update. A full queue means that the disk is slower than the pipeline: then it waits.
async fn queue(service: &Service, update: Update) -> Result<(), SubmitError> {
    loop {
        match service.queue(update.clone()) {
            Err(SubmitError::QueueFull { retry_after, .. }) => {
                tokio::time::sleep(retry_after).await;
            }
            done => return done,
        }
    }
}

/// The sum of the second column. With `skip`, bad lines are left out; a table without a good one
/// has no sum.
fn sum_of(table: &Path, skip: bool) -> Result<f64, String> {
    let text = std::fs::read_to_string(table).map_err(|error| error.to_string())?;
    let (mut sum, mut good_count) = (0.0, 0);
    for (index, line) in text.lines().enumerate() {
        let value = line.split(',').nth(1).and_then(|cell| cell.parse::<f64>().ok());
        match value {
            Some(value) => (sum, good_count) = (sum + value, good_count + 1),
            None if skip => {}
            None => return Err(format!("line {}: {line:?} has no number", index + 1)),
        }
    }
    if good_count == 0 { Err("no line has a number".to_owned()) } else { Ok(sum) }
}

/// Tables of up to 200 lines. Each tenth has a bad line, and each hundredth nothing else.
fn make_tables(directory: &Path, count: usize) -> Result<Vec<PathBuf>, Failure> {
    std::fs::create_dir_all(directory)?;
    let mut tables = Vec::new();
    for index in 0..count {
        let line_count = if index % 100 == 0 { 0 } else { 1 + index * 7919 % 200 };
        let mut text: String = (0..line_count).map(|line| format!("{line},{index}.5\n")).collect();
        if index % 10 == 0 {
            text.push_str("the end,\n");
        }
        let table = directory.join(format!("table-{index:04}.csv"));
        std::fs::write(&table, text)?;
        tables.push(table);
    }
    Ok(tables)
}

/// The id of the job: the name of its table.
fn name(table: &Path) -> String {
    table.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
