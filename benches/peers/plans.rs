//! What is measured, by name; and how much of it.

use std::time::Duration;

use super::arms::ArmKind;
use super::inproc::Plan;
use super::net::NetPlan;
use super::stream::Source;

/// How much is done: all of it, or enough to see that it runs.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub rounds: usize,
    pub inproc: &'static [Plan],
    pub net: &'static NetPlan,
    pub whole: Whole,
}

/// The rows about whole stores.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// Jobs of the small and of the large store of `growth`; `memory` is that of the large one.
    pub growth_jobs: [usize; 2],
    /// The updates at the end of the large store whose rate is compared.
    pub growth_last: usize,
    pub ready_jobs: usize,
    pub disk_jobs: usize,
    /// How long the store of `memory` is written and read after it was filled.
    pub load: Duration,
}

pub const FULL: Size = Size {
    rounds: 5,
    inproc: &FULL_INPROC,
    net: &NetPlan::FULL,
    whole: Whole {
        growth_jobs: [100_000, 10_000_000],
        growth_last: 4_000_000,
        ready_jobs: 1_000_000,
        disk_jobs: 1_000_000,
        load: Duration::from_secs(30),
    },
};

pub const SMALL: Size = Size {
    rounds: 1,
    inproc: &SMALL_INPROC,
    net: &NetPlan::SMALL,
    whole: Whole {
        growth_jobs: [500, 2_000],
        growth_last: 2_000,
        ready_jobs: 2_000,
        disk_jobs: 2_000,
        load: Duration::from_millis(50),
    },
};

/// Plans that are no in-process plans and not over the network.
pub const WHOLE_NAMES: [&str; 5] = ["growth", "memory", "ready", "disk", "queued-25"];

const UUIDS_100K: Source = Source::Synthetic { jobs: 100_000 };
const UUIDS_1M: Source = Source::Synthetic { jobs: 1_000_000 };
const UUIDS_FEW: Source = Source::Synthetic { jobs: 500 };

const FULL_INPROC: [Plan; 9] = [
    all("inproc-50", UUIDS_100K, 50),
    // The slow arms would take many minutes: they end with a smaller store than ours, which is in
    // their favour.
    Plan { calls_max: Some(Duration::from_secs(30)), ..all("inproc-1000", UUIDS_1M, 1_000) },
    all("trace-50", Source::Trace { name: "google2011-tasks" }, 50),
    by_size("size-1", 1, 2_000),
    by_size("size-10", 10, 2_000),
    by_size("size-50", 50, 2_000),
    by_size("size-200", 200, 2_000),
    by_size("size-1000", 1_000, 2_000),
    by_size("size-5000", 5_000, 2_000),
];

const SMALL_INPROC: [Plan; 5] = [
    all("inproc-50", UUIDS_FEW, 50),
    all("inproc-1000", UUIDS_FEW, 1_000),
    all("trace-50", Source::Trace { name: "pegasus-dagman" }, 50),
    by_size("size-1", 1, 20),
    by_size("size-200", 200, 20),
];

const fn all(name: &'static str, source: Source, batch_updates: usize) -> Plan {
    Plan { name, source, batch_updates, arms: &ArmKind::ALL, calls_max: None }
}

/// A point of the plot by batch size: as many updates as fit the time.
const fn by_size(name: &'static str, batch_updates: usize, calls_ms_max: u64) -> Plan {
    const ARMS: [ArmKind; 5] = [
        ArmKind::Store,
        ArmKind::Service,
        ArmKind::SqliteTuned,
        ArmKind::RedbAppend,
        ArmKind::File,
    ];
    let calls_max = Some(Duration::from_millis(calls_ms_max));
    Plan { name, source: UUIDS_1M, batch_updates, arms: &ARMS, calls_max }
}
