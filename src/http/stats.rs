//! `GET /v1/stats`: one page of numbers since the start of the process.

use std::path::Path;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::fresh;
use super::gate::Gate;
use super::meter;
use super::openapi::{params, refusals};
use super::problem::Problem;
use super::query::Params;
use super::reply;
use crate::api::{ProcessBody, StatsBody};

/// One page of numbers
///
/// Since the start of the process: updates, batches and what closed them, commit times, queue,
/// tail, files, calls and memory.
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "numbers",
    operation_id = "getStats",
    params(params::Fresh),
    responses(
        (status = 200, description = "The numbers.", body = StatsBody),
        refusals::Read,
    ),
)]
pub(super) async fn get(State(gate): State<Gate>, uri: Uri) -> Result<Response, Problem> {
    let service = fresh::readable(&gate, Params::of(&uri)?).await?.clone();
    let http = meter::numbers(&gate);
    reply::blocking(move || {
        let process = process(gate.uptime_s());
        let body = StatsBody::of(&service.stats(), http, process);
        Ok(reply::json(StatusCode::OK, &body))
    })
    .await
}

/// The numbers of this process, as far as the system tells them.
fn process(uptime_s: u64) -> ProcessBody {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let open_files = std::fs::read_dir(Path::new("/proc/self/fd")).ok();
    ProcessBody {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_s,
        resident_bytes: resident_bytes(&status),
        // One of them is the directory that is being read.
        open_files: open_files.map(|files| (files.count() as u64).saturating_sub(1)),
    }
}

/// The resident memory in a Linux `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_memory_where_the_system_tells_it() {
        let status = "Name:\tjobslate\nVmRSS:\t    1024 kB\nThreads:\t1\n";
        assert_eq!(resident_bytes(status), Some(1 << 20));
        assert_eq!(resident_bytes("Name:\tjobslate\n"), None);
        #[cfg(target_os = "linux")]
        assert!(process(0).resident_bytes.unwrap() > 0 && process(0).open_files.unwrap() >= 3);
    }
}
