//! PostgreSQL: `fsync` and `synchronous_commit` on, 64 callers that share a pool of 10 connections.
//!
//! Through tokio-postgres, as the protocol needs a client: its share of the two cores is a part of
//! the figures. Each call is one prepared statement that is a transaction of its own, and keeps
//! what jobslate keeps: the record with "newest wins", an index by status, the transitions. These
//! are not cut at 32, which costs less, and is not reached here. Plans by index are asked for, as
//! the tables have no statistics while they are filled; without that, the first plans read tables
//! from end to end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jobslate::model::Update;
use tokio::sync::Semaphore;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use super::load::{Load, runtime};

/// What the arms write, and what is read, which is filled once.
const WRITE_SCHEMA: &str = "written";
const READ_SCHEMA: &str = "held";

const TABLES: &str = "
create schema if not exists SCHEMA;
create table if not exists SCHEMA.jobs (
    job_id text primary key, pipeline text not null, status text not null, error text,
    progress double precision, at bigint not null, created_at bigint not null);
create index if not exists jobs_by_status on SCHEMA.jobs (status, at);
create table if not exists SCHEMA.history (
    job_id text not null, at bigint not null, status text not null, error text);
create index if not exists history_by_job on SCHEMA.history (job_id, at);";

/// One update.
const UPSERT: &str = "
with old as (select status, error from jobs where job_id = $1), new as (
    insert into jobs (job_id, pipeline, status, error, progress, at, created_at)
    values ($1, $2, $3, $4, $5, $6, $6)
    on conflict (job_id) do update set
        pipeline = excluded.pipeline, status = excluded.status, error = excluded.error,
        progress = excluded.progress, at = excluded.at,
        created_at = least(jobs.created_at, excluded.created_at)
    where excluded.at >= jobs.at
    returning job_id, at, status, error)
insert into history (job_id, at, status, error)
select new.job_id, new.at, new.status, new.error from new
where not exists (
    select from old where old.status = new.status and old.error is not distinct from new.error)";

/// Some updates, which may hold a job twice: the newest is its record, each can be a transition.
/// Records are written in the order of ids, so that two statements do not wait for each other.
const UPSERT_MANY: &str = "
with given as (
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[],
        $5::double precision[], $6::bigint[]) with ordinality
        as it (job_id, pipeline, status, error, progress, at, place)),
old as (select job_id, at, status, error from jobs where job_id = any($1)),
new as (
    insert into jobs (job_id, pipeline, status, error, progress, at, created_at)
    select distinct on (job_id) job_id, pipeline, status, error, progress, at, at from given
    order by job_id, at desc, place desc
    on conflict (job_id) do update set
        pipeline = excluded.pipeline, status = excluded.status, error = excluded.error,
        progress = excluded.progress, at = excluded.at,
        created_at = least(jobs.created_at, excluded.created_at)
    where excluded.at >= jobs.at)
insert into history (job_id, at, status, error)
select job_id, at, status, error from (
    select given.*, old.at as at_was,
        lag(given.status, 1, old.status) over moves as status_was,
        lag(given.error, 1, old.error) over moves as error_was
    from given left join old using (job_id)
    window moves as (partition by given.job_id order by given.at, given.place)) as moved
where at >= coalesce(at_was, at)
    and (status_was is distinct from status or error_was is distinct from error)";

const SELECT: &str =
    "select job_id, pipeline, status, error, progress, at, created_at from jobs where job_id = $1";

/// A server that somebody else started.
#[derive(Clone, Debug)]
pub struct Postgres {
    config: String,
}

