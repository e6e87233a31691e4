//! Bodies that come whole, in pieces, packed, broken, too large and never.

use std::io::Write as _;
use std::time::Duration;

use super::*;
use crate::http::HttpOptions;

fn gate(body_bytes_max: usize) -> Gate {
    Gate::new(HttpOptions { body_bytes_max, ..HttpOptions::default() })
}

fn incoming(body: Body) -> Incoming {
    Incoming::of(&HeaderMap::new(), body)
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 3).unwrap()
}

async fn unpacked(gate: &Gate, encoding: &str, body: Vec<u8>) -> Result<Bytes, Problem> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
    let received = receive(gate, &headers, &mut incoming(Body::from(body))).await?;
    received.unpack().map(|unpacked| unpacked.bytes)
}

async fn code(gate: &Gate, encoding: &str, body: Vec<u8>) -> ProblemCode {
    unpacked(gate, encoding, body).await.expect_err(encoding).code
}

#[tokio::test]
async fn packed_bodies_are_unpacked_with_all_their_members() {
    let gate = gate(1000);
    for (encoding, body) in [
        ("identity", b"onetwo".to_vec()),
        ("gzip", gzip(b"onetwo")),
        ("gzip", [gzip(b"one"), gzip(b"two")].concat()),
        ("X-GZip", gzip(b"onetwo")),
        ("zstd", [zstd(b"one"), zstd(b"two")].concat()),
    ] {
        assert_eq!(unpacked(&gate, encoding, body).await.unwrap(), "onetwo", "{encoding}");
    }
    assert_eq!(code(&gate, "br", b"x".to_vec()).await, ProblemCode::UnsupportedMediaType);
    assert_eq!(code(&gate, "gzip, zstd", b"x".to_vec()).await, ProblemCode::UnsupportedMediaType);
}

#[tokio::test]
async fn a_broken_or_cut_packed_body_is_refused() {
    let gate = gate(1000);
    let text = b"some text that is long enough to be cut in the middle of its packed form";
    let (gzip, zstd) = (gzip(text), zstd(text));
    for length in [1, gzip.len() / 2, gzip.len() - 1] {
        let cut = gzip[..length].to_vec();
        assert_eq!(code(&gate, "gzip", cut).await, ProblemCode::InvalidBody, "{length}");
    }
    for length in [1, zstd.len() / 2, zstd.len() - 1] {
        let cut = zstd[..length].to_vec();
        assert_eq!(code(&gate, "zstd", cut).await, ProblemCode::InvalidBody, "{length}");
    }
    assert_eq!(code(&gate, "gzip", b"[]".to_vec()).await, ProblemCode::InvalidBody);
    assert_eq!(code(&gate, "zstd", b"[]".to_vec()).await, ProblemCode::InvalidBody);
}

#[tokio::test]
async fn the_bound_counts_unpacked_bytes() {
    let gate = gate(1000);
    assert_eq!(unpacked(&gate, "gzip", gzip(&[b'x'; 1000])).await.unwrap().len(), 1000);
    assert_eq!(code(&gate, "gzip", gzip(&[b'x'; 1001])).await, ProblemCode::BodyTooLarge);
    assert_eq!(code(&gate, "zstd", zstd(&[b'x'; 1_000_000])).await, ProblemCode::BodyTooLarge);
    assert_eq!(code(&gate, "identity", vec![b'x'; 1001]).await, ProblemCode::BodyTooLarge);
    assert_eq!(gate.bodies_bytes().load(Ordering::Relaxed), 0);
}

/// Zeros without end that count how many were taken.
struct Zeros(usize);

impl Read for Zeros {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        assert!(self.0 < 1 << 30, "a bomb is unpacked beyond every bound");
        bytes.fill(0);
        self.0 += bytes.len();
        Ok(bytes.len())
    }
}

#[test]
fn no_more_is_unpacked_than_the_bound_and_one_piece() {
    let gate = gate(8 << 20);
    let mut zeros = Zeros(0);
    let mut held = Held { gate: gate.clone(), bytes: 0 };
    let problem = unpack(&mut zeros, &mut held).unwrap_err();
    assert_eq!(problem.code, ProblemCode::BodyTooLarge);
    assert!(zeros.0 <= (8 << 20) + (64 << 10), "{} bytes were unpacked", zeros.0);
    assert!(held.bytes <= 8 << 20);
}

/// A thousand times as much as it seems, as one member and as many, packed once and twice.
#[tokio::test]
async fn a_bomb_is_refused_at_the_bound() {
    let gate = gate(8 << 20);
    let zeros = vec![0; 1 << 20];
    let (gzip_mebibyte, zstd_mebibyte) = (gzip(&zeros), zstd(&zeros));
    assert!(gzip_mebibyte.len() < 1_100 && zstd_mebibyte.len() < 1_100);
    for (encoding, member) in [("gzip", &gzip_mebibyte), ("zstd", &zstd_mebibyte)] {
        for members in [9, 1_000] {
            let bomb = member.repeat(members);
            assert_eq!(code(&gate, encoding, bomb).await, ProblemCode::BodyTooLarge, "{encoding}");
        }
        assert_eq!(unpacked(&gate, encoding, member.repeat(8)).await.unwrap().len(), 8 << 20);
    }
    // Packed twice: the inner one stays packed, as nobody said that it is.
    let nested = gzip(&gzip_mebibyte.repeat(1_000));
    let inner = unpacked(&gate, "gzip", nested).await.unwrap();
    assert_eq!(inner.len(), gzip_mebibyte.len() * 1_000);
    assert_eq!(gate.bodies_bytes().load(Ordering::Relaxed), 0);
}

