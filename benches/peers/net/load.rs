//! The load generator: some keep-alive connections, each with one request in flight.
//!
//! Raw sockets, requests made before the time begins, and the least parsing of the answers, as it
//! shares the machine with the server that it measures. One generator for all servers but
//! PostgreSQL, whose protocol needs a client (see `postgres.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::reply::Protocol;

/// Requests in the order in which they are sent, as bytes one behind the other.
#[derive(Debug)]
pub struct Requests {
    protocol: Protocol,
    /// Sent once by each connection before the time begins, for one reply.
    hello: Vec<u8>,
    bytes: Vec<u8>,
    /// Where each request ends in `bytes`, and how many replies it gets.
    ends: Vec<(usize, usize)>,
}

impl Requests {
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, hello: Vec::new(), bytes: Vec::new(), ends: Vec::new() }
    }

    pub fn with_hello(self, hello: Vec<u8>) -> Self {
        Self { hello, ..self }
    }

    /// One more request, which gets `replies`.
    pub fn push(&mut self, request: &[u8], replies: usize) {
        self.bytes.extend_from_slice(request);
        self.ends.push((self.bytes.len(), replies));
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|number| self.get(number)).map(|(request, _)| request)
    }

    /// The bytes of a request, and how many replies it gets.
    fn get(&self, number: usize) -> Option<(&[u8], usize)> {
        let (end, replies) = *self.ends.get(number)?;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before].0);
        Some((&self.bytes[start..end], replies))
    }
}

/// What a run of the generator saw.
#[derive(Clone, Debug)]
pub struct Load {
    pub elapsed: Duration,
    /// Each request, ascending.
    pub waits: Vec<Duration>,
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Sends each of `requests` once, in their order, over `connections` to `address`.
pub fn run(address: &str, requests: Requests, connections: usize) -> Load {
    let requests = Arc::new(requests);
    runtime().block_on(send_all(address, requests, connections))
}

/// The same beside one more connection, which sends `background` again and again until all is
/// answered; also how many of these were answered.
pub fn run_beside(
    address: &str,
    requests: Requests,
    connections: usize,
    background: Requests,
) -> (Load, Load) {
    let requests = Arc::new(requests);
    runtime().block_on(async {
        let is_over = Arc::new(AtomicBool::new(false));
        let stream = connect(address, &background).await;
        let repeated = tokio::spawn(repeat(stream, background, is_over.clone()));
        let load = send_all(address, requests, connections).await;
        is_over.store(true, Ordering::Relaxed);
        (load, repeated.await.unwrap())
    })
}

async fn send_all(address: &str, requests: Arc<Requests>, connections: usize) -> Load {
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(connect(address, &requests).await);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(send_some(stream, requests.clone(), next.clone())))
        .collect();
    let mut waits = Vec::with_capacity(requests.len());
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    let elapsed = start.elapsed();
    waits.sort_unstable();
    Load { elapsed, waits }
}

async fn connect(address: &str, requests: &Requests) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    if !requests.hello.is_empty() {
        ask(&mut stream, &mut Vec::new(), requests.protocol, &requests.hello, 1).await;
    }
    stream
}

/// One connection: takes requests until there are none; how long each took.
async fn send_some(
    mut stream: TcpStream,
    requests: Arc<Requests>,
    next: Arc<AtomicUsize>,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut buffer = Vec::with_capacity(16 << 10);
    while let Some((request, replies)) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let start = Instant::now();
        ask(&mut stream, &mut buffer, requests.protocol, request, replies).await;
        waits.push(start.elapsed());
    }
    waits
}

async fn repeat(mut stream: TcpStream, requests: Requests, is_over: Arc<AtomicBool>) -> Load {
    let mut waits = Vec::new();
    let mut buffer = Vec::with_capacity(16 << 10);
    let start = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let (request, replies) = requests.get(waits.len() % requests.len()).unwrap();
        let sent = Instant::now();
        ask(&mut stream, &mut buffer, requests.protocol, request, replies).await;
        waits.push(sent.elapsed());
    }
    let elapsed = start.elapsed();
    waits.sort_unstable();
    Load { elapsed, waits }
}

/// Writes a request and reads the whole of its replies.
async fn ask(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    protocol: Protocol,
    request: &[u8],
    replies: usize,
) {
    stream.write_all(request).await.unwrap();
    buffer.clear();
    let mut whole = 0;
    for _ in 0..replies {
        whole += loop {
            if let Some(length) = protocol.reply_bytes(&buffer[whole..]) {
                break length;
            }
            assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed the connection");
        };
    }
    assert_eq!(buffer.len(), whole, "no reply but those that were asked for");
}

/// One request on a connection of its own; its answer as it came.
pub fn ask_once(address: &str, protocol: Protocol, request: &[u8]) -> String {
    ask_many(address, protocol, request, 1)
}

/// The same for a request that gets `replies`.
pub fn ask_many(address: &str, protocol: Protocol, request: &[u8], replies: usize) -> String {
    runtime().block_on(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut buffer = Vec::new();
        ask(&mut stream, &mut buffer, protocol, request, replies).await;
        String::from_utf8(buffer).unwrap()
    })
}
