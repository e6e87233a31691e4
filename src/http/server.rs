//! The server: connections in, a clean stop on demand.
//!
//! ```text
//! shutdown -> writes are refused -> the listener closes -> open requests finish -> return
//!                                        or drain_timeout ends them
//! ```

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::{TcpConfigAcceptor, TcpKeepaliveConfig, TcpSocketConfig};

use super::connections::Doorman;
use super::gate::Gate;
use crate::model::Clock;
use crate::telemetry;
use crate::telemetry::pressure::Limiter;

/// When a silent peer is first asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// What a connection may hold of a request head, or of an answer that its client does not take: a
/// reader of the feed that is slow must not gather it here. hyper's own bound is 400 KiB.
const CONNECTION_BYTES_MAX: usize = 32 << 10;

/// Serves calls on `listener` until `shutdown` is done and the open requests are finished.
///
/// The service of `gate` stays open: its owner drains it afterwards, when no call is left.
///
/// # Errors
/// The listener cannot be used. A failed connection ends nothing but itself.
pub async fn serve(
    listener: TcpListener,
    gate: Gate,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let options = gate.options().clone();
    let handle = Handle::<SocketAddr>::new();
    let keepalive = TcpKeepaliveConfig::new().time(KEEPALIVE_AFTER);
    let sockets = TcpSocketConfig::new().nodelay(true).keepalive(keepalive);
    let mut server = axum_server::from_tcp(listener)?
        .http1_only()
        .handle(handle.clone())
        .first_request_timeout(options.header_timeout)
        .acceptor(TcpConfigAcceptor::new(sockets))
        .accept_error_handler(note_accept_errors());
    let mut http1 = server.http_builder().http1();
    http1.header_read_timeout(options.idle_timeout).max_buf_size(CONNECTION_BYTES_MAX);
    let serving = server.serve(Doorman::new(super::app(gate.clone()), gate.clone()));
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        () = shutdown => {}
    }
    gate.begin_drain();
    handle.graceful_shutdown(Some(options.drain_timeout));
    serving.await
}

/// Called between two attempts, 50 ms apart, if the system has no more sockets to give.
fn note_accept_errors() -> impl Fn(Option<&SocketAddr>, &io::Error) + Send + Sync {
    let limiter = Mutex::new(Limiter::new(Duration::from_secs(10)));
    move |peer, error| {
        // With a peer, it is the doorman that refused; those are counted.
        let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
        if peer.is_none() && limiter.pass(Clock::System.monotonic()) {
            tracing::warn!(event = telemetry::ACCEPT_FAILED, %error, "No connection is accepted");
        }
    }
}
