//! `jobslate pipelines`: how far they are.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Color, Table};

use super::args::PipelinesArgs;
use super::config::format_duration;
use super::exit::Failure;
use super::output::{self, grouped, shown, shown_short};
use crate::api::{PipelineBody, PipelineJobBody};
use crate::client::Client;
use crate::model::{Clock, PipelineName, TimestampMs};

/// How much of an error a row shows.
const ERROR_CHARS_MAX: usize = 60;

/// Shows one pipeline, or all of them.
///
/// # Errors
/// [`Failure`]: there is no such pipeline, there cannot be one, or no server.
pub async fn run(args: PipelinesArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server.url)?;
    let now = Clock::System.wall();
    if let Some(name) = &args.name {
        PipelineName::parse(name)?;
        let pipeline = client.pipeline(name).await?;
        let printed = match args.server.json {
            true => output::json(&pipeline),
            false => output::table(fields(&pipeline, now)),
        };
        return Ok(printed?);
    }
    let mut pipelines = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = client.pipelines(after.as_deref()).await?;
        pipelines.extend(page.pipelines);
        after = page.next.map(|name| name.into_owned());
        if after.is_none() {
            break;
        }
    }
    if args.server.json {
        return Ok(output::rows(&pipelines)?);
    }
    if pipelines.is_empty() {
        output::note("no pipelines");
        return Ok(());
    }
    Ok(output::table(table(&pipelines, now))?)
}

fn table(pipelines: &[PipelineBody<'_>], now: TimestampMs) -> Table {
    let mut table = output::new_table(&[
        "PIPELINE",
        "TOTAL",
        "EXPECTED",
        "DONE",
        "%",
        "RATE",
        "ETA",
        "RUNNING",
        "FAILED",
        "LAST ERROR",
    ]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for it in pipelines {
        let failed = of_kind(it, "failed");
        let failed_cell = right(grouped(failed));
        let error = it.last_error.as_ref().map(about_job).unwrap_or_default();
        table.add_row([
            Cell::new(shown(&it.pipeline)),
            right(grouped(it.total)),
            right(it.expected_total.map_or_else(String::new, grouped)),
            right(grouped(it.finished)),
            right(it.percent.map_or_else(String::new, |percent| format!("{percent:.1}"))),
            right(rate(it)),
            right(eta(it, now)),
            right(grouped(of_kind(it, "running"))),
            if failed == 0 { failed_cell } else { failed_cell.fg(Color::Red) },
            Cell::new(shown_short(&error, ERROR_CHARS_MAX)),
        ]);
    }
    table
}

/// One pipeline, field by field; nothing for what it has not.
fn fields(it: &PipelineBody<'_>, now: TimestampMs) -> Table {
    let mut statuses: Vec<String> = Vec::new();
    for (status, jobs) in &it.by_status {
        statuses.push(format!("{} {}", shown(status), grouped(*jobs)));
    }
    let percent = it.percent.map_or_else(String::new, |percent| format!(" ({percent:.1} %)"));
    let end = it.estimated_end.map(|end| format!("{} ({})", end.0, eta(it, now)));
    let job =
        |job: &PipelineJobBody<'_>| format!("{} ({})", shown(&about_job(job)), job.updated_at.0);
    let rows = [
        ("pipeline", Some(shown(&it.pipeline))),
        ("jobs", Some(grouped(it.total))),
        ("statuses", Some(statuses.join(", ")).filter(|text| !text.is_empty())),
        ("expected", it.expected_total.map(grouped)),
        ("finished", Some(format!("{}{percent}", grouped(it.finished)))),
        ("finished by", it.finished_seq.map(|seq| format!("update {}", grouped(seq)))),
        ("rate", Some(rate(it)).filter(|text| !text.is_empty())),
        ("estimated end", end),
        ("oldest running", it.oldest_running.as_ref().map(job)),
        ("last error", it.last_error.as_ref().map(job)),
    ];
    let mut table = output::new_table(&[]);
    for (name, value) in rows.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        table.add_row([name, &value]);
    }
    table
}

fn of_kind(it: &PipelineBody<'_>, kind: &str) -> u64 {
    it.by_kind.get(kind).copied().unwrap_or(0)
}

fn about_job(job: &PipelineJobBody<'_>) -> String {
    let error = job.error.as_deref().unwrap_or_default();
    [&*job.job_id, error].join(": ").trim_end_matches(": ").to_owned()
}

/// Finished jobs per second, or per hour where a second sees none.
fn rate(it: &PipelineBody<'_>) -> String {
    match it.rate_per_s {
        None => String::new(),
        Some(rate) if rate >= 100.0 => format!("{rate:.0}/s"),
        Some(rate) if rate >= 0.1 => format!("{rate:.1}/s"),
        Some(rate) => format!("{:.1}/h", rate * 3600.0),
    }
}

/// How long it still takes, by the clock of this machine.
fn eta(it: &PipelineBody<'_>, now: TimestampMs) -> String {
    let Some(end) = it.estimated_end else { return String::new() };
    let seconds = end.0.0.saturating_sub(now.0) / 1000;
    // Two units are as much as an estimate bears.
    let rounded = match seconds {
        0..=3599 => seconds,
        3600..=86_399 => seconds / 60 * 60,
        _ => seconds / 3600 * 3600,
    };
    format_duration(Duration::from_secs(rounded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(json: &str) -> PipelineBody<'static> {
        let whole = format!(
            r#"{{"pipeline":"p","total":2,"by_status":{{}},"by_kind":{{"failed":1}},
                "expected_total":null,"finished":1,"percent":50.0,"finished_seq":null,
                "oldest_running":null,"last_error":null,{json}}}"#
        );
        serde_json::from_str(&whole).unwrap()
    }

    #[test]
    fn the_time_left_is_short_and_never_negative() {
        let at = |end: &str| {
            pipeline(&format!(r#""rate_per_s":0.05,"estimated_end":"2025-11-24T{end}""#))
        };
        let now = TimestampMs::from_rfc3339("2025-11-24T16:00:00Z").unwrap();
        assert_eq!(eta(&at("16:00:06.800Z"), now), "6s");
        assert_eq!(eta(&at("18:30:06.800Z"), now), "2h30m");
        assert_eq!(eta(&at("15:00:00.000Z"), now), "0s");
        assert_eq!(rate(&at("16:00:00.000Z")), "180.0/h");
        let none = pipeline(r#""rate_per_s":null,"estimated_end":null"#);
        assert_eq!((eta(&none, now), rate(&none)), (String::new(), String::new()));
    }

    #[test]
    fn a_table_has_a_row_for_each() {
        let rows = [pipeline(r#""rate_per_s":12.5,"estimated_end":null"#)];
        let text = table(&rows, TimestampMs(0)).to_string();
        assert!(text.contains("12.5/s") && text.contains("50.0"), "{text}");
    }
}
