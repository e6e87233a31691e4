//! What stands between the listener and the service: it opens when the store is open.
//!
//! The listener starts first. Until [`Gate::open`], each call of the API is `503 opening`; after
//! [`Gate::begin_drain`], each write is `503 draining`. All handlers share one gate, so the
//! server's own counters and flags live here too.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::watch;

use super::connections::Connections;
use super::feed::Hub;
use super::meter::Meter;
use super::options::HttpOptions;
use super::problem::Problem;
use super::tag::Tags;
use crate::api::ProblemCode;
use crate::model::Kind;
use crate::service::{HealthState, Service};
use crate::telemetry::pressure::Pool;

/// The shared state of the server. Clones are one gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: OnceLock<Service>,
    /// Set before the service.
    tags: OnceLock<Tags>,
    percent: AtomicU8,
    /// True once the stop has begun; streams that do not end by themselves follow it.
    drain: watch::Sender<bool>,
    /// One `check` at a time.
    check: Turn,
    /// One backup at a time is made and sent.
    backup: Turn,
    /// Bytes of the bodies that are being read or parsed.
    bodies_bytes: AtomicUsize,
    /// Bytes of the long answers that wait for their readers.
    answers_bytes: AtomicUsize,
    connections: Connections,
    hub: Hub,
    /// Streams of the feed that are open, and pages that wait.
    watchers: AtomicU64,
    meter: Meter,
    options: HttpOptions,
    started_at: Instant,
}

impl Gate {
    /// A closed gate.
    pub fn new(options: HttpOptions) -> Self {
        Self(Arc::new(Inner {
            service: OnceLock::new(),
            tags: OnceLock::new(),
            percent: AtomicU8::new(0),
            drain: watch::Sender::new(false),
            check: Turn::default(),
            backup: Turn::default(),
            bodies_bytes: AtomicUsize::new(0),
            answers_bytes: AtomicUsize::new(0),
            connections: Connections::default(),
            hub: Hub::default(),
            watchers: AtomicU64::new(0),
            meter: Meter::default(),
            options,
            started_at: Instant::now(),
        }))
    }

    /// How far the store is open, from 0 to 100, for `/readyz`.
    pub fn set_percent(&self, percent: u8) {
        self.0.percent.store(percent.min(100), Ordering::Relaxed);
    }

    /// Lets calls through to `service`. Only the first service counts.
    pub fn open(&self, service: Service) {
        self.0.tags.get_or_init(|| Tags::of(service.store_id()));
        let _already_open = self.0.service.set(service);
    }

    /// The tag of a job whose last update was `seq` and whose status means `kind`.
    pub(super) fn tag(&self, seq: u64, kind: Kind) -> String {
        self.0.tags.get().map(|tags| tags.tag(seq, kind)).unwrap_or_default()
    }

    /// Refuses writes from now on; reads go on.
    pub fn begin_drain(&self) {
        self.0.drain.send_replace(true);
    }

    /// The bounds and periods of the server.
    pub fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    /// The service, for a read.
    pub(super) fn readable(&self) -> Result<&Service, Problem> {
        self.0.service.get().ok_or_else(|| self.opening())
    }

    /// The service, for a write.
    pub(super) fn writable(&self) -> Result<&Service, Problem> {
        let service = self.readable()?;
        if *self.0.drain.borrow() {
            return Err(Problem::draining());
        }
        Ok(service)
    }

    /// Whether calls can be answered now.
    pub(super) fn ready(&self) -> Result<(), Problem> {
        let service = self.writable()?;
        match service.health() {
            HealthState::Ready => Ok(()),
            HealthState::Draining => Err(Problem::draining()),
            HealthState::Failed => Err(Problem::storage_failed()),
            HealthState::Full => Err(Problem::storage_full()),
        }
    }

    fn opening(&self) -> Problem {
        let percent = self.0.percent.load(Ordering::Relaxed);
        let detail = format!("the store is being opened, {percent} % done");
        let mut problem = Problem::new(ProblemCode::Opening, detail).retry_after(1);
        problem.percent = Some(percent);
        problem
    }

    /// The right to run the one check; `None` if one is running.
    pub(super) fn begin_check(&self) -> Option<Taken> {
        self.0.check.take()
    }

    /// The right to make and send the one backup; `None` if one is on its way.
    pub(super) fn begin_backup(&self) -> Option<Taken> {
        self.0.backup.take()
    }

    /// Follows whether the stop has begun.
    pub(super) fn drain(&self) -> watch::Receiver<bool> {
        self.0.drain.subscribe()
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// Counts a watcher of the feed, until it is dropped: a stream, or a page that waits.
    ///
    /// # Errors
    /// [`Problem`] `too_many_watchers`.
    pub(super) fn begin_watch(&self) -> Result<Watching, Problem> {
        let watchers_max = self.options().watchers_max;
        let watching = Watching(self.clone());
        if self.0.watchers.fetch_add(1, Ordering::Relaxed) < watchers_max as u64 {
            return Ok(watching);
        }
        let detail = format!("{watchers_max} watchers follow the feed, which is the most");
        Err(Problem::new(ProblemCode::TooManyWatchers, detail).retry_after(10))
    }

    /// Streams of the feed that are open, and pages that wait.
    pub(super) fn watchers(&self) -> u64 {
        self.0.watchers.load(Ordering::Relaxed)
    }

    pub(super) fn bodies_bytes(&self) -> &AtomicUsize {
        &self.0.bodies_bytes
    }

    pub(super) fn answers_bytes(&self) -> &AtomicUsize {
        &self.0.answers_bytes
    }

    /// Warns if most of the connections are in use, together with the other bounds of the process.
    pub(super) fn watch_connections(&self, in_use: usize) {
        if let Some(service) = self.0.service.get() {
            let now = service.options().clock.monotonic();
            let bound = self.0.options.connections_max;
            service.pressure().observe(Pool::Connections, in_use, bound, now);
        }
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Whole seconds since the gate was made.
    pub(super) fn uptime_s(&self) -> u64 {
        self.0.started_at.elapsed().as_secs()
    }
}

/// A watcher of the feed, until it is dropped.
#[derive(Debug)]
pub(super) struct Watching(Gate);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one caller at a time may do.
#[derive(Debug, Default)]
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(&self) -> Option<Taken> {
        let was_taken = self.0.swap(true, Ordering::Acquire);
        (!was_taken).then(|| Taken(Arc::clone(&self.0)))
    }
}

/// The right to do it, until this is dropped.
#[derive(Debug)]
pub(super) struct Taken(Arc<AtomicBool>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
