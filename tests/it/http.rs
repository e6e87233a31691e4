//! A blocking HTTP client for tests: one thread, one connection that is kept alive.

use reqwest::{Client, Method};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// A client of one server.
pub struct Http {
    runtime: Runtime,
    client: Client,
    url: String,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.text);
        parsed.unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// When to send it again; `None` if it does not say so in whole seconds.
    pub fn retry_after_s(&self) -> Option<u32> {
        self.header("retry-after").parse().ok()
    }

    /// The answer's JSON, if it is a 200; else the test fails and shows it.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }
}

/// A request: method, path, headers, body.
pub struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Vec<u8>,
}

impl Http {
    pub fn new(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, client: Client::new(), url: url.to_owned() }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// The connection was refused or broke: what became of the call is unknown.
    pub fn try_send(&self, call: Call<'_>) -> Result<Reply, reqwest::Error> {
        let url = format!("{}{}", self.url, call.path);
        let mut request = self.client.request(call.method, url).body(call.body);
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok(Reply { status, headers, text: response.text().await? })
        })
    }

    pub fn try_get(&self, path: &str) -> Result<Reply, reqwest::Error> {
        self.try_send(Call { method: Method::GET, path, headers: &[], body: Vec::new() })
    }

    pub fn get(&self, path: &str) -> Reply {
        self.try_get(path).unwrap()
    }

    /// `POST` of a JSON text, valid or not.
    pub fn post(&self, path: &str, body: &str) -> Reply {
        self.post_as("application/json", path, body)
    }

    pub fn post_as(&self, content_type: &str, path: &str, body: &str) -> Reply {
        let headers = &[("content-type", content_type)];
        let body = body.as_bytes().to_vec();
        self.try_send(Call { method: Method::POST, path, headers, body }).unwrap()
    }

    /// `PUT /v1/jobs/<job_id>`.
    pub fn put(&self, job_id: &str, query: &str, body: &str) -> Result<Reply, reqwest::Error> {
        let path = &format!("/v1/jobs/{job_id}{query}");
        let headers = &[("content-type", "application/json")];
        self.try_send(Call { method: Method::PUT, path, headers, body: body.as_bytes().to_vec() })
    }
}
