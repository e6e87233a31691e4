//! Over HTTP, with the real binary in a process of its own: the rate of an import, and the rate of
//! `GET /v1/jobs/{job_id}` beside a bare axum route that answers as many bytes.

pub mod bare;
mod load;

use std::time::Instant;

use serde_json::Value;

use self::load::Load;
use crate::server::{Server, Site};

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// A trace of `tests/data`.
    pub trace: &'static str,
    pub rounds: usize,
    pub connections: usize,
    pub requests: usize,
}

pub const FULL: Plan =
    Plan { trace: "google2011-jobs", rounds: 5, connections: 64, requests: 200_000 };

/// Enough to see that it runs.
pub const SMALL: Plan = Plan { trace: "pegasus-dagman", rounds: 1, connections: 4, requests: 200 };

/// Imports the trace in each round into an empty store; the report as Markdown.
pub fn run_import(plan: &Plan) -> String {
    let rates = (0..plan.rounds).map(|_| {
        let site = Site::new(&[]);
        let server = site.start();
        let start = Instant::now();
        import(&server, plan.trace);
        let seconds = start.elapsed().as_secs_f64();
        let updates = server.http.get("/v1/counts").ok()["as_of_seq"].as_u64().unwrap();
        updates as f64 / seconds
    });
    let rates: Vec<f64> = rates.collect();
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    format!(
        "`jobslate import {}.ndjson.gz`, {} rounds: {:.0} updates/s (least {least:.0})\n",
        plan.trace,
        plan.rounds,
        median(rates)
    )
}

fn import(server: &Server, trace: &str) {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let output = server.import(&data.join(format!("{trace}.ndjson.gz"))).wait_with_output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Asks both servers in each round; `start_bare` starts the bare one with a body, and gives its
/// address and whatever keeps it alive.
pub fn run_get<Bare>(plan: &Plan, start_bare: impl Fn(&str) -> (String, Bare)) -> String {
    let site = Site::new(&[]);
    let server = site.start();
    import(&server, plan.trace);
    let paths = some_paths(&server);
    let address = server.address();
    let typical = server.http.get(&paths[paths.len() / 2]).text;
    let (bare_address, _bare) = start_bare(&typical);
    let rounds: Vec<(Load, Load)> = (0..plan.rounds)
        .map(|_| {
            let ask = |address: &str| load::run(address, &paths, plan.connections, plan.requests);
            (ask(address), ask(&bare_address))
        })
        .collect();
    report(plan, typical.len(), &rounds)
}

/// The paths of the jobs of one page.
fn some_paths(server: &Server) -> Vec<String> {
    let page = server.http.get("/v1/jobs?limit=1000").ok();
    let jobs = page["jobs"].as_array().unwrap();
    let path = |job: &Value| format!("/v1/jobs/{}", job["job_id"].as_str().unwrap());
    jobs.iter().map(path).collect()
}

fn report(plan: &Plan, body_bytes: usize, rounds: &[(Load, Load)]) -> String {
    let row = |name: &str, loads: Vec<&Load>, ratio: f64| {
        let of =
            |figure: &dyn Fn(&Load) -> f64| median(loads.iter().map(|it| figure(it)).collect());
        format!(
            "| {name} | {:.0} | {ratio:.2} | {:.2} | {:.2} |\n",
            of(&Load::rate),
            of(&|load| load.wait_ms(0.5)),
            of(&|load| load.wait_ms(0.99)),
        )
    };
    let ratio = median(rounds.iter().map(|(ours, bare)| ours.rate() / bare.rate()).collect());
    let header = format!(
        "{} connections, {} requests a round, {} rounds, bodies of {body_bytes} bytes\n\n\
         | server | GET/s | of bare | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: | ---: |\n",
        plan.connections,
        plan.requests,
        rounds.len()
    );
    header
        + &row("jobslate, `GET /v1/jobs/{job_id}`", rounds.iter().map(|it| &it.0).collect(), ratio)
        + &row("bare axum, a static body", rounds.iter().map(|it| &it.1).collect(), 1.0)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
