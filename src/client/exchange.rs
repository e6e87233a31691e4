//! One request and its answer: URLs, headers, and problems told from foreign pages.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::error::{ClientError, Problem};
use crate::api::ProblemBody;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a foreign page is shown.
const FOREIGN_CHARS_MAX: usize = 200;

/// The connections to one server.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    http: reqwest::Client,
    url: Url,
}

/// A successful answer, read whole.
#[derive(Debug)]
pub(super) struct Answered {
    url: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The body of an answer that goes on and on.
#[derive(Debug)]
pub(super) struct Stream {
    response: reqwest::Response,
    exchange: Exchange,
}

impl Exchange {
    /// Takes `http://host:port`, a path before the API's (of a proxy), or `host:port` alone.
    pub fn new(text: &str) -> Result<Self, ClientError> {
        let refused = |why: String| ClientError::BadUrl { url: redacted(text), why };
        let text = text.trim();
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let url = Url::parse(&whole).map_err(|error| refused(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(refused(format!("{} is not spoken here, only http", url.scheme())));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("jobslate/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            // A proxy cannot reach this machine under that name.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| refused(chain(&error)))?;
        Ok(Self { http, url })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// A request to `path` under the server's URL; each segment and value is escaped.
    pub fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&'static str, String)],
    ) -> RequestBuilder {
        let mut url = self.url.clone();
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    /// Sends `call`; anything but a success is an error.
    pub async fn answer(&self, call: RequestBuilder) -> Result<Answered, ClientError> {
        let response = call.send().await.map_err(|error| self.unavailable(chain(&error)))?;
        let answered = self.whole(response).await?;
        if answered.status.is_success() { Ok(answered) } else { Err(answered.into_error()) }
    }

    /// Sends `call` and reads no further than the head of an answer of this media type; anything
    /// else is an error.
    pub async fn stream(&self, call: RequestBuilder, wanted: &str) -> Result<Stream, ClientError> {
        let response = call.send().await.map_err(|error| self.unavailable(chain(&error)))?;
        let media = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let is_stream = media.is_some_and(|media| media.starts_with(wanted));
        match response.status().is_success() {
            true if is_stream => Ok(Stream { response, exchange: self.clone() }),
            true => Err(self.whole(response).await?.into_foreign()),
            false => Err(self.whole(response).await?.into_error()),
        }
    }

    pub fn unavailable(&self, why: impl Into<String>) -> ClientError {
        ClientError::Unavailable { url: redacted(self.url.as_str()), why: why.into() }
    }

    /// Notes the store that an answer is of, if the server says it; an error if it was another.
    pub fn same_store(
        &self,
        known: &mut Option<String>,
        found: Option<&str>,
    ) -> Result<(), ClientError> {
        match (known.as_deref(), found) {
            (Some(known), Some(found)) if known != found => {
                let (known, found) = (known.to_owned(), found.to_owned());
                let url = redacted(self.url.as_str());
                return Err(ClientError::OtherStore { url, known, found });
            }
            (None, found) => *known = found.map(str::to_owned),
            // The same, or a server that does not say.
            _ => (),
        }
        Ok(())
    }

    /// A success that holds `body`, which is none of ours.
    pub fn foreign(&self, body: &str) -> ClientError {
        let body = body.chars().take(FOREIGN_CHARS_MAX).collect();
        ClientError::Foreign { url: redacted(self.url.as_str()), status: StatusCode::OK, body }
    }

    async fn whole(&self, response: reqwest::Response) -> Result<Answered, ClientError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| self.unavailable(chain(&error)))?;
        Ok(Answered { url: redacted(self.url.as_str()), status, headers, body: body.to_vec() })
    }
}

impl Stream {
    /// The store that the events are of, if the server says it.
    pub fn store_id(&self) -> Option<&str> {
        store_id(self.response.headers())
    }

    /// The length of the whole, if the server says it.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece; `None` at the end, which comes only when all of it came.
    pub async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, ClientError> {
        self.response.chunk().await.map_err(|error| self.exchange.unavailable(chain(&error)))
    }

    /// The next piece; an error at the end of the stream, which has none by itself. Loses nothing
    /// if it is dropped before it is ready.
    pub async fn piece(&mut self) -> Result<impl AsRef<[u8]> + use<>, ClientError> {
        match self.response.chunk().await {
            Ok(Some(piece)) => Ok(piece),
            Ok(None) => Err(self.exchange.unavailable("the server ended the stream")),
            Err(error) => Err(self.exchange.unavailable(chain(&error))),
        }
    }
}

impl Answered {
    pub fn is_accepted(&self) -> bool {
        self.status == StatusCode::ACCEPTED
    }

    /// True if the server gives the first answer to the same call again.
    pub fn is_replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    /// The store that the answer is of, if the server says it.
    pub fn store_id(&self) -> Option<&str> {
        store_id(&self.headers)
    }

    pub fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|_| self.into_foreign())
    }