/// Members that hold nothing cost time alone.
#[tokio::test]
async fn empty_members_are_passed_over() {
    let gate = gate(8 << 20);
    for (encoding, member) in [("gzip", gzip(b"")), ("zstd", zstd(b""))] {
        let members = member.repeat((8 << 20) / member.len());
        let begun_at = std::time::Instant::now();
        assert_eq!(unpacked(&gate, encoding, members).await.unwrap(), "");
        println!("{encoding}: {:?}", begun_at.elapsed());
    }
}

#[tokio::test]
async fn a_zstd_frame_that_asks_for_a_huge_window_is_refused() {
    // Magic, a frame header with a window descriptor of 2^27 bytes, one empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
    assert_eq!(code(&gate(1000), "zstd", frame.to_vec()).await, ProblemCode::InvalidBody);
}

/// A body that gives its pieces, and then ends or hangs.
struct Pieces(Vec<&'static str>, bool);

impl axum::body::HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if !self.0.is_empty() {
            let piece = Bytes::from_static(self.0.remove(0).as_bytes());
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(piece))));
        }
        if self.1 { std::task::Poll::Pending } else { std::task::Poll::Ready(None) }
    }
}

#[tokio::test]
async fn pieces_are_put_together_and_bounded() {
    let receive = async |bytes_max, pieces: &[&'static str]| {
        let mut body = incoming(Body::new(Pieces(pieces.to_vec(), false)));
        receive(&gate(bytes_max), &HeaderMap::new(), &mut body).await.map(|received| received.bytes)
    };
    assert_eq!(receive(6, &["on", "", "et", "wo"]).await.unwrap(), "onetwo");
    assert_eq!(receive(6, &[]).await.unwrap(), "");
    assert_eq!(receive(5, &["on", "et", "wo"]).await.unwrap_err().code, ProblemCode::BodyTooLarge);
    assert_eq!(receive(5, &["onet", "wo"]).await.unwrap_err().code, ProblemCode::BodyTooLarge);
}

#[tokio::test]
async fn an_announced_length_reserves_nothing() {
    let headers = HeaderMap::from_iter([(CONTENT_LENGTH, (8 << 20).into())]);
    let mut body = incoming(Body::new(Pieces(vec!["on", "et", "wo"], false)));
    let received = receive(&gate(8 << 20), &headers, &mut body).await.unwrap();
    let held = received.bytes.try_into_mut().unwrap();
    assert_eq!(held, "onetwo");
    assert!(held.capacity() < 1000, "{}", held.capacity());
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let body_timeout = Duration::from_millis(1);
    let gate = Gate::new(HttpOptions { body_timeout, ..HttpOptions::default() });
    let mut body = incoming(Body::new(Pieces(vec!["{"], true)));
    let problem = receive(&gate, &HeaderMap::new(), &mut body).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::BodyTimeout);
    assert_eq!(gate.bodies_bytes().load(Ordering::Relaxed), 0);
}

/// A body that always has one more byte, and never two at once.
struct Drip(bool);

impl axum::body::HttpBody for Drip {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0 = !self.0;
        if self.0 {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"x")))))
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_has_a_deadline() {
    let options = HttpOptions {
        body_timeout: Duration::from_millis(5),
        body_bytes_max: usize::MAX,
        bodies_bytes_max: usize::MAX,
        ..HttpOptions::default()
    };
    assert_eq!(HttpOptions::default().body_duration_max(), Duration::from_secs(300));
    let mut body = incoming(Body::new(Drip(false)));
    let gate = Gate::new(options);
    let problem = receive(&gate, &HeaderMap::new(), &mut body).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::BodyTimeout);
    assert_eq!(gate.bodies_bytes().load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_refused_body_that_never_comes_holds_the_answer_a_moment_only() {
    let body_timeout = Duration::from_secs(86_400);
    let gate = Gate::new(HttpOptions { body_timeout, ..HttpOptions::default() });
    let body = incoming(Body::new(Pieces(vec!["{"], true)));
    let response = refuse(&gate, too_large(1), body).await;
    assert_eq!(response.status().as_u16(), 413);
    assert!(response.headers().get(CONNECTION).is_none());
}

#[tokio::test]
async fn all_bodies_together_are_bounded() {
    let options = HttpOptions { bodies_bytes_max: 1000, ..HttpOptions::default() };
    let gate = Gate::new(options);
    let receive = async |length| {
        let mut body = incoming(Body::from(vec![b'x'; length]));
        receive(&gate, &HeaderMap::new(), &mut body).await
    };
    let first = receive(600).await.unwrap();
    let problem = receive(600).await.unwrap_err();
    assert_eq!((problem.code, problem.retry_after_s), (ProblemCode::BodiesFull, Some(1)));
    let unpacked = first.unpack().unwrap();
    assert_eq!(receive(600).await.unwrap_err().code, ProblemCode::BodiesFull);
    drop(unpacked);
    assert!(receive(600).await.is_ok());
}
