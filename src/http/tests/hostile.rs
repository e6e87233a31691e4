//! Random requests that two readers could take apart differently, and random names of hosts and of
//! origins. `JOBSLATE_HOSTILE_ROUNDS` says how many, `JOBSLATE_SEED` from where.
//!
//! Behind each request stands the canary. It may be answered only where a reader that goes by the
//! letter finds it, too.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::uri::Authority;
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;

use super::server::Running;
use super::smuggling::{CANARY, DOUBTFUL, count};
use super::*;
use crate::store::redb::tests::machine::Random;
use crate::store::redb::tests::power::number_of;

/// Connections at a time.
const TOGETHER: u64 = 200;

/// 19 bytes, in hexadecimal 13.
const UPDATE: &str = r#"{"status":"queued"}"#;
const CHUNKS: &str = "13\r\n{\"status\":\"queued\"}\r\n0\r\n\r\n";

const FIRST_LINES: [&str; 6] = [
    "PUT /v1/jobs/a HTTP/1.1",
    "PUT /v1/jobs/a? HTTP/1.1",
    "POST /v1/updates HTTP/1.1",
    "GET /v1/jobs/a HTTP/1.1",
    "GET /v1/jobs/a? HTTP/1.1",
    "GET /livez HTTP/1.1",
];
const BODIES: [(&str, &str); 6] = [
    ("content-length: 19\r\n", UPDATE),
    ("Content-Length:\t00019 \r\n", UPDATE),
    ("transfer-encoding: chunked\r\n", CHUNKS),
    ("Transfer-Encoding: Chunked\r\n", CHUNKS),
    ("", "{}"),
    ("", ""),
];
const ORDERLY: [&str; 12] = [
    "content-type: application/json\r\n",
    "content-type: text/plain\r\n",
    "content-encoding: identity\r\n",
    "connection: keep-alive\r\n",
    "connection: close\r\n",
    "connection: content-length\r\n",
    "accept: */*\r\n",
    "expect: 100-continue\r\n",
    "if-none-match: *\r\n",
    "idempotency-key: k\r\n",
    "upgrade: h2c\r\n",
    "x: \"y\", \u{e9}\r\n",
];
/// Bytes that mean something to one reader or another.
const ODD: &[u8] = b"\r\n\t\0\x0b\x7f\xff :;,+-_\"0123xX";

/// The rounds that are wanted, and the source of what they do.
fn rounds() -> (u64, Random) {
    let (rounds, seed) = (number_of("JOBSLATE_HOSTILE_ROUNDS", 300), number_of("JOBSLATE_SEED", 1));
    println!("seed: JOBSLATE_SEED={seed}");
    (rounds, Random(seed))
}

fn one_of<T: Copy>(random: &mut Random, values: &[T]) -> T {
    values[random.below(values.len() as u64) as usize]
}

/// Changes, removes or adds a byte.
fn turn(bytes: &mut Vec<u8>, odd: &[u8], random: &mut Random) {
    let place = random.below(bytes.len() as u64) as usize;
    match random.below(4) {
        0 => bytes[place] = one_of(random, odd),
        1 => bytes.insert(place, one_of(random, odd)),
        2 => bytes.insert(place, bytes[place]),
        _ if bytes.len() > 1 => drop(bytes.remove(place)),
        _ => {}
    }
}

/// What is sent on one connection.
struct Sent {
    bytes: Vec<u8>,
    /// Where the request in doubt begins, and the canary behind it.
    begin: usize,
    canary: usize,
}

fn draw(random: &mut Random) -> Sent {
    let (framing, body) = one_of(random, &BODIES);
    let mut fields = vec![framing];
    if random.below(10) > 0 {
        fields.push("host: localhost\r\n");
    }
    for _ in 0..random.below(3) {
        let is_doubtful = random.below(2) == 0;
        let field = if is_doubtful { one_of(random, &DOUBTFUL) } else { one_of(random, &ORDERLY) };
        fields.insert(random.below(fields.len() as u64 + 1) as usize, field);
    }
    let head = format!("{}\r\n{}\r\n", one_of(random, &FIRST_LINES), fields.concat());
    let mut head = head.into_bytes();
    for _ in 0..random.below(4).saturating_sub(1) {
        turn(&mut head, ODD, random);
    }
    let mut bytes = Vec::new();
    if random.below(4) == 0 {
        bytes.extend(CANARY.replace("canary", "before").bytes());
    }
    let begin = bytes.len();
    bytes.extend(head);
    bytes.extend(body.bytes());
    let canary = bytes.len();
    bytes.extend(CANARY.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").bytes());
    Sent { bytes, begin, canary }
}

/// Goes through requests as RFC 9112 says it, and stops where another reader may see another thing.
/// A bare line feed ends a line, which a server may take, and ours does.
struct Letter<'b> {
    rest: &'b [u8],
}

