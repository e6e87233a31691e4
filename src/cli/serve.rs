//! `jobslate serve`: the composition root.
//!
//! ```text
//! start:  log -> listener (answers "opening") -> store -> gate open
//! stop:   gate refuses writes -> listener closes -> open requests finish -> drain -> exit
//! ```
//!
//! The first signal begins the stop, wherever the start is; the second ends the process at once.
//! An end of the writer, by a panic or a failing disk, stops it too. The supervisor is told where
//! it is.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::args::ServeArgs;
use super::config::{Config, Layers};
use super::exit::{Exit, Failure};
use super::open_files;
use super::signals::{self, Signals};
use super::supervisor::Supervisor;
use crate::http::{self, Gate};
use crate::service::{BackupOptions, RetentionOptions, Service, ServiceOptions};
use crate::telemetry;
use crate::telemetry::logging::{self, Log, LogFormat, LogOptions};

/// Long reads and bodies that are worked on at one time; each may hold a page or a body in memory.
/// The others wait, at most one for each connection.
const BLOCKING_THREADS_MAX: usize = 32;

/// Serves until a signal; returns when everything accepted is stored.
///
/// # Errors
/// [`Failure`]: wrong configuration, an address or a store that is in use, damage, or a stop after
/// which not everything is stored.
pub fn run(args: ServeArgs) -> Result<(), Failure> {
    let layers = Layers::read(&args.config, std::env::vars_os())?;
    let mut config = Config::from_layers(&layers)?;
    let log_file = logging::init(&config.log)?;
    for notice in layers.notices() {
        tracing::warn!(event = telemetry::VARIABLE_IGNORED, "{notice}");
    }
    let log = config.log.clone();
    let connections_max = open_files::connections_max(config.http.connections_max);
    config.http.connections_max = connections_max.map_err(|failure| say_once(failure, &log))?;
    config.http.leave_room_beside_watchers();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build();
    let runtime = runtime.map_err(Failure::no_runtime)?;
    let result = runtime.block_on(serve(config, log_file));
    // Everything is stored; a backup that waits for its disk does not hold up the end.
    runtime.shutdown_background();
    result.map_err(|failure| say_once(failure, &log))
}

/// Puts a failure into the log, if that is not the text on standard error where `main` says it.
fn say_once(failure: Failure, log: &LogOptions) -> Failure {
    match (&log.file, log.format) {
        (None, LogFormat::Text) => failure,
        (file, _) => {
            tracing::error!(event = telemetry::STOPPED_BY_FAILURE, "{failure}");
            if file.is_some() { failure } else { Failure::silent(failure.exit) }
        }
    }
}

async fn serve(config: Config, log: Log) -> Result<(), Failure> {
    let signals = Signals::new().map_err(Failure::no_runtime)?;
    let hangups = signals::Hangups::new().map_err(Failure::no_runtime)?;
    let supervisor = Supervisor::from_environment();
    let listener = TcpListener::bind(config.listen)
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    let (listener, address) = listener.map_err(|error| unbound(config.listen, &error))?;
    tracing::info!(
        event = telemetry::OPENING,
        "opening the store; http://{address}/readyz says how far"
    );
    let gate = Gate::new(config.http);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(listener, gate.clone(), async {
        // A sender that is gone means stop as well.
        let _ = stopped.await;
    }));
    let mut run = Run { gate, server, stop: Some(stop), signals, supervisor };
    let care = Care {
        backups: config.backups,
        retention: config.retention,
        scrub_interval: config.scrub_interval,
    };
    let all = async {
        let result = run.all(config.service, care, address).await;
        run.end_server().await.and(result)
    };
    tokio::select! {
        result = all => result,
        never = hangups.obey(&log) => match never {},
    }
}

/// A server with its listener open.
struct Run {
    gate: Gate,
    server: JoinHandle<io::Result<()>>,
    /// Taken when the server is told to stop.
    stop: Option<oneshot::Sender<()>>,
    signals: Signals,
    supervisor: Supervisor,
}

impl Run {
    async fn all(
        &mut self,
        options: ServiceOptions,
        care: Care,
        address: SocketAddr,
    ) -> Result<(), Failure> {
        let directory = options.store.directory.clone();
        self.supervisor.status("opening the store");
        let (service, is_stopping) = self.open(options).await?;
        let supervisor = self.supervisor.clone();
        let serving = async {
            if !is_stopping {
                self.gate.open(service.clone());
                log_ready(address, &directory);
                self.supervisor.ready(&format!("ready on http://{address}"));
            }
            self.serve_and_stop(&service, care, is_stopping).await
        };
        tokio::select! {
            result = serving => result,
            never = supervisor.beat(&service) => match never {},
        }
    }

