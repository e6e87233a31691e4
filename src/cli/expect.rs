//! `jobslate expect`: how many jobs of a pipeline will finish.

use super::args::ExpectArgs;
use super::exit::Failure;
use super::output::{self, grouped, shown};
use super::retry;
use crate::client::Client;
use crate::model::PipelineName;

/// Sets the expected total, or takes it away.
///
/// # Errors
/// [`Failure`]: there cannot be such a pipeline, or no server.
pub async fn run(args: ExpectArgs) -> Result<(), Failure> {
    PipelineName::parse(&args.pipeline)?;
    let client = Client::new(&args.server.url)?;
    let (key, total) = (retry::new_key(), args.total.0);
    let call = || client.expect(&args.pipeline, total, Some(&key));
    let answer = retry::until_answered(args.retry.retry_for, retry::say_once(), call).await?;
    if args.server.json {
        return Ok(output::json(&answer)?);
    }
    let jobs = match total {
        None => "no number of jobs".to_owned(),
        Some(1) => "1 job".to_owned(),
        Some(total) => format!("{} jobs", grouped(total)),
    };
    let seq = answer.last_seq.map_or_else(String::new, |seq| format!(" (update {seq})"));
    Ok(output::text_line(&format!("{}: {jobs} expected{seq}", shown(&args.pipeline)))?)
}
