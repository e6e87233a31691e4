//! `jobslate get`: one job, field by field.

use comfy_table::Cell;

use super::args::GetArgs;
use super::exit::Failure;
use super::output::{self, shown};
use crate::api::{JobBody, TimeBody};
use crate::client::Client;
use crate::model::JobId;

/// Shows the job.
///
/// # Errors
/// [`Failure`]: there is no such job, there cannot be one, or no server.
pub async fn run(args: GetArgs) -> Result<(), Failure> {
    JobId::parse(&args.job)?;
    let job = Client::new(&args.server.url)?.job(&args.job).await?;
    if args.server.json {
        return Ok(output::json(&job)?);
    }
    let mut table = output::new_table(&[]);
    table.add_row([Cell::new("job"), Cell::new(shown(&job.job_id))]);
    table.add_row([Cell::new("status"), output::status_cell(&job.status, &job.kind)]);
    for (name, value) in rows(&job) {
        table.add_row([name, &value]);
    }
    Ok(output::table(table)?)
}

/// What the job has besides its id and status; nothing for what it has not.
fn rows(job: &JobBody<'_>) -> Vec<(&'static str, String)> {
    let time = |time: &TimeBody| time.0.to_string();
    let labels: Vec<String> = job
        .labels
        .iter()
        .map(|(name, value)| format!("{}={}", shown(name), shown(value)))
        .collect();
    let rows = [
        ("kind", Some(shown(&job.kind))),
        ("pipeline", Some(shown(&job.pipeline))),
        ("error", job.error.as_deref().map(shown)),
        ("message", job.message.as_deref().map(shown)),
        ("progress", job.progress.map(|part| format!("{:.0} %", part * 100.0))),
        ("attempt", Some(job.attempt.to_string())),
        ("labels", Some(labels.join(" ")).filter(|text| !text.is_empty())),
        ("created", Some(time(&job.created_at))),
        ("status since", Some(time(&job.status_at))),
        ("started", job.started_at.as_ref().map(time)),
        ("finished", job.finished_at.as_ref().map(time)),
        ("last seen", Some(time(&job.seen_at))),
        ("stored", Some(time(&job.updated_at))),
        ("update", Some(job.seq.to_string())),
        ("transitions", Some(job.transitions.to_string())),
    ];
    rows.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
}
