//! `jobslate check`: is the store what it should be?

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::args::CheckArgs;
use super::exit::{Exit, Failure};
use super::output::{self, grouped};
use crate::api::CheckBody;
use crate::client::Client;
use crate::service::{Service, ServiceOptions};
use crate::store::redb::keeping_all;

/// Checks the store of the running server, or the one in `--data-dir`.
///
/// # Errors
/// [`Failure`]: the store is not clean, cannot be read, or is in use.
pub async fn run(args: CheckArgs) -> Result<(), Failure> {
    let report = match args.data_dir {
        Some(directory) => {
            let checked = tokio::task::spawn_blocking(move || check_directory(&directory)).await;
            checked.map_err(|error| Failure::new(Exit::Internal, error.to_string()))??
        }
        None => Client::new(&args.server.url)?.check().await?,
    };
    if args.server.json {
        output::json(&report)?;
    } else {
        output::text(&text(&report))?;
    }
    if report.clean { Ok(()) } else { Err(Failure::silent(Exit::No)) }
}

/// Opens the store as a server would (what a kill left in the journal is replayed), and closes it.
fn check_directory(directory: &Path) -> Result<CheckBody, Failure> {
    has_store(directory)?;
    // The bounds of its server are not known here, and nothing may be trimmed.
    let store = keeping_all(directory);
    let options = ServiceOptions { store, ..ServiceOptions::default() };
    let service = Service::open(options, Arc::new(|_| ()))?;
    let report = service.check()?;
    service.drain_blocking()?;
    Ok(CheckBody {
        clean: report.is_clean(),
        jobs: report.jobs,
        updates: report.updates,
        last_seq: report.last_seq,
        problems: report.problems,
    })
}

/// Opening makes a store where there is nothing, and a new store is always clean.
///
/// # Errors
/// [`Failure`]: there is none in `directory`.
pub fn has_store(directory: &Path) -> Result<(), Failure> {
    let has_store = std::fs::read_dir(directory)
        .map(|mut files| files.any(|file| file.is_ok_and(|file| is_of_store(&file.file_name()))));
    let refused = |why: String| {
        Failure::new(Exit::NoInput, format!("there is no store in {}{why}", directory.display()))
    };
    match has_store {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(String::new())),
        Err(error) => Err(refused(format!(": {error}"))),
    }
}

/// True for the files that make a directory a store's, whole or damaged.
fn is_of_store(name: &OsStr) -> bool {
    name == "STORE" || name == "LOCK" || Path::new(name).extension() == Some(OsStr::new("redb"))
}

fn text(report: &CheckBody) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        text.push_str(&format!("{}\n", output::shown(problem)));
    }
    let verdict = if report.clean { "clean" } else { "NOT CLEAN" };
    text.push_str(&format!(
        "{verdict}: {} jobs, {} updates in the feed, last update {}\n",
        grouped(report.jobs),
        grouped(report.updates),
        grouped(report.last_seq)
    ));
    text
}
