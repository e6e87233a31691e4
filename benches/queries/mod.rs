//! What a question costs in a large store against a small one, and a late page against the first.
//!
//! Both stores are filled the same way, folded and opened again, and asked in the same run: each
//! round asks each question some times of each store, one after the other, so that what the machine
//! does in a second touches both. A question goes through the whole server but for the socket:
//! routing, query, store, JSON. Ratios are taken within a round; the report shows medians.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobslate::http::{Gate, HttpOptions, Metered, app};
use jobslate::model::{Request, Update, UpdateFields};
use jobslate::service::{Service, ServiceOptions};
use jobslate::store::StoreOptions;
use tower::ServiceExt as _;

/// One report.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub jobs_small: usize,
    pub jobs_large: usize,
    pub rounds: usize,
    /// How often a round asks each question.
    pub asked: usize,
}

/// What the acceptance figures are taken from.
pub const FULL: Plan = Plan { jobs_small: 1_000, jobs_large: 1_000_000, rounds: 11, asked: 200 };
/// Enough to see that it runs.
pub const SMALL: Plan = Plan { jobs_small: 1_000, jobs_large: 25_000, rounds: 1, asked: 3 };

/// A page of lists is as long in both stores.
const PAGE: usize = 200;
const PIPELINES: usize = 20;
const BATCH_UPDATES: usize = 2_000;
/// The page that is compared with the first.
const LATE_PAGE: usize = 100;

/// Questions that both stores are asked.
const QUESTIONS: [(&str, &str); 9] = [
    ("counts", "/v1/counts"),
    ("errors, newest", "/v1/jobs?status=error&limit=200"),
    ("errors, oldest", "/v1/jobs?status=error&limit=200&order=oldest"),
    ("failed jobs by id", "/v1/jobs?kind=failed&limit=200&order=id"),
    ("all, newest", "/v1/jobs?limit=200"),
    ("failed, a window of time", "/v1/jobs?kind=failed&limit=200&updated_after={window}"),
    ("one job", "/v1/jobs/job-0000000007"),
    ("pipelines", "/v1/pipelines"),
    ("timeline", "/v1/timeline"),
];

/// A server without a socket, over a store in a directory of its own.
struct Server {
    runtime: tokio::runtime::Runtime,
    app: Metered,
    service: Service,
    /// When the last quarter of the jobs began to be stored, in Unix milliseconds.
    window: u64,
    _directory: tempfile::TempDir,
}

impl Server {
    /// A store of `jobs` jobs, a third of them in error, folded and opened again.
    fn filled(jobs: usize, directory: &Path) -> Self {
        let directory = tempfile::tempdir_in(directory).unwrap();
        let store =
            StoreOptions { directory: directory.path().join("data"), ..StoreOptions::default() };
        let options = ServiceOptions { store, ..ServiceOptions::default() };
        let service = Service::open(options.clone(), Arc::new(|_| ())).unwrap();
        let mut window = None;
        for start in (0..jobs).step_by(batch(jobs)) {
            if window.is_none() && start >= jobs / 4 * 3 {
                // The clock has moved on from the batch before.
                std::thread::sleep(Duration::from_millis(2));
                window = Some(service.now().0);
            }
            let numbers = start..(start + batch(jobs)).min(jobs);
            let request = Request::new(numbers.map(update).collect());
            service.submit_blocking(request).unwrap();
        }
        service.drain_blocking().unwrap();
        drop(service);
        let service = Service::open(options, Arc::new(|_| ())).unwrap();
        let gate = Gate::new(HttpOptions::default());
        gate.open(service.clone());
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let window = window.unwrap();
        Self { runtime, app: app(gate), service, window, _directory: directory }
    }

    /// Asks once; the answer.
    fn ask(&self, uri: &str) -> serde_json::Value {
        let bytes = self.bytes(uri);
        serde_json::from_slice(&bytes).unwrap()
    }

    fn bytes(&self, uri: &str) -> Vec<u8> {
        let request = axum::http::Request::get(uri).header("host", "localhost");
        let request = request.body(axum::body::Body::empty()).unwrap();
        self.runtime.block_on(async {
            let response = self.app.clone().oneshot(request).await.unwrap();
            assert!(response.status().is_success(), "{uri}: {}", response.status());
            axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
        })
    }

    /// The median time of a question that is asked some times.
    fn time(&self, uri: &str, asked: usize) -> Duration {
        let uri = &uri.replace("{window}", &self.window.to_string());
        let mut times: Vec<Duration> = (0..asked)
            .map(|_| {
                let begun = Instant::now();
                assert!(!self.bytes(uri).is_empty());
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// The first page of a walk over errors and one a hundred pages later, if there are so many.
    fn pages(&self) -> (String, String) {
        let first = format!("/v1/jobs?status=error&limit={}", PAGE.min(50));
        let mut uri = first.clone();
        for _ in 1..LATE_PAGE {
            let page = self.ask(&uri);
            match page["next"].as_str() {
                Some(next) => uri = format!("{first}&cursor={next}"),
                None => break,
            }
        }
        (first, uri)
    }
}

/// How many updates are stored at once: a few batches make the smallest store.
fn batch(jobs: usize) -> usize {
    BATCH_UPDATES.min(jobs / 10)
}

fn update(number: usize) -> Update {
    let status = ["error", "completed", "processing"][number % 3];
    Update::new(UpdateFields {
        job_id: &format!("job-{number:010}"),
        status: Some(status),
        pipeline: Some(&format!("pipeline-{}", number * 7 % PIPELINES)),
        error: (number.is_multiple_of(3)).then_some("no text was found on the page"),
        ..UpdateFields::default()
    })
    .unwrap()
}

/// Runs `plan` in directories inside `directory`; the tables as Markdown.
pub fn run(plan: &Plan, directory: &Path) -> String {
    let small = Server::filled(plan.jobs_small, directory);
    let large = Server::filled(plan.jobs_large, directory);
    let mut report = format!(
        "{} rounds of {} each; pages of {PAGE}; median of the rounds\n\n\
         | question | {} jobs, us | {} jobs, us | ratio | lowest | highest |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
        plan.rounds, plan.asked, plan.jobs_small, plan.jobs_large
    );
    for (name, uri) in QUESTIONS {
        report += &row(name, plan, |asked| (small.time(uri, asked), large.time(uri, asked)));
    }
    let (first, late) = large.pages();
    report += &format!(
        "\n| 50 errors of {} jobs | first page, us | page {LATE_PAGE}, us | ratio | lowest \
         | highest |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
        plan.jobs_large
    );
    report += &row("newest", plan, |asked| (large.time(&first, asked), large.time(&late, asked)));
    for server in [small, large] {
        server.service.drain_blocking().unwrap();
    }
    report
}

/// One question in both arms.
fn row(name: &str, plan: &Plan, ask: impl Fn(usize) -> (Duration, Duration)) -> String {
    // The first answers come from the disk.
    ask(plan.asked.min(20));
    let rounds: Vec<(Duration, Duration)> = (0..plan.rounds).map(|_| ask(plan.asked)).collect();
    let us = |it: &Duration| it.as_secs_f64() * 1e6;
    let mut ratios: Vec<f64> = rounds.iter().map(|(a, b)| us(b) / us(a)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    format!(
        "| {name} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |\n",
        median(rounds.iter().map(|(a, _)| us(a)).collect()),
        median(rounds.iter().map(|(_, b)| us(b)).collect()),
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
    )
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
