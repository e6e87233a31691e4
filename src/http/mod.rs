//! The HTTP server. axum lives here only; handlers translate, they do not decide.
//!
//! One file per resource. A call is read strictly (unknown parameters and fields are refused by
//! name), handed to the service, and answered in the shapes of [`api`](crate::api); every refusal
//! is a problem with a stable code. No CORS, no cookies, no state but the [`Gate`].

mod answers;
mod backup;
mod body;
mod check;
mod connection;
mod connections;
mod counts;
mod cursor;
mod feed;
mod flush;
mod format;
mod fresh;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod health;
mod hosts;
mod idempotency;
mod jobs;
mod list;
mod lookup;
mod media;
mod meter;
mod openapi;
mod options;
mod parse;
mod path;
mod patience;
mod pipelines;
mod plain;
mod problem;
mod prune;
mod query;
mod reply;
mod server;
mod stats;
mod tag;
mod timeline;
mod unread;
mod updates;

pub use connections::TURNED_AWAY_MAX;
pub use gate::Gate;
pub use hosts::Hosts;
pub use meter::Metered;
pub use options::HttpOptions;
pub use server::serve;

use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

/// The whole server as one service, without a socket.
pub fn app(gate: Gate) -> Metered {
    let (router, _document) = routes().split_for_parts();
    let router = router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::read_panicked))
        .with_state(gate.clone());
    Metered::new(router, gate)
}

/// Every route, with its part of the API document: path and method stand at the handler.
fn routes() -> OpenApiRouter<Gate> {
    let guard_writes = || CatchPanicLayer::custom(problem::write_panicked);
    OpenApiRouter::with_openapi(openapi::Base::openapi())
        .routes(routes!(updates::post).layer(guard_writes()))
        .routes(routes!(feed::get))
        .routes(routes!(list::get))
        .routes(routes!(jobs::put).layer(guard_writes()))
        .routes(routes!(jobs::delete).layer(guard_writes()))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::history))
        .routes(routes!(lookup::post))
        .routes(routes!(counts::get))
        .routes(routes!(timeline::get))
        .routes(routes!(pipelines::list))
        .routes(routes!(pipelines::put).layer(guard_writes()))
        .routes(routes!(pipelines::get))
        .routes(routes!(flush::post))
        .routes(routes!(prune::post).layer(guard_writes()))
        .routes(routes!(stats::get))
        .routes(routes!(check::get))
        .routes(routes!(backup::get))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::get))
}

#[cfg(test)]
mod tests;
