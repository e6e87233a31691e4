//! The server on a real socket: connections, and the clean stop.

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::poll_immediate;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::http::connections::Place;
use crate::http::{connection, serve};

pub(super) struct Running {
    pub address: SocketAddr,
    pub server: Server,
    stop: Arc<Notify>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub fn new(options: HttpOptions) -> Self {
        Self::over(Server::with(ServiceOptions::default(), options))
    }

    pub fn over(server: Server) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let (gate, stopped) = (server.gate.clone(), stop.clone());
        let serving = tokio::spawn(async move { serve(listener, gate, stopped.notified()).await });
        Self { address, server, stop, serving }
    }

    /// Begins the clean stop.
    pub fn begin_stop(&self) {
        self.stop.notify_one();
    }

    /// The clean stop, to its end.
    pub async fn stop(self) {
        self.begin_stop();
        self.serving.await.unwrap().unwrap();
    }

    pub async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// A client of which the system takes little before it reads.
    pub async fn connect_with_small_buffer(&self) -> Client {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        Client(socket.connect(self.address).await.unwrap())
    }
}

impl Server {
    /// 1,000 jobs of 8 KiB each.
    pub async fn fill_with_long_errors(&self) {
        let error = "e".repeat(8 << 10);
        for part in 0..10 {
            let update = |number: usize| {
                format!(r#"{{"job_id":"{part}-{number}","status":"error","error":"{error}"}}"#)
            };
            let lines: Vec<String> = (0..100).map(update).collect();
            self.post("", LINES, lines.join("\n")).await.json(200);
        }
    }
}

pub(super) struct Client(pub TcpStream);

impl Client {
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn get(&mut self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        self.answer().await
    }

    /// One answer, whose body is JSON on one line without a closing bracket but the last.
    pub async fn answer(&mut self) -> String {
        let mut text = Vec::new();
        loop {
            let length = self.0.read_buf(&mut text).await.unwrap();
            let shown = String::from_utf8_lossy(&text).into_owned();
            if length == 0 || is_whole(&shown) {
                return shown;
            }
        }
    }

