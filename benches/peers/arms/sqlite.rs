//! SQLite, twice: WAL, every commit synced, prepared statements, one transaction a batch, newest
//! wins inside the upsert. `RETURNING` says whether there was a transition, so that an update costs
//! two statements at most.
//!
//! * plain: the schema that most would write, with the id as the key of both tables, and SQLite's
//!   own defaults otherwise;
//! * tuned: what was found to be fastest. Jobs get small numbers in the order of their arrival, and
//!   records and transitions are kept in that order, so only the index of ids is random, and an
//!   update does not change it. Transitions are a table `WITHOUT ROWID`, clustered by job. The page
//!   cache has the size of ours (128 MiB). The log is checkpointed at 64 MiB, not at the usual 4
//!   MiB, so that pages which change often are written to the database less often.

use std::path::Path;

use jobslate::model::{TimestampMs, Update};
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{Arm, Batch, Facts};

/// How the tables are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pragmas: &'static str,
    /// What names a job: the first columns of `jobs`.
    job_columns: &'static str,
    /// What names it in `transitions`, and the type of that.
    key: &'static str,
    key_type: &'static str,
    /// Behind the table of transitions.
    clustering: &'static str,
}

pub const PLAIN: Layout = Layout {
    pragmas: "",
    job_columns: "job_id TEXT PRIMARY KEY",
    key: "job_id",
    key_type: "TEXT",
    clustering: "",
};

/// The log is checkpointed at so many pages of 4 KiB: 64 MiB.
pub const TUNED: Layout = Layout {
    pragmas: "
        PRAGMA page_size = 4096;
        PRAGMA cache_size = -131072;
        PRAGMA wal_autocheckpoint = 16384;
        PRAGMA temp_store = MEMORY;",
    job_columns: "job INTEGER PRIMARY KEY, job_id TEXT NOT NULL UNIQUE",
    key: "job",
    key_type: "INTEGER",
    clustering: "WITHOUT ROWID",
};

impl Layout {
    /// A statement of this layout.
    fn statement(self, text: &str) -> String {
        text.replace("JOB_COLUMNS", self.job_columns)
            .replace("KEY_TYPE", self.key_type)
            .replace("JOB_KEY", self.key)
            .replace("CLUSTERING", self.clustering)
    }
}

const SCHEMA: &str = "
    CREATE TABLE jobs (
        JOB_COLUMNS,
        status TEXT NOT NULL,
        pipeline TEXT,
        error TEXT,
        attempt INTEGER NOT NULL,
        progress REAL,
        created_at INTEGER NOT NULL,
        at INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        is_transition INTEGER NOT NULL
    );
    CREATE INDEX by_status ON jobs (status, seq);
    CREATE TABLE transitions (
        JOB_KEY KEY_TYPE NOT NULL,
        seq INTEGER NOT NULL,
        status TEXT NOT NULL,
        at INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        error TEXT,
        PRIMARY KEY (JOB_KEY, seq)
    ) CLUSTERING;";

const DURABLE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";

const UPSERT: &str = "
    INSERT INTO jobs
        (job_id, status, pipeline, error, attempt, progress, created_at, at, seq, is_transition)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, 1)
    ON CONFLICT (job_id) DO UPDATE SET
        is_transition = jobs.status IS NOT excluded.status OR jobs.error IS NOT excluded.error,
        status = excluded.status,
        pipeline = coalesce(excluded.pipeline, jobs.pipeline),
        error = excluded.error,
        attempt = excluded.attempt,
        progress = coalesce(excluded.progress, jobs.progress),
        at = excluded.at,
        seq = excluded.seq
    WHERE excluded.at >= jobs.at
    RETURNING JOB_KEY, is_transition";

const INSERT_TRANSITION: &str = "
    INSERT INTO transitions (JOB_KEY, seq, status, at, attempt, error)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const LOOK: &str = "
    SELECT status, at, (SELECT count(*) FROM transitions WHERE transitions.JOB_KEY = jobs.JOB_KEY)
    FROM jobs WHERE job_id = ?1";

/// The connection, its statements, and the number of the last update.
pub struct SqliteArm {
    connection: Connection,
    upsert: String,
    insert_transition: String,
    look: String,
    seq: i64,
}

impl SqliteArm {
    pub fn open(directory: &Path, layout: Layout) -> Self {
        let connection = Connection::open(directory.join("jobs.sqlite")).expect("SQLite opens");
        for statements in [layout.pragmas, DURABLE, &layout.statement(SCHEMA)] {
            connection.execute_batch(statements).expect("the schema is made");
        }
        let text: String = connection
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .expect("SQLite says its mode");
        assert_eq!(text, "wal", "the write-ahead log is on");
        let synchronous: i64 = connection
            .pragma_query_value(None, "synchronous", |row| row.get(0))
            .expect("SQLite says how it syncs");
        assert_eq!(synchronous, 2, "every commit is synced");
        let [upsert, insert_transition, look] =
            [UPSERT, INSERT_TRANSITION, LOOK].map(|text| layout.statement(text));
        Self { connection, upsert, insert_transition, look, seq: 0 }
    }
}

impl Arm for SqliteArm {
    fn append(&mut self, batch: Batch) -> usize {
        let txn = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let txn = txn.expect("SQLite begins");
        let prepare = |text: &str| txn.prepare_cached(text).expect("the statement is valid");
        let (mut upsert, mut insert) = (prepare(&self.upsert), prepare(&self.insert_transition));
        for (_, update) in &batch.request.updates {
            self.seq += 1;
            take(&mut upsert, &mut insert, update, self.seq).expect("SQLite takes the update");
        }
        drop((upsert, insert));
        txn.commit().expect("SQLite commits");
        0
    }

    fn close(self: Box<Self>) {
        self.connection.close().expect("SQLite closes");
    }

    fn look(&mut self, job_id: &str) -> Option<Facts> {
        let facts = self.connection.query_row(&self.look, [job_id], |row| {
            let (at, transitions): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok(Facts {
                status: row.get(0)?,
                at: at.cast_unsigned(),
                transitions: transitions as usize,
            })
        });
        facts.optional().expect("SQLite reads")
    }

    fn count(&mut self, status: &str) -> Option<usize> {
        let query = "SELECT count(*) FROM jobs WHERE status = ?1";
        let count = self.connection.query_row(query, [status], |row| row.get::<_, i64>(0));
        Some(count.expect("SQLite reads") as usize)
    }
}

fn take(
    upsert: &mut CachedStatement<'_>,
    insert: &mut CachedStatement<'_>,
    update: &Update,
    seq: i64,
) -> rusqlite::Result<()> {
    let status = update.status.expect("the workload has no heartbeats");
    let TimestampMs(at) = update.at.expect("the workload says when");
    let (at, attempt) = (at.cast_signed(), update.attempt.unwrap_or(1));
    let pipeline = update.pipeline.as_ref().map(|name| name.as_str());
    let error = update.error.as_deref();
    let row = params![
        update.job_id.as_str(),
        status.as_str(),
        pipeline,
        error,
        attempt,
        update.progress,
        at,
        seq
    ];
    let kept = upsert.query_row(row, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((job, is_transition)): Option<(Value, bool)> = kept else { return Ok(()) };
    if is_transition {
        insert.execute(params![job, seq, status.as_str(), at, attempt, error])?;
    }
    Ok(())
}
