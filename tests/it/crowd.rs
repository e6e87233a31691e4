//! Clean stops, again and again, amid everybody who may be connected: whatever was acknowledged, as
//! durable or as queued, is there after the next start.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::http::Http;
use crate::random::{Random, number_from_environment};
use crate::server::{Server, Site, eventually};
use crate::walk::{lost, walk};

/// Connections of each kind, at most.
const OF_EACH_MAX: usize = 12;
/// Writers that wait for the disk, and those that do not, at most; one of each there always is.
const WRITERS_MAX: usize = 4;

/// What somebody sends who then waits. None of them asks for an update that is whole.
const IDLE: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HALF_HEAD: &str = "PUT /v1/jobs/half-head HTTP/1.1\r\nhost: localhost\r\ncont";
const HALF_BODY: &str = "PUT /v1/jobs/half-body HTTP/1.1\r\nhost: localhost\r\n\
    content-type: application/json\r\ncontent-length: 19\r\n\r\n{\"status\"";
const EVENTS: &str = "GET /v1/updates?after=0&format=sse HTTP/1.1\r\nhost: localhost\r\n\r\n";
const LINES: &str = "GET /v1/updates?after=0&format=ndjson HTTP/1.1\r\nhost: localhost\r\n\r\n";
const KINDS: [&str; 5] = [IDLE, HALF_HEAD, HALF_BODY, EVENTS, LINES];

/// Connects some of each kind.
fn connect(server: &Server, random: &mut Random) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for text in KINDS {
        for _ in 0..random.below(OF_EACH_MAX) {
            let mut connection = TcpStream::connect(server.address()).unwrap();
            connection.write_all(text.as_bytes()).unwrap();
            connections.push(connection);
        }
    }
    random.shuffle(&mut connections);
    connections
}

/// A job that was acknowledged, and with which status.
type Acknowledged = (String, &'static str);

/// Reports one job after the other until it is refused or cut off; those that were acknowledged.
fn write(http: &Http, name: &str, query: &str, count: &AtomicUsize) -> Vec<Acknowledged> {
    const STATUSES: [&str; 3] = ["queued", "processing", "completed"];
    let mut acknowledged = Vec::new();
    for (number, status) in (0..).zip(STATUSES.into_iter().cycle()) {
        let job_id = format!("{name}-{number}");
        match http.put(&job_id, query, &format!(r#"{{"status":"{status}"}}"#)) {
            Ok(reply) if reply.status < 300 => {
                acknowledged.push((job_id, status));
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(reply) => {
                let problem = reply.json();
                assert_eq!((reply.status, &problem["code"]), (503, &"draining".into()));
                return acknowledged;
            }
            Err(_closed) => return acknowledged,
        }
    }
    acknowledged
}

/// Lets a crowd write until so many updates are acknowledged, and stops the server in the middle.
fn live_and_stop(server: Server, round: usize, random: &mut Random) -> Vec<Acknowledged> {
    let goal = 20 + random.below(300);
    let (durable, queued) = (1 + random.below(WRITERS_MAX), 1 + random.below(WRITERS_MAX));
    let pause = Duration::from_micros(random.below(20_000) as u64);
    let (count, connections) = (AtomicUsize::new(0), connect(&server, random));
    let acknowledged = std::thread::scope(|scope| {
        let writer = |number: usize| {
            let query = if number < durable { "" } else { "?ack=queued" };
            let (url, count) = (&server.url, &count);
            scope.spawn(move || write(&Http::new(url), &format!("{round}-{number}"), query, count))
        };
        let writers: Vec<_> = (0..durable + queued).map(writer).collect();
        eventually("the crowd is at work", || (count.load(Ordering::SeqCst) >= goal).then_some(()));
        std::thread::sleep(pause);
        server.terminate();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(server.wait().code(), Some(0), "a stop that did not store all");
    for mut connection in connections {
        // Closed, or reset: in any case it ends.
        let _ = connection.read_to_end(&mut Vec::new());
    }
    acknowledged
}

fn lost_of(server: &Server, acknowledged: &[Acknowledged]) -> Vec<String> {
    lost(&server.http, acknowledged.iter().map(|(job_id, status)| (&**job_id, *status)))
}

/// `JOBSLATE_STOP_ROUNDS` says how often.
#[test]
fn a_stop_amid_a_random_crowd_loses_nothing_acknowledged() {
    let rounds = number_from_environment("JOBSLATE_STOP_ROUNDS", 3);
    let mut random = Random::from_environment();
    // Half-sent bodies hold each stop up for as long as they may; the queue is emptied by nobody
    // but those who wait and the stop; folds are frequent.
    let flags = ["--drain-timeout=1s", "--flush-interval=1h", "--batch-size=100000"];
    let folds = ["--fold-interval=200ms", "--tail-jobs-max=1000"];
    let site = Site::new(&[&flags[..], &folds].concat());
    let mut all = Vec::new();
    for round in 0..rounds {
        let acknowledged = live_and_stop(site.start(), round, &mut random);
        let server = site.start();
        assert_eq!(lost_of(&server, &acknowledged), [""; 0], "round {round}");
        assert!(server.run(&["check"]).status.success());
        all.extend(acknowledged);
        assert!(server.stop().success());
    }
    let server = site.start();
    assert_eq!(lost_of(&server, &all), [""; 0]);
    for kind in ["half-head", "half-body"] {
        assert_eq!(server.http.get(&format!("/v1/jobs/{kind}")).status, 404);
    }
    let stored = walk(&server.http, 1_000).len();
    println!("{rounds} stops, {} acknowledged, {stored} stored, lost 0", all.len());
    // The controls: one that was never sent, and one with another status, are both missed.
    let (first, _) = all[0].clone();
    all.extend([("never-sent".to_owned(), "queued"), (first.clone(), "error")]);
    assert_eq!(lost_of(&server, &all), ["never-sent", &*first]);
    assert!(server.stop().success());
}
