//! Watchers of the feed: cut at random, over kills and restarts of the server, a thousand at once.
//! Every update that they want reaches them once, in order.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::events::Events;
use crate::import::succeed;
use crate::random::{Random, number_from_environment};
use crate::server::{Server, Site};
use crate::trace::{Trace, TraceUpdate};

/// What a watcher asks for, and the seqs that it must be told.
#[derive(Clone, Debug)]
struct Wanted {
    /// Where it begins.
    after: u64,
    query: String,
    seqs: Vec<u64>,
}

impl Wanted {
    fn all(updates: &[TraceUpdate]) -> Self {
        Self { after: 0, query: String::new(), seqs: (1..=updates.len() as u64).collect() }
    }

    /// One for each pipeline, then one for each job, the busiest first.
    fn some(updates: &[TraceUpdate]) -> (Vec<Self>, Vec<Self>) {
        let by = |name: &str, key: fn(&TraceUpdate) -> &str| {
            let mut seqs: HashMap<&str, Vec<u64>> = HashMap::new();
            for (seq, update) in (1..).zip(updates) {
                seqs.entry(key(update)).or_default().push(seq);
            }
            let mut wanted: Vec<Self> = seqs
                .into_iter()
                .map(|(value, seqs)| Self {
                    after: 0,
                    query: format!("&{name}={}", escaped(value)),
                    seqs,
                })
                .collect();
            wanted.sort_by_key(|it| (std::cmp::Reverse(it.seqs.len()), it.query.clone()));
            wanted
        };
        (by("pipeline", |it| &it.pipeline), by("job", |it| &it.job_id))
    }
}

