//! `jobslate counts`: how many jobs there are, by status or by pipeline.

use std::borrow::Cow;
use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, Table};

use super::args::CountsArgs;
use super::exit::Failure;
use super::output::{self, grouped, shown};
use crate::api::CountsBody;
use crate::client::Client;

/// Shows the counts.
///
/// # Errors
/// [`Failure`]: there is no server.
pub async fn run(args: CountsArgs) -> Result<(), Failure> {
    let counts = Client::new(&args.server.url)?.counts().await?;
    if args.server.json {
        return Ok(output::json(&counts)?);
    }
    let table = if args.by_pipeline { by_pipeline(&counts) } else { by_status(&counts) };
    output::table(table)?;
    Ok(output::text_line(&format!("as of update {}", grouped(counts.as_of_seq)))?)
}

fn number(jobs: u64) -> Cell {
    Cell::new(grouped(jobs)).set_alignment(CellAlignment::Right)
}

fn by_status(counts: &CountsBody<'_>) -> Table {
    let mut table = output::new_table(&["STATUS", "JOBS"]);
    for (status, jobs) in &counts.by_status {
        table.add_row([Cell::new(shown(status)), number(*jobs)]);
    }
    table.add_row([Cell::new("total"), number(counts.total)]);
    table
}

fn by_pipeline(counts: &CountsBody<'_>) -> Table {
    let statuses: Vec<&Cow<'_, str>> = counts.by_status.keys().collect();
    let header: Vec<String> = statuses.iter().map(|status| shown(status).to_uppercase()).collect();
    let mut names = vec!["PIPELINE", "TOTAL"];
    names.extend(header.iter().map(String::as_str));
    let mut table = output::new_table(&names);
    let row = |name: &str, total: u64, jobs: &BTreeMap<Cow<'_, str>, u64>| {
        let mut cells = vec![Cell::new(shown(name)), number(total)];
        cells.extend(statuses.iter().map(|status| number(jobs.get(*status).copied().unwrap_or(0))));
        cells
    };
    for (name, pipeline) in &counts.by_pipeline {
        table.add_row(row(name, pipeline.total, &pipeline.by_status));
    }
    table.add_row(row("total", counts.total, &counts.by_status));
    table
}
