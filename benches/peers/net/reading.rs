//! The plans that read: get-64, and get-64-writing.
//!
//! The store of a million jobs is filled once in a run, over HTTP, four updates each, and stopped
//! cleanly; Redis and PostgreSQL hold the last update of each job. The jobs are asked for in random
//! order. Each server first answers a quarter as many questions about other jobs, unmeasured, so
//! that all have warm caches.

use std::path::Path;

use jobslate::model::Update;

use super::super::sample::Sample;
use super::super::workload::{UPDATES_PER_JOB, Workload};
use super::bare::{Answers, Bare};
use super::jobslate::{self as ours, Server};
use super::load;
use super::redis;
use super::{Arm, NetPlan, Rivals, run_arms, sample};

/// Updates in a body while the store is filled, and while it is asked and written.
const POST_LENGTH: usize = 1_000;
/// Updates that the writer sends again and again.
const WRITTEN_UPDATES: usize = 200_000;
/// What part of the questions is asked before the time begins.
const WARM_SHARE: usize = 4;
const SEED: u64 = 0x7065_6572_7321;

/// get-64, and right after it the same questions to the same server beside a writer.
pub fn get(plan: &NetPlan, round: usize, directory: &Path, rivals: &Rivals) -> Vec<Sample> {
    let held = directory.join("held");
    if round == 0 && held.exists() {
        std::fs::remove_dir_all(&held).unwrap();
    }
    if !held.exists() {
        fill(plan, &held);
    }
    let last = last_updates(plan);
    if let Some(redis) = &rivals.redis {
        redis.hold(&last);
    }
    if let Some(postgres) = &rivals.postgres {
        postgres.hold(&last);
    }
    let job_ids = shuffled(&last, plan.gets + plan.gets / WARM_SHARE, round);
    let (warm, asked) = job_ids.split_at(plan.gets / WARM_SHARE);
    let mut arms = vec![
        Arm::new("jobslate", || {
            let server = Server::start(&held);
            load::run(&server.address, ours::gets(warm), plan.connections);
            let load = load::run(&server.address, ours::gets(asked), plan.connections);
            server.stop();
            load
        }),
        Arm::new("axum-json", || {
            let bare = Bare::start(plan.bare, &typical_answers(&held, asked[0]));
            load::run(&bare.address, ours::gets(warm), plan.connections);
            load::run(&bare.address, ours::gets(asked), plan.connections)
        }),
    ];
    if let Some(redis) = &rivals.redis {
        arms.push(Arm::new("redis", || {
            load::run(&redis.address, redis::hgetalls(warm), plan.connections);
            load::run(&redis.address, redis::hgetalls(asked), plan.connections)
        }));
    }
    if let Some(postgres) = &rivals.postgres {
        arms.push(Arm::new("postgres", || {
            postgres.read(warm, plan.connections, plan.pool);
            postgres.read(asked, plan.connections, plan.pool)
        }));
    }
    let mut samples = run_arms("get-64", round, asked.len(), arms);
    samples.extend(get_beside_writer(plan, round, &held, warm, asked));
    samples
}

/// How long a reader waits, without a writer and beside one that never pauses.
fn get_beside_writer(
    plan: &NetPlan,
    round: usize,
    held: &Path,
    warm: &[&str],
    asked: &[&str],
) -> impl Iterator<Item = Sample> {
    let name = "get-64-writing";
    // Jobs that are there, so that the store is as large in the next round.
    let updates = Workload::new(plan.held_jobs).batch(WRITTEN_UPDATES.min(plan.held_jobs));
    let server = Server::start(held);
    load::run(&server.address, ours::gets(warm), plan.connections);
    let idle = load::run(&server.address, ours::gets(asked), plan.connections);
    let posts = ours::posts_for_now(&updates, POST_LENGTH);
    let (busy, writer) =
        load::run_beside(&server.address, ours::gets(asked), plan.connections, posts);
    server.stop();
    let written = writer.waits.len() * POST_LENGTH;
    let arms = [("idle", asked.len(), idle), ("busy", asked.len(), busy)];
    let arms = arms.into_iter().chain([("writer", written, writer)]);
    arms.map(move |(arm, operations, load)| sample(name, arm, round, operations, load))
}

/// Makes the store that is asked.
fn fill(plan: &NetPlan, held: &Path) {
    eprintln!("get-64: filling a store with {} jobs", plan.held_jobs);
    let server = Server::start(held);
    let mut workload = Workload::new(plan.held_jobs);
    loop {
        let updates = workload.batch(100_000);
        if updates.is_empty() {
            break;
        }
        load::run(&server.address, ours::posts(&updates, POST_LENGTH), plan.batch_connections);
    }
    assert_eq!(server.counts().1, plan.held_jobs as u64);
    server.stop();
}

/// The update that finishes each job, as they come.
fn last_updates(plan: &NetPlan) -> Vec<Update> {
    let mut workload = Workload::new(plan.held_jobs);
    (0..plan.held_jobs * UPDATES_PER_JOB)
        .filter_map(|_| workload.batch(1).pop())
        .filter(|update| update.status.as_ref().is_some_and(|it| it.as_str() == "completed"))
        .collect()
}

/// Some of the jobs in random order, none twice; other ones in each round.
fn shuffled(updates: &[Update], length: usize, round: usize) -> Vec<&str> {
    let mut job_ids: Vec<&str> = updates.iter().map(|update| update.job_id.as_str()).collect();
    let mut random = SEED + round as u64;
    let length = length.min(job_ids.len());
    for place in 0..length {
        // An odd multiplier and the upper half of the product: random enough to defeat caches.
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let other = place + (random >> 32) as usize % (job_ids.len() - place);
        job_ids.swap(place, other);
    }
    job_ids.truncate(length);
    job_ids
}

/// What jobslate answers for a job, for bare axum to answer as much.
fn typical_answers(held: &Path, job_id: &str) -> Answers {
    let server = Server::start(held);
    let job = server.ask(&ours::get_request(&format!("/v1/jobs/{job_id}")));
    server.stop();
    Answers { job, receipt: String::new() }
}
