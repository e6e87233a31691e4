//! The arms that run in this process: each over the whole stream, one after the other.
//!
//! The order of the arms turns from round to round, and each starts in an empty directory. The
//! calls are measured, and the close; making the updates is not. At the end of each whole run the
//! arms that keep jobs are asked what they know, and must agree.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::arms::{ArmKind, Batch, Facts};
use super::sample::Sample;
use super::stream::Source;

/// One table of the report.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub name: &'static str,
    pub source: Source,
    pub batch_updates: usize,
    pub arms: &'static [ArmKind],
    /// Ends a run early, once its calls took so long. Arms that were stopped are not compared.
    pub calls_max: Option<Duration>,
}

/// The lengths of the store's segments, which the byte arms write; and what the arms know at the
/// end, which must be the same.
#[derive(Debug, Default)]
pub struct Memory {
    segment_lengths: Vec<usize>,
    known: Option<Known>,
}

type Known = (BTreeMap<String, usize>, Vec<Facts>);

/// Statuses that both kinds of stream use, and how many jobs are looked at.
const STATUSES: [&str; 4] = ["completed", "error", "processing", "queued"];
const JOBS_LOOKED_AT: usize = 200;
/// How often a long run says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Runs one round of `plan` in directories inside `directory`.
pub fn run_round(plan: &Plan, round: usize, directory: &Path, memory: &mut Memory) -> Vec<Sample> {
    let mut arms = plan.arms.to_vec();
    // The first round begins with the store, whose segments the others need.
    arms.rotate_left(round / 2 % plan.arms.len());
    if round % 2 == 1 {
        arms.reverse();
    }
    let mut samples = Vec::new();
    for arm in arms {
        let sample = run_arm(arm, plan, round, directory, memory);
        eprintln!("{} {} round {round}: {:.0}/s", plan.name, arm.name(), sample.rate());
        samples.push(sample);
    }
    samples
}

fn run_arm(
    arm: ArmKind,
    plan: &Plan,
    round: usize,
    directory: &Path,
    memory: &mut Memory,
) -> Sample {
    let home = tempfile::tempdir_in(directory).expect("the directory of the benchmark is writable");
    let is_measuring_lengths = arm == ArmKind::Store && memory.segment_lengths.is_empty();
    let mut opened = arm.open(home.path());
    let mut stream = plan.source.open();
    let mut waits = Vec::new();
    let (mut operations, mut elapsed, mut told) = (0, Duration::ZERO, PROGRESS);
    let mut job_ids = Vec::new();
    let mut is_whole = false;
    while plan.calls_max.is_none_or(|most| elapsed < most) {
        let updates = stream.batch(plan.batch_updates);
        if updates.is_empty() {
            is_whole = true;
            break;
        }
        operations += updates.len();
        if job_ids.len() < JOBS_LOOKED_AT {
            job_ids.extend(updates.iter().map(|update| update.job_id.as_str().to_owned()));
        }
        let batch = Batch::new(updates, memory.length(waits.len()));
        let start = Instant::now();
        let segment_bytes = opened.append(batch);
        let wait = start.elapsed();
        waits.push(wait);
        elapsed += wait;
        if is_measuring_lengths {
            memory.segment_lengths.push(segment_bytes);
        }
        if elapsed > told {
            told += PROGRESS;
            let rate = operations as f64 / elapsed.as_secs_f64();
            eprintln!("{} {} {operations} updates, {rate:.0}/s", plan.name, arm.name());
        }
    }
    if is_whole {
        memory.compare(arm, &mut *opened, &job_ids);
    }
    let start = Instant::now();
    opened.close();
    let closing = start.elapsed();
    waits.sort_unstable();
    Sample { plan: plan.name, arm: arm.name(), round, operations, elapsed, closing, waits }
}

impl Memory {
    /// What the byte arms write for the batch `number`. A run that got further than the store did
    /// begins again.
    fn length(&self, number: usize) -> usize {
        let place = number.checked_rem(self.segment_lengths.len());
        place.map_or(0, |place| self.segment_lengths[place])
    }

    fn compare(&mut self, arm: ArmKind, opened: &mut dyn super::arms::Arm, job_ids: &[String]) {
        let by_status = |opened: &mut dyn super::arms::Arm| -> Option<BTreeMap<_, _>> {
            STATUSES.iter().map(|it| Some(((*it).to_owned(), opened.count(it)?))).collect()
        };
        let Some(by_status) = by_status(opened) else { return };
        let look = |job_id: &String| opened.look(job_id).expect("the job is known");
        let known = (by_status, job_ids.iter().map(look).collect());
        let first = self.known.get_or_insert_with(|| known.clone());
        assert_eq!(*first, known, "{} knows what the others know", arm.name());
    }
}
