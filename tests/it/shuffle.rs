//! The order of arrival does not matter: the updates of a trace in any order, but for those of one
//! job at one time, end in the same status of every job. On both stores.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jobslate::model::{JobId, Request};
use jobslate::service::{Service, ServiceOptions};
use jobslate::store::StoreOptions;

use crate::model::broken::{self, Rule};
use crate::random::{Random, number_from_environment};
use crate::trace::{Trace, TraceUpdate};

/// How many updates are replayed if `JOBSLATE_SHUFFLE_UPDATES` does not say.
const UPDATES_DEFAULT: usize = 20_000;
const BATCH_UPDATES_MAX: usize = 400;

#[test]
fn a_shuffled_trace_ends_in_the_same_records_in_the_memory_store() {
    let mut random = Random::from_environment();
    let replay = Replay::choose(&mut random);
    let service = Service::in_memory(ServiceOptions::default()).unwrap();
    replay.run(&service, &mut random);
    service.drain_blocking().unwrap();
}

/// The tail is small, so that the records come from the tables as well as from the tail.
#[test]
fn a_shuffled_trace_ends_in_the_same_records_in_the_redb_store() {
    let mut random = Random::from_environment();
    let replay = Replay::choose(&mut random);
    let directory = tempfile::tempdir().unwrap();
    let store = StoreOptions {
        directory: directory.path().join("data"),
        tail_jobs_max: 2_000,
        ..StoreOptions::default()
    };
    let options = ServiceOptions { store, ..ServiceOptions::default() };
    let service = Service::open(options.clone(), Arc::new(|_| ())).unwrap();
    replay.run(&service, &mut random);
    assert!(service.stats().store.folds > 0, "the tables were used");
    service.drain_blocking().unwrap();

    let service = Service::open(options, Arc::new(|_| ())).unwrap();
    assert_eq!(replay.differences(&service), [""; 0]);
    service.drain_blocking().unwrap();
}

/// The control: where the later arrival always wins, many jobs end elsewhere.
#[test]
fn a_store_that_takes_late_updates_for_new_ones_is_found() {
    let mut random = Random::from_environment();
    let replay = Replay::choose(&mut random);
    let open = |options, _| Ok(broken::open(options, Some(Rule::LateIsStale)));
    let service = Service::start(ServiceOptions::default(), Arc::new(|_| ()), open).unwrap();
    replay.submit(&service, &mut random);
    let differences = replay.differences(&service);
    println!("{} jobs end elsewhere, such as {:?}", differences.len(), differences.first());
    assert!(!differences.is_empty());
    service.drain_blocking().unwrap();
}

/// Some jobs of google2011-tasks with all their updates, and an order to replay them in.
struct Replay {
    /// All updates of one job after those of another, each job's in the order of the trace.
    updates: Vec<TraceUpdate>,
    /// Indexes of `updates`.
    order: Vec<usize>,
}

impl Replay {
    fn choose(random: &mut Random) -> Self {
        let updates_max = number_from_environment("JOBSLATE_SHUFFLE_UPDATES", UPDATES_DEFAULT);
        // Ordered by id, so that a seed always chooses the same jobs.
        let mut by_job: BTreeMap<String, Vec<TraceUpdate>> = BTreeMap::new();
        for update in Trace::read("google2011-tasks").updates {
            by_job.entry(update.job_id.clone()).or_default().push(update);
        }
        let mut jobs: Vec<Vec<TraceUpdate>> = by_job.into_values().collect();
        random.shuffle(&mut jobs);
        let mut updates = Vec::new();
        for of_job in jobs {
            if updates.len() >= updates_max {
                break;
            }
            updates.extend(of_job);
        }
        let mut order: Vec<usize> = (0..updates.len()).collect();
        random.shuffle(&mut order);
        restore_ties(&updates, &mut order);
        println!("{} updates", updates.len());
        Self { updates, order }
    }

    /// Submits the updates, then compares and checks.
    fn run(&self, service: &Service, random: &mut Random) {
        self.submit(service, random);
        assert_eq!(self.differences(service), [""; 0]);
        let report = service.check().unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
    }

    /// In batches of random length.
    fn submit(&self, service: &Service, random: &mut Random) {
        let mut rest = &self.order[..];
        while !rest.is_empty() {
            let length = (1 + random.below(BATCH_UPDATES_MAX)).min(rest.len());
            let (batch, later) = rest.split_at(length);
            let updates = batch.iter().map(|index| self.updates[*index].to_update()).collect();
            let receipt = service.submit_blocking(Request::new(updates)).unwrap();
            assert_eq!(receipt.answer.accepted, length as u64);
            rest = later;
        }
    }

    /// The jobs that have not the status, error and pipeline of their last update in the trace.
    fn differences(&self, service: &Service) -> Vec<String> {
        let truth: HashMap<&str, &TraceUpdate> =
            self.updates.iter().map(|update| (&*update.job_id, update)).collect();
        let differences = truth.into_iter().filter_map(|(job_id, last)| {
            let record = service.get(&JobId::parse(job_id).unwrap()).unwrap();
            let record = record.expect("the job was reported");
            let pipeline = record.pipeline.as_str();
            let stored = (record.status.as_str(), record.error.as_deref(), pipeline);
            let expected = (&*last.status, last.error.as_deref(), &*last.pipeline);
            (stored != expected).then(|| format!("{job_id}: {stored:?}, not {expected:?}"))
        });
        differences.collect()
    }
}

/// Puts the updates of one job at one time back into their order, in the places that they have.
fn restore_ties(updates: &[TraceUpdate], order: &mut [usize]) {
    let mut places: HashMap<(&str, i64), Vec<usize>> = HashMap::new();
    for (place, index) in order.iter().enumerate() {
        let update = &updates[*index];
        places.entry((&update.job_id, update.at)).or_default().push(place);
    }
    for places in places.into_values() {
        let mut tied: Vec<usize> = places.iter().map(|place| order[*place]).collect();
        tied.sort_unstable();
        for (place, index) in places.into_iter().zip(tied) {
            order[place] = index;
        }
    }
}
