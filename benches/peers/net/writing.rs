//! The plans that write: put-64, ndjson-1000 and ndjson-50.
//!
//! Each arm finds nothing, and what it wrote is counted afterwards.

use std::path::Path;

use jobslate::model::Update;

use super::super::sample::Sample;
use super::super::workload::{UPDATES_PER_JOB, Workload};
use super::bare::{Answers, Bare};
use super::jobslate::{self as ours, Server};
use super::load::{self, Load, Requests};
use super::postgres::Postgres;
use super::redis::{self, Redis};
use super::reply::Protocol;
use super::{Arm, NetPlan, Rivals, run_arms};

/// How many updates Redis and PostgreSQL get at a time.
const RIVAL_BATCH: usize = 50;

/// put-64: one durable update in a call.
pub fn put(plan: &NetPlan, round: usize, directory: &Path, rivals: &Rivals) -> Vec<Sample> {
    let updates = Workload::new(plan.put_updates / UPDATES_PER_JOB).batch(plan.put_updates);
    let callers = plan.connections;
    let mut arms = vec![
        Arm::new("jobslate", || write_ours(directory, &updates, ours::puts(&updates), callers)),
        Arm::new("axum", || write_bare(plan, directory, &updates)),
    ];
    if let Some(redis) = &rivals.redis {
        arms.push(Arm::new("redis", || write_redis(redis, &updates, 1, callers)));
        arms.push(Arm::new("redis-hset", || {
            redis.clear();
            let load = load::run(&redis.address, redis::hsets(&updates), callers);
            assert_eq!(redis.keys(), jobs_of(&updates), "a record each");
            load
        }));
    }
    if let Some(postgres) = &rivals.postgres {
        arms.push(Arm::new("postgres", || {
            write_postgres(postgres, &updates, || postgres.write(&updates, callers, plan.pool))
        }));
    }
    run_arms("put-64", round, updates.len(), arms)
}

/// ndjson-1000 and ndjson-50: durable batches. The rivals' batches are of 50 in both, so that they
/// run once and stand in both.
pub fn ndjson(plan: &NetPlan, round: usize, directory: &Path, rivals: &Rivals) -> Vec<Sample> {
    let updates = Workload::new(plan.batch_updates / UPDATES_PER_JOB).batch(plan.batch_updates);
    let callers = plan.batch_connections;
    let posts = |length| {
        let updates = &updates;
        move || write_ours(directory, updates, ours::posts(updates, length), callers)
    };
    let mut arms = vec![Arm::new("1000", posts(1_000)), Arm::new("50", posts(50))];
    if let Some(redis) = &rivals.redis {
        arms.push(Arm::new("redis-50", || write_redis(redis, &updates, RIVAL_BATCH, callers)));
    }
    if let Some(postgres) = &rivals.postgres {
        arms.push(Arm::new("postgres-50", || {
            let write = || postgres.write_many(&updates, RIVAL_BATCH, callers);
            write_postgres(postgres, &updates, write)
        }));
    }
    let mut samples = Vec::new();
    for sample in run_arms("ndjson", round, updates.len(), arms) {
        let of = |plan, arm| Sample { plan, arm, waits: sample.waits.clone(), ..sample };
        match sample.arm {
            "1000" => samples.push(of("ndjson-1000", "jobslate")),
            "50" => samples.push(of("ndjson-50", "jobslate")),
            arm => samples.extend([of("ndjson-1000", arm), of("ndjson-50", arm)]),
        }
    }
    samples
}

fn write_ours(
    directory: &Path,
    updates: &[Update],
    requests: Requests,
    connections: usize,
) -> Load {
    let directory = tempfile::tempdir_in(directory).unwrap();
    let server = Server::start(directory.path());
    let load = load::run(&server.address, requests, connections);
    let (seq, jobs) = server.counts();
    assert_eq!(seq, updates.len() as u64, "each update was applied or is stale");
    assert_eq!(jobs, jobs_of(updates) as u64);
    load
}

/// Bare axum reads the same bodies and answers as long as jobslate does.
fn write_bare(plan: &NetPlan, directory: &Path, updates: &[Update]) -> Load {
    let directory = tempfile::tempdir_in(directory).unwrap();
    let server = Server::start(directory.path());
    let update = &updates[0];
    let puts = ours::puts(updates);
    let receipt = server.ask(puts.each().next().unwrap());
    let job = server.ask(&ours::get_request(&format!("/v1/jobs/{}", update.job_id.as_str())));
    drop(server);
    let bare = Bare::start(plan.bare, &Answers { job, receipt });
    let mut posts = Requests::new(Protocol::Http);
    for request in puts.each() {
        posts.push(&[b"POST".as_slice(), &request[b"PUT".len()..]].concat(), 1);
    }
    load::run(&bare.address, posts, plan.connections)
}

fn write_redis(redis: &Redis, updates: &[Update], length: usize, connections: usize) -> Load {
    redis.clear();
    let load = load::run(&redis.address, redis.applies(updates, length), connections);
    assert_eq!(redis.jobs_by_status(), jobs_of(updates), "each job once in the index");
    load
}

fn write_postgres(postgres: &Postgres, updates: &[Update], write: impl FnOnce() -> Load) -> Load {
    postgres.clear();
    let load = write();
    let (jobs, transitions) = postgres.counts();
    assert_eq!(jobs, i64::try_from(jobs_of(updates)).unwrap());
    assert!(transitions >= jobs, "each job has a first transition");
    load
}

fn jobs_of(updates: &[Update]) -> usize {
    let job_ids: std::collections::HashSet<&str> =
        updates.iter().map(|update| update.job_id.as_str()).collect();
    job_ids.len()
}
