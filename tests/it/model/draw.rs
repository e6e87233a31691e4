//! What is called next: drawn at random, from few jobs and moments, so that calls meet.

use std::time::Duration;

use jobslate::model::{
    Ack, Command, IdempotencyKey, JobFilter, JobId, Kind, Order, PageQuery, PipelineName, Request,
    Resolution, Status, TimelineQuery, TimestampMs, Update, UpdateFields,
};
use jobslate::service::Prune;

use crate::random::Random;

/// 2025-11-24T16:00:00Z.
pub const NOW: u64 = 1_764_000_000_000;
/// Reporters' times and the wall clock move in such steps, so that minutes, hours and days differ.
const STEP_MS: u64 = 1_700_000;
/// So many of them are within what the timeline keeps of minutes.
const STEPS_MAX: usize = 100;
const JOBS: usize = 40;
const STATUSES: [&str; 6] = ["queued", "processing", "completed", "error", "own.word", "cancelled"];
const PIPELINES: [&str; 4] = ["a", "b", "default", "none"];
/// Calls that may be repeated.
const REPEATABLE_MAX: usize = 100;

/// One call of the service, or what happens to it.
#[derive(Clone, Debug)]
pub enum Call {
    Submit(Request),
    Queue(Vec<Update>),
    Flush,
    Get(JobId),
    Lookup(Vec<JobId>),
    List(Box<PageQuery>),
    Pipelines { after: Option<PipelineName>, limit: usize },
    Pipeline(PipelineName),
    Feed { after_percent: u64, limit: usize },
    Timeline(TimelineQuery),
    Prune(Prune),
    Check,
    LetPass(Duration),
    SetWall(TimestampMs),
    Restart(Stop),
}

/// How the service on disk ends before it is opened again.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    Drained,
    /// The last handle goes away without a drain.
    Dropped,
    Killed,
}

/// Draws calls; remembers what may be repeated.
#[derive(Debug, Default)]
pub struct Draw {
    keyed: Vec<Request>,
    keys: u32,
    /// Steps that the wall clock has come forward.
    step: usize,
}

impl Draw {
    pub fn call(&mut self, random: &mut Random) -> Call {
        match random.below(1_000) {
            0..300 => Call::Submit(self.request(random)),
            300..410 => Call::Queue((0..1 + random.below(8)).map(|_| update(random)).collect()),
            410..420 => Call::Prune(self.prune(random)),
            420..450 => Call::Submit(removal(random)),
            450..480 => Call::Submit(expectation(random)),
            480..560 => Call::Submit(self.repeat(random)),
            560..620 => Call::Flush,
            620..660 => Call::Get(job_id(random)),
            660..690 => Call::Lookup((0..random.below(12)).map(|_| job_id(random)).collect()),
            690..800 => Call::List(Box::new(self.page_query(random))),
            800..825 => {
                let after = maybe(random, 50, pipeline);
                Call::Pipelines { after, limit: 1 + random.below(4) }
            }
            825..850 => Call::Pipeline(pipeline(random)),
            850..900 => {
                let after_percent = random.below(110) as u64;
                Call::Feed { after_percent, limit: 1 + random.below(60) }
            }
            900..930 => Call::Timeline(timeline_query(random)),
            930..935 => Call::Check,
            935..965 => Call::LetPass(Duration::from_millis(random.below(40_000) as u64)),
            965..995 => Call::SetWall(self.wall(random)),
            995..997 => Call::Restart(Stop::Drained),
            997 => Call::Restart(Stop::Dropped),
            _ => Call::Restart(Stop::Killed),
        }
    }

    fn request(&mut self, random: &mut Random) -> Request {
        let updates = (0..random.below(6)).map(|_| update(random)).collect();
        let mut request = Request { atomic: one_in(random, 4), ..Request::new(updates) };
        if one_in(random, 3) {
            request.ack = Ack::Queued;
        }
        // A big one, which may find the queue too full.
        if one_in(random, 30) {
            let more = 16 + random.below(16) as u32;
            request.updates.extend((10..10 + more).map(|index| (index, update(random))));
        }
        if one_in(random, 3) {
            self.keys += 1;
            let fingerprint = [self.keys as u8; 32];
            request.idempotency = IdempotencyKey::new(&format!("key-{}", self.keys), fingerprint);
            self.remember(random, request.clone());
        }
        request
    }

    fn remember(&mut self, random: &mut Random, request: Request) {
        if self.keyed.len() < REPEATABLE_MAX {
            self.keyed.push(request);
        } else {
            let place = random.below(REPEATABLE_MAX);
            self.keyed[place] = request;
        }
    }

    /// A little later than before, or back.
    fn wall(&mut self, random: &mut Random) -> TimestampMs {
        let back = random.below(3) * random.below(20);
        self.step += usize::from(back == 0 && self.step < STEPS_MAX);
        at_step(self.step.saturating_sub(back))
    }

    /// A moment that the wall clock was set to lately, so that jobs have it too.
    fn lately(&self, random: &mut Random) -> TimestampMs {
        at_step((self.step + 1).saturating_sub(random.below(4)))
    }

