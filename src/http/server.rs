//! The server: connections in, a clean stop on demand.
//!
//! ```text
//! shutdown -> writes are refused -> the listener closes -> open requests finish -> return
//!                                        or drain_timeout ends them
//! ```

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection;
use super::connections::Place;
use super::gate::Gate;
use crate::model::Clock;
use crate::telemetry;
use crate::telemetry::pressure::Limiter;

/// When a silent peer is first asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// Longest wait until a connection that makes room is gone, before the next is accepted.
const ROOM_WAIT_MAX: Duration = Duration::from_millis(50);

/// Until the next attempt, if the system has no more sockets to give.
const ACCEPT_GAP: Duration = Duration::from_millis(50);

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
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut limiter = Limiter::new(Duration::from_secs(10));
    let app = super::app(gate.clone());
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    // Refused ones are counted by their places, and closed here.
                    if let Ok(place) = Place::take(gate.clone()) {
                        set_options(&stream);
                        let made_room = place.made_room();
                        let (app, stopped) = (app.clone(), stopped.clone());
                        connections.spawn(connection::serve(stream, app, place, stopped));
                        if made_room {
                            let _ended = timeout(ROOM_WAIT_MAX, connections.join_next()).await;
                        }
                    }
                }
                // Of one peer, which went away before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    note_accept_error(&mut limiter, &error);
                    sleep(ACCEPT_GAP).await;
                }
            },
            // Whatever ended one concerns no other.
            Some(_ended) = connections.join_next() => {}
        }
    }
    gate.begin_drain();
    drop(listener);
    stop.send_replace(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // The rest is ended in the middle.
    let _in_time = timeout(gate.options().drain_timeout, all_ended).await;
    connections.shutdown().await;
    Ok(())
}

/// What cannot be set is done without: the connection itself will show whether it works.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER);
}

fn note_accept_error(limiter: &mut Limiter, error: &io::Error) {
    if limiter.pass(Clock::System.monotonic()) {
        tracing::warn!(event = telemetry::ACCEPT_FAILED, %error, "No connection is accepted");
    }
}
