//! The rows about whole stores: how they grow, what memory and disk they take, how fast they are
//! ready after a kill, and what a queued update costs its caller.

mod cold;
mod disk;
mod queued;
mod ready;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::child::{Child, Task, Then, Word};
use super::figure::{Figure, Step};
use super::plans::Whole;
use super::results::Results;
use super::sample::Sample;
use super::workload::UPDATES_PER_JOB;

/// How a child is started: whatever leads to [`run_if_child`](super::child::run_if_child).
pub type StartChild<'a> = &'a dyn Fn() -> Command;

const MIB: f64 = 1_048_576.0;

/// Runs one round of the plans of `names`.
pub fn run_round(
    whole: &Whole,
    names: &[&'static str],
    round: usize,
    directory: &Path,
    start_child: StartChild<'_>,
) -> Results {
    let has = |name: &str| names.contains(&name);
    let mut results = Results::default();
    if has("queued-25") {
        results.figures.extend(queued::run(round, directory));
    }
    if has("disk") {
        results.figures.extend(disk::run(whole.disk_jobs, round, directory, start_child));
    }
    if has("ready") {
        results.figures.extend(ready::run(whole.ready_jobs, round, directory, start_child));
    }
    if has("growth") || has("memory") {
        grow(whole, round, directory, start_child, &mut results);
    }
    results
}

/// Fills a small store and a large one, each in a process of its own; the large one then works on
/// under load and says how much memory it has.
fn grow(
    whole: &Whole,
    round: usize,
    directory: &Path,
    start_child: StartChild<'_>,
    results: &mut Results,
) {
    let [small, large] = whole.growth_jobs;
    let sample = |arm, operations, elapsed| {
        let (closing, waits) = (Duration::ZERO, Vec::new());
        Sample { plan: "growth", arm, round, operations, elapsed, closing, waits }
    };
    let home = tempfile::tempdir_in(directory).expect("the directory of the benchmark is writable");
    let task = Task { directory: home.path().to_owned(), jobs: small, then: Then::Close };
    let filled = listen(&mut Child::start(start_child(), &task), "small");
    let (updates, calls) = filled.last();
    results.samples.push(Sample { closing: filled.closing, ..sample("small", updates, calls) });
    drop(home);

    let home = tempfile::tempdir_in(directory).expect("the directory of the benchmark is writable");
    let ms = whole.load.as_millis() as u64;
    let then = Then::Load { ms };
    let task = Task { directory: home.path().to_owned(), jobs: large, then };
    let filled = listen(&mut Child::start(start_child(), &task), "large");
    let (updates, calls) = filled.last();
    results.samples.push(Sample { closing: filled.closing, ..sample("large", updates, calls) });
    let (before, calls_before) = filled.at(large * UPDATES_PER_JOB - whole.growth_last);
    results.samples.push(sample("large-last", updates - before, calls - calls_before));
    results.steps.extend(filled.rates(round));
    let memory = |name, value| Figure { plan: "memory", name, round, value };
    results.figures.extend(filled.memory.iter().map(|(name, value)| memory(name, *value)));
}

/// What a child told.
#[derive(Default)]
struct Filled {
    /// Updates stored, and the time of their calls; from the start.
    steps: Vec<(usize, Duration)>,
    closing: Duration,
    memory: Vec<(&'static str, f64)>,
}

impl Filled {
    fn last(&self) -> (usize, Duration) {
        self.steps.last().copied().unwrap_or_default()
    }

    /// The last step with at most so many updates; the start, if there is none.
    fn at(&self, updates: usize) -> (usize, Duration) {
        self.steps.iter().copied().take_while(|step| step.0 <= updates).last().unwrap_or_default()
    }

    fn rates(&self, round: usize) -> Vec<Step> {
        let starts = std::iter::once(&(0, Duration::ZERO)).chain(&self.steps);
        let steps = starts.zip(&self.steps).filter(|(start, end)| end.0 > start.0);
        let rate = |start: &(usize, Duration), end: &(usize, Duration)| {
            (end.0 - start.0) as f64 / (end.1 - start.1).as_secs_f64()
        };
        steps.map(|(start, end)| Step { round, updates: end.0, rate: rate(start, end) }).collect()
    }
}

/// Hears a child to its end.
fn listen(child: &mut Child, name: &str) -> Filled {
    let mut filled = Filled::default();
    while let Some(word) = child.next_word() {
        match word {
            Word::Step { updates, seconds } => {
                eprintln!("{name} store: {updates} updates, {:.0}/s", updates as f64 / seconds);
                filled.steps.push((updates, Duration::from_secs_f64(seconds)));
            }
            Word::Filled => {}
            Word::Loaded { writes, reads } => {
                filled.memory.extend([("writes_per_s", writes), ("reads_per_s", reads)]);
            }
            Word::Memory { peak, resident } => {
                let mib = |bytes: u64| bytes as f64 / MIB;
                filled.memory.extend([("peak_mib", mib(peak)), ("resident_mib", mib(resident))]);
            }
            Word::Closed { seconds } => filled.closing = Duration::from_secs_f64(seconds),
        }
    }
    filled
}