    /// A call made before, or another one under its key.
    fn repeat(&mut self, random: &mut Random) -> Request {
        if self.keyed.is_empty() {
            return self.request(random);
        }
        let mut request = self.keyed[random.below(self.keyed.len())].clone();
        if one_in(random, 5)
            && let Some(key) = &mut request.idempotency
        {
            key.fingerprint[0] ^= 1;
        }
        request
    }

    /// Without an age: time that a server ran, which the one that is killed may lose some of.
    fn prune(&self, random: &mut Random) -> Prune {
        let words = (0..random.below(3)).map(|_| Status::parse(word(random)).unwrap());
        Prune {
            statuses: words.collect(),
            kinds: (0..random.below(2)).map(|_| Kind::ALL[random.below(Kind::ALL.len())]).collect(),
            pipeline: maybe(random, 30, pipeline),
            updated_before: maybe(random, 30, |random| self.lately(random)),
            older_than: None,
            keep_newest: maybe(random, 50, |random| random.below(8) as u64),
            limit: maybe(random, 50, |random| 1 + random.below(8) as u64),
        }
    }

    fn page_query(&self, random: &mut Random) -> PageQuery {
        let prefixes = ["", "job-", "job-1", "job-11", "j", "x"];
        let words = (0..random.below(3)).map(|_| Status::parse(word(random)).unwrap());
        let statuses = words.collect();
        let kinds =
            (0..random.below(3)).map(|_| Kind::ALL[random.below(Kind::ALL.len())]).collect();
        let mut bound = || maybe(random, 25, |random| self.lately(random));
        let (updated_from, updated_before, stalled_since) = (bound(), bound(), bound());
        let filter = JobFilter {
            statuses,
            kinds,
            pipeline: maybe(random, 30, pipeline),
            prefix: prefixes[random.below(prefixes.len())].to_owned(),
            updated_from,
            updated_before,
            stalled_since,
        };
        let order = Order::ALL[random.below(3)];
        let scan_max = if one_in(random, 3) { 1 + random.below(6) } else { 10_000 };
        PageQuery { filter, order, limit: 1 + random.below(8), scan_max, cursor: None }
    }
}

fn one_in(random: &mut Random, number: usize) -> bool {
    random.below(number) == 0
}

/// Draws a value in so many of a hundred cases.
fn maybe<T>(random: &mut Random, percent: usize, draw: impl FnOnce(&mut Random) -> T) -> Option<T> {
    (random.below(100) < percent).then(|| draw(random))
}

fn at_step(step: usize) -> TimestampMs {
    TimestampMs(NOW + step as u64 * STEP_MS)
}

fn moment(random: &mut Random, steps: usize) -> TimestampMs {
    at_step(random.below(steps))
}

fn word(random: &mut Random) -> &'static str {
    STATUSES[random.below(STATUSES.len())]
}

fn name(random: &mut Random) -> String {
    // Some jobs are met more often than others.
    let below = if one_in(random, 2) { 6 } else { JOBS };
    format!("job-{}", random.below(below))
}

fn job_id(random: &mut Random) -> JobId {
    JobId::parse(&name(random)).unwrap()
}

fn pipeline(random: &mut Random) -> PipelineName {
    PipelineName::parse(PIPELINES[random.below(PIPELINES.len())]).unwrap()
}

fn update(random: &mut Random) -> Update {
    let extra = random.below(12);
    Update::new(UpdateFields {
        job_id: &name(random),
        status: maybe(random, 75, word),
        at: maybe(random, 60, |random| moment(random, 50)),
        attempt: maybe(random, 15, |random| random.below(4) as u32),
        pipeline: maybe(random, 20, |random| PIPELINES[random.below(3)]),
        if_status: maybe(random, 10, word),
        error: (extra == 0).then_some("it failed"),
        message: (extra == 1).then_some("page 1"),
        progress: (extra == 2).then_some(0.5),
        labels: (extra == 3).then(|| vec![("k".to_owned(), "v".to_owned())]),
    })
    .unwrap()
}

fn removal(random: &mut Random) -> Request {
    Request::of_command(Command::Remove(job_id(random)))
}

fn expectation(random: &mut Random) -> Request {
    let total = maybe(random, 75, |random| 1 + random.below(12) as u64);
    Request::of_command(Command::Expect { pipeline: pipeline(random), total })
}

fn timeline_query(random: &mut Random) -> TimelineQuery {
    let resolution = Resolution::ALL[random.below(3)];
    let step_ms = resolution.step_ms() * (1 + random.below(3)) as u64;
    let at = |random: &mut Random| moment(random, 110).0 / step_ms * step_ms;
    let (one, other) = (at(random), at(random));
    let pipeline = maybe(random, 50, pipeline).filter(|_| resolution.has_pipelines());
    let (from, to) = (TimestampMs(one.min(other)), TimestampMs(one.max(other)));
    TimelineQuery { resolution, from, to, step_ms, pipeline }
}
