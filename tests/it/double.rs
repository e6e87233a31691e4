//! A hand-written server that says what a test wants, byte by byte, and cuts where a test wants.
//!
//! It answers one request after the other, each on a connection of its own, along a script; after
//! the script nobody answers any more.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};

/// One step of the script.
pub enum Step {
    /// Answers the next request with these bytes and closes the connection.
    Say(Vec<u8>),
    /// The same, but the connection stays open and silent.
    SayAndStay(Vec<u8>),
    /// Takes a connection and closes it without a word.
    HangUp,
    /// Stops listening, and listens again on the same port.
    Restart,
}

/// A whole answer with a JSON body.
pub fn reply(status: u16, body: &Value) -> Step {
    let media = if status < 400 { "application/json" } else { "application/problem+json" };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    Step::Say(head.into_bytes())
}

/// The same answer, of the store that has this id.
pub fn of_store(store_id: &str, answer: Step) -> Step {
    let add = |mut bytes: Vec<u8>| {
        let line_end = bytes.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
        bytes.splice(line_end..line_end, format!("store-id: {store_id}\r\n").into_bytes());
        bytes
    };
    match answer {
        Step::Say(bytes) => Step::Say(add(bytes)),
        Step::SayAndStay(bytes) => Step::SayAndStay(add(bytes)),
        Step::HangUp | Step::Restart => panic!("nobody answers"),
    }
}

/// The place of the feed, for those who begin now.
pub fn place(seq: u64) -> Step {
    reply(200, &json!({"updates": [], "next_after": seq, "as_of_seq": seq}))
}

/// The head of a stream that ends with the connection, and its first bytes.
pub fn stream(events: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    format!("{head}{events}").into_bytes()
}

/// A stream whose end can be told from a cut, cut after these bytes.
pub fn cut_stream(events: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{events}\r\n", events.len()).into_bytes()
}

/// One entry as an event.
pub fn event(entry: &Value) -> String {
    format!("id: {}\ndata: {entry}\n\n", entry["seq"])
}

/// An entry of the feed about the job `a`.
pub fn entry(seq: u64, status: &str, kind: &str) -> Value {
    json!({"seq": seq, "job_id": "a", "pipeline": "default", "previous_pipeline": null,
           "status": status, "kind": kind, "previous": "queued", "applied": true,
           "at": "2025-11-24T16:00:00.123Z", "attempt": 1, "error": null})
}

/// A refusal as the real server words it.
pub fn problem(status: u16, code: &str, more: &Value) -> Value {
    let mut body = json!({"type": format!("urn:jobslate:problem:{code}"), "title": code,
        "status": status, "code": code, "detail": format!("it is {code}"),
        "retryable": matches!(status, 429 | 503)});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

pub fn gone(first: u64, last: u64) -> Value {
    problem(410, "gone", &json!({"first_seq_held": first, "last_seq_held": last}))
}

/// The running script.
pub struct Double {
    pub url: String,
    asked: Arc<Mutex<Vec<Vec<String>>>>,
    /// Dropped with the double, which lets the open connections go.
    _hold: mpsc::Sender<()>,
}

impl Double {
    pub fn new(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (hold, held) = mpsc::channel::<()>();
        let log = asked.clone();
        // Not joined: if a test fails, it waits for a request that never comes.
        std::thread::spawn(move || {
            let open = play(script, listener, address, &log);
            let _ = held.recv();
            drop(open);
        });
        Self { url: format!("http://{address}"), asked, _hold: hold }
    }

    /// The first lines of the requests so far, without the version.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|lines| lines[0].trim_end_matches(" HTTP/1.1").to_owned()).collect()
    }

    /// The idempotency keys of the requests that had one.
    pub fn keys(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let keys = asked.iter().flatten().filter_map(|it| it.strip_prefix("idempotency-key: "));
        keys.map(str::to_owned).collect()
    }
}

fn play(
    script: Vec<Step>,
    mut listener: TcpListener,
    address: SocketAddr,
    log: &Mutex<Vec<Vec<String>>>,
) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for step in script {
        match step {
            Step::HangUp => drop(listener.accept().unwrap()),
            Step::Restart => {
                drop(listener);
                listener = TcpListener::bind(address).unwrap();
            }
            Step::Say(bytes) => drop(answer(&listener, log, &bytes)),
            Step::SayAndStay(bytes) => open.push(answer(&listener, log, &bytes)),
        }
    }
    open
}

fn answer(listener: &TcpListener, log: &Mutex<Vec<Vec<String>>>, bytes: &[u8]) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(&stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    log.lock().unwrap().push(lines);
    // The client may be gone; then it has seen what it wanted.
    let _ = (&stream).write_all(bytes);
    stream
}
