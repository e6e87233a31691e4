//! `jobslate set`: one update of one job.

use std::borrow::Cow;

use super::args::SetArgs;
use super::exit::{Exit, Failure};
use super::output;
use crate::api::{AnswerBody, AtBody, UpdateBody};
use crate::client::{Acknowledged, Client};

/// Sends the update and says what became of it.
///
/// # Errors
/// [`Failure`]: the update was rejected, or there is no server.
pub async fn run(args: SetArgs) -> Result<(), Failure> {
    let update = update(&args)?;
    let client = Client::new(&args.server.url)?;
    let answer = client.put_job(&update, args.queued).await.map_err(Failure::of_update)?;
    match answer {
        Acknowledged::Durable(answer) if args.server.json => output::json(&answer)?,
        Acknowledged::Queued(answer) if args.server.json => output::json(&answer)?,
        Acknowledged::Durable(answer) => output::text_line(&sentence(&args.job, &answer))?,
        Acknowledged::Queued(_) => {
            output::text_line(&format!("{}: queued", output::shown(&args.job)))?;
        }
    }
    Ok(())
}

fn sentence(job: &str, answer: &AnswerBody<'_>) -> String {
    let job = output::shown(job);
    let seq = answer.last_seq.map_or_else(String::new, |seq| format!(" (update {seq})"));
    match answer.stale {
        0 => format!("{job}: stored{seq}"),
        _ => format!("{job}: stale{seq}; the job has a newer status, which it keeps"),
    }
}

fn update(args: &SetArgs) -> Result<UpdateBody<'_>, Failure> {
    fn text(text: &Option<String>) -> Option<Cow<'_, str>> {
        text.as_deref().map(Cow::Borrowed)
    }
    let update = UpdateBody {
        job_id: Cow::Borrowed(&args.job),
        status: text(&args.status),
        error: text(&args.error),
        at: args.at.as_deref().map(at),
        attempt: args.attempt,
        pipeline: text(&args.pipeline),
        progress: args.progress,
        message: text(&args.message),
        labels: (!args.labels.is_empty()).then(|| args.labels.iter().cloned().collect()),
        if_status: text(&args.if_status),
    };
    let nothing = UpdateBody { job_id: update.job_id.clone(), ..UpdateBody::default() };
    if update == nothing {
        return Err(Failure::new(Exit::Usage, "give a STATUS, or a flag that sets something"));
    }
    // The same checks as the server's: a wrong id must not become another path.
    match update.to_update() {
        Ok(_) => Ok(update),
        Err(refused) => Err(Failure::new(Exit::BadData, refused.to_string())),
    }
}

/// Digits are Unix milliseconds; everything else is left to the check.
fn at(text: &str) -> AtBody<'_> {
    text.parse().map_or_else(|_| AtBody::Rfc3339(Cow::Borrowed(text)), AtBody::UnixMs)
}
