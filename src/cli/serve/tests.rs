//! A stop that nobody asked for: the writer panics, or its store fails for good.

use std::time::Duration;

use super::*;
use crate::batch::fake::{End, Fake};
use crate::model::{Clock, ManualClock, Request, Update};
use crate::service::{HealthState, Outcome, SubmitError};
use crate::store::StoreError;

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_writer_is_told_to_its_callers_and_ends_the_process_with_70() {
    let store = Fake::default();
    store.end(End::PanicAt(2));
    let sides = store.sides();
    let options = ServiceOptions::default();
    let service = Service::start(options, Arc::new(|_| ()), |_, _| Ok(sides)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::new(http::HttpOptions::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(listener, gate.clone(), async {
        let _ = stopped.await;
    }));
    gate.open(service.clone());
    let signals = Signals::new().unwrap();
    let supervisor = Supervisor::default();
    let mut run = Run { gate, server, stop: Some(stop), signals, supervisor };
    let serving = service.clone();
    let retention = RetentionOptions::default();
    let care = Care { backups: None, retention, scrub_interval: Duration::ZERO };
    let serving = tokio::spawn(async move { run.serve_and_stop(&serving, care, false).await });

    let call = || Request::new(vec![Update::status("a", "queued").unwrap()]);
    service.submit(call()).await.unwrap();
    let refused = service.submit(call()).await.unwrap_err();
    assert!(matches!(&refused, SubmitError::StoreFailed { source: StoreError::Panicked(_), .. }));
    assert_eq!(refused.outcome(), Outcome::Unknown);
    let failure = serving.await.unwrap().unwrap_err();
    assert_eq!(failure.exit, Exit::Internal);
    assert!(failure.message.contains("the writer panicked"), "{failure}");
}

/// What a store that cannot be opened again leaves of the process; `None` if it goes on.
async fn end_of(is_of_tables: bool) -> Option<Exit> {
    let (store, clock) = (Fake::default(), ManualClock::default());
    store.end(End::FailAt(1));
    let refused = || (Err(StoreError::Failed("no sector".to_owned())), false);
    store.state().reopened.extend((0..3).map(|_| refused()));
    store.state().is_of_tables = is_of_tables;
    let sides = store.sides();
    let options =
        ServiceOptions { clock: Clock::Manual(clock.clone()), ..ServiceOptions::default() };
    let service = Service::start(options, Arc::new(|_| ()), |_, _| Ok(sides)).unwrap();
    let request = Request::new(vec![Update::status("a", "queued").unwrap()]);
    service.submit(request).await.unwrap_err();
    for tries in 1..=3 {
        store.wait(|state| state.reopens == tries);
        assert_eq!(service.health(), HealthState::Failed);
        clock.advance(Duration::from_secs(10));
        service.poke();
    }
    let mut durable = service.durable();
    // The writer has ended.
    while durable.changed().await.is_ok() {}
    assert_eq!(store.state().reopens, 3);
    let failed = futures_util::FutureExt::now_or_never(std::pin::pin!(service.failed()));
    failed.map(|error| Failure::from(error).exit)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_opened_again_ends_the_process_unless_it_reads_more_than_the_next() {
    assert_eq!(end_of(false).await, Some(Exit::Io));
    assert_eq!(end_of(true).await, None);
}
