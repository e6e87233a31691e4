use super::*;
use crate::model::{Clock, ManualClock, Request, Update};
use crate::service::ServiceOptions;

const HOUR: Duration = Duration::from_hours(1);

fn service() -> (Service, ManualClock) {
    let clock = ManualClock::at(TimestampMs(1_764_000_000_000));
    let options =
        ServiceOptions { clock: Clock::Manual(clock.clone()), ..ServiceOptions::default() };
    (Service::in_memory(options).unwrap(), clock)
}

fn report(service: &Service, jobs: usize, status: &str) {
    let updates =
        (0..jobs).map(|number| Update::status(&format!("{status}-{number}"), status).unwrap());
    service.submit_blocking(Request::new(updates.collect())).unwrap();
}

/// How many jobs there are with this status.
fn left(service: &Service, status: &str) -> u64 {
    let status = crate::model::Status::parse(status).unwrap();
    service.counts().0.by_status().get(&status).copied().unwrap_or_default()
}

#[test]
fn nothing_goes_unless_it_is_asked_for() {
    assert!(!RetentionOptions { interval: HOUR, ..RetentionOptions::default() }.is_on());
    let (service, _clock) = service();
    report(&service, 5, "completed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // It returns, as there is nothing to do.
    runtime.block_on(service.run_retention(RetentionOptions::default()));
    assert_eq!(service.stats().retention, RetentionTotals::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_goes_by_its_own_age_and_number_and_what_is_unfinished_stays() {
    let (service, clock) = service();
    let statuses = ["queued", "processing", "completed", "error", "cancelled"];
    let reported = service.clone();
    tokio::task::spawn_blocking(move || {
        statuses.iter().for_each(|status| report(&reported, 10, status));
    })
    .await
    .unwrap();
    let options = RetentionOptions {
        succeeded: Keep { age: HOUR, jobs_max: 0 },
        failed: Keep { age: 3 * HOUR, jobs_max: 4 },
        cancelled: Keep::default(),
        interval: HOUR,
    };
    assert_eq!(service.retain(&options).await.unwrap(), 6, "six failed ones are too many");
    clock.advance(HOUR + Duration::from_millis(1));
    assert_eq!(service.retain(&options).await.unwrap(), 10, "ten succeeded ones are too old");
    clock.advance(100 * HOUR);
    assert_eq!(service.retain(&options).await.unwrap(), 4);
    assert_eq!(statuses.map(|status| left(&service, status)), [10, 10, 0, 0, 10]);
    let totals = service.stats().retention;
    assert_eq!((totals.runs, totals.failed), (3, 0));
    assert_eq!((totals.removed, totals.removed_last), (20, 4));
    assert_eq!(totals.last_at, Some(service.options().clock.wall()));
    assert!(service.check().unwrap().is_clean());
}

/// The control: a number that is not passed removes none, whatever their age.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_are_kept_stay() {
    let (service, clock) = service();
    let reported = service.clone();
    let jobs = tokio::task::spawn_blocking(move || report(&reported, 10, "completed"));
    jobs.await.unwrap();
    clock.advance(1_000 * HOUR);
    for (jobs_max, removed) in [(11, 0), (10, 0), (9, 1)] {
        let succeeded = Keep { age: Duration::ZERO, jobs_max };
        let options = RetentionOptions { succeeded, ..RetentionOptions::default() };
        assert_eq!(service.retain(&options).await.unwrap(), removed, "{jobs_max}");
    }
    assert_eq!(left(&service, "completed"), 9);
}

#[tokio::test(start_paused = true)]
async fn rounds_come_at_the_interval() {
    let (service, _clock) = service();
    let reported = service.clone();
    let jobs = tokio::task::spawn_blocking(move || report(&reported, 10, "completed"));
    jobs.await.unwrap();
    let succeeded = Keep { age: Duration::ZERO, jobs_max: 3 };
    let options = RetentionOptions { succeeded, interval: HOUR, ..RetentionOptions::default() };
    let begin = tokio::time::Instant::now();
    let running = service.clone();
    let rounds = tokio::spawn(async move { running.run_retention(options).await });
    while service.stats().retention.runs < 3 {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    // A minute, then two intervals.
    assert!(begin.elapsed() >= 2 * HOUR, "{:?}", begin.elapsed());
    let totals = service.stats().retention;
    assert!(totals.is_on);
    assert_eq!((totals.removed, totals.removed_last), (7, 0));
    rounds.abort();
}

#[tokio::test(start_paused = true)]
async fn rounds_end_with_the_service_and_a_stop_removes_nothing() {
    let (service, _clock) = service();
    let reported = service.clone();
    let jobs = tokio::task::spawn_blocking(move || report(&reported, 10, "completed"));
    jobs.await.unwrap();
    service.drain().await.unwrap();
    let succeeded = Keep { age: Duration::ZERO, jobs_max: 3 };
    service.run_retention(RetentionOptions { succeeded, ..RetentionOptions::default() }).await;
    assert_eq!(service.counts().0.total(), 10);
}
