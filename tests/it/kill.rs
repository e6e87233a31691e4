//! SIGKILL at random moments of an import: nothing that was acknowledged is lost, and the import
//! that goes on, or is started again, ends in the same store.

use std::net::TcpListener;
use std::process::Child;
use std::time::Duration;

use crate::http::Http;
use crate::import::{assert_store_is, succeed};
use crate::random::{Random, number_from_environment};
use crate::server::{Server, Site, eventually};
use crate::trace::Trace;
use crate::walk::counts;

/// `JOBSLATE_KILL_ROUNDS` says how often; folds are frequent, so that kills meet them too.
#[test]
fn kill_nine_at_any_moment_of_an_import_loses_nothing_acknowledged() {
    let rounds = number_from_environment("JOBSLATE_KILL_ROUNDS", 5);
    let mut random = Random::from_environment();
    let trace = Trace::read("google2011-jobs");
    let flags = ["--fold-interval", "300ms", "--tail-jobs-max", "20000"];
    let site = Site::new(&flags).on_port(free_port(&mut random));
    let mut import = None;
    let mut shown = 0;
    for rounds_left in (1..=rounds).rev() {
        let server = site.start();
        assert_is_clean(&server);
        let reopened = durable_seq(&server.http);
        assert!(reopened >= shown, "seq {shown} was shown as durable, now it is {reopened}");
        let running = import.get_or_insert_with(|| start_import(&server, &trace));
        // The import went on during the check: some way from here, so that every round has a way.
        let here = durable_seq(&server.http) as usize;
        let way_max = (trace.updates.len() - here) / rounds_left;
        shown = wait_for(&server.http, here + 1 + random.below(way_max + 1), running);
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

fn durable_seq(http: &Http) -> u64 {
    counts(http)["as_of_seq"].as_u64().unwrap()
}

/// Asserts that `jobslate check` finds nothing: counts, indexes, records, journal and tables agree.
fn assert_is_clean(server: &Server) {
    let output = server.run(&["check"]);
    assert!(output.status.success(), "{output:?}");
}

/// A port that stays ours between two servers: below those that the system gives to connections.
fn free_port(random: &mut Random) -> u16 {
    let ports = std::iter::repeat_with(|| 20_000 + random.below(10_000) as u16);
    let mut free = ports.take(1_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("one of a thousand ports is free")
}
