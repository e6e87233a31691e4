//! `jobslate history`: how a job came to its status.

use comfy_table::Cell;

use super::args::HistoryArgs;
use super::exit::Failure;
use super::output::{self, grouped, shown};
use crate::api::HistoryBody;
use crate::client::Client;
use crate::model::{JobId, Kinds, Status};

/// Shows the transitions that the job keeps.
///
/// # Errors
/// [`Failure`]: there is no such job, there cannot be one, or no server.
pub async fn run(args: HistoryArgs) -> Result<(), Failure> {
    JobId::parse(&args.job)?;
    let history = Client::new(&args.server.url)?.history(&args.job).await?;
    if args.server.json {
        return Ok(output::json(&history)?);
    }
    Ok(output::table(table(&history))?)
}

fn table(history: &HistoryBody<'_>) -> comfy_table::Table {
    let mut table = output::new_table(&["UPDATE", "AT", "STATUS", "ATTEMPT", "ERROR"]);
    for it in &history.transitions {
        table.add_row([
            Cell::new(grouped(it.seq)),
            Cell::new(it.at.0),
            output::status_cell(&it.status, usual_kind(&it.status)),
            Cell::new(it.attempt),
            Cell::new(it.error.as_deref().map(shown).unwrap_or_default()),
        ]);
    }
    table
}

/// What the word means where nobody configured it otherwise: enough for a colour.
fn usual_kind(status: &str) -> &'static str {
    Status::parse(status).map_or("", |status| Kinds::default().kind(status).as_str())
}
