//! Watchers of the feed: cut at random, over kills and restarts of the server, and crowds of them.
//! Every update that they want reaches them once, in order.

mod crowds;

use std::collections::HashMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

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
    trace.path = written(&trace.updates, site);
    trace
}

/// Updates in a file that can be imported.
fn written(updates: &[TraceUpdate], site: &Site) -> PathBuf {
    let path = site.path("part.ndjson");
    let mut file = std::fs::File::create(&path).unwrap();
    for it in updates {
        let line = serde_json::json!({"job_id": it.job_id, "status": it.status, "at": it.at,
                                      "error": it.error, "pipeline": it.pipeline});
        writeln!(file, "{line}").unwrap();
    }
    path
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
