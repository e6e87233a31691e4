//! Which hosts a request may be meant for, and which pages may send one.
//!
//! A page of another site can make the browser of somebody on this machine call this server: across
//! origins, which `Origin` shows, or under a name of its own that it lets point here (DNS
//! rebinding), which `Host` shows. Both are refused, as well as what could be read in two ways. A
//! request that is in order costs three look-ups and a comparison of bytes.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::header::{HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Version};

use super::problem::Problem;
use crate::api::ProblemCode;

/// The hosts of this server: loopback, the address of the listener, and `allowed`.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// If it stands for all addresses, a request may name any address: a page cannot make its own
    /// origin one that it was not loaded from.
    listen: IpAddr,
    /// Names and addresses without a port, as a proxy passes them on.
    allowed: Vec<String>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into(), Vec::new())
    }
}

impl Hosts {
    /// The hosts of a server that listens on `listen`, and is called by the names `allowed`, too.
    pub fn new(listen: IpAddr, allowed: Vec<String>) -> Self {
        Self { listen, allowed }
    }

    /// True for a name or an address without a port, in any case, that an operator may allow.
    pub fn is_host(text: &str) -> bool {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_plain = !text.is_empty() && text.bytes().all(is_name);
        is_plain || text.parse::<IpAddr>().is_ok()
    }

    /// Whether `request` is meant for this server, and sent by none of another site's pages.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let headers = request.headers();
        // hyper takes what ends in "chunked", and decodes that alone.
        if !one(headers, TRANSFER_ENCODING)?.is_none_or(|coding| is(coding, "chunked")) {
            return Err(malformed("transfer-encoding is not 'chunked', which is all there is"));
        }
        let host = one(headers, HOST)?;
        if host.is_none() && request.version() >= Version::HTTP_11 {
            return Err(malformed("there is no host header, which HTTP/1.1 demands"));
        }
        // The target in its absolute form counts before the header, so both must be ours.
        let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        for authority in host.into_iter().chain(target) {
            if !self.are_named_by(authority) {
                return Err(misdirected(authority));
            }
        }
        match one(headers, ORIGIN)? {
            Some(origin) if !self.may_send(origin, host) => Err(foreign(origin)),
            // A picture or a script of another site sends no origin, and may cost a whole backup.
            None if is_embedded(headers) => Err(foreign(b"another site")),
            _ => Ok(()),
        }
    }

    /// Whether a request whose one `Host` is `authority` is meant for this server.
    pub(super) fn are_named_by(&self, authority: &[u8]) -> bool {
        name_of(authority).is_some_and(|name| self.is_ours(name))
    }

    fn is_ours(&self, name: &[u8]) -> bool {
        if is(name, "localhost") || name == b"127.0.0.1" {
            return true;
        }
        let Ok(name) = std::str::from_utf8(name) else { return false };
        if let Ok(address) = name.parse::<IpAddr>() {
            let (address, listen) = (address.to_canonical(), self.listen.to_canonical());
            if address.is_loopback() || address == listen || listen.is_unspecified() {
                return true;
            }
        }
        self.is_allowed(name)
    }

    fn is_allowed(&self, name: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }

    /// True for a page of this host and port, and of the names that the operator allowed: a proxy
    /// may pass on another host than the browser sees. Another port of this machine is another
    /// site.
    fn may_send(&self, origin: &[u8], host: Option<&[u8]>) -> bool {
        let plain = origin.strip_prefix(b"http://");
        let Some(authority) = plain.or_else(|| origin.strip_prefix(b"https://")) else {
            return false;
        };
        let is_host = host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
        let name = name_of(authority).and_then(|name| std::str::from_utf8(name).ok());
        is_host || name.is_some_and(|name| self.is_allowed(name))
    }
}

/// True for what a page of another site loads into itself; a link that is followed is not.
fn is_embedded(headers: &HeaderMap) -> bool {
    let has = |name: &str, value: &str| headers.get(name).is_some_and(|it| it == value);
    has("sec-fetch-site", "cross-site") && !has("sec-fetch-mode", "navigate")
}

/// The one value of a header; `None` if it is absent.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&[u8]>, Problem> {
    let mut values = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(malformed(format!("there is more than one {name} header"))),
    }
}

fn is(bytes: &[u8], word: &str) -> bool {
    bytes.eq_ignore_ascii_case(word.as_bytes())
}

/// The host without its port; `None` if it is neither a name nor an address.
fn name_of(authority: &[u8]) -> Option<&[u8]> {
    let (name, rest) = if let Some(inside) = authority.strip_prefix(b"[") {
        let end = inside.iter().position(|byte| *byte == b']')?;
        (inside.get(..end)?, inside.get(end + 1..)?)
    } else {
        let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
        authority.split_at_checked(end)?
    };
    let port = rest.strip_prefix(b":").unwrap_or(rest);
    let is_port = rest.is_empty() || rest.len() > port.len() && port.iter().all(u8::is_ascii_digit);
    (is_port && !name.is_empty()).then_some(name)
}

/// The connection is closed: where the next request begins is what two readers might see
/// differently.
fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemCode::MalformedRequest, detail)
}

fn misdirected(host: &[u8]) -> Problem {
    let host = shown(host);
    let detail = format!(
        "the request is for {host}, which is none of this server's names; call it by localhost or \
         its address, or add the name to allowed_hosts"
    );
    Problem::new(ProblemCode::MisdirectedRequest, detail)
}

