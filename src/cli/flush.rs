//! `jobslate flush`: wait until everything accepted is on disk.

use super::args::FlushArgs;
use super::exit::Failure;
use super::output;
use crate::client::Client;

/// Waits, and says up to which update the store is durable.
///
/// # Errors
/// [`Failure`]: no server, or the store failed.
pub async fn run(args: FlushArgs) -> Result<(), Failure> {
    let flushed = Client::new(&args.server.url)?.flush().await?;
    if args.server.json {
        return Ok(output::json(&flushed)?);
    }
    let seq = output::grouped(flushed.durable_seq);
    Ok(output::text_line(&format!("durable up to update {seq}"))?)
}