impl<'b> Letter<'b> {
    fn line(&mut self) -> Option<&'b [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        self.rest = rest;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_text = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
        line.iter().all(is_text).then_some(line)
    }

    /// Those before a request mean nothing to anybody.
    fn skip_empty_lines(&mut self) {
        while let Some(rest) =
            ["\r\n", "\n"].iter().find_map(|it| self.rest.strip_prefix(it.as_bytes()))
        {
            self.rest = rest;
        }
    }

    fn take(&mut self, bytes: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    /// One whole request.
    fn request(&mut self) -> Option<()> {
        let first = self.line()?;
        let parts: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
        let [method, target, version] = parts[..] else { return None };
        let is_first = is_token(method) && !target.is_empty() && version.starts_with(b"HTTP/1.");
        let (mut lengths, mut codings) = (Vec::new(), Vec::new());
        while let Some((name, value)) = self.field()? {
            match name.to_ascii_lowercase().as_slice() {
                b"content-length" => lengths.push(value),
                b"transfer-encoding" => codings.push(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        match (&lengths[..], &codings[..]) {
            _ if !is_first => None,
            ([], []) => Some(()),
            ([length], []) if length.iter().all(u8::is_ascii_digit) => {
                self.take(std::str::from_utf8(length).ok()?.parse().ok()?).map(|_| ())
            }
            ([], [coding]) if coding == b"chunked" && version == b"HTTP/1.1" => self.chunks(),
            _ => None,
        }
    }

    /// One header, or the end of them.
    fn field(&mut self) -> Option<Option<(&'b [u8], &'b [u8])>> {
        let line = self.line()?;
        if line.is_empty() {
            return Some(None);
        }
        let end = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..end], &line[end + 1..]);
        is_token(name).then(|| Some((name, value.trim_ascii())))
    }

    fn chunks(&mut self) -> Option<()> {
        loop {
            let line = self.line()?;
            let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
            let is_size = digits.iter().all(u8::is_ascii_hexdigit);
            let size = std::str::from_utf8(digits).ok().filter(|_| is_size)?;
            match usize::from_str_radix(size, 16).ok()? {
                0 => break,
                bytes => self.take(bytes)?,
            };
            self.take(2).filter(|it| it == b"\r\n")?;
        }
        while self.field()?.is_some() {}
        Some(())
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let is_char = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_char)
}

impl Sent {
    /// How many requests a reader by the letter sees before the canary, or before it is in doubt;
    /// whether it sees the canary then.
    fn by_letter(&self) -> (usize, bool) {
        let mut letter = Letter { rest: &self.bytes };
        let to_canary = self.bytes.len() - self.canary;
        let mut requests = 0;
        loop {
            letter.skip_empty_lines();
            let rest = letter.rest.len();
            if rest <= to_canary || letter.request().is_none() {
                return (requests, rest == to_canary);
            }
            requests += 1;
        }
    }

    /// Whether one that believes the first length that it finds sees the canary.
    fn is_seen_by_the_careless(&self) -> bool {
        let text: String = self.bytes.iter().map(|byte| char::from(*byte)).collect();
        let Some((head, _)) = text[self.begin..].split_once("\r\n\r\n") else { return false };
        let end = self.begin + head.len() + 4;
        let length = head.to_ascii_lowercase().split_once("content-length").map(|(_, value)| {
            let digits = value.trim_start_matches(|it: char| !it.is_ascii_digit());
            let digits = digits.chars().map_while(|it| it.to_digit(10));
            digits.fold(0_usize, |all, it| all.saturating_mul(10).saturating_add(it as usize))
        });
        end.saturating_add(length.unwrap_or(0)) == self.canary
    }

    async fn answers(&self, running: &Running) -> String {
        let mut client = running.connect().await;
        // A server that refused the begin may be gone before the end.
        let _ = client.0.write_all(&self.bytes).await;
        client.rest().await
    }
}

/// What the rounds saw.
#[derive(Debug, Default)]
struct Told {
    /// The canary was to be seen, and how often it was answered: not behind a refusal, and some
    /// other answers are the last, too.
    in_order: u64,
    both: u64,
    /// The control: it was not, and a careless reader would have answered it.
    careless: u64,
    refused: u64,
}

impl Told {
    fn judge(&mut self, sent: &Sent, answers: &str) {
        let shown = || format!("{}\n{answers}", sent.bytes.escape_ascii());
        let (requests, is_in_order) = sent.by_letter();
        let has_canary = answers.contains(r#"no job \"canary\""#);
        assert!(count(answers) <= requests + 1, "{}", shown());
        self.refused += u64::from(answers.contains("HTTP/1.1 400 "));
        if is_in_order {
            self.in_order += 1;
            self.both += u64::from(has_canary);
        } else {
            self.careless += u64::from(sent.is_seen_by_the_careless());
            assert!(!has_canary, "{}", shown());
        }
    }
}

#[tokio::test]
async fn no_random_head_lets_a_request_through_that_another_reader_does_not_see() {
    let (rounds, mut random) = rounds();
    // A head or a body that has no end is waited for so long.
    let wait = Duration::from_secs(1);
    let (header_timeout, body_timeout, idle_timeout) = (wait, wait, wait);
    let options = HttpOptions { header_timeout, body_timeout, idle_timeout, ..Default::default() };
    let running = Running::new(options);
    let (mut told, mut left) = (Told::default(), rounds);
    while left > 0 {
        let sent: Vec<Sent> = (0..left.min(TOGETHER)).map(|_| draw(&mut random)).collect();
        left -= sent.len() as u64;
        let answers = join_all(sent.iter().map(|it| it.answers(&running))).await;
        for (sent, answers) in sent.iter().zip(&answers) {
            told.judge(sent, answers);
        }
    }
    println!("{rounds} rounds: {told:?}");
    assert!(told.both > rounds / 20 && told.careless > 0 && told.refused > 0, "{told:?}");
}

/// As a proxy or a browser reads it: a name of this machine, with any port.
fn is_ours(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = name.parse::<IpAddr>();
    let is_loopback = address.is_ok_and(|it| it.to_canonical().is_loopback());
    !host.contains('@') && (is_loopback || name.eq_ignore_ascii_case("localhost"))
}

fn odd_value(random: &mut Random, begins: &[&str]) -> String {
    let mut value = one_of(random, begins).as_bytes().to_vec();
    for _ in 0..random.below(4) {
        turn(&mut value, b"@:[]./\\,# ?%0127xaEL", random);
    }
    String::from_utf8(value).unwrap()
}

#[tokio::test]
async fn no_random_host_or_origin_of_another_site_reaches_a_handler() {
    const HOSTS: [&str; 8] = [
        "localhost",
        "localhost:7411",
        "127.0.0.1:7411",
        "[::1]:7411",
        "evil.example",
        "localhost.evil.example",
        "evil.example@localhost:80",
        "a",
    ];
    const ORIGINS: [&str; 5] = [
        "http://localhost:7411",
        "https://localhost:7411",
        "http://localhost",
        "https://evil.example",
        "null",
    ];
    let (rounds, mut random) = rounds();
    let server = Server::new();
    let (mut reached, mut refused) = ([0, 0], 0);
    for _ in 0..rounds {
        let host = odd_value(&mut random, &HOSTS);
        let origin = odd_value(&mut random, &ORIGINS);
        let is_own = ["http://localhost:7411", "https://localhost:7411"]
            .iter()
            .any(|own| origin.eq_ignore_ascii_case(own));
        let of_origin = [JSON, ("host", "localhost:7411"), ("origin", &origin)];
        for (kind, headers, may_reach) in
            [(0, &[JSON, ("host", &host)][..], is_ours(&host)), (1, &of_origin, is_own)]
        {
            let answer = server.call(Method::PUT, "/v1/jobs/a", headers, UPDATE).await;
            match answer.status.as_u16() {
                200 => {
                    assert!(may_reach, "{headers:?} reached a handler");
                    reached[kind] += 1;
                }
                status => {
                    assert!([403, 421].contains(&status), "{headers:?}: {}", answer.text);
                    refused += 1;
                }
            }
        }
    }
    println!("{rounds} rounds: {reached:?} of our own reached a handler, {refused} others did not");
    assert!(reached.iter().all(|it| *it > rounds / 100) && refused > rounds / 2);
    let as_of_seq = server.get("/v1/counts").await.json(200)["as_of_seq"].as_u64().unwrap();
    assert_eq!(as_of_seq, reached.iter().sum::<u64>());
}
