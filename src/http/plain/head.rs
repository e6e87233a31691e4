//! Which bytes are a plain call.
//!
//! Strict, and never clever: of what could mean anything to the server, each header has its one
//! form here. The parser is the one that hyper uses, so both read the same bytes the same way.

use httparse::{EMPTY_HEADER, Header, Status};

use crate::http::options::HttpOptions;

/// Most headers of a plain call.
const HEADERS_MAX: usize = 16;

/// A plain call at the begin of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain<'b> {
    pub job_id: &'b str,
    /// The whole body of a `PUT`; `None` for a `GET`.
    pub body: Option<&'b [u8]>,
    /// Where the next call begins.
    pub bytes: usize,
}

impl<'b> Plain<'b> {
    /// The whole plain call that `bytes` begin with; `None` if that is anything else.
    pub fn read(bytes: &'b [u8], options: &HttpOptions) -> Option<Self> {
        // Most other calls are told by this alone.
        bytes.get(3..)?.strip_prefix(b" /v1/jobs/")?;
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(Status::Complete(head_bytes)) = request.parse(bytes) else { return None };
        let job_id = request.path?.strip_prefix("/v1/jobs/")?;
        if request.version != Some(1) || job_id.is_empty() || !job_id.bytes().all(is_plain) {
            return None;
        }
        let fields = Fields::of(request.headers)?;
        if !options.hosts.are_named_by(fields.host?) {
            return None;
        }
        let body = match (request.method?, fields.body_bytes) {
            ("GET", None) => None,
            ("PUT", Some(length)) if fields.is_json_at_most && length <= options.body_bytes_max => {
                Some(bytes.get(head_bytes..head_bytes.checked_add(length)?)?)
            }
            _ => return None,
        };
        Some(Self { job_id, body, bytes: head_bytes + body.map_or(0, <[u8]>::len) })
    }
}

/// Bytes of an id that stand for themselves in a path, and end it nowhere.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte)
}

/// The headers that mean something to the two calls.
struct Fields<'b> {
    host: Option<&'b [u8]>,
    body_bytes: Option<usize>,
    /// What is sent is JSON, or of no named type.
    is_json_at_most: bool,
}

impl<'b> Fields<'b> {
    /// `None` if one is not known, stands twice, or says anything unusual.
    fn of(headers: &[Header<'b>]) -> Option<Self> {
        let mut fields = Self { host: None, body_bytes: None, is_json_at_most: true };
        for Header { name, value } in headers {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is("host") && fields.host.is_none() => fields.host = Some(value),
                14 if is("content-length") && fields.body_bytes.is_none() => {
                    fields.body_bytes = Some(number(value)?);
                }
                12 if is("content-type") => {
                    fields.is_json_at_most &= value.eq_ignore_ascii_case(b"application/json");
                }
                10 if is("connection") && value.eq_ignore_ascii_case(b"keep-alive") => (),
                6 if is("accept") => (),
                10 if is("user-agent") => (),
                15 if is("accept-encoding") || is("accept-language") => (),
                _ => return None,
            }
        }
        Some(fields)
    }
}

