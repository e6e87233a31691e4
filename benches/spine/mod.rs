//! Durable updates per second, in-process, beside the least that redb and a plain file can do.
//!
//! A round runs each arm over the whole workload, one after the other and each in an empty
//! directory, so that what the disk does in a minute touches all arms of a round alike. Ratios are
//! taken within a round; the report shows the median of the rounds. Only the calls are measured;
//! making the updates is not.

#[path = "../peers/arms/mod.rs"]
#[expect(dead_code, reason = "the arms are asked what they know by `peers` alone")]
mod arms;
mod workload;

use std::path::Path;
use std::time::{Duration, Instant};

use arms::{ArmKind, Batch};
use workload::{UPDATES_PER_JOB, Workload};

/// One table of the report.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub jobs: usize,
    pub batch_updates: usize,
    pub rounds: usize,
}

/// What the issue of speed is judged by.
pub const FULL: [Plan; 4] = [
    Plan { jobs: 100_000, batch_updates: 50, rounds: 5 },
    Plan { jobs: 100_000, batch_updates: 1_000, rounds: 5 },
    Plan { jobs: 1_000_000, batch_updates: 50, rounds: 3 },
    Plan { jobs: 1_000_000, batch_updates: 1_000, rounds: 3 },
];

/// The arms with their names in the report, in the order of the columns' comparisons.
const ARMS: [(ArmKind, &str); 5] = [
    (ArmKind::Store, "store, `WriteStore::append`"),
    (ArmKind::Service, "service, `submit_blocking`"),
    (ArmKind::RedbAppend, "redb, segment appended"),
    (ArmKind::RedbAppendTwice, "redb, segment appended in two phases"),
    (ArmKind::File, "plain file, append and fdatasync"),
];

/// Enough to see that it runs.
pub const SMALL: Plan = Plan { jobs: 2_000, batch_updates: 50, rounds: 1 };

/// What one arm took for the whole workload.
#[derive(Clone, Debug)]
struct Run {
    updates: usize,
    /// The sum of all calls.
    appending: Duration,
    closing: Duration,
    /// Each call, ascending.
    calls: Vec<Duration>,
}

impl Run {
    /// Updates per second while batches are appended.
    fn rate(&self) -> f64 {
        self.updates as f64 / self.appending.as_secs_f64()
    }

    /// Updates per second until everything is folded and closed.
    fn rate_closed(&self) -> f64 {
        self.updates as f64 / (self.appending + self.closing).as_secs_f64()
    }

    fn call_ms(&self, quantile: f64) -> f64 {
        let place = (self.calls.len() - 1) as f64 * quantile;
        self.calls[place.round() as usize].as_secs_f64() * 1e3
    }
}

/// Runs `plan` in directories inside `directory`; the table as Markdown.
pub fn run(plan: &Plan, directory: &Path) -> String {
    let mut segment_lengths = Vec::new();
    let rounds: Vec<Vec<Run>> = (0..plan.rounds)
        .map(|_| {
            let arms = ARMS.iter();
            arms.map(|(arm, _)| run_arm(*arm, plan, directory, &mut segment_lengths)).collect()
        })
        .collect();
    report(plan, &rounds)
}

/// One arm over the whole workload. The store's arm fills `segment_lengths`, the others use it.
fn run_arm(arm: ArmKind, plan: &Plan, directory: &Path, segment_lengths: &mut Vec<usize>) -> Run {
    let home = tempfile::tempdir_in(directory).expect("the directory of the benchmark is writable");
    let is_measuring_lengths = arm == ArmKind::Store;
    if is_measuring_lengths {
        segment_lengths.clear();
    }
    let mut opened = arm.open(home.path());
    let mut workload = Workload::new(plan.jobs);
    let mut calls = Vec::new();
    let mut updates_done = 0;
    loop {
        let updates = workload.batch(plan.batch_updates);
        if updates.is_empty() {
            break;
        }
        updates_done += updates.len();
        let length = segment_lengths.get(calls.len()).copied().unwrap_or(0);
        let batch = Batch::new(updates, length);
        let start = Instant::now();
        let segment_bytes = opened.append(batch);
        calls.push(start.elapsed());
        if is_measuring_lengths {
            segment_lengths.push(segment_bytes);
        }
    }
    assert_eq!(updates_done, plan.jobs * UPDATES_PER_JOB, "the workload is whole");
    let start = Instant::now();
    opened.close();
    let closing = start.elapsed();
    let appending = calls.iter().sum();
    calls.sort_unstable();
    Run { updates: updates_done, appending, closing, calls }
}

fn report(plan: &Plan, rounds: &[Vec<Run>]) -> String {
    let place = |arm: ArmKind| ARMS.iter().position(|(it, _)| *it == arm).unwrap_or(0);
    let (redb, file) = (place(ArmKind::RedbAppend), place(ArmKind::File));
    let mut table = format!(
        "{} jobs, {} updates, batches of {}, {} rounds\n\n\
         | arm | updates/s | with the close | of redb append | of plain file \
         | call p50 ms | p99 ms | worst ms |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        plan.jobs,
        plan.jobs * UPDATES_PER_JOB,
        plan.batch_updates,
        rounds.len()
    );
    for (index, (_, name)) in ARMS.iter().enumerate() {
        let of = |figure: &dyn Fn(&[Run]) -> f64| {
            median(rounds.iter().map(|round| figure(round)).collect())
        };
        table += &format!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} |\n",
            name,
            of(&|round| round[index].rate()),
            of(&|round| round[index].rate_closed()),
            of(&|round| round[index].rate() / round[redb].rate()),
            of(&|round| round[index].rate() / round[file].rate()),
            of(&|round| round[index].call_ms(0.5)),
            of(&|round| round[index].call_ms(0.99)),
            of(&|round| round[index].call_ms(1.0)),
        );
    }
    table
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