fn foreign(origin: &[u8]) -> Problem {
    let origin = shown(origin);
    let detail = format!(
        "a page of {origin} sent this, and pages of other sites may not; if it is yours, behind a \
         proxy, add its host to allowed_hosts"
    );
    Problem::new(ProblemCode::ForeignOrigin, detail)
}

/// Escaped, and cut to a length that a name of a host can have.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    format!("{:?}", text.chars().take(256).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn hosts(listen: &str, allowed: &[&str]) -> Hosts {
        let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
        Hosts::new(listen.parse().unwrap(), allowed)
    }

    /// The code with which `headers` are refused; empty if they are not.
    fn refusal(hosts: &Hosts, uri: &str, headers: &[(&str, &str)]) -> &'static str {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        hosts.check(&request).map_or_else(|problem| problem.code.as_str(), |()| "")
    }

    #[test]
    fn loopback_the_listener_and_allowed_names_are_ours_whatever_the_port() {
        let loopback = Hosts::default();
        let named = hosts("192.0.2.7", &["Jobs.example.org", "2001:db8::7"]);
        for host in
            ["localhost", "LocalHost:7411", "127.0.0.1:1", "127.9.9.9", "[::1]:7411", "[::1]"]
        {
            assert_eq!(refusal(&loopback, "/", &[("host", host)]), "", "{host}");
            assert_eq!(refusal(&named, "/", &[("host", host)]), "", "{host}");
        }
        for host in ["192.0.2.7:80", "jobs.EXAMPLE.org", "jobs.example.org:443", "[2001:db8::7]"] {
            assert_eq!(refusal(&named, "/", &[("host", host)]), "", "{host}");
            let refusal = refusal(&loopback, "/", &[("host", host)]);
            assert_eq!(refusal, "misdirected_request", "{host}");
        }
        let everywhere = hosts("0.0.0.0", &[]);
        assert_eq!(refusal(&everywhere, "/", &[("host", "203.0.113.9:7411")]), "");
        assert_eq!(
            refusal(&everywhere, "/", &[("host", "jobs.example.org")]),
            "misdirected_request"
        );
    }

    #[test]
    fn foreign_and_odd_hosts_are_not_ours() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example:7411",
            "127.0.0.1:7411@evil.example",
            "evil.example@127.0.0.1",
            "localhost:7411:7411",
            "localhost:+1",
            "localhost:x",
            "[::1",
            "[::1]x",
            "[evil]",
            "127.1",
            "0x7f.0.0.1",
            ":7411",
            "",
            "localhost, evil.example",
        ] {
            let refusal = refusal(&Hosts::default(), "/", &[("host", host)]);
            assert_eq!(refusal, "misdirected_request", "{host}");
        }
        let local = ("host", "localhost");
        for uri in ["http://evil.example/livez", "http://a@localhost/livez"] {
            assert_eq!(refusal(&Hosts::default(), uri, &[local]), "misdirected_request", "{uri}");
        }
        assert_eq!(refusal(&Hosts::default(), "http://localhost:7411/livez", &[local]), "");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_malformed() {
        let hosts = Hosts::default();
        let local = ("host", "localhost");
        for headers in [
            vec![],
            vec![local, local],
            vec![local, ("transfer-encoding", "gzip, chunked")],
            vec![local, ("transfer-encoding", "chunked, chunked")],
            vec![local, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            vec![local, ("transfer-encoding", "identity")],
            vec![local, ("origin", "http://localhost"), ("origin", "http://localhost")],
        ] {
            assert_eq!(refusal(&hosts, "/", &headers), "malformed_request", "{headers:?}");
        }
        assert_eq!(refusal(&hosts, "/", &[local, ("transfer-encoding", "Chunked")]), "");
    }

    #[test]
    fn pages_of_this_host_and_of_allowed_names_may_send() {
        let hosts = hosts("127.0.0.1", &["jobs.example.org"]);
        let of = |origin| refusal(&hosts, "/", &[("host", "localhost:7411"), ("origin", origin)]);
        for origin in
            ["http://localhost:7411", "https://LOCALHOST:7411", "https://jobs.example.org"]
        {
            assert_eq!(of(origin), "", "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://localhost",
            "http://localhost:3000",
            "http://127.0.0.1:7411",
            "https://evil.example",
            "https://jobs.example.org.evil.example",
            "file://localhost:7411",
            "localhost:7411",
        ] {
            assert_eq!(of(origin), "foreign_origin", "{origin}");
        }
    }

    #[test]
    fn a_refusal_shows_the_name_escaped_and_cut() {
        let long = "x".repeat(5_000);
        let request = Request::get("/").header("host", &long).body(()).unwrap();
        let problem = Hosts::default().check(&request).unwrap_err();
        assert!(problem.detail.len() < 500 && problem.detail.contains("\"xxx"), "{problem:?}");
        assert_eq!(shown(b"a\x1b[2J\xff"), "\"a\\u{1b}[2J\u{fffd}\"");
    }

    #[test]
    fn an_operator_allows_names_and_addresses_without_a_port() {
        assert!(
            ["jobs.example.org", "192.0.2.1", "::1", "job_slate"].map(Hosts::is_host)[..]
                == [true; 4]
        );
        for bad in ["", "*", "http://jobs.example.org", "jobs.example.org:443", "a b", "[::1]"] {
            assert!(!Hosts::is_host(bad), "{bad:?}");
        }
    }
}
