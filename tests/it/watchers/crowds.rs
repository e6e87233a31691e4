//! Many watchers at once: what they cost, and whom they hold up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use super::*;

/// Watchers of the crowd, and what each may cost.
const CROWD: usize = 1_000;
const UNFILTERED: usize = 10;
const BYTES_PER_WATCHER_MAX: u64 = 64 << 10;
/// Watchers that do not read, and what each may hold: a piece under way, and one in the making.
const STALLED: usize = 300;
const STALLED_BYTES_MAX: u64 = 96 << 10;
/// What each holds at least that is held up: a part of a piece.
const STALLED_BYTES_MIN: u64 = 8 << 10;

#[test]
fn a_thousand_watchers_of_an_import_miss_nothing_and_cost_little() {
    let updates_max = number_from_environment("JOBSLATE_CROWD_UPDATES", 20_000);
    raise_open_files();
    let alone = import_beside(updates_max, 0);
    let crowded = import_beside(updates_max, CROWD);
    let grown = crowded.resident_bytes.saturating_sub(alone.resident_bytes);
    println!(
        "{updates_max} updates: alone {:?} and {} MiB, beside {CROWD} watchers {:?} and {} MiB: \
         {} KiB a watcher",
        alone.elapsed,
        alone.resident_bytes >> 20,
        crowded.elapsed,
        crowded.resident_bytes >> 20,
        (grown / CROWD as u64) >> 10,
    );
    assert!(grown < BYTES_PER_WATCHER_MAX * CROWD as u64, "{grown} bytes more");
}

/// A connection on which the system keeps little of what its client does not read.
async fn connect_slow(address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(address.parse().unwrap()).await.unwrap()
}

fn resident_bytes(server: &Server) -> u64 {
    server.http.get("/v1/stats").ok()["process"]["resident_bytes"].as_u64().unwrap()
}

/// Resident bytes once they rise no more. The server answers each look beside its other work.
fn settled_bytes(server: &Server) -> u64 {
    let (mut bytes, mut looks) = (resident_bytes(server), 0);
    while looks < 40 {
        std::thread::sleep(Duration::from_millis(50));
        let now = resident_bytes(server);
        looks = if now > bytes + (64 << 10) { 0 } else { looks + 1 };
        bytes = bytes.max(now);
    }
    bytes
}

/// Watchers that do not read hold little memory and stop nobody; when they read, they miss nothing.
#[test]
fn watchers_that_do_not_read_hold_nothing_up() {
    let updates_max = number_from_environment("JOBSLATE_CROWD_UPDATES", 20_000);
    raise_open_files();
    let site = Site::new(&[]);
    let trace = part_of("google2011-jobs", updates_max, &site);
    let (before, beside) = trace.updates.split_at(updates_max * 9 / 10);
    let server = site.start();
    succeed(server.import(&written(before, &site)));
    let (runtime, address) = (runtime(), server.address().to_owned());
    // What one reader of the whole feed leaves behind is not the crowd's.
    runtime.block_on(watch(address.clone(), Wanted::all(before), 0, Random::unused()));
    let bytes_before = settled_bytes(&server);
    let open = |watcher: usize| {
        // Each wants something else, so that no two hold the same piece.
        let filter = (watcher > 0).then(|| format!("&status=queued,processing,w{watcher}"));
        let path = format!("/v1/updates?after=0{}", filter.unwrap_or_default());
        runtime.block_on(async {
            let stream = connect_slow(&address).await;
            Events::over(stream, &address, &path, None).await.expect("the server is there")
        })
    };
    let mut stalled: Vec<Events> = (0..STALLED).map(open).collect();
    let grown = settled_bytes(&server).saturating_sub(bytes_before) / STALLED as u64;
    println!("{STALLED} watchers that do not read: {} KiB each", grown >> 10);
    assert!(grown > STALLED_BYTES_MIN, "{grown} bytes each: they are not held up");
    assert!(grown < STALLED_BYTES_MAX, "{grown} bytes each");
    succeed(server.import(&written(beside, &site)));
    let mut told = 0;
    while told < updates_max as u64 {
        let event = runtime.block_on(stalled[0].next()).expect("the stream goes on");
        if event.data.is_some() {
            told += 1;
            assert_eq!(event.id, Some(told));
        }
    }
    drop(stalled);
    assert!(server.stop().success());
}

