//! A reader of Server-Sent Events for tests: one connection, read event by event, cut at will.
//!
//! It speaks HTTP/1.1 by itself, so that nothing between it and the socket reconnects, gathers or
//! hides anything.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open stream of events.
pub struct Events {
    stream: TcpStream,
    /// What was read and not yet taken apart, without the frames of chunked coding.
    text: Vec<u8>,
    raw: Vec<u8>,
    is_ended: bool,
}

/// One event, or a sign of life.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<u64>,
    pub name: Option<String>,
    pub data: Option<String>,
}

impl Events {
    /// Opens `path`; `None` if the server is away or refuses with a status that is worth a retry.
    ///
    /// # Panics
    /// If the server answers with anything but 200 or 503.
    pub async fn open(address: &str, path: &str, last_id: Option<u64>) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        Self::over(stream, address, path, last_id).await
    }

    /// The same over a connection that is there.
    pub async fn over(
        mut stream: TcpStream,
        address: &str,
        path: &str,
        last_id: Option<u64>,
    ) -> Option<Self> {
        let last_id = last_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{last_id}\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut raw = Vec::new();
        let head_end = loop {
            if let Some(at) = find(&raw, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut raw).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&raw[..head_end]).to_ascii_lowercase();
        if head.starts_with("http/1.1 503") {
            return None;
        }
        assert!(head.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(&raw));
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        raw.drain(..head_end);
        Some(Self { stream, text: Vec::new(), raw, is_ended: false })
    }

    /// The next event; `None` when the stream ends, or the connection breaks.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            self.unframe();
            if let Some(end) = find(&self.text, b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                return Some(parse(&String::from_utf8(block).unwrap()));
            }
            if self.is_ended || self.fill().await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.raw).await
    }

    /// Moves whole chunks from `raw` to `text`.
    fn unframe(&mut self) {
        while let Some(line_end) = find(&self.raw, b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..line_end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let end = line_end + 2 + size + 2;
            if self.raw.len() < end {
                return;
            }
            self.is_ended |= size == 0;
            self.text.extend_from_slice(&self.raw[line_end + 2..end - 2]);
            self.raw.drain(..end);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => event.id = Some(id.parse().unwrap()),
            Some(("event", name)) => event.name = Some(name.to_owned()),
            Some(("data", data)) => {
                assert!(event.data.is_none(), "one line of data is enough for us");
                event.data = Some(data.to_owned());
            }
            // A comment, or the time after which to come back.
            _ => (),
        }
    }
    event
}
