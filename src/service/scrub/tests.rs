use super::*;
use std::sync::Arc;

use crate::model::{JobId, Request, Update};
use crate::service::ServiceOptions;

const DAY: Duration = Duration::from_hours(24);
const MARK: &[u8] = b"a message that stands in the file as it is";

/// A service that keeps next to nothing in memory, with one job and `more`, all folded.
fn service(directory: &std::path::Path, more: usize) -> Service {
    let open = || {
        let mut options = ServiceOptions::default();
        options.store.directory = directory.to_owned();
        options.store.cache_bytes = 16 << 10;
        Service::open(options, Arc::new(|_| ())).unwrap()
    };
    let service = open();
    let mut update = Update::status("a", "queued").unwrap();
    update.message = Some(String::from_utf8(MARK.to_vec()).unwrap().into());
    let more = (0..more).map(|number| Update::status(&format!("b-{number}"), "queued").unwrap());
    let updates = std::iter::once(update).chain(more).collect();
    service.submit_blocking(Request::new(updates)).unwrap();
    service.drain_blocking().unwrap();
    drop(service);
    open()
}

/// Turns a bit wherever the message stands in the tables.
fn damage(directory: &std::path::Path) {
    use std::os::unix::fs::FileExt as _;
    let path = directory.join("tables.redb");
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let places = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let places: Vec<_> = places.map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "the message stands in the file");
    for place in places {
        file.write_all_at(b"A", place as u64).unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap()
}

/// Lets the scrub work for some days, which pass at once.
fn scrub_for(service: &Service, interval: Duration, days: u32) -> ScrubTotals {
    let done = async {
        let _ = tokio::time::timeout(DAY * days, service.run_scrub(interval)).await;
    };
    runtime().block_on(done);
    service.stats().scrub
}

#[test]
fn a_scrub_begins_after_each_interval_and_finds_nothing_in_a_whole_store() {
    let directory = tempfile::tempdir().unwrap();
    let service = service(directory.path(), 0);
    assert_eq!(service.stats().scrub, ScrubTotals::default());
    let totals = scrub_for(&service, DAY * 7, 6);
    assert!(totals.is_on && totals.rounds == 0 && totals.rows == 0, "{totals:?}");
    let totals = scrub_for(&service, DAY * 7, 15);
    assert_eq!((totals.rounds, totals.problems, totals.percent), (2, 0, 100), "{totals:?}");
    assert!(totals.rows > 6 && totals.last_at.is_some(), "{totals:?}");
    service.drain_blocking().unwrap();
}

#[test]
fn a_round_says_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let service = service(directory.path(), 1_000);
    let seen = runtime().block_on(async {
        let (mut round, mut seen) = (std::pin::pin!(service.scrub()), Vec::new());
        loop {
            tokio::select! {
                _found = &mut round => return seen,
                () = tokio::time::sleep(PAUSE_MIN / 4) => seen.push(service.stats().scrub),
            }
        }
    });
    let percents: Vec<u8> = seen.iter().map(|it| it.percent).collect();
    assert!(percents.is_sorted() && percents.iter().all(|it| *it < 100), "{percents:?}");
    let between: std::collections::BTreeSet<u8> =
        percents.into_iter().filter(|it| *it > 0).collect();
    assert!(between.len() > 3, "{between:?}");
    assert!(seen.iter().all(|it| it.is_running && it.rounds == 0));
    let totals = service.stats().scrub;
    assert!(!totals.is_running && totals.rows > 1_000, "{totals:?}");
    assert_eq!((totals.percent, totals.rounds), (100, 1));
    service.drain_blocking().unwrap();
}

#[test]
fn an_interval_of_zero_is_no_scrub() {
    let directory = tempfile::tempdir().unwrap();
    let service = service(directory.path(), 0);
    assert_eq!(scrub_for(&service, Duration::ZERO, 30), ScrubTotals::default());
    service.drain_blocking().unwrap();
}

#[test]
fn damage_is_counted_and_logged_and_the_service_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let service = service(directory.path(), 0);
    damage(directory.path());
    let mut totals = ScrubTotals::default();
    let lines = crate::telemetry::capture::logged(tracing::Level::INFO, || {
        totals = scrub_for(&service, DAY, 2);
    });
    assert_eq!(totals.rounds, 1);
    assert!(totals.problems_last > 0, "{totals:?}");
    let is_said = |line: &String| line.contains("ERROR") && line.contains("scrub_problem");
    assert!(lines.iter().any(is_said), "{lines:#?}");
    let found = service.get(&JobId::parse("a").unwrap());
    assert!(!matches!(found, Ok(None)), "it may be refused, and is not unknown");
    let update = Update::status("b", "queued").unwrap();
    assert!(service.submit_blocking(Request::new(vec![update])).unwrap().answer.durable);
    drop(service);
}
