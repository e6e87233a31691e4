//! This store beside what people use instead: SQLite, redb by hand, Redis, PostgreSQL; and beside
//! the least that the disk and the web server can do.
//!
//! A round runs each arm of a plan over the same work, one after the other, each in an empty
//! directory or on emptied tables, so that what the machine does in a minute touches all arms of a
//! round alike. Ratios are taken within a round; the report shows the median of the rounds and
//! their spread. Every acknowledgement is synced to disk, in all arms. Making the updates is not
//! measured, the client's share of a call is.
//!
//! What is compared with what, and how much is enough, stands in `targets`.

mod arms;
pub mod child;
mod figure;
mod files;
mod fill;
mod inproc;
pub mod net;
mod plans;
mod report;
mod results;
mod sample;
mod stream;
mod targets;
mod whole;
#[path = "../spine/workload.rs"]
mod workload;

use std::path::Path;

use net::NetPlan;
use results::Results;

pub use plans::{FULL, SMALL, Size};
pub use whole::StartChild;

/// What is over the network: the plans of [`net`].
const NET_NAMES: [&str; 5] = ["put-64", "ndjson-1000", "ndjson-50", "get-64", "get-64-writing"];

/// The names of all plans of a size.
pub fn names(size: &Size) -> Vec<&'static str> {
    let inproc = size.inproc.iter().map(|plan| plan.name);
    inproc.chain(NET_NAMES).chain(plans::WHOLE_NAMES).collect()
}

/// Runs the plans `chosen` in `directory`; writes the files of the report into `output` after each
/// plan, so that a run that is broken off leaves what it has. The report as Markdown.
pub fn run(
    size: &Size,
    chosen: &[&'static str],
    directory: &Path,
    output: &Path,
    start_child: StartChild<'_>,
) -> String {
    let mut results = Results::default();
    let home = tempfile::tempdir_in(directory).expect("the directory of the benchmark is writable");
    for plan in size.inproc.iter().filter(|plan| chosen.contains(&plan.name)) {
        let mut memory = inproc::Memory::default();
        for round in 0..size.rounds {
            results.samples.extend(inproc::run_round(plan, round, home.path(), &mut memory));
        }
        files::write(&results, output);
    }
    if NET_NAMES.iter().any(|name| chosen.contains(name)) {
        let plan = NetPlan::only(*size.net, chosen);
        for round in 0..size.rounds {
            results.samples.extend(net::run_round(&plan, round, home.path()));
            files::write(&results, output);
        }
    }
    for round in 0..size.rounds {
        results.add(whole::run_round(&size.whole, chosen, round, home.path(), start_child));
        files::write(&results, output);
    }
    report::report(&results)
}
