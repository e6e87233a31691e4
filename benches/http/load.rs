//! A load generator: many keep-alive connections, each with one request in flight.
//!
//! Raw sockets and the least parsing that HTTP/1.1 allows, as it shares the machine with the server
//! that it measures. Both servers get the same generator.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a run of the generator saw.
#[derive(Clone, Debug)]
pub struct Load {
    pub requests: usize,
    pub elapsed: Duration,
    /// Each request, ascending.
    pub waits: Vec<Duration>,
}

impl Load {
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    pub fn wait_ms(&self, quantile: f64) -> f64 {
        let place = (self.waits.len() - 1) as f64 * quantile;
        self.waits[place.round() as usize].as_secs_f64() * 1e3
    }
}

/// Sends `requests` GETs of `paths`, in turn, over `connections` connections to `address`.
///
/// Panics on any answer but 200.
pub fn run(address: &str, paths: &[String], connections: usize, requests: usize) -> Load {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let heads: Arc<Vec<String>> = Arc::new(
        paths
            .iter()
            .map(|path| format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n"))
            .collect(),
    );
    let next = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            streams.push(stream);
        }
        let start = Instant::now();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let (heads, next) = (heads.clone(), next.clone());
                tokio::spawn(ask(stream, heads, next, requests))
            })
            .collect();
        let mut waits = Vec::with_capacity(requests);
        for task in tasks {
            waits.extend(task.await.unwrap());
        }
        let elapsed = start.elapsed();
        waits.sort_unstable();
        Load { requests, elapsed, waits }
    })
}

/// One connection: asks until all requests are taken; how long each took.
async fn ask(
    mut stream: TcpStream,
    heads: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    requests: usize,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= requests {
            return waits;
        }
        let start = Instant::now();
        stream.write_all(heads[number % heads.len()].as_bytes()).await.unwrap();
        read_reply(&mut stream, &mut buffer).await;
        waits.push(start.elapsed());
    }
}

/// Reads one whole answer with a `content-length`.
async fn read_reply(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    let head_end = loop {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed the connection");
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let whole = head_end + length.expect("the answer says its length");
    while buffer.len() < whole {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed the connection");
    }
    assert_eq!(buffer.len(), whole, "one answer for one request");
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
