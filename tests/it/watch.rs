//! The resuming reader of the feed, against a server that breaks in every way it can.

use std::time::Duration;

use jobslate::client::{Client, ClientError, FeedQuery, Watch, WatchOptions, Watched};
use serde_json::json;

use crate::double::{Double, Step, cut_stream, entry, event, gone, place, problem, reply, stream};

/// Waits that only tell a hang from an answer.
const OPTIONS: WatchOptions =
    WatchOptions { silence_max: Duration::from_secs(300), retry_for: Duration::from_secs(300) };

/// What came until the watch was over, or `entries_max` entries.
async fn follow(watch: &mut Watch, entries_max: usize) -> (Vec<u64>, Vec<&'static str>) {
    let (mut seqs, mut turns) = (Vec::new(), Vec::new());
    while seqs.len() < entries_max {
        match watch.next().await {
            Ok(Watched::Entry(entry)) => seqs.push(entry.seq),
            Ok(Watched::Lost(_)) => turns.push("lost"),
            Ok(Watched::Regained) => turns.push("regained"),
            Err(error) => panic!("{error}, after {seqs:?}"),
        }
    }
    (seqs, turns)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

async fn watch(double: &Double, after: Option<u64>) -> Result<Watch, ClientError> {
    Client::new(&double.url).unwrap().watch(FeedQuery::default(), after, OPTIONS).await
}

async fn error_of(double: &Double, after: Option<u64>) -> ClientError {
    let mut watch = match watch(double, after).await {
        Ok(watch) => watch,
        Err(error) => return error,
    };
    loop {
        match watch.next().await {
            Ok(_) => (),
            Err(error) => return error,
        }
    }
}

fn running(seq: u64) -> String {
    event(&entry(seq, "processing", "running"))
}

#[test]
fn every_entry_comes_once_over_cuts_restarts_and_ends() {
    let cut = format!("{}{}id: 7\ndata: {{\"seq\"", running(5), running(6));
    let again = format!(": hello\n\n{}{}id: 9\n\n", running(6), running(7));
    let opening = problem(503, "opening", &json!({"percent": 40}));
    let double = Double::new(vec![
        place(4),
        Step::Say(cut_stream(&cut)),
        Step::HangUp,
        Step::Restart,
        Step::Say(stream(&again)),
        reply(503, &opening),
        Step::Say(stream("")),
        Step::SayAndStay(stream(&running(10))),
    ]);
    run(async {
        let mut watch = watch(&double, None).await.unwrap();
        let (seqs, turns) = follow(&mut watch, 4).await;
        assert_eq!(seqs, [5, 6, 7, 10]);
        assert_eq!(watch.after(), 10);
        assert!(turns.chunks(2).all(|pair| pair == ["lost", "regained"]), "{turns:?}");
    });
    let asked = double.asked();
    let places: Vec<&str> = asked
        .iter()
        .skip(1)
        .map(|line| line.trim_start_matches("GET /v1/updates?after="))
        .collect();
    assert!(asked[0].starts_with("GET /v1/updates?limit=1"), "{asked:?}");
    let places: Vec<&str> = places.iter().map(|it| it.split('&').next().unwrap()).collect();
    assert_eq!(places, ["4", "6", "9", "9", "9"]);
}

#[test]
fn a_stream_that_only_greets_is_one_outage_and_not_made_again_in_a_tight_loop() {
    let greeting = || Step::Say(stream("retry: 3000\n\n: hello\n\n"));
    let double = Double::new((0..200).map(|_| greeting()).collect());
    run(async {
        let options = WatchOptions { retry_for: Duration::from_secs(2), ..OPTIONS };
        let client = Client::new(&double.url).unwrap();
        let mut watch = client.watch(FeedQuery::default(), Some(4), options).await.unwrap();
        let mut lost = 0;
        while let Ok(turn) = watch.next().await {
            lost += u32::from(matches!(turn, Watched::Lost(_)));
        }
        assert_eq!(lost, 1);
    });
    // Waits that double from 0.05 s at least: the eighth is over after 2 s.
    assert!(double.asked().len() < 12, "{} connections", double.asked().len());
}

#[test]
fn a_silent_stream_counts_as_broken() {
    // A slow machine may take a connection for a silent one; then the next answer does.
    let answers = (0..50).map(|_| Step::SayAndStay(stream(&running(5))));
    let silent = Step::SayAndStay(stream(": silent from here on\n\n"));
    let double = Double::new([silent].into_iter().chain(answers).collect());
    run(async {
        let options = WatchOptions { silence_max: Duration::from_secs(1), ..OPTIONS };
        let client = Client::new(&double.url).unwrap();
        let mut watch = client.watch(FeedQuery::default(), Some(4), options).await.unwrap();
        let (seqs, turns) = follow(&mut watch, 1).await;
        assert_eq!(seqs, [5]);
        assert_eq!(turns[..2], ["lost", "regained"]);
    });
}

#[test]
fn a_place_that_is_gone_ends_the_watch_and_says_what_is_held() {
    let refused = Double::new(vec![reply(410, &gone(100, 200))]);
    let fell_behind = format!("{}event: gone\ndata: {}\n\n", running(5), gone(100, 200));
    let told = Double::new(vec![Step::Say(stream(&fell_behind))]);
    run(async {
        for double in [&refused, &told] {
            let error = error_of(double, Some(4)).await;
            let problem = error.problem().unwrap();
            assert_eq!((problem.first_seq_held, problem.last_seq_held), (Some(100), Some(200)));
            assert_eq!(error.code(), Some("gone"));
        }
    });
}

#[test]
fn what_is_no_feed_ends_the_watch() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\n<html";
    let page = Double::new(vec![Step::Say(page.as_bytes().to_vec())]);
    let no_json = Double::new(vec![Step::Say(stream("id: 5\ndata: hello\n\n"))]);
    let endless = format!("data: {}", "x".repeat(2 << 20));
    let endless = Double::new(vec![Step::Say(stream(&endless))]);
    run(async {
        for double in [&page, &no_json, &endless] {
            let error = error_of(double, Some(4)).await;
            assert!(matches!(error, ClientError::Foreign { .. }), "{error}");
        }
    });
}

#[test]
fn a_first_connection_that_fails_is_an_error_and_a_later_one_is_given_up_in_time() {
    let double = Double::new(vec![Step::HangUp]);
    let cut = Double::new(vec![Step::Say(stream(&running(5))), Step::Say(stream(""))]);
    run(async {
        assert!(matches!(watch(&double, Some(4)).await, Err(ClientError::Unavailable { .. })));
        let options = WatchOptions { retry_for: Duration::from_millis(500), ..OPTIONS };
        let client = Client::new(&cut.url).unwrap();
        let mut watch = client.watch(FeedQuery::default(), Some(4), options).await.unwrap();
        let error = loop {
            match watch.next().await {
                Ok(_) => (),
                Err(error) => break error,
            }
        };
        assert!(error.is_retryable(), "{error}");
        assert_eq!(watch.after(), 5);
    });
}