impl Wanted {
    /// The same from a later place on.
    fn after(mut self, after: u64) -> Self {
        self.after = after;
        self.seqs.retain(|seq| *seq > after);
        self
    }
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// The first updates of a trace as a file of their own.
fn part_of(name: &str, updates_max: usize, site: &Site) -> Trace {
    let mut trace = Trace::read(name);
    trace.updates.truncate(updates_max);
    trace.path = site.path("part.ndjson");
    let mut file = std::fs::File::create(&trace.path).unwrap();
    for it in &trace.updates {
        let line = serde_json::json!({"job_id": it.job_id, "status": it.status, "at": it.at,
                                      "error": it.error, "pipeline": it.pipeline});
        writeln!(file, "{line}").unwrap();
    }
    trace
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// From where a watcher that was cut goes on, beside the last id that it was told: 0 is right.
type Shift = i64;

/// Follows until it was told all that it wants; cuts itself after some events if `cuts` is not 0.
async fn watch(address: String, wanted: Wanted, cuts: usize, random: Random) -> usize {
    let followed = follow(address, wanted, cuts, random, 0).await;
    followed.unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// How often it connected, or the first entry that it should not have been told.
async fn follow(
    address: String,
    wanted: Wanted,
    cuts: usize,
    mut random: Random,
    shift: Shift,
) -> Result<usize, String> {
    let path = format!("/v1/updates?after={}{}", wanted.after, wanted.query);
    let (mut told, mut last_id, mut connections) = (0, None::<u64>, 0);
    let begun = std::time::Instant::now();
    while told < wanted.seqs.len() {
        assert!(begun.elapsed() < HANG, "only {told} came: {}", wanted.query);
        let from = last_id.map(|id| id.saturating_add_signed(shift));
        let Some(mut events) = Events::open(&address, &path, from).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        connections += 1;
        let events_max = if cuts > 0 { 1 + random.below(cuts) } else { usize::MAX };
        let mut events_left = events_max;
        while events_left > 0
            && told < wanted.seqs.len()
            && let Some(event) = events.next().await
        {
            assert_eq!(event.name, None, "{event:?}");
            last_id = event.id.or(last_id);
            let Some(data) = event.data else { continue };
            let entry: Value = serde_json::from_str(&data).unwrap();
            let expected = wanted.seqs.get(told).copied();
            if (entry["seq"].as_u64(), event.id) != (expected, expected) {
                let seq = &entry["seq"];
                return Err(format!("told {seq}, not {expected:?}: {}", wanted.query));
            }
            told += 1;
            events_left -= 1;
        }
    }
    Ok(connections)
}

/// The controls: watchers that go on one entry too late or too early over their cuts.
#[test]
fn a_watcher_with_a_gap_or_a_repeat_is_found() {
    let mut random = Random::from_environment();
    let site = Site::new(&[]);
    let trace = part_of("google2011-jobs", 500, &site);
    let server = site.start();
    succeed(server.import(&trace.path));
    let mut follow_with = |shift| {
        let (address, wanted) = (server.address().to_owned(), Wanted::all(&trace.updates));
        runtime().block_on(follow(address, wanted, 50, random.fork(), shift))
    };
    assert!(follow_with(0).is_ok_and(|connections| connections > 1));
    for shift in [1, -1] {
        let wrong = follow_with(shift).unwrap_err();
        println!("{shift}: {wrong}");
    }
    assert!(server.stop().success());
}

/// `JOBSLATE_WATCH_UPDATES` says how much of the trace, `JOBSLATE_WATCH_KILLS` how often the server
/// is killed.
#[test]
fn a_watcher_that_is_cut_resumes_without_gap_or_repeat_over_kills_of_the_server() {
    let mut random = Random::from_environment();
    let updates_max = number_from_environment("JOBSLATE_WATCH_UPDATES", 30_000);
    let kills = number_from_environment("JOBSLATE_WATCH_KILLS", 3);
    let port = free_port(&mut random);
    let site = Site::new(&["--fold-interval", "300ms", "--tail-jobs-max", "5000"]).on_port(port);
    let trace = part_of("google2011-jobs", updates_max, &site);
    let (pipelines, jobs) = Wanted::some(&trace.updates);
    let wanted = [Wanted::all(&trace.updates), Wanted::all(&trace.updates)]
        .into_iter()
        .chain(pipelines.into_iter().take(3))
        .chain(jobs.into_iter().take(3));
    let server = site.start();
    let address = server.address().to_owned();
    let watchers: Vec<_> = wanted
        .map(|wanted| {
            let (address, random) = (address.clone(), random.fork());
            std::thread::spawn(move || runtime().block_on(watch(address, wanted, 3_000, random)))
        })
        .collect();
    let import = server.import_with(&trace.path, &["--chunk", "100", "--retry-for", "1h"]);
    let last = kill_and_restart(server, &site, &mut random, updates_max, kills);
    succeed(import);
    let connections: Vec<usize> = watchers.into_iter().map(|it| it.join().unwrap()).collect();
    println!("{updates_max} updates, {kills} kills, connections: {connections:?}");
    assert!(connections[0] > kills, "the watchers were cut");
    assert!(last.stop().success());
}

/// Kills the server at random seqs, and starts it again each time.
fn kill_and_restart(
    server: Server,
    site: &Site,
    random: &mut Random,
    updates: usize,
    kills: usize,
) -> Server {
    let mut server = server;
    for kill in 1..=kills {
        let at = updates * kill / (kills + 1) + random.below(updates / (kills + 1) / 2);
        crate::server::eventually("the import gets on", || {
            let seq = server.http.get("/v1/counts").ok()["as_of_seq"].as_u64().unwrap();
            (seq >= at as u64).then_some(())
        });
        server.kill();
        server = site.start();
    }
    server
}

fn free_port(random: &mut Random) -> u16 {
    let ports = std::iter::repeat_with(|| 30_000 + random.below(2_000) as u16);
    let mut free = ports.take(1_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("one of a thousand ports is free")
}

/// A watch that takes longer than this hangs.
const HANG: Duration = Duration::from_mins(10);
/// Watchers of the crowd, and what each may cost.
const CROWD: usize = 1_000;
const UNFILTERED: usize = 10;
const BYTES_PER_WATCHER_MAX: u64 = 64 << 10;
/// Watchers that do not read, and what each may hold: a piece under way, and one in the making.
const STALLED: usize = 300;
const STALLED_BYTES_MAX: u64 = 96 << 10;

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

/// Watchers that do not read hold little memory and stop nobody; when they read, they miss nothing.
#[test]
fn watchers_that_do_not_read_hold_nothing_up() {
    let updates_max = number_from_environment("JOBSLATE_CROWD_UPDATES", 20_000);
    let alone = import_beside(updates_max, 0);
    let site = Site::new(&[]);
    let trace = part_of("google2011-jobs", updates_max, &site);
    let server = site.start();
    let runtime = runtime();
    let open = Events::open(server.address(), "/v1/updates?after=0", None);
    let first = runtime.block_on(open).expect("the server is there");
    let mut stalled = vec![first];
    // Each begins elsewhere, so that no two hold the same piece.
    for watcher in 1..STALLED {
        let path = format!("/v1/updates?after=0&status=queued,processing,w{watcher}");
        let open = Events::open(server.address(), &path, None);
        stalled.push(runtime.block_on(open).expect("the server is there"));
    }
    succeed(server.import(&trace.path));
    let stats = server.http.get("/v1/stats").ok();
    let bytes = stats["process"]["resident_bytes"].as_u64().unwrap();
    let grown = bytes.saturating_sub(alone.resident_bytes) / STALLED as u64;
    println!("{STALLED} watchers that do not read: {} KiB each", grown >> 10);
    assert!(grown < STALLED_BYTES_MAX, "{grown} bytes each");
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
    let resident = |server: &Server| {
        server.http.get("/v1/stats").ok()["process"]["resident_bytes"].as_u64().unwrap()
    };
    // What one reader of the whole feed leaves behind is not the crowd's.
    let address = server.address().to_owned();
    let all = Wanted::all(&trace.updates);
    runtime().block_on(watch(address.clone(), all, 0, Random::unused()));
    let before = resident(&server);
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
    let grown = resident(&server).saturating_sub(before) / SCATTERED as u64;
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
