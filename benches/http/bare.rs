//! The limit to compare with: axum with one route that answers the same bytes to everybody.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

/// Serves `body` on a free loopback port for ever; tells the address first.
pub fn serve(body: String, tell: impl FnOnce(&str)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let body: &'static str = body.leak();
    let route = get(move || async move { ([(CONTENT_TYPE, "application/json")], body) });
    let router = Router::new().route("/v1/jobs/{job_id}", route);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        tell(&listener.local_addr().unwrap().to_string());
        axum::serve(listener, router).await.unwrap();
    });
}

/// The bare server as a process of its own: this executable with `bare` and the body.
pub struct BareProcess {
    child: Child,
    pub address: String,
}

impl BareProcess {
    pub fn start(body: &str) -> Self {
        let executable = std::env::current_exe().unwrap();
        let mut command = Command::new(executable);
        let mut child = command.args(["bare", body]).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }
}

impl Drop for BareProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What the process of [`BareProcess`] does.
pub fn main(body: String) {
    serve(body, |address| {
        println!("{address}");
        std::io::stdout().flush().unwrap();
    });
}
