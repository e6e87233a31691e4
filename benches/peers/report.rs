//! The report as Markdown: the table of targets, then a table for each plan.

use std::time::Duration;

use super::results::{Results, Spread};
use super::sample::Sample;
use super::targets::{Bound, TARGETS, Target};

/// The whole report; its first line says what was measured where.
pub fn report(results: &Results) -> String {
    let mut text = format!("{}\n\n", provenance());
    text += &targets(results);
    for plan in results.sampled_plans() {
        text += &rates(results, plan);
    }
    for plan in results.figured_plans() {
        text += &figures(results, plan);
    }
    text
}

/// Day, commit and machine.
fn provenance() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    let day = jiff::Zoned::now().date();
    let commit =
        said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    let commit = commit.map_or_else(String::new, |commit| format!(", commit {commit}"));
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = said("uname", &["-sr"]).unwrap_or_default();
    format!("{day}{commit}; {cores} x {model}, {kernel}")
}

/// What was to be reached, as far as it was measured.
fn targets(results: &Results) -> String {
    let rows = TARGETS.iter().map(|target| match target.measured(results) {
        Some(spread) => target_row(target, spread),
        // A row that is not there would look as if nothing were missing.
        None => format!("| {} | {} | not measured | | | |\n", target.row, target.against),
    });
    let rows: String = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    "| row | against | median | least to most | to reach | |\n\
     | --- | --- | ---: | ---: | ---: | --- |\n"
        .to_owned()
        + &rows
        + "\n"
}

fn target_row(target: &Target, spread: Spread) -> String {
    let bound = match target.bound {
        Bound::AtLeast(least) => format!("at least {least}"),
        Bound::AtMost(most) => format!("at most {most}"),
    };
    let verdict = match target.stretch {
        Some(stretch) if spread.median >= stretch => "met, and the stretch",
        _ if target.bound.is_met(spread.median) => "met",
        _ => "missed",
    };
    format!(
        "| {} | {} | {} | {} to {} | {bound} | {verdict} |\n",
        target.row,
        target.against,
        short(spread.median),
        short(spread.least),
        short(spread.most),
    )
}

/// The arms of a plan, each against the first.
fn rates(results: &Results, plan: &str) -> String {
    let arms = results.arms(plan);
    let ours = if arms.contains(&"jobslate") { "jobslate" } else { arms[0] };
    let rounds = results.of_arm(plan, ours).count();
    let rounds = if rounds == 1 { "1 round".to_owned() } else { format!("{rounds} rounds") };
    let mut table = format!(
        "### {plan}\n\n{rounds}\n\n\
         | arm | operations | a second | least to most \
         | {ours} against it | with the close | call p50 ms | p99 ms | worst ms |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for arm in &arms {
        let wait = |quantile: f64, digits: usize| {
            let has_calls = |sample: &Sample| !sample.waits.is_empty();
            let is_timed = results.of_arm(plan, arm).all(has_calls);
            let wait = results.spread(plan, arm, |sample| sample.wait_ms(quantile));
            wait.filter(|_| is_timed)
                .map_or_else(String::new, |wait| format!("{:.digits$}", wait.median))
        };
        let Some(rate) = results.spread(plan, arm, Sample::rate) else { continue };
        let against = |rate: fn(&Sample) -> f64| {
            let ratio = results.ratio((plan, ours), (plan, arm), rate);
            ratio.map_or_else(String::new, |ratio| short(ratio.median))
        };
        // Both must have been closed.
        let is_closed = |arm| results.of_arm(plan, arm).all(|it| it.closing > Duration::ZERO);
        let both_closed = is_closed(ours) && is_closed(arm);
        table += &format!(
            "| {arm} | {} | {:.0} | {:.0} to {:.0} | {} | {} | {} | {} | {} |\n",
            operations(results, plan, arm),
            rate.median,
            rate.least,
            rate.most,
            against(Sample::rate),
            if both_closed { against(Sample::rate_closed) } else { String::new() },
            wait(0.5, 3),
            wait(0.99, 3),
            wait(1.0, 1),
        );
    }
    table + "\n"
}

/// What an arm did in a round: the least of all rounds, as one may be ended early.
fn operations(results: &Results, plan: &str, arm: &str) -> usize {
    results.of_arm(plan, arm).map(|sample| sample.operations).min().unwrap_or(0)
}

fn figures(results: &Results, plan: &str) -> String {
    let mut table =
        format!("### {plan}\n\n| figure | median | least | most |\n| --- | ---: | ---: | ---: |\n");
    for name in results.figure_names(plan) {
        let Some(spread) = results.figure(plan, name) else { continue };
        let [median, least, most] = [spread.median, spread.least, spread.most].map(short);
        table += &format!("| {name} | {median} | {least} | {most} |\n");
    }
    table + "\n"
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
