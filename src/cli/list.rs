//! `jobslate list`: a walk over jobs, page by page.

use comfy_table::Cell;

use super::args::{JobFilterArgs, ListArgs};
use super::exit::Failure;
use super::output::{self, shown_short};
use crate::api::{JobBody, jobs_csv};
use crate::client::{Client, ListQuery};
use crate::model::limits::PAGE_JOBS_MAX;

/// How much of an error or message a row shows.
const TEXT_CHARS_MAX: usize = 60;

/// Lists the jobs; prints each page as it comes.
///
/// # Errors
/// [`Failure`]: no server, or a filter that it does not take.
pub async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = Client::new(&args.server.url)?;
    let mut query = query_of(&args.filter);
    let mut left = if args.all { u64::MAX } else { args.limit };
    let mut is_first = true;
    loop {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE_JOBS_MAX);
        query.limit = Some(most);
        let page = client.list(&query).await?;
        left -= left.min(page.jobs.len() as u64);
        if args.server.json {
            output::rows(&page.jobs)?;
        } else if args.csv {
            output::data(&jobs_csv(&page.jobs, is_first))?;
            is_first = false;
        } else if !page.jobs.is_empty() {
            print_page(&page.jobs, is_first)?;
            is_first = false;
        }
        query.cursor = page.next;
        if query.cursor.is_none() || left == 0 {
            break;
        }
    }
    if !args.server.json && !args.csv {
        if is_first {
            output::note("no jobs");
        } else if query.cursor.is_some() {
            output::note(&format!("the first {}; there are more: --all", args.limit));
        }
    }
    Ok(())
}

/// The query of a filter; its pages are the caller's.
pub fn query_of(filter: &JobFilterArgs) -> ListQuery {
    ListQuery {
        statuses: filter.status.iter().map(|status| status.as_str().to_owned()).collect(),
        kinds: filter.kind.clone(),
        pipeline: filter.pipeline.clone(),
        prefix: filter.prefix.clone(),
        updated_after: filter.updated_after,
        updated_before: filter.updated_before,
        stalled_for: filter.stalled_for,
        order: filter.order,
        limit: None,
        cursor: None,
    }
}

/// Prints some jobs as a table; with the header, if `is_first`.
///
/// The columns fit these rows alone, since later ones are not known yet.
pub fn print_page(jobs: &[JobBody<'_>], is_first: bool) -> std::io::Result<()> {
    const HEADER: [&str; 6] = ["JOB", "STATUS", "PIPELINE", "ATTEMPT", "SINCE", "ABOUT"];
    let mut table = output::new_table(if is_first { &HEADER } else { &[] });
    for job in jobs {
        let text = job.error.as_deref().or(job.message.as_deref()).unwrap_or_default();
        let progress = job.progress.map(|part| format!("{:.0} %", part * 100.0));
        let about = [progress.as_deref().unwrap_or_default(), text].join(" ");
        table.add_row([
            Cell::new(output::shown(&job.job_id)),
            output::status_cell(&job.status, &job.kind),
            Cell::new(output::shown(&job.pipeline)),
            Cell::new(job.attempt),
            Cell::new(job.status_at.0),
            Cell::new(shown_short(about.trim(), TEXT_CHARS_MAX)),
        ]);
    }
    output::table(table)
}