/// Decimal digits, and nothing else.
fn number(digits: &[u8]) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_LENGTH;
    use axum::http::{Method, Request};

    use super::*;
    use crate::http::media::Media;

    fn read(text: &str) -> Option<(String, Option<String>, usize)> {
        let plain = Plain::read(text.as_bytes(), &HttpOptions::default())?;
        let body = plain.body.map(|body| String::from_utf8(body.to_vec()).unwrap());
        Some((plain.job_id.to_owned(), body, plain.bytes))
    }

    #[test]
    fn a_plain_call_is_read_whole_and_the_next_begins_behind_it() {
        let get = "GET /v1/jobs/a-1 HTTP/1.1\r\nHost: localhost:7411\r\nUser-Agent: x\r\n\
                   Accept: */*\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(read(get), Some(("a-1".to_owned(), None, get.len())));
        let put = "PUT /v1/jobs/b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n\
                   content-type: application/json\r\n\r\n{}";
        let body = Some("{}".to_owned());
        assert_eq!(read(put), Some(("b".to_owned(), body.clone(), put.len())));
        assert_eq!(read(&format!("{put}{get}")), Some(("b".to_owned(), body, put.len())));
        for end in 0..put.len() {
            assert_eq!(read(&put[..end]), None, "{end}");
        }
    }

    #[test]
    fn a_body_above_the_bound_is_not_plain() {
        let put = b"PUT /v1/jobs/b HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";
        for (body_bytes_max, is_plain) in [(2, true), (1, false)] {
            let options = HttpOptions { body_bytes_max, ..HttpOptions::default() };
            assert_eq!(Plain::read(put, &options).is_some(), is_plain);
        }
    }

    #[test]
    fn everything_else_is_not_plain() {
        let host = "host: localhost\r\n";
        for (line, headers, rest) in [
            ("HEAD /v1/jobs/a HTTP/1.1", host, ""),
            ("DELETE /v1/jobs/a HTTP/1.1", host, ""),
            ("GET /v1/jobs HTTP/1.1", host, ""),
            ("GET /v1/jobs/ HTTP/1.1", host, ""),
            ("GET /v1/jobs/a HTTP/1.0", host, ""),
            ("GET /v1/jobs/a?fresh=true HTTP/1.1", host, ""),
            ("GET /v1/jobs/a#b HTTP/1.1", host, ""),
            ("GET /v1/jobs/a%20b HTTP/1.1", host, ""),
            ("GET /v1/jobs/a/history HTTP/1.1", host, ""),
            ("GET http://localhost/v1/jobs/a HTTP/1.1", host, ""),
            ("GET /v1/jobs/\u{e9} HTTP/1.1", host, ""),
            ("GET /v1/jobs/a HTTP/1.1", "", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: evil.example\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\nhost: localhost\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\ncontent-length: 0\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\norigin: http://localhost\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\nsec-fetch-site: none\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\nif-none-match: *\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\nconnection: close\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\nconnection: upgrade\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\nupgrade: h2c\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host: localhost\r\n folded: x\r\n", ""),
            ("GET /v1/jobs/a HTTP/1.1", "host : localhost\r\n", ""),
            ("PUT /v1/jobs/a HTTP/1.1", host, ""),
            ("PUT /v1/jobs/a HTTP/1.1", "host: localhost\r\ncontent-length: 3\r\n", "{}"),
            ("PUT /v1/jobs/a HTTP/1.1", "host: localhost\r\ncontent-length: +2\r\n", "{}"),
            ("PUT /v1/jobs/a HTTP/1.1", "host: localhost\r\ncontent-length: 2, 2\r\n", "{}"),
            (
                "PUT /v1/jobs/a HTTP/1.1",
                "host: localhost\r\ncontent-length: 2\r\ncontent-length: 2\r\n",
                "{}",
            ),
            (
                "PUT /v1/jobs/a HTTP/1.1",
                "host: localhost\r\ncontent-length: 99999999999999999999999\r\n",
                "{}",
            ),
            (
                "PUT /v1/jobs/a HTTP/1.1",
                "host: localhost\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n",
                "{}",
            ),
            (
                "PUT /v1/jobs/a HTTP/1.1",
                "host: localhost\r\ncontent-length: 2\r\ncontent-encoding: gzip\r\n",
                "{}",
            ),
            (
                "PUT /v1/jobs/a HTTP/1.1",
                "host: localhost\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n",
                "{}",
            ),
            (
                "PUT /v1/jobs/a HTTP/1.1",
                "host: localhost\r\ncontent-length: 2\r\nexpect: 100-continue\r\n",
                "{}",
            ),
            (
                "PUT /v1/jobs/a HTTP/1.1",
                "host: localhost\r\ncontent-length: 2\r\nidempotency-key: k\r\n",
                "{}",
            ),
        ] {
            let call = format!("{line}\r\n{headers}\r\n{rest}");
            assert_eq!(read(&call), None, "{call:?}");
        }
    }

    /// What hyper and the router would make of the same bytes.
    fn is_the_same_to_all(bytes: &[u8], plain: &Plain<'_>, options: &HttpOptions) {
        let mut headers = [EMPTY_HEADER; 100];
        let mut head = httparse::Request::new(&mut headers);
        let Ok(Status::Complete(head_bytes)) = head.parse(bytes) else { panic!("no whole head") };
        let mut request = Request::builder().method(head.method.unwrap()).uri(head.path.unwrap());
        for header in head.headers.iter() {
            request = request.header(header.name, header.value);
        }
        let request = request.body(()).unwrap();
        assert!(options.hosts.check(&request).is_ok());
        let (path, headers) = (format!("/v1/jobs/{}", plain.job_id), request.headers());
        assert_eq!((request.uri().path(), request.uri().query()), (&path[..], None));
        let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
        let lengths: Vec<usize> =
            lengths.iter().map(|it| it.to_str().unwrap().parse().unwrap()).collect();
        assert_eq!(lengths, plain.body.iter().map(|body| body.len()).collect::<Vec<_>>());
        assert_eq!(plain.bytes, head_bytes + plain.body.map_or(0, <[u8]>::len));
        let is_put = request.method() == Method::PUT;
        assert_eq!(is_put, plain.body.is_some());
        assert!(!is_put || Media::check_put(headers).is_ok());
        for name in ["transfer-encoding", "expect", "upgrade", "if-none-match", "idempotency-key"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert!(!headers.contains_key("content-encoding") && !headers.contains_key("origin"));
    }

    const LINES: [&str; 4] = [
        "GET /v1/jobs/a-1 HTTP/1.1",
        "PUT /v1/jobs/a HTTP/1.1",
        "PUT /v1/jobs/a?x HTTP/1.1",
        "GET /v1/jobs/a HTTP/1.0",
    ];
    const FIELDS: [&str; 24] = [
        "host: localhost",
        "Host:127.0.0.1:7411",
        "host: \t localhost \t",
        "host: evil.example",
        "content-length: 2",
        "content-length: 00002",
        "content-length: 2 ",
        "content-length: 3",
        "transfer-encoding: chunked",
        "content-type: application/json",
        "content-type: text/plain",
        "content-encoding: identity",
        "connection: keep-alive",
        "connection: keep-alive, close",
        "connection: close",
        "accept: */*",
        "accept-encoding: gzip",
        "user-agent: x/1.0",
        "expect: 100-continue",
        "if-none-match: *",
        "idempotency-key: k",
        "origin: null",
        "upgrade: h2c",
        "x: y",
    ];

    fn call(line: usize, fields: &[usize], ends: &str, turned: &[(usize, u8)]) -> Vec<u8> {
        let fields: String = fields.iter().map(|it| format!("{}{ends}", FIELDS[*it])).collect();
        let mut bytes = format!("{}{ends}{fields}{ends}{{}}", LINES[line]).into_bytes();
        for (place, byte) in turned {
            let place = place % bytes.len();
            bytes[place] = *byte;
        }
        bytes
    }

    /// The control of the next one: some of such calls are plain.
    #[test]
    fn calls_of_such_parts_are_plain() {
        let options = HttpOptions::default();
        for call in [call(0, &[0, 15], "\r\n", &[]), call(1, &[2, 5, 9], "\n", &[])] {
            let plain = Plain::read(&call, &options).unwrap();
            is_the_same_to_all(&call, &plain, &options);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_plain_is_the_same_to_all(
            line in 0..LINES.len(),
            fields in proptest::collection::vec(0..FIELDS.len(), 0..6),
            others in proptest::collection::vec(0..5_usize, 0..3),
            is_bare in proptest::bool::weighted(0.1),
            turned in proptest::collection::vec((0..400_usize, 0..=255_u8), 0..3),
        ) {
            let options = HttpOptions::default();
            let fields: Vec<usize> = others.into_iter().chain(fields).collect();
            let call = call(line, &fields, if is_bare { "\n" } else { "\r\n" }, &turned);
            if let Some(plain) = Plain::read(&call, &options) {
                is_the_same_to_all(&call, &plain, &options);
            }
        }
    }
}
