//! The HTTP server. axum lives here only; handlers translate, they do not decide.
//!
//! One file per resource. A call is read strictly (unknown parameters and fields are refused by
//! name), handed to the service, and answered in the shapes of [`api`](crate::api); every refusal
//! is a problem with a stable code. No CORS, no cookies, no state but the [`Gate`].

mod body;
mod check;
mod connections;
mod counts;
mod cursor;
mod feed;
mod flush;
mod format;
mod fresh;
mod gate;
mod health;
mod idempotency;
mod jobs;
mod list;
mod lookup;
mod media;
mod meter;
mod options;
mod parse;
mod path;
mod pipelines;
mod problem;
mod query;
mod reply;
mod server;
mod stats;
mod timeline;
mod updates;

pub use gate::Gate;
pub use meter::Metered;
pub use options::HttpOptions;
pub use server::serve;

use axum::Router;
use axum::routing::{get, post, put};
use tower_http::catch_panic::CatchPanicLayer;

/// The whole server as one service, without a socket.
pub fn app(gate: Gate) -> Metered<Router> {
    let guard_writes = || CatchPanicLayer::custom(problem::write_panicked);
    let job = put(jobs::put).delete(jobs::delete).layer(guard_writes()).get(jobs::get);
    let pipeline = put(pipelines::put).layer(guard_writes()).get(pipelines::get);
    let router = Router::new()
        .route("/v1/updates", post(updates::post).layer(guard_writes()).get(feed::get))
        .route("/v1/jobs", get(list::get))
        .route("/v1/jobs/{job_id}", job)
        .route("/v1/jobs/{job_id}/history", get(jobs::history))
        .route("/v1/lookup", post(lookup::post))
        .route("/v1/counts", get(counts::get))
        .route("/v1/timeline", get(timeline::get))
        .route("/v1/pipelines", get(pipelines::list))
        .route("/v1/pipelines/{name}", pipeline)
        .route("/v1/flush", post(flush::post))
        .route("/v1/stats", get(stats::get))
        .route("/v1/check", get(check::get))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::read_panicked))
        .with_state(gate.clone());
    Metered::new(router, gate)
}

#[cfg(test)]
mod tests;
