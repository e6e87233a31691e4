//! What a real socket hears; time is moved by hand, the writer is a real thread.

use std::ffi::OsString;
use std::thread;
use std::time::Instant;

use super::*;
use crate::batch::fake::{End, Fake};
use crate::model::{Ack, Request, Update};
use crate::service::ServiceOptions;
use crate::store::StoreError;

const PERIOD: Duration = Duration::from_secs(30);
/// A test that waits longer hangs.
const HANG: Duration = Duration::from_secs(60);

/// A supervisor's end, on a path of its own.
fn listener(directory: &tempfile::TempDir) -> (UnixDatagram, OsString) {
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    (socket, path.into_os_string())
}

/// All that has come.
fn heard(socket: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 512];
    std::iter::from_fn(|| {
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    })
    .collect()
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < HANG, "waited in vain: {what}");
        thread::yield_now();
    }
}

/// One period of the beat passes; the writer has had the time that it needs, if it can move.
async fn pass(service: &Service, turns: u64) {
    if turns > 0 {
        let begin = service.turns();
        service.poke();
        eventually("the writer moves", || service.turns() >= begin + turns);
    }
    // The timers of tokio round up to the next millisecond.
    tokio::time::advance(PERIOD + Duration::from_millis(1)).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// A service whose beat is listened to.
struct Bench {
    store: Fake,
    service: Service,
    socket: UnixDatagram,
    beating: tokio::task::JoinHandle<Infallible>,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        tokio::time::pause();
        let directory = tempfile::tempdir().unwrap();
        let (socket, address) = listener(&directory);
        let usec = (2 * PERIOD).as_micros().to_string();
        let supervisor = Supervisor::of(&address, OsStr::new(&usec), OsStr::new(""));
        let store = Fake::default();
        let sides = store.sides();
        let options = ServiceOptions::default();
        let service = Service::start(options, Arc::new(|_| ()), |_, _| Ok(sides)).unwrap();
        let beating = {
            let service = service.clone();
            tokio::spawn(async move { supervisor.beat(&service).await })
        };
        tokio::task::yield_now().await;
        Self { store, service, socket, beating, _directory: directory }
    }
}

#[tokio::test]
async fn a_beat_is_sent_while_the_writer_moves_and_not_while_it_hangs() {
    let Bench { store, service, socket, beating, .. } = &Bench::new().await;
    for _ in 0..3 {
        pass(service, 1).await;
        assert_eq!(heard(socket), ["WATCHDOG=1"], "an idle writer moves");
    }

    store.hold();
    let caller = {
        let service = service.clone();
        let request = Request::new(vec![Update::status("a", "queued").unwrap()]);
        thread::spawn(move || service.submit_blocking(request))
    };
    store.wait(|state| state.appends == 1);
    // It may have moved since the last beat.
    pass(service, 0).await;
    heard(socket);
    for _ in 0..3 {
        pass(service, 0).await;
        assert_eq!(heard(socket), [] as [&str; 0], "the runtime runs, the writer does not");
    }

    store.release();
    caller.join().unwrap().unwrap();
    pass(service, 1).await;
    pass(service, 1).await;
    assert!(heard(socket).contains(&"WATCHDOG=1".to_owned()));
    beating.abort();
    service.drain().await.unwrap();
}

#[tokio::test]
async fn a_writer_that_waits_for_room_moves_and_one_that_hangs_then_is_found_out() {
    let Bench { store, service, socket, beating, .. } = &Bench::new().await;
    let mut queued = Request::new(vec![Update::status("a", "queued").unwrap()]);
    queued.ack = Ack::Queued;
    service.submit(queued).await.unwrap();
    store.state().full = Some(StoreError::Full("no room".to_owned()));
    service.poke();
    eventually("the room is looked at", || service.health() == HealthState::Full);
    heard(socket);
    for _ in 0..3 {
        pass(service, 1).await;
        assert_eq!(heard(socket), ["WATCHDOG=1"], "it looks for room");
    }

    store.hold();
    let flushing = {
        let service = service.clone();
        tokio::spawn(async move { service.flush().await })
    };
    tokio::task::yield_now().await;
    store.wait(|state| state.appends == 1);
    pass(service, 0).await;
    heard(socket);
    for _ in 0..3 {
        pass(service, 0).await;
        assert_eq!(service.health(), HealthState::Full);
        assert_eq!(heard(socket), [] as [&str; 0], "it does not move");
    }
    store.release();
    flushing.await.unwrap().unwrap();
    beating.abort();
}

/// Every page of a large file is verified meanwhile, on a slow disk.
#[tokio::test]
async fn a_store_that_is_opened_again_may_be_long_at_it_also_after_a_full_disk() {
    let Bench { store, service, socket, beating, .. } = &Bench::new().await;
    store.end(End::FullFrom(1));
    store.state().reopened.push_back((Ok(()), false));
    store.hold();
    store.allow(1);
    let caller = {
        let service = service.clone();
        let request = Request::new(vec![Update::status("a", "queued").unwrap()]);
        thread::spawn(move || service.submit_blocking(request))
    };
    store.wait(|state| state.reopens == 1);
    pass(service, 0).await;
    heard(socket);
    for _ in 0..3 {
        pass(service, 0).await;
        assert_eq!(service.health(), HealthState::Full);
        assert_eq!(heard(socket), ["WATCHDOG=1"], "it is at work");
    }
    store.release();
    assert!(caller.join().unwrap().is_err());
    beating.abort();
}

#[test]
fn the_state_is_told_to_a_path_and_to_an_abstract_name() {
    let directory = tempfile::tempdir().unwrap();
    let by_path = listener(&directory);
    let name = format!("jobslate-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let abstract_socket = UnixDatagram::bind_addr(&address).unwrap();
    abstract_socket.set_nonblocking(true).unwrap();
    for (socket, address) in [by_path, (abstract_socket, format!("@{name}").into())] {
        let supervisor = Supervisor::of(&address, OsStr::new(""), OsStr::new(""));
        supervisor.status("opening");
        supervisor.ready("here");
        supervisor.stopping();
        let heard = heard(&socket);
        assert_eq!(heard[..2], ["STATUS=opening", "READY=1\nSTATUS=here"]);
        assert!(heard[2].starts_with("STOPPING=1\n"), "{heard:?}");
    }
}

#[test]
fn nobody_to_tell_and_a_watchdog_of_another_process_are_no_errors() {
    let gone = Supervisor::of(OsStr::new("/nowhere/socket"), OsStr::new("7"), OsStr::new(""));
    gone.ready("here");
    Supervisor::default().ready("here");
    let directory = tempfile::tempdir().unwrap();
    let (_socket, address) = listener(&directory);
    let beat =
        |usec: &str, pid: &str| Supervisor::of(&address, OsStr::new(usec), OsStr::new(pid)).beat;
    let ours = std::process::id().to_string();
    assert_eq!(beat("3000000", &ours), Some(Duration::from_millis(1_500)));
    assert_eq!(beat("3000000", ""), Some(Duration::from_millis(1_500)));
    assert_eq!(beat("3000000", "1"), None);
    assert_eq!(beat("", &ours), None);
    assert_eq!(beat("soon", &ours), None);
    assert_eq!(beat("0", &ours), None);
}