    /// What comes until the server closes; an abrupt close counts as one.
    pub async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let _end = self.0.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// True if the body is as long as its header says.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() == length.parse::<usize>().unwrap())
}

#[tokio::test]
async fn a_connection_is_used_again_and_counted() {
    let running = Running::new(HttpOptions::default());
    let mut client = running.connect().await;
    assert!(client.get("/livez").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(client.get("/readyz").await.ends_with(r#"{"status":"ready"}"#));
    let stats = client.get("/v1/stats").await;
    assert!(stats.contains(
        r#""connections":{"now":1,"peak":1,"max":1024,"turned_away":0,"idle_closed":0}"#
    ));
}

#[tokio::test]
async fn a_connection_above_the_bound_is_told_so_and_may_ask_for_health() {
    let running = Running::new(HttpOptions { connections_max: 1, ..HttpOptions::default() });
    let mut first = running.connect().await;
    // An answer that has not ended: it is not idle.
    first.send("GET /v1/updates?format=sse HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    first.0.read_exact(&mut [0; 15]).await.unwrap();
    let mut second = running.connect().await;
    assert!(second.get("/readyz").await.starts_with("HTTP/1.1 200 OK\r\n"));
    second.send("GET /v1/counts HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let answer = second.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains(r#""code":"too_many_connections""#), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(!answer.contains("outcome"), "{answer}");
    running.server.put("/v1/jobs/told", r#"{"status":"queued"}"#).await.json(200);
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("told") {
        assert!(first.0.read_buf(&mut text).await.unwrap() > 0, "the stream was closed");
    }
    let connections = running.server.gate.connections().numbers(1);
    assert_eq!((connections.turned_away, connections.idle_closed), (1, 0));
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_sees_the_refusal() {
    let running = Running::new(HttpOptions::default());
    let mut client = running.connect().await;
    let body = "x".repeat(9 << 20);
    for (path, status) in [("updates", 413), ("updates?nonsense=1", 400)] {
        let head = format!("POST /v1/{path} HTTP/1.1\r\nhost: localhost\r\n");
        client.send(&head).await;
        client.send("content-type: application/json\r\n").await;
        client.send(&format!("content-length: {}\r\n\r\n{body}", body.len())).await;
        let answer = client.answer().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_refused_body_is_not_asked_for() {
    let options = HttpOptions { body_timeout: Duration::from_secs(86_400), ..Default::default() };
    let running = Running::new(options);
    for (path, media, length, status) in [
        ("updates", "text/plain", 9, 415),
        ("updates?nonsense=1", "application/json", 9, 400),
        ("updates", "application/json", 9 << 20, 413),
    ] {
        let mut client = running.connect().await;
        client
            .send(&format!(
                "POST /v1/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\n\
                 expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
            ))
            .await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let header_timeout = std::time::Duration::from_millis(1);
    let running = Running::new(HttpOptions { header_timeout, ..HttpOptions::default() });
    let mut client = running.connect().await;
    client.send("GET /livez HTTP/1.1\r\n").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_more_is_closed() {
    let idle_timeout = std::time::Duration::from_millis(1);
    let running = Running::new(HttpOptions { idle_timeout, ..HttpOptions::default() });
    let mut client = running.connect().await;
    assert!(client.get("/livez").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(client.rest().await, "");
    let mut client = running.connect().await;
    client.send("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\nGET /livez HTTP/1.1\r\n").await;
    let answers = client.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1, "half a head is none: {answers}");
}

#[tokio::test]
async fn a_connection_is_not_closed_while_its_request_is_open() {
    let idle_timeout = std::time::Duration::from_millis(1);
    let running = Running::new(HttpOptions { idle_timeout, ..HttpOptions::default() });
    let mut client = running.connect().await;
    // The stream of the feed is an answer that has not ended.
    client
        .send("GET /v1/updates HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
        .await;
    let mut head = [0; 15];
    client.0.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    // One that began to wait later is closed before.
    let mut other = running.connect().await;
    other.get("/livez").await;
    assert_eq!(other.rest().await, "");
    running.server.put("/v1/jobs/late", r#"{"status":"queued"}"#).await.json(200);
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("late") {
        assert!(client.0.read_buf(&mut text).await.unwrap() > 0, "the stream was closed");
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed() {
    let idle_timeout = std::time::Duration::from_millis(1);
    let page_bytes_max = 64 << 20;
    let running =
        Running::new(HttpOptions { idle_timeout, page_bytes_max, ..HttpOptions::default() });
    running.server.fill_with_long_errors().await;
    let mut client = running.connect_with_small_buffer().await;
    client.send("GET /v1/jobs?limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    client.0.readable().await.unwrap();
    while running.server.gate.connections().now() > 0 {
        tokio::task::yield_now().await;
    }
    let mut text = Vec::new();
    // Cut off, with or without a word of the system's.
    let _ = client.0.read_to_end(&mut text).await;
    assert!(text.len() < 8 << 20, "{} bytes", text.len());
}

/// A connection that is driven by hand, and its client.
async fn by_hand(
    server: &Server,
) -> (impl Future<Output = ()>, std::net::TcpStream, watch::Sender<bool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let place = Place::take(server.gate.clone()).unwrap();
    let serving = connection::serve(stream, app(server.gate.clone()), place, stopped);
    (serving, client, stop)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_came_in_time_is_answered_however_late_it_is_seen() {
    let server = Server::new();
    let (serving, mut client, _stop) = by_hand(&server).await;
    let mut serving = Box::pin(serving);
    assert!(poll_immediate(&mut serving).await.is_none());
    client
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    // The process was held up.
    tokio::time::advance(Duration::from_secs(3_600)).await;
    serving.await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_stop_finishes_the_open_request_and_closes_idle_connections() {
    let running = Running::new(HttpOptions::default());
    let mut idle = running.connect().await;
    idle.get("/livez").await;
    let mut busy = running.connect().await;
    let body = r#"{"job_id":"a","status":"queued"}"#;
    busy.send(&format!(
        "POST /v1/updates HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ))
    .await;
    // The server asks for the body, so the request is open.
    let mut asked = [0; 25];
    busy.0.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    running.stop.notify_one();
    assert_eq!(idle.rest().await, "");
    busy.send(body).await;
    let answer = busy.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    running.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
    assert_eq!(running.server.service.drain().await.unwrap().durable_seq, 1);
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_bound() {
    let drain_timeout = std::time::Duration::from_millis(1);
    let running = Running::new(HttpOptions { drain_timeout, ..HttpOptions::default() });
    let mut busy = running.connect().await;
    busy.send(
        "POST /v1/updates HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: 9\r\n\r\n",
    )
    .await;
    let mut asked = [0; 25];
    busy.0.read_exact(&mut asked).await.unwrap();
    running.stop.notify_one();
    running.serving.await.unwrap().unwrap();
    assert_eq!(busy.rest().await, "");
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let running = Running::new(HttpOptions::default());
    let mut client = running.connect().await;
    client
        .send(
            "POST /v1/updates HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: 9\r\n\r\n",
        )
        .await;
    let mut asked = [0; 25];
    client.0.read_exact(&mut asked).await.unwrap();
    drop(client);
    while running.server.gate.connections().now() > 0 {
        tokio::task::yield_now().await;
    }
    let stats = running.server.get("/v1/stats").await.json(200);
    assert_eq!(stats["http"]["in_flight"], 1, "only the question itself");
}
