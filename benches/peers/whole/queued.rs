//! What a queued update costs its caller, and what a batch of them costs the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jobslate::service::{Service, ServiceOptions};
use jobslate::store::StoreOptions;

use super::super::workload::Workload;
use super::Figure;

const UPDATES: usize = 25;

/// Queues the updates one by one, then flushes.
pub fn run(round: usize, directory: &Path) -> Vec<Figure> {
    let home = tempfile::tempdir_in(directory).expect("the directory of the benchmark is writable");
    let store = StoreOptions { directory: home.path().join("data"), ..StoreOptions::default() };
    let options = ServiceOptions { store, ..ServiceOptions::default() };
    let service = Service::open(options, Arc::new(|_| ())).expect("the service opens");
    let updates = Workload::new(UPDATES).batch(UPDATES);
    let before = service.stats();
    let start = Instant::now();
    let mut longest = 0.0_f64;
    for update in updates {
        let call = Instant::now();
        service.queue(update).expect("it is accepted");
        longest = longest.max(call.elapsed().as_secs_f64());
    }
    let queueing = start.elapsed().as_secs_f64();
    let queued = service.stats();
    service.flush_blocking().expect("it is stored");
    let flushed = service.stats();
    let transactions = flushed.batches - before.batches;
    let durable = flushed.accepted - before.accepted;
    assert_eq!(durable, UPDATES as u64, "all are durable after the flush");
    assert!(transactions > 0 && flushed.store.syncs > queued.store.syncs, "the flush synced");
    service.drain_blocking().expect("the service drains");
    let figure = |name, value| Figure { plan: "queued-25", name, round, value };
    vec![
        figure("all_calls_us", queueing * 1e6),
        figure("longest_call_us", longest * 1e6),
        figure("syncs_in_calls", (queued.store.syncs - before.store.syncs) as f64),
        figure("transactions", transactions as f64),
    ]
}
