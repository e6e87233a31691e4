//! The arms that are reached over a socket: jobslate over HTTP, Redis, PostgreSQL, bare axum.
//!
//! Each server is a process of its own on the two cores that it shares with the client; all keep
//! the same facts and sync before they acknowledge (what each keeps, and how, stands at its file).
//! Redis and PostgreSQL are started by `packaging/peers`, which names them in
//! `JOBSLATE_PEERS_REDIS` (host:port) and `JOBSLATE_PEERS_POSTGRES` (a connection string); an arm
//! without its server is left out, and a line says so.

pub mod bare;
mod jobslate;
mod load;
mod postgres;
mod reading;
mod redis;
mod reply;
mod writing;

use std::path::Path;
use std::time::Duration;

use self::bare::Home;
use self::load::Load;
use self::postgres::Postgres;
use self::redis::Redis;
use super::sample::Sample;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct NetPlan {
    /// put-64: updates in each arm, one in a call.
    pub put_updates: usize,
    /// put-64 and get-64: connections, or callers, each with one call in flight.
    pub connections: usize,
    /// PostgreSQL's connections, which these callers share.
    pub pool: usize,
    /// ndjson-1000 and ndjson-50: updates in each arm.
    pub batch_updates: usize,
    /// Connections for these, of every arm: two, so that a batch is on its way while the one before
    /// it is synced. More would make batches larger than their name says, as what waits during a
    /// sync is synced together, in jobslate and in Redis.
    pub batch_connections: usize,
    /// get-64: jobs in the store, and questions.
    pub held_jobs: usize,
    pub gets: usize,
    /// Where bare axum runs.
    pub bare: Home,
    /// Which groups of plans are run.
    pub put: bool,
    pub ndjson: bool,
    pub get: bool,
}

impl NetPlan {
    pub const FULL: Self = Self {
        put_updates: 100_000,
        connections: 64,
        pool: 10,
        batch_updates: 400_000,
        batch_connections: 2,
        held_jobs: 1_000_000,
        gets: 200_000,
        bare: Home::Process,
        put: true,
        ndjson: true,
        get: true,
    };

    /// Enough to see that it runs.
    pub const SMALL: Self = Self {
        put_updates: 400,
        connections: 8,
        batch_updates: 4_000,
        held_jobs: 1_000,
        gets: 400,
        bare: Home::Thread,
        ..Self::FULL
    };

    /// Only the groups that hold one of these plans.
    pub fn only(self, names: &[&str]) -> Self {
        let has = |group: &[&str]| group.iter().any(|plan| names.contains(plan));
        Self {
            put: has(&["put-64"]),
            ndjson: has(&["ndjson-1000", "ndjson-50"]),
            get: has(&["get-64", "get-64-writing"]),
            ..self
        }
    }
}

/// The servers that somebody else started, if he did.
struct Rivals {
    redis: Option<Redis>,
    postgres: Option<Postgres>,
}

impl Rivals {
    fn connect(round: usize) -> Self {
        let named = |variable: &str| {
            let value = std::env::var(variable).ok();
            if value.is_none() && round == 0 {
                eprintln!("{variable} is not set: its arms are left out (see packaging/peers)");
            }
            value
        };
        Self {
            redis: named("JOBSLATE_PEERS_REDIS").map(Redis::connect),
            postgres: named("JOBSLATE_PEERS_POSTGRES").map(Postgres::connect),
        }
    }
}

/// Runs every arm of the plan once. `directory` is the same in all rounds of a run: the store for
/// the reads is made there once, as are the tables of the others; what is written is written anew.
pub fn run_round(plan: &NetPlan, round: usize, directory: &Path) -> Vec<Sample> {
    let rivals = Rivals::connect(round);
    let mut samples = Vec::new();
    if plan.put {
        samples.extend(writing::put(plan, round, directory, &rivals));
    }
    if plan.ndjson {
        samples.extend(writing::ndjson(plan, round, directory, &rivals));
    }
    if plan.get {
        samples.extend(reading::get(plan, round, directory, &rivals));
    }
    samples
}

/// One way to do the work of a plan.
struct Arm<'a> {
    name: &'static str,
    run: Box<dyn FnOnce() -> Load + 'a>,
}

impl<'a> Arm<'a> {
    fn new(name: &'static str, run: impl FnOnce() -> Load + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Runs the arms: every second round backwards, and every two begin with another one.
fn run_arms(
    plan: &'static str,
    round: usize,
    operations: usize,
    mut arms: Vec<Arm<'_>>,
) -> Vec<Sample> {
    let first = round / 2 % arms.len();
    arms.rotate_left(first);
    if round % 2 == 1 {
        arms.reverse();
    }
    let run = |arm: Arm<'_>| sample(plan, arm.name, round, operations, (arm.run)());
    arms.into_iter().map(run).collect()
}

fn sample(
    plan: &'static str,
    arm: &'static str,
    round: usize,
    operations: usize,
    load: Load,
) -> Sample {
    let Load { elapsed, waits } = load;
    let rate = operations as f64 / elapsed.max(Duration::from_nanos(1)).as_secs_f64();
    eprintln!("{plan}, round {round}, {arm}: {rate:.0}/s");
    Sample { plan, arm, round, operations, elapsed, closing: Duration::ZERO, waits }
}