    fn into_error(self) -> ClientError {
        let Ok(body) = serde_json::from_slice::<ProblemBody<'static>>(&self.body) else {
            return self.into_foreign();
        };
        let seconds = self.headers.get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let replayed = self.is_replayed();
        ClientError::Problem(Box::new(Problem { body, retry_after, replayed }))
    }

    fn into_foreign(self) -> ClientError {
        let text = String::from_utf8_lossy(&self.body);
        let body = text.chars().take(FOREIGN_CHARS_MAX).collect();
        ClientError::Foreign { url: self.url, status: self.status, body }
    }
}

fn store_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("store-id").and_then(|value| value.to_str().ok())
}

/// The URL without its password. It may be no URL at all, so that a password may hold anything:
/// what follows the first colon goes, up to the last `@`.
fn redacted(url: &str) -> String {
    let user = url.find("://").map_or(0, |scheme| scheme + "://".len());
    let (before, rest) = url.split_at(user);
    match rest.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{before}{user}:***@{host}"),
        None => url.to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let address = host.trim_start_matches('[').trim_end_matches(']');
            address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// The error with its causes; reqwest names the URL in the first, which the caller says already.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    // The innermost is what the system said: "Connection refused (os error 111)".
    causes.pop().unwrap_or_else(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str, segments: &[&str]) -> String {
        let call = Exchange::new(url).unwrap().call(Method::GET, segments, &[]);
        call.build().unwrap().url().to_string()
    }

    #[test]
    fn job_ids_are_one_segment_whatever_they_hold() {
        let url = path("http://127.0.0.1:7411", &["v1", "jobs", "a/b c?d#e%2F\u{e9}"]);
        assert_eq!(url, "http://127.0.0.1:7411/v1/jobs/a%2Fb%20c%3Fd%23e%252F%C3%A9");
    }

    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("http://me:pw@host:1/x", "http://me:***@host:1/x"),
            ("me:p/w@x@host", "me:***@host"),
            ("http://me@host:1/x", "http://me@host:1/x"),
            ("http://host:1/x", "http://host:1/x"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

    #[test]
    fn a_foreign_page_is_quoted_as_it_is() {
        let (url, headers) = (String::new(), HeaderMap::new());
        let body = br#"{"a":1}"#.to_vec();
        let foreign = Answered { url, status: StatusCode::OK, headers, body }.into_foreign();
        assert!(foreign.to_string().ends_with(r#": {"a":1}"#), "{foreign}");
    }

    #[test]
    fn a_url_may_lack_its_scheme_or_have_a_path() {
        assert_eq!(path("localhost:7411", &["readyz"]), "http://localhost:7411/readyz");
        assert_eq!(path("http://proxy/jobs/", &["readyz"]), "http://proxy/jobs/readyz");
        assert_eq!(path("[::1]:7411", &["readyz"]), "http://[::1]:7411/readyz");
        for bad in ["https://example.com", "", "http://", "ftp://example.com"] {
            assert!(matches!(Exchange::new(bad), Err(ClientError::BadUrl { .. })), "{bad}");
        }
    }
}
