//! `POST /v1/updates`: updates in, what became of each out. Also the part that a `PUT` shares.
//!
//! The future may be dropped at any time: before the submission nothing has happened, and after it
//! the service goes on without its caller.

use axum::extract::{Request, State};
use axum::http::header::HeaderValue;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::body::Incoming;
use super::gate::Gate;
use super::media::Media;
use super::openapi::{params, refusals};
use super::parse::{Parsed, parse};
use super::problem::Problem;
use super::query::{Params, invalid};
use super::{body, idempotency, reply};
use crate::api::schema::{UpdateLines, Updates};
use crate::api::{AnswerBody, ProblemCode, QueuedBody};
use crate::model::{Ack, Command, Request as Submission};
use crate::service::Receipt;

/// A body up to this is parsed where it was read; a larger one would hold up other calls.
const PARSED_INLINE_BYTES_MAX: usize = 64 * 1024;

const POST_BODY: &str = "\
`application/json`: one update or an array. `application/x-ndjson` (also under the names \
`application/ndjson`, `application/jsonl` and `application/jsonlines`): one update a line. The \
body may be packed, as `Content-Encoding: gzip` or `zstd` says; its bounds count unpacked bytes \
(8 MiB, and 10,000 updates, unless configured).";

/// Report updates
///
/// One, an array, or one a line. Each is judged alone: a refused one never harms its neighbours,
/// unless `atomic=true`. All that is accepted becomes durable together or not at all.
#[utoipa::path(
    post,
    path = "/v1/updates",
    tag = "updates",
    operation_id = "postUpdates",
    params(params::Ack, params::Atomic, params::IdempotencyKey),
    request_body(description = POST_BODY, content(
        (Updates = "application/json"),
        (UpdateLines = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "At least one was accepted, and all that were are durable.",
            body = AnswerBody<'static>,
            headers(("Idempotent-Replayed" = String, description = "The first answer, again."))),
        (status = 202, description = "`ack=queued`: at least one was accepted.",
            body = QueuedBody<'static>,
            headers(("Idempotent-Replayed" = String, description = "The first answer, again."))),
        refusals::Updates,
    ),
)]
pub(super) async fn post(State(gate): State<Gate>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::of(&parts.headers, body);
    let accepted = accept(&gate, parts, &mut body).await;
    answer(&gate, accepted, body).await
}

async fn accept(gate: &Gate, parts: Parts, body: &mut Incoming) -> Result<Response, Problem> {
    let service = gate.writable()?;
    let how = How::of(&parts.uri, true)?;
    let media = Media::of(&parts.headers)?;
    let updates_max = service.options().batch_updates_max;
    let read = move |bytes: &[u8]| parse(media, bytes, updates_max);
    let updates = receive(gate, &how, parts, body, read).await?;
    let receipt = service.submit(updates).await?;
    if receipt.answer.accepted > 0 {
        return Ok(accepted(&how, &receipt));
    }
    let detail = "no update was accepted; 'errors' says why";
    Ok(refused(ProblemCode::AllRejected, detail.to_owned(), receipt))
}

/// The answer to a call that writes, of whose body some may be unread.
pub(super) async fn answer(
    gate: &Gate,
    accepted: Result<Response, Problem>,
    unread: Incoming,
) -> Response {
    match accepted {
        Ok(response) => response,
        Err(problem) => body::refuse(gate, problem.not_applied(), unread).await,
    }
}

/// How the updates of a call are to be taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    pub ack: Ack,
    pub atomic: bool,
}

impl How {
    pub fn of(uri: &Uri, takes_atomic: bool) -> Result<Self, Problem> {
        let mut params = Params::of(uri)?;
        let ack = match params.one("ack")?.as_deref() {
            None | Some("durable") => Ack::Durable,
            Some("queued") => Ack::Queued,
            Some(other) => return Err(invalid(format!("ack is {other:?}; use durable or queued"))),
        };
        let atomic = takes_atomic && params.flag("atomic")?;
        params.end()?;
        Ok(Self { ack, atomic })
    }
}

/// Reads and parses the body of a call that writes.
pub(super) async fn receive(
    gate: &Gate,
    how: &How,
    parts: Parts,
    body: &mut Incoming,
    read: impl FnOnce(&[u8]) -> Result<Parsed, Problem> + Send + 'static,
) -> Result<Submission, Problem> {
    let received = body::receive(gate, &parts.headers, body).await?;
    let is_long = received.is_packed() || received.packed_bytes() > PARSED_INLINE_BYTES_MAX;
    let how = *how;
    let parse = move || {
        let unpacked = received.unpack()?;
        let Parsed { updates, rejections, .. } = read(&unpacked.bytes)?;
        let idempotency = idempotency::key_of(&parts, &unpacked.bytes)?;
        let How { ack, atomic } = how;
        Ok(Submission { updates, rejections, ack, atomic, idempotency, ..Submission::default() })
    };
    if is_long { reply::blocking(parse).await } else { parse() }
}

/// Reads the body of a call that asks for one command, and submits it.
pub(super) async fn command(
    gate: &Gate,
    parts: Parts,
    body: &mut Incoming,
    read: impl FnOnce(&[u8]) -> Result<Command, Problem>,
) -> Result<Response, Problem> {
    let service = gate.writable()?;
    let unpacked = body::receive(gate, &parts.headers, body).await?.unpack()?;
    let command = read(&unpacked.bytes)?;
    let idempotency = idempotency::key_of(&parts, &unpacked.bytes)?;
    drop(unpacked);
    let request = Submission { idempotency, ..Submission::of_command(command) };
    Ok(one(&How::default(), service.submit(request).await?))
}

/// The answer to a call of one update or command.
pub(super) fn one(how: &How, receipt: Receipt) -> Response {
    if receipt.answer.accepted > 0 {
        return accepted(how, &receipt);
    }
    // A kept answer may have lost its reasons.
    let reason = receipt.answer.errors.first().map(|error| (error.code, error.detail.to_string()));
    match reason {
        Some((code, detail)) => refused(ProblemCode::Rejected(code), detail, receipt),
        None => {
            let detail = "the update was refused; its reason is no longer kept".to_owned();
            refused(ProblemCode::AllRejected, detail, receipt)
        }
    }
}

/// The answer to a call of which something was accepted. It follows the call and not the state of
/// the batch, so that a second arrival gets the status of the first.
pub(super) fn accepted(how: &How, receipt: &Receipt) -> Response {
    let response = match how.ack {
        Ack::Durable => reply::json(StatusCode::OK, &AnswerBody::of(&receipt.answer)),
        Ack::Queued => reply::json(StatusCode::ACCEPTED, &QueuedBody::of(&receipt.answer)),
    };
    mark_replayed(response, receipt.replayed)
}

/// The answer to a call of which nothing was accepted.
pub(super) fn refused(code: ProblemCode, detail: String, receipt: Receipt) -> Response {
    let problem = Problem::new(code, detail).not_applied().with_answer(receipt.answer);
    mark_replayed(problem.into_response(), receipt.replayed)
}

fn mark_replayed(mut response: Response, is_replayed: bool) -> Response {
    if is_replayed {
        let name = HeaderName::from_static("idempotent-replayed");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    response
}