    async fn serve_and_stop(
        &mut self,
        service: &Service,
        care: Care,
        is_stopping: bool,
    ) -> Result<(), Failure> {
        if !is_stopping {
            let tasks = care.spawn(service);
            let stopped = self.wait_for_stop(service).await;
            // A backup that is being made ends by itself when the store is closed; so does a step
            // of the scrub. What retention asked for is done or refused.
            tasks.iter().for_each(JoinHandle::abort);
            stopped?;
        }
        self.end_server().await?;
        let drained = obey_second(&mut self.signals, service.drain()).await;
        drained.map(|_| ()).map_err(|error| {
            let failure = Failure::from(error);
            Failure::new(failure.exit, format!("not everything is stored: {failure}"))
        })
    }

    /// Opens the store; true if a signal came meanwhile. An open cannot be broken off, so that the
    /// store is closed as it should be.
    async fn open(&mut self, options: ServiceOptions) -> Result<(Service, bool), Failure> {
        let gate = self.gate.clone();
        let progress = Arc::new(move |percent| gate.set_percent(percent));
        let mut opening = tokio::task::spawn_blocking(move || Service::open(options, progress));
        let (opened, is_stopping) = tokio::select! {
            opened = &mut opening => (opened, false),
            _ = self.signals.next() => {
                tracing::info!(event = telemetry::STOPPING, "stopping once the store is open");
                (obey_second(&mut self.signals, opening).await, true)
            }
        };
        let opened = opened.map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        Ok((opened?, is_stopping))
    }

    /// Returns at a signal; fails if the server ends by itself, or the writer for good.
    async fn wait_for_stop(&mut self, service: &Service) -> Result<(), Failure> {
        tokio::select! {
            _ = self.signals.next() => {
                tracing::info!(event = telemetry::STOPPING, "stopping: no more updates are taken");
                Ok(())
            }
            ended = &mut self.server => {
                self.stop = None;
                Err(ended_early(ended))
            }
            error = service.failed() => Err(Failure::from(error)),
        }
    }

    /// Stops the server and waits for its open requests; does nothing the second time.
    async fn end_server(&mut self) -> Result<(), Failure> {
        let Some(stop) = self.stop.take() else { return Ok(()) };
        self.supervisor.stopping();
        self.gate.begin_drain();
        // A server that ended is stopped already.
        let _ = stop.send(());
        match obey_second(&mut self.signals, &mut self.server).await {
            Ok(Ok(())) => Ok(()),
            ended => Err(ended_early(ended)),
        }
    }
}

/// What a server does by itself, beside answering.
struct Care {
    backups: Option<BackupOptions>,
    retention: RetentionOptions,
    scrub_interval: Duration,
}

impl Care {
    fn spawn(self, service: &Service) -> Vec<JoinHandle<()>> {
        let Self { backups, retention, scrub_interval } = self;
        let backups = backups.map(|options| {
            let service = service.clone();
            tokio::spawn(async move { service.run_backups(options).await })
        });
        let (of_scrub, of_retention) = (service.clone(), service.clone());
        let scrub = tokio::spawn(async move { of_scrub.run_scrub(scrub_interval).await });
        let retention = tokio::spawn(async move { of_retention.run_retention(retention).await });
        backups.into_iter().chain([scrub, retention]).collect()
    }
}

/// Waits for a step of the stop; a signal meanwhile ends the process at once.
async fn obey_second<T>(signals: &mut Signals, step: impl Future<Output = T>) -> T {
    tokio::select! {
        done = step => done,
        exit = signals.next() => {
            tracing::warn!(event = telemetry::STOP_BROKEN_OFF, "second signal: ending at once");
            // No destructor may run: it would store what is left, which takes its time.
            std::process::exit(exit as i32)
        }
    }
}

fn log_ready(address: SocketAddr, directory: &Path) {
    tracing::info!(
        event = telemetry::READY,
        "listening on http://{address}, data in {}, ready",
        directory.display()
    );
    if !address.ip().is_loopback() {
        tracing::warn!(
            event = telemetry::INSECURE_LISTEN,
            "everybody who reaches {address} can read and write: there is no authentication"
        );
    }
}

fn ended_early(ended: Result<io::Result<()>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::new(Exit::Internal, "the server ended by itself"),
        Ok(Err(error)) => Failure::new(Exit::Io, format!("the server failed: {error}")),
        Err(error) => Failure::new(Exit::Internal, format!("the server failed: {error}")),
    }
}

/// An address in use is another server's, mostly our own: it may be gone in a moment.
fn unbound(address: SocketAddr, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(
            Exit::TryLater,
            format!("{address} is in use, by another jobslate or another program"),
        ),
        _ => Failure::new(Exit::BadConfig, format!("cannot listen on {address}: {error}")),
    }
}

#[cfg(test)]
mod tests;
