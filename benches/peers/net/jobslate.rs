//! jobslate's own arm: the binary in a process of its own, with default settings but a free port,
//! and its updates as requests.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jobslate::model::Update;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::load::{self, Requests};
use super::reply::Protocol;

const POLL: Duration = Duration::from_millis(5);

/// A running `jobslate serve`; killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Server {
    /// Serves `directory/data` and waits until it listens, which it does once the store is open.
    pub fn start(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let log = log_path(directory);
        std::fs::write(&log, "").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobslate"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("JOBSLATE_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(directory.join("data")).arg("--log-file").arg(&log).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let address = loop {
            let text = std::fs::read_to_string(&log).unwrap();
            if let Some((_, rest)) = text.split_once("listening on http://")
                && let Some((address, _)) = rest.split_once(',')
            {
                break address.to_owned();
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}: {text}");
            }
            std::thread::sleep(POLL);
        };
        Self { child, address }
    }

    /// The clean stop: all is folded.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "a clean stop");
    }

    /// The body of the answer to one request.
    pub fn ask(&self, request: &[u8]) -> String {
        let answer = load::ask_once(&self.address, Protocol::Http, request);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        body.to_owned()
    }

    /// The last seq, and how many jobs there are.
    pub fn counts(&self) -> (u64, u64) {
        let counts = self.ask(&get_request("/v1/counts"));
        let counts: serde_json::Value = serde_json::from_str(&counts).unwrap();
        (counts["as_of_seq"].as_u64().unwrap(), counts["total"].as_u64().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a clean stop both say that there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// An update as it stands in a body; `job_id` is left out where the path names it.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<&'a str>,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f64>,
    pipeline: &'a str,
}

impl<'a> Body<'a> {
    fn of(update: &'a Update) -> Self {
        Self {
            job_id: Some(update.job_id.as_str()),
            status: update.status.as_ref().unwrap().as_str(),
            error: update.error.as_deref(),
            at: update.at.map(|at| at.0),
            progress: update.progress,
            pipeline: update.pipeline.as_ref().unwrap().as_str(),
        }
    }
}

/// `PUT /v1/jobs/{job_id}` for each update.
pub fn puts(updates: &[Update]) -> Requests {
    let mut requests = Requests::new(Protocol::Http);
    for update in updates {
        let body = Body { job_id: None, ..Body::of(update) };
        let head = format!("PUT /v1/jobs/{}", update.job_id.as_str());
        let body = serde_json::to_vec(&body).unwrap();
        requests.push(&request_with_body(&head, "application/json", &body), 1);
    }
    requests
}

/// `POST /v1/updates` for each `length` updates.
pub fn posts(updates: &[Update], length: usize) -> Requests {
    let mut requests = Requests::new(Protocol::Http);
    for batch in updates.chunks(length) {
        requests.push(&post(batch.iter().map(Body::of)), 1);
    }
    requests
}

/// The same without times, so that they apply again and again.
pub fn posts_for_now(updates: &[Update], length: usize) -> Requests {
    let mut requests = Requests::new(Protocol::Http);
    for batch in updates.chunks(length) {
        requests.push(&post(batch.iter().map(|update| Body { at: None, ..Body::of(update) })), 1);
    }
    requests
}

fn post<'a>(lines: impl Iterator<Item = Body<'a>>) -> Vec<u8> {
    let mut body = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut body, &line).unwrap();
        body.push(b'\n');
    }
    request_with_body("POST /v1/updates", "application/x-ndjson", &body)
}

/// A request with a body: `head` is method and path.
pub fn request_with_body(head: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{head} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

pub fn get_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// `GET /v1/jobs/{job_id}` for each id.
pub fn gets(job_ids: &[&str]) -> Requests {
    let mut requests = Requests::new(Protocol::Http);
    for job_id in job_ids {
        requests.push(&get_request(&format!("/v1/jobs/{job_id}")), 1);
    }
    requests
}
