//! `jobslate compact`: a stopped store gives the disk back what it no longer uses.

use serde::Serialize;

use super::args::CompactArgs;
use super::check::has_store;
use super::exit::{Exit, Failure};
use super::output;
use super::stats::about_bytes;
use crate::store::redb::compact;
use crate::store::{Compacted, OpenError};

/// `{"journal":{"before_bytes":1052672,"after_bytes":28672},"tables":{...}}`
#[derive(Serialize)]
struct Body {
    journal: FileBody,
    tables: FileBody,
}

/// The length of a file.
#[derive(Serialize)]
struct FileBody {
    before_bytes: u64,
    after_bytes: u64,
}

/// Compacts both files of the store in `--data-dir`, and says how long they were and are.
///
/// # Errors
/// [`Failure`]: no store, one that is in use or damaged, or the machine failed; the store holds
/// what it held.
pub fn run(args: &CompactArgs) -> Result<(), Failure> {
    has_store(&args.data_dir)?;
    let [journal, tables] = match compact(&args.data_dir) {
        Ok(Some(files)) => files.map(FileBody::of),
        Ok(None) => return Err(no_store(args)),
        Err(error) => return Err(refused(error)),
    };
    let body = Body { journal, tables };
    if args.json {
        return Ok(output::json(&body)?);
    }
    let line = |name: &str, file: &FileBody| {
        let (before, after) = (file.before_bytes, file.after_bytes);
        format!("{name}: {} before, {} now\n", about_bytes(before), about_bytes(after))
    };
    Ok(output::text(&(line("journal", &body.journal) + &line("tables", &body.tables)))?)
}

impl FileBody {
    fn of(file: Compacted) -> Self {
        Self { before_bytes: file.before_bytes, after_bytes: file.after_bytes }
    }
}

/// A directory in which a first start was interrupted.
fn no_store(args: &CompactArgs) -> Failure {
    Failure::new(Exit::NoInput, format!("there is no store in {}", args.data_dir.display()))
}

fn refused(error: OpenError) -> Failure {
    let is_locked = matches!(error, OpenError::Locked { .. });
    let Failure { exit, message } = Failure::from(error);
    let hint = if is_locked { "\n  stop the server first" } else { "" };
    Failure::new(exit, message + hint)
}
