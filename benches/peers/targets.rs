//! The figures to reach: what is compared with what, and how much is enough.

use super::results::{Results, Spread};
use super::sample::Sample;

/// One row of the table of targets.
pub struct Target {
    pub row: &'static str,
    pub against: &'static str,
    pub bound: Bound,
    measure: Measure,
    /// What is hoped for beyond the bound.
    pub stretch: Option<f64>,
}

/// On which side of the bound the number must be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Where the number comes from.
enum Measure {
    /// Rates: plan and arm, against plan and arm.
    Rate([&'static str; 2], [&'static str; 2]),
    /// The wait that 99 of 100 calls do not exceed: plan and arm, against plan and arm.
    P99([&'static str; 2], [&'static str; 2]),
    /// A figure: plan and name.
    Figure([&'static str; 2]),
}

impl Bound {
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl Target {
    /// What was measured; `None` if one of the two was not.
    pub fn measured(&self, results: &Results) -> Option<Spread> {
        let pair = |[plan, arm]: [&'static str; 2]| (plan, arm);
        match self.measure {
            Measure::Rate(ours, theirs) => results.ratio(pair(ours), pair(theirs), Sample::rate),
            Measure::P99(ours, theirs) => {
                results.ratio(pair(ours), pair(theirs), |sample| sample.wait_ms(0.99))
            }
            Measure::Figure([plan, name]) => results.figure(plan, name),
        }
    }

    const fn rate(
        row: &'static str,
        against: &'static str,
        least: f64,
        ours: [&'static str; 2],
        theirs: [&'static str; 2],
    ) -> Self {
        let (bound, measure) = (Bound::AtLeast(least), Measure::Rate(ours, theirs));
        Self { row, against, bound, measure, stretch: None }
    }

    const fn figure(
        row: &'static str,
        against: &'static str,
        most: f64,
        of: [&'static str; 2],
    ) -> Self {
        let (bound, measure) = (Bound::AtMost(most), Measure::Figure(of));
        Self { row, against, bound, measure, stretch: None }
    }

    const fn hoped(self, stretch: f64) -> Self {
        Self { stretch: Some(stretch), ..self }
    }
}

const BY_50: &str = "in-process, batches of 50, 100,000 jobs";
const BY_1000: &str = "in-process, batches of 1,000, 1,000,000 jobs";
const PUT: &str = "single durable `PUT`, 64 connections";
const NDJSON: &str = "NDJSON of 1,000, durable";
const GET: &str = "`GET` of a job, 64 connections, 1,000,000 jobs";
const QUEUED: &str = "25 queued updates";
const DISK: &str = "bytes on disk, without the feed";

/// The table of the issue, line by line.
pub const TARGETS: [Target; 26] = [
    Target::rate(BY_50, "SQLite, plain", 2.2, OURS_50, ["inproc-50", "sqlite"]).hoped(3.0),
    Target::rate(BY_50, "SQLite, tuned", 2.2, OURS_50, ["inproc-50", "sqlite-tuned"]).hoped(3.0),
    Target::rate(BY_50, "redb append", 0.75, OURS_50, ["inproc-50", "redb-append"]),
    Target::rate(BY_50, "plain file (a stretch)", 0.75, OURS_50, ["inproc-50", "file"]),
    Target::rate(BY_1000, "SQLite, plain", 15.0, OURS_1000, ["inproc-1000", "sqlite"]),
    Target::rate(BY_1000, "SQLite, tuned", 15.0, OURS_1000, ["inproc-1000", "sqlite-tuned"]),
    Target::rate(BY_1000, "redb by hand", 10.0, OURS_1000, ["inproc-1000", "redb-tables"]),
    Target::rate(BY_1000, "plain file", 0.35, OURS_1000, ["inproc-1000", "file"]),
    Target::rate(PUT, "Redis, one by one", 1.3, OURS_PUT, ["put-64", "redis"]),
    Target::rate(PUT, "PostgreSQL, pool of 10", 5.0, OURS_PUT, ["put-64", "postgres"]),
    Target::rate(PUT, "bare axum", 0.7, OURS_PUT, ["put-64", "axum"]),
    Target::rate(NDJSON, "Redis, pipelined by 50", 6.0, OURS_NDJSON, ["ndjson-50", "redis-50"]),
    Target::rate(NDJSON, "PostgreSQL, `unnest` of 50", 12.0, OURS_NDJSON, UNNEST),
    Target::rate(GET, "bare axum, JSON", 0.9, OURS_GET, ["get-64", "axum-json"]),
    Target::rate(GET, "Redis `HGETALL`", 1.3, OURS_GET, ["get-64", "redis"]),
    Target::rate(GET, "PostgreSQL, prepared", 2.0, OURS_GET, ["get-64", "postgres"]),
    Target {
        row: "the same `GET` beside a writer, p99",
        against: "its p99 when idle",
        bound: Bound::AtMost(3.0),
        measure: Measure::P99(["get-64-writing", "busy"], ["get-64-writing", "idle"]),
        stretch: None,
    },
    Target::figure(QUEUED, "syncs while they are queued", 0.0, ["queued-25", "syncs_in_calls"]),
    Target::figure(QUEUED, "transactions", 1.0, ["queued-25", "transactions"]),
    Target::rate(
        "growth: the last 4,000,000 updates to 10,000,000 jobs",
        "100,000 jobs",
        0.6,
        ["growth", "large-last"],
        ["growth", "small"],
    ),
    Target::rate(
        "growth: all updates of 10,000,000 jobs",
        "100,000 jobs",
        0.6,
        ["growth", "large"],
        ["growth", "small"],
    ),
    Target::figure(
        "memory, 10,000,000 jobs under load",
        "peak, MiB",
        512.0,
        ["memory", "peak_mib"],
    ),
    Target::figure("ready after a kill, 1,000,000 jobs, warm", "s", 1.0, ["ready", "warm_s"]),
    Target::figure("the same, cold", "reading the files once", 1.5, ["ready", "cold_ratio"]),
    Target::figure(DISK, "records and keys, folded", 2.5, ["disk", "folded_ratio"]),
    Target::figure(
        DISK,
        "records and keys, compacted by redb itself",
        1.7,
        ["disk", "compacted_ratio"],
    ),
];

const OURS_50: [&str; 2] = ["inproc-50", "jobslate"];
const OURS_1000: [&str; 2] = ["inproc-1000", "jobslate"];
const OURS_PUT: [&str; 2] = ["put-64", "jobslate"];
const OURS_NDJSON: [&str; 2] = ["ndjson-1000", "jobslate"];
const OURS_GET: [&str; 2] = ["get-64", "jobslate"];
const UNNEST: [&str; 2] = ["ndjson-50", "postgres-50"];
