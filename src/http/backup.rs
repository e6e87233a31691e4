//! `GET /v1/backup`: one moment of the store as a file, while updates go on.
//!
//! It is copied to a local file first, at the speed of the disk, and sent from there: a slow client
//! holds no moment of the store, which would make its file grow.

use std::fs::File;
use std::io::{self, Read as _};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, Method, Uri};
use axum::response::Response;
use futures_util::stream;

use super::fresh;
use super::gate::{Gate, Taken};
use super::openapi::{params, refusals};
use super::problem::Problem;
use super::query::Params;
use super::reply;
use crate::api::{BACKUP_MEDIA_TYPE, ProblemCode};
use crate::store::{BackupError, BackupSummary};

const AS_OF_SEQ: HeaderName = HeaderName::from_static("as-of-seq");
/// Of one piece.
const PIECE_BYTES: usize = 256 << 10;

/// Take a backup
///
/// One moment of the whole store as one file, made while updates go on; `jobslate restore` makes a
/// store of it. Its last block has a checksum over all of it. One backup is sent at a time.
#[utoipa::path(
    get,
    path = "/v1/backup",
    tag = "care",
    operation_id = "getBackup",
    params(params::Fresh),
    responses(
        (status = 200, description = "The backup.", body = String,
            content_type = BACKUP_MEDIA_TYPE,
            headers(
                ("As-Of-Seq" = u64, description = "The last update that it reflects."),
                ("Content-Disposition" = String, description = "A name for the file, with the \
                    time in UTC."),
            )),
        refusals::Backup,
    ),
)]
pub(super) async fn get(
    State(gate): State<Gate>,
    method: Method,
    uri: Uri,
) -> Result<Response, Problem> {
    Problem::unless_get(&method)?;
    let service = fresh::readable(&gate, Params::of(&uri)?).await?.clone();
    let Some(copying) = gate.begin_backup() else {
        let detail = "a backup is being made or sent; it takes room, so there is one at a time";
        return Err(Problem::new(ProblemCode::BackupRunning, detail).retry_after(1));
    };
    reply::blocking(move || {
        let (file, summary) = service.backup_for_sending()?;
        Ok(answer(Sending { file, _copying: copying }, &summary))
    })
    .await
}

fn answer(sending: Sending, summary: &BackupSummary) -> Response {
    let pieces = stream::unfold(Some(sending), |sending| async {
        match sending?.next().await {
            Ok(piece) => piece.map(|(piece, sending)| (Ok(piece), Some(sending))),
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    let time = summary.made_at.to_string().replace(['-', ':'], "");
    let name = format!("attachment; filename=\"jobslate-{time}.backup\"");
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(BACKUP_MEDIA_TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(summary.bytes));
    headers.insert(AS_OF_SEQ, HeaderValue::from(summary.as_of_seq));
    response
}

/// A backup on its way to a client. Its file has no name and goes with it.
struct Sending {
    file: File,
    /// The next one may begin once this one needs no room any more.
    _copying: Taken,
}

impl Sending {
    /// The next piece; `None` at the end.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let read = move || {
            let mut piece = vec![0; PIECE_BYTES];
            let length = self.file.read(&mut piece)?;
            piece.truncate(length);
            Ok((length > 0).then(|| (Bytes::from(piece), self)))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        if error.is_full() {
            let detail = "the disk has no room for a backup beside what the store needs";
            return Self::new(ProblemCode::StorageFull, detail).retry_after(10);
        }
        match error {
            BackupError::Store(error) => Self::from(error),
            BackupError::Closed => Self::draining(),
            error => Self::from(crate::store::StoreError::Failed(error.to_string())),
        }
    }
}
