//! What is left in files: the report, and the numbers behind it for the plots.

use std::path::Path;
use std::time::Duration;

use super::report::report;
use super::results::Results;
use super::sample::Sample;

/// The shares of calls whose waits are written: close together where the tail is.
const QUANTILES: [f64; 52] = [
    0.0, 0.01, 0.02, 0.05, 0.08, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60,
    0.65, 0.70, 0.75, 0.78, 0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.91, 0.92, 0.93, 0.94, 0.95,
    0.955, 0.96, 0.965, 0.97, 0.975, 0.98, 0.9825, 0.985, 0.9875, 0.99, 0.992, 0.994, 0.995, 0.996,
    0.997, 0.998, 0.9985, 0.999, 0.9995, 0.9999, 1.0,
];

/// Writes `report.md` and the numbers behind it, as CSV, into `directory`.
pub fn write(results: &Results, directory: &Path) {
    std::fs::create_dir_all(directory).expect("the target directory is writable");
    let write = |name: &str, text: String| {
        std::fs::write(directory.join(name), text).expect("the target directory is writable");
    };
    write("report.md", report(results));
    write("samples.csv", samples(results));
    write("figures.csv", figures(results));
    write("latency.csv", latency(results));
    write("growth.csv", growth(results));
}

fn samples(results: &Results) -> String {
    let mut text =
        "plan,arm,round,operations,seconds,closing_seconds,rate,p50_ms,p99_ms,worst_ms\n"
            .to_owned();
    for sample in &results.samples {
        text += &format!(
            "{},{},{},{},{:.6},{:.6},{:.1},{:.4},{:.4},{:.4}\n",
            sample.plan,
            sample.arm,
            sample.round,
            sample.operations,
            sample.elapsed.as_secs_f64(),
            sample.closing.as_secs_f64(),
            sample.rate(),
            sample.wait_ms(0.5),
            sample.wait_ms(0.99),
            sample.wait_ms(1.0),
        );
    }
    text
}

fn figures(results: &Results) -> String {
    let mut text = "plan,name,round,value\n".to_owned();
    for figure in &results.figures {
        let (plan, name) = (figure.plan, figure.name);
        text += &format!("{plan},{name},{},{:.4}\n", figure.round, figure.value);
    }
    text
}

/// The waits of all rounds of an arm together.
fn latency(results: &Results) -> String {
    let mut text = "plan,arm,quantile,wait_ms\n".to_owned();
    for plan in results.sampled_plans() {
        for arm in results.arms(plan) {
            let waits = results.of_arm(plan, arm).flat_map(|sample| &sample.waits).copied();
            let mut waits: Vec<Duration> = waits.collect();
            if waits.is_empty() {
                continue;
            }
            waits.sort_unstable();
            let (operations, elapsed, closing) = (waits.len(), Duration::ZERO, Duration::ZERO);
            let all = Sample { plan, arm, round: 0, operations, elapsed, closing, waits };
            for quantile in QUANTILES {
                text += &format!("{plan},{arm},{quantile},{:.4}\n", all.wait_ms(quantile));
            }
        }
    }
    text
}

fn growth(results: &Results) -> String {
    let mut text = "round,updates,rate\n".to_owned();
    for step in &results.steps {
        text += &format!("{},{},{:.1}\n", step.round, step.updates, step.rate);
    }
    text
}