/// The control: answers that are there whole, and not read, are more than a watcher may hold.
#[test]
fn a_crowd_that_holds_much_is_found() {
    raise_open_files();
    let site = Site::new(&[]);
    let trace = part_of("google2011-jobs", 20_000, &site);
    let server = site.start();
    succeed(server.import(&trace.path));
    let (runtime, address) = (runtime(), server.address().to_owned());
    let bytes_before = settled_bytes(&server);
    let ask = |_| {
        runtime.block_on(async {
            let mut stream = connect_slow(&address).await;
            let call = format!("GET /v1/jobs?limit=1000 HTTP/1.1\r\nHost: {address}\r\n\r\n");
            stream.write_all(call.as_bytes()).await.unwrap();
            stream
        })
    };
    let unread: Vec<TcpStream> = (0..STALLED).map(ask).collect();
    let grown = settled_bytes(&server).saturating_sub(bytes_before) / STALLED as u64;
    println!("{STALLED} lists that are not read: {} KiB each", grown >> 10);
    assert!(grown > STALLED_BYTES_MAX, "{grown} bytes each");
    drop(unread);
    assert!(server.stop().success());
}

/// Watchers that come back after a restart, each at a place of its own, take turns.
#[test]
fn a_crowd_that_comes_back_at_scattered_places_costs_little() {
    const SCATTERED: usize = 300;
    let mut random = Random::from_environment();
    let updates_max = number_from_environment("JOBSLATE_CROWD_UPDATES", 20_000);
    raise_open_files();
    let site = Site::new(&[]);
    let trace = part_of("google2011-jobs", updates_max, &site);
    let server = site.start();
    succeed(server.import(&trace.path));
    assert!(server.stop().success());
    let server = site.start();
    // What one reader of the whole feed leaves behind is not the crowd's.
    let address = server.address().to_owned();
    let all = Wanted::all(&trace.updates);
    runtime().block_on(watch(address.clone(), all, 0, Random::unused()));
    let before = resident_bytes(&server);
    let (_, jobs) = Wanted::some(&trace.updates);
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..SCATTERED {
            let after = random.below(updates_max) as u64;
            let wanted = jobs[number * 13 % jobs.len()].clone().after(after);
            tasks.spawn(watch(address.clone(), wanted, 0, Random::unused()));
        }
        while let Some(watched) = tasks.join_next().await {
            assert!(watched.unwrap() <= 1, "nobody was cut");
        }
    });
    let grown = resident_bytes(&server).saturating_sub(before) / SCATTERED as u64;
    println!("{SCATTERED} watchers at scattered places: {} KiB each", grown >> 10);
    assert!(grown < 2 * STALLED_BYTES_MAX, "{grown} bytes each");
    assert!(server.stop().success());
}

struct Imported {
    resident_bytes: u64,
    elapsed: Duration,
}

/// Imports beside so many watchers; the most memory that the server had.
fn import_beside(updates_max: usize, watchers: usize) -> Imported {
    let site = Site::new(&[]);
    let trace = part_of("google2011-jobs", updates_max, &site);
    let server = site.start();
    let peak = AtomicUsize::new(0);
    let is_done = AtomicBool::new(false);
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd(&server, &trace.updates, watchers));
        crate::server::eventually("all watch", || {
            let stats = server.http.get("/v1/stats").ok();
            (stats["http"]["watchers"] == watchers).then_some(())
        });
        let sampler = scope.spawn(|| {
            let http = crate::http::Http::new(&server.url);
            while !is_done.load(Ordering::SeqCst) {
                let stats = http.get("/v1/stats").ok();
                let bytes = stats["process"]["resident_bytes"].as_u64().unwrap();
                peak.fetch_max(bytes as usize, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        succeed(server.import(&trace.path));
        crowd.join().unwrap();
        is_done.store(true, Ordering::SeqCst);
        sampler.join().unwrap();
    });
    let elapsed = begun.elapsed();
    assert!(server.stop().success());
    Imported { resident_bytes: peak.load(Ordering::SeqCst) as u64, elapsed }
}

/// So many watchers: a few want all, half of the others a pipeline, the rest a job.
fn crowd(server: &Server, updates: &[TraceUpdate], watchers: usize) {
    let (pipelines, jobs) = Wanted::some(updates);
    let all = Arc::new(Wanted::all(updates));
    let address = server.address().to_owned();
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..watchers {
            let wanted = match number {
                ..UNFILTERED => Wanted::clone(&all),
                _ if number % 2 == 0 => pipelines[number / 2 % pipelines.len()].clone(),
                _ => jobs[number / 2 * 7 % jobs.len()].clone(),
            };
            tasks.spawn(watch(address.clone(), wanted, 0, Random::unused()));
        }
        while let Some(watched) = tasks.join_next().await {
            assert_eq!(watched.unwrap(), 1, "nobody was cut");
        }
    });
}

/// A thousand sockets are more than the usual limit.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
}
