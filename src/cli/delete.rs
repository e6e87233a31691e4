//! `jobslate delete`: one job goes.

use super::args::DeleteArgs;
use super::exit::Failure;
use super::output::{self, shown};
use super::retry;
use crate::client::Client;
use crate::model::JobId;

/// Removes the job; a try that is made again removes nothing else.
///
/// # Errors
/// [`Failure`]: there is no such job, there cannot be one, or no server.
pub async fn run(args: DeleteArgs) -> Result<(), Failure> {
    JobId::parse(&args.job)?;
    let client = Client::new(&args.server.url)?;
    let key = retry::new_key();
    let call = || client.delete_job(&args.job, Some(&key));
    let answer = retry::until_answered(args.retry.retry_for, retry::say_once(), call).await?;
    if args.server.json {
        return Ok(output::json(&answer)?);
    }
    let seq = answer.last_seq.map_or_else(String::new, |seq| format!(" (update {seq})"));
    Ok(output::text_line(&format!("{}: removed{seq}", shown(&args.job)))?)
}