impl Postgres {
    /// # Panics
    /// If the server acknowledges what is not synced: then there is nothing to compare.
    pub fn connect(config: String) -> Self {
        let postgres = Self { config };
        runtime().block_on(async {
            let client = postgres.client(WRITE_SCHEMA).await;
            for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
                let row = client.query_one(&format!("show {setting}"), &[]).await.unwrap();
                assert_eq!(row.get::<_, &str>(0), "on", "{setting}");
            }
            for schema in [WRITE_SCHEMA, READ_SCHEMA] {
                client.batch_execute(&TABLES.replace("SCHEMA", schema)).await.unwrap();
            }
        });
        postgres
    }

    async fn client(&self, schema: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.config, NoTls).await.unwrap();
        // Ends with the client.
        tokio::spawn(async move { connection.await.unwrap() });
        let session = format!(
            "set client_min_messages = warning; set search_path = {schema};
             set enable_seqscan = off"
        );
        client.batch_execute(&session).await.unwrap();
        client
    }

    /// Forgets everything that the arms wrote; a checkpoint, so that none falls to the next arm.
    pub fn clear(&self) {
        runtime().block_on(async {
            let client = self.client(WRITE_SCHEMA).await;
            client.batch_execute("truncate jobs, history").await.unwrap();
            client.batch_execute("checkpoint").await.unwrap();
        });
    }

    /// How many jobs and transitions the arms wrote.
    pub fn counts(&self) -> (i64, i64) {
        runtime().block_on(async {
            let client = self.client(WRITE_SCHEMA).await;
            let text = "select (select count(*) from jobs), (select count(*) from history)";
            let row = client.query_one(text, &[]).await.unwrap();
            (row.get(0), row.get(1))
        })
    }

    /// Fills the table that is read, unless it is full, with one update for each job.
    pub fn hold(&self, updates: &[Update]) {
        runtime().block_on(async {
            let client = self.client(READ_SCHEMA).await;
            let row = client.query_one("select count(*) from jobs", &[]).await.unwrap();
            if usize::try_from(row.get::<_, i64>(0)).unwrap() == updates.len() {
                return;
            }
            client.batch_execute("truncate jobs, history").await.unwrap();
            let statement = client.prepare(UPSERT_MANY).await.unwrap();
            for batch in updates.chunks(10_000) {
                upsert_many(&client, &statement, batch).await;
            }
            // The work that would otherwise be done beside the arms.
            client.batch_execute("vacuum analyze jobs").await.unwrap();
            client.batch_execute("vacuum analyze history").await.unwrap();
            client.batch_execute("checkpoint").await.unwrap();
        });
    }

    /// One statement for each update.
    pub fn write(&self, updates: &[Update], callers: usize, pool: usize) -> Load {
        let call = |client: Arc<(Client, Statement)>, update: Arc<Update>| async move {
            upsert(&client.0, &client.1, &update).await;
        };
        self.run(WRITE_SCHEMA, UPSERT, updates.to_vec(), callers, pool, call)
    }

    /// One statement for each `length` updates.
    pub fn write_many(&self, updates: &[Update], length: usize, callers: usize) -> Load {
        let batches: Vec<Vec<Update>> = updates.chunks(length).map(<[Update]>::to_vec).collect();
        let call = |client: Arc<(Client, Statement)>, batch: Arc<Vec<Update>>| async move {
            upsert_many(&client.0, &client.1, &batch).await;
        };
        self.run(WRITE_SCHEMA, UPSERT_MANY, batches, callers, callers, call)
    }

    /// One select for each job.
    pub fn read(&self, job_ids: &[&str], callers: usize, pool: usize) -> Load {
        let job_ids = job_ids.iter().map(|job_id| (*job_id).to_owned()).collect();
        let call = |client: Arc<(Client, Statement)>, job_id: Arc<String>| async move {
            let row = client.0.query_one(&client.1, &[&*job_id]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), *job_id);
        };
        self.run(READ_SCHEMA, SELECT, job_ids, callers, pool, call)
    }

    /// Does all of `work` by `callers`, each of whom borrows one of `pool` connections for a call,
    /// and waits for it within the time that is measured, as he would.
    fn run<Work, Done>(
        &self,
        schema: &str,
        statement: &str,
        work: Vec<Work>,
        callers: usize,
        pool: usize,
        call: impl Fn(Arc<(Client, Statement)>, Arc<Work>) -> Done + Copy + Send + Sync + 'static,
    ) -> Load
    where
        Work: Send + Sync + 'static,
        Done: Future<Output = ()> + Send,
    {
        runtime().block_on(async {
            let pool = Arc::new(Pool::open(self, schema, statement, pool).await);
            let work: Arc<[Arc<Work>]> = work.into_iter().map(Arc::new).collect();
            let next = Arc::new(AtomicUsize::new(0));
            let start = Instant::now();
            let tasks: Vec<_> = (0..callers)
                .map(|_| {
                    let (pool, work, next) = (pool.clone(), work.clone(), next.clone());
                    tokio::spawn(async move {
                        let mut waits = Vec::new();
                        while let Some(piece) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let start = Instant::now();
                            pool.lend(|client| call(client, piece.clone())).await;
                            waits.push(start.elapsed());
                        }
                        waits
                    })
                })
                .collect();
            let mut waits = Vec::with_capacity(work.len());
            for task in tasks {
                waits.extend(task.await.unwrap());
            }
            let elapsed = start.elapsed();
            waits.sort_unstable();
            Load { elapsed, waits }
        })
    }
}

