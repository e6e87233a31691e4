//! SIGKILL at random moments: nothing that was acknowledged is lost, and an import that goes on, or
//! is started again, ends in the same store.

use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redb::{Database, ReadableTable, TableDefinition};
use serde_json::Value;

use crate::http::Http;
use crate::import::{assert_store_is, succeed};
use crate::random::{Random, number_from_environment};
use crate::server::{Server, Site, eventually};
use crate::trace::Trace;
use crate::walk::{counts, lost};

/// `JOBSLATE_KILL_ROUNDS` says how often; folds are frequent, so that kills meet them too.
#[test]
fn kill_nine_at_any_moment_of_an_import_loses_nothing_acknowledged() {
    let rounds = number_from_environment("JOBSLATE_KILL_ROUNDS", 5);
    let mut random = Random::from_environment();
    let trace = Trace::read("google2011-jobs");
    let flags = ["--fold-interval", "300ms", "--tail-jobs-max", "20000"];
    let site = Site::new(&flags).on_port(free_port(&mut random));
    let mut import = None;
    let (mut shown, mut seen) = (0, Vec::new());
    for rounds_left in (1..=rounds).rev() {
        let server = site.start();
        assert_is_clean(&server);
        let reopened = durable_seq(&server.http);
        assert!(reopened >= shown, "seq {shown} was shown as durable, now it is {reopened}");
        assert_eq!(last_updates(&server.http, shown), seen, "what was shown before is there");
        let running = import.get_or_insert_with(|| start_import(&server, &trace));
        // The import went on during the check: some way from here, so that every round has a way.
        let here = durable_seq(&server.http) as usize;
        let way_max = (trace.updates.len() - here) / rounds_left;
        shown = wait_for(&server.http, here + 1 + random.below(way_max + 1), running);
        seen = last_updates(&server.http, shown);
        std::thread::sleep(Duration::from_micros(random.below(20_000) as u64));
        server.kill();
        println!("killed after seq {shown}");
        // Sometimes both die, sometimes the import has to live through it.
        if random.below(2) == 0 {
            let mut dying = import.take().unwrap();
            dying.kill().unwrap();
            dying.wait().unwrap();
        }
    }
    let server = site.start();
    assert_is_clean(&server);
    succeed(import.unwrap_or_else(|| start_import(&server, &trace)));
    assert_store_is(&server, &trace);
    assert_is_clean(&server);
}

fn start_import(server: &Server, trace: &Trace) -> Child {
    server.import_with(&trace.path, &["--retry-for", "1h"])
}

/// Waits until `moment` is durable or the import has ended; the last seq that was shown as durable.
fn wait_for(http: &Http, moment: usize, import: &mut Child) -> u64 {
    eventually("the import gets to its moment", || {
        let seq = durable_seq(http);
        let is_over = import.try_wait().unwrap().is_some();
        (seq >= moment as u64 || is_over).then_some(seq)
    })
}

/// The last updates up to `seq`, as they are told.
fn last_updates(http: &Http, seq: u64) -> Vec<Value> {
    const COUNT: u64 = 500;
    let after = seq.saturating_sub(COUNT);
    let page = http.get(&format!("/v1/updates?after={after}&limit={COUNT}")).ok();
    let mut updates = page["updates"].as_array().unwrap().clone();
    updates.retain(|update| update["seq"].as_u64().unwrap() <= seq);
    updates
}

fn durable_seq(http: &Http) -> u64 {
    counts(http)["as_of_seq"].as_u64().unwrap()
}

/// Asserts that `jobslate check` finds nothing: counts, indexes, records, journal and tables agree.
fn assert_is_clean(server: &Server) {
    let output = server.run(&["check"]);
    assert!(output.status.success(), "{output:?}");
}

const WRITERS: usize = 6;
const STATUSES: [&str; 3] = ["queued", "processing", "completed"];

