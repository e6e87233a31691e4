//! Bare axum, the limit of what any server on it can do: one router with the two calls, no store.
//!
//! A process of its own, as the servers that it stands beside: this executable started again. The
//! tests, whose executable is the harness, run it on a thread.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde::{Deserialize, Serialize};

/// The first argument of the process that only serves.
const CHILD_ARGUMENT: &str = "peers-bare";

/// Where the server runs.
#[derive(Clone, Copy, Debug)]
pub enum Home {
    Process,
    Thread,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answers {
    /// To every `GET`: the JSON of a job, which is made of its fields for each answer.
    pub job: String,
    /// To every `POST`, these bytes.
    pub receipt: String,
}

/// The fields of a job, with times as texts.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    job_id: String,
    pipeline: String,
    status: String,
    kind: String,
    error: Option<String>,
    message: Option<String>,
    attempt: u32,
    progress: Option<f64>,
    labels: std::collections::BTreeMap<String, String>,
    created_at: String,
    status_at: String,
    seen_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    updated_at: String,
    seq: u64,
    transitions: u64,
}

/// A running server; a process ends when this is dropped, a thread with the program.
pub struct Bare {
    child: Option<Child>,
    pub address: String,
}

impl Bare {
    pub fn start(home: Home, answers: &Answers) -> Self {
        match home {
            Home::Process => Self::start_process(answers),
            Home::Thread => {
                let (tell, told) = std::sync::mpsc::channel();
                let answers = answers.clone();
                std::thread::spawn(move || {
                    serve(answers, |address| tell.send(address.to_owned()).unwrap());
                });
                Self { child: None, address: told.recv().unwrap() }
            }
        }
    }

    fn start_process(answers: &Answers) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([CHILD_ARGUMENT, &answers.job, &answers.receipt]).stdout(Stdio::piped());
        let child = command.spawn();
        let mut child =
            child.expect("this executable is still there: do not build while it measures");
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child: Some(child), address: address.trim().to_owned() }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// True in the process that only serves.
pub fn is_child() -> bool {
    std::env::args().nth(1).as_deref() == Some(CHILD_ARGUMENT)
}

/// What that process does, for ever.
pub fn child_main() {
    let mut arguments = std::env::args().skip(2);
    let (job, receipt) = (arguments.next().unwrap(), arguments.next().unwrap());
    serve(Answers { job, receipt }, |address| {
        println!("{address}");
        std::io::stdout().flush().unwrap();
    });
}

fn serve(answers: Answers, tell: impl FnOnce(&str)) {
    let job: &'static Job = Box::leak(Box::new(serde_json::from_str(&answers.job).unwrap()));
    let receipt: &'static str = answers.receipt.leak();
    let read = move |Path(job_id): Path<String>| async move {
        assert!(!job_id.is_empty());
        // What `axum::Json` does.
        let mut body = Vec::with_capacity(128);
        serde_json::to_writer(&mut body, job).unwrap();
        ([(CONTENT_TYPE, "application/json")], body)
    };
    let write = move |body: Bytes| async move {
        assert!(!body.is_empty());
        ([(CONTENT_TYPE, "application/json")], receipt)
    };
    let router = Router::new().route("/v1/jobs/{job_id}", get(read).post(write));
    super::load::runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        tell(&listener.local_addr().unwrap().to_string());
        axum::serve(listener, router).await.unwrap();
    });
}