/// Connections that are lent one caller at a time, each with the statement prepared.
struct Pool {
    places: Semaphore,
    free: Mutex<Vec<Arc<(Client, Statement)>>>,
}

impl Pool {
    async fn open(postgres: &Postgres, schema: &str, statement: &str, size: usize) -> Self {
        let mut free = Vec::new();
        for _ in 0..size {
            let client = postgres.client(schema).await;
            let statement = client.prepare(statement).await.unwrap();
            free.push(Arc::new((client, statement)));
        }
        Self { places: Semaphore::new(size), free: Mutex::new(free) }
    }

    async fn lend<Done: Future<Output = ()>>(
        &self,
        call: impl FnOnce(Arc<(Client, Statement)>) -> Done,
    ) {
        let _place = self.places.acquire().await.unwrap();
        let client = self.free.lock().unwrap().pop().expect("a place is a free connection");
        call(client.clone()).await;
        self.free.lock().unwrap().push(client);
    }
}

async fn upsert(client: &Client, statement: &Statement, update: &Update) {
    let at = at(update);
    let (pipeline, status) = (pipeline(update), status(update));
    let fields: [&(dyn ToSql + Sync); 6] = [
        &update.job_id.as_str(),
        &pipeline,
        &status,
        &update.error.as_deref(),
        &update.progress,
        &at,
    ];
    client.execute(statement, &fields).await.unwrap();
}

async fn upsert_many(client: &Client, statement: &Statement, updates: &[Update]) {
    let job_ids: Vec<&str> = updates.iter().map(|update| update.job_id.as_str()).collect();
    let pipelines: Vec<&str> = updates.iter().map(pipeline).collect();
    let statuses: Vec<&str> = updates.iter().map(status).collect();
    let errors: Vec<Option<&str>> = updates.iter().map(|update| update.error.as_deref()).collect();
    let progress: Vec<Option<f64>> = updates.iter().map(|update| update.progress).collect();
    let ats: Vec<i64> = updates.iter().map(at).collect();
    let fields: [&(dyn ToSql + Sync); 6] =
        [&job_ids, &pipelines, &statuses, &errors, &progress, &ats];
    client.execute(statement, &fields).await.unwrap();
}

fn pipeline(update: &Update) -> &str {
    update.pipeline.as_ref().unwrap().as_str()
}

fn status(update: &Update) -> &str {
    update.status.as_ref().unwrap().as_str()
}

fn at(update: &Update) -> i64 {
    i64::try_from(update.at.unwrap().0).unwrap()
}