/// A job that was acknowledged as durable, and with which status.
type Acknowledged = (String, &'static str);

/// Reports one job after the other until nobody answers.
fn write(http: &Http, name: &str, count: &AtomicUsize) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    for (number, status) in (0..).zip(STATUSES.into_iter().cycle()) {
        let job_id = format!("{name}-{number}");
        let Ok(reply) = http.put(&job_id, "", &format!(r#"{{"status":"{status}"}}"#)) else {
            break;
        };
        assert_eq!(reply.ok()["durable"], true);
        acknowledged.push((job_id, status));
        count.fetch_add(1, Ordering::SeqCst);
    }
    acknowledged
}

/// Lets writers work until so many of their updates are acknowledged, and kills the server.
fn write_and_kill(server: Server, round: usize, goal: usize, pause: Duration) -> Vec<Acknowledged> {
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let writer = |number: usize| {
            let (url, count) = (server.url.clone(), &count);
            scope.spawn(move || write(&Http::new(&url), &format!("{round}-{number}"), count))
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        eventually("the writers are at work", || {
            (count.load(Ordering::SeqCst) >= goal).then_some(())
        });
        std::thread::sleep(pause);
        server.kill();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    })
}

fn lost_of(server: &Server, acknowledged: &[Acknowledged]) -> Vec<String> {
    lost(&server.http, acknowledged.iter().map(|(job_id, status)| (&**job_id, *status)))
}

/// `JOBSLATE_KILL_ROUNDS` says how often.
#[test]
fn kill_nine_beside_writers_loses_no_job_that_was_acknowledged() {
    let rounds = number_from_environment("JOBSLATE_KILL_ROUNDS", 5);
    let mut random = Random::from_environment();
    let site = Site::new(&["--fold-interval=200ms", "--tail-jobs-max=1000"]);
    let mut all = Vec::new();
    for round in 0..rounds {
        let (goal, pause) = (1 + random.below(400), random.below(20_000) as u64);
        let pause = Duration::from_micros(pause);
        all.extend(write_and_kill(site.start(), round, goal, pause));
        let server = site.start();
        assert_eq!(lost_of(&server, &all), [""; 0], "round {round}");
        assert_is_clean(&server);
        server.kill();
    }
    println!("{rounds} kills, {} acknowledged updates looked up after each, lost 0", all.len());
}

/// The control: a journal without its last batches, as a disk leaves it that lies about its syncs.
#[test]
fn a_journal_that_lacks_its_last_batches_is_found_out() {
    // Nothing is folded, so that the journal is all there is.
    let site = Site::new(&["--fold-interval=1h"]);
    let acknowledged = write_and_kill(site.start(), 0, 60, Duration::ZERO);
    let whole = Site::new(&["--fold-interval=1h"]);
    let cut = Site::new(&["--fold-interval=1h"]);
    [&whole, &cut].iter().for_each(|copy| copy_files(&site.data(), &copy.data()));
    drop_last_segments(&cut.data());
    let [durable, cut_durable] = [(&whole, false), (&cut, true)].map(|(site, is_cut)| {
        let server = site.start();
        assert_eq!(!lost_of(&server, &acknowledged).is_empty(), is_cut);
        durable_seq(&server.http)
    });
    assert!(cut_durable < durable, "{cut_durable} of {durable}");
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Removes the last segments: more than one, as the kill may have met batches whose answers were
/// still on their way.
fn drop_last_segments(data: &Path) {
    let segments = TableDefinition::<&[u8], &[u8]>::new("segments");
    let db = Database::open(data.join("journal.redb")).unwrap();
    let write = db.begin_write().unwrap();
    let mut table = write.open_table(segments).unwrap();
    for _ in 0..4 {
        let last = table.last().unwrap().unwrap().0.value().to_vec();
        table.remove(&*last).unwrap();
    }
    drop(table);
    write.commit().unwrap();
}

/// A port that stays ours between two servers: below those that the system gives to connections.
fn free_port(random: &mut Random) -> u16 {
    let ports = std::iter::repeat_with(|| 20_000 + random.below(10_000) as u16);
    let mut free = ports.take(1_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("one of a thousand ports is free")
}
