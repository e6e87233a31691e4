//! A stop that nobody asked for: the writer panics.

use super::*;
use crate::batch::fake::{End, Fake};
use crate::model::{Request, Update};
use crate::service::{Outcome, SubmitError};
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
    let serving = tokio::spawn(async move { run.serve_and_stop(&serving, false).await });

    let call = || Request::new(vec![Update::status("a", "queued").unwrap()]);
    service.submit(call()).await.unwrap();
    let refused = service.submit(call()).await.unwrap_err();
    assert!(matches!(&refused, SubmitError::StoreFailed { source: StoreError::Panicked(_), .. }));
    assert_eq!(refused.outcome(), Outcome::Unknown);
    let failure = serving.await.unwrap().unwrap_err();
    assert_eq!(failure.exit, Exit::Internal);
    assert!(failure.message.contains("the writer panicked"), "{failure}");
}

/// A store that fails is no bug: nothing ends by itself here.
#[tokio::test]
async fn a_failed_store_is_no_panic() {
    let store = Fake::default();
    store.end(End::FailAt(1));
    let sides = store.sides();
    let options = ServiceOptions::default();
    let service = Service::start(options, Arc::new(|_| ()), |_, _| Ok(sides)).unwrap();
    let request = Request::new(vec![Update::status("a", "queued").unwrap()]);
    service.submit(request).await.unwrap_err();
    let mut durable = service.durable();
    // The writer has ended.
    while durable.changed().await.is_ok() {}
    let panicked = std::pin::pin!(service.panicked());
    assert!(futures_util::FutureExt::now_or_never(panicked).is_none());
}
