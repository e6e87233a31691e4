//! Calls that are made again when the server is busy or away.
//!
//! Only for what counts once however often it is sent: reads, and writes with an idempotency key.

use std::time::{Duration, Instant};

use super::output::{note, shown};
use crate::client::{Backoff, ClientError, chance};

/// A key that no other call has.
pub fn new_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Tells a person, once, that a call is tried again.
pub fn say_once() -> impl FnMut(&str) {
    let mut is_said = false;
    move |why| {
        if !std::mem::replace(&mut is_said, true) {
            note(&format!("waiting: {why}"));
        }
    }
}

/// Makes `call` until there is an answer, for `retry_for` from the first failure on; `waiting` is
/// told why it stands still.
///
/// # Errors
/// The last failure, or the first that another try cannot mend.
pub async fn until_answered<T, F>(
    retry_for: Duration,
    waiting: impl FnMut(&str),
    call: impl FnMut() -> F,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    until(retry_for, ClientError::is_retryable, waiting, call).await
}

/// Makes the first `call` of a command that waits anyway, until the server is open, for ever. That
/// nobody answers at all is an error at once, unless somebody did before: the URL may be wrong.
///
/// # Errors
/// The first failure that waiting cannot mend.
pub async fn until_open<T, F>(call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut is_there = false;
    let is_worth = |error: &ClientError| {
        is_there |= !matches!(error, ClientError::Unavailable { .. });
        is_there && error.is_retryable()
    };
    until(Duration::MAX, is_worth, say_once(), call).await
}

async fn until<T, F>(
    retry_for: Duration,
    mut is_worth: impl FnMut(&ClientError) -> bool,
    mut waiting: impl FnMut(&str),
    mut call: impl FnMut() -> F,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut backoff = Backoff::new(retry_for);
    let mut failing_since: Option<Instant> = None;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let failing_for = failing_since.get_or_insert_with(Instant::now).elapsed();
        let wait = backoff.next_wait(failing_for, error.retry_after(), chance());
        let Some(wait) = wait.filter(|_| is_worth(&error)) else { return Err(error) };
        waiting(&shown(&error.to_string()));
        tokio::time::sleep(wait).await;
    }
}
