//! The configuration of a server: one table of keys, three sources, one conversion.
//!
//! ```text
//! keys.rs     every key: name, range, default, meaning        (the only description there is)
//! file.rs     TOML       \
//! layers.rs   environment >  raw texts with their origins, later over earlier
//! flags.rs    flags      /
//! mod.rs      Layers -> Config: types, ranges, relations between keys
//! sample.rs   the table as a sample file and as Markdown;  show.rs  what is in effect, and why
//! ```

mod error;
mod file;
mod flags;
mod keys;
mod layers;
mod quantity;
mod sample;
mod show;
#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use flags::ConfigFlags;
pub use layers::Layers;
pub use quantity::{format_bytes, format_duration, parse_duration};
pub use sample::{markdown, sample};
pub use show::{effective_json, effective_toml};

use std::net::SocketAddr;
use std::time::Duration;

use crate::http::{Hosts, HttpOptions};
use crate::model::{Kind, Kinds, Status};
use crate::service::{BackupOptions, Keep, RetentionOptions, ServiceOptions};
use crate::store::StoreOptions;
use crate::telemetry::logging::{self, LogFormat, LogOptions};
use error::Assigned;
use keys::Key;
use layers::{Given, not_of_type};

/// Everything that a server is told before it starts, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub http: HttpOptions,
    pub service: ServiceOptions,
    /// `None`: the server makes no backups by itself.
    pub backups: Option<BackupOptions>,
    /// Zero: there is no scrub.
    pub scrub_interval: Duration,
    pub retention: RetentionOptions,
    pub log: LogOptions,
}

impl Config {
    /// Converts the raw values; each is judged here and nowhere else.
    ///
    /// # Errors
    /// [`ConfigError`]: the key, the value, what is allowed, and where the value came from.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        check_relations(layers)?;
        Ok(Self {
            listen: listen(layers)?,
            http: http(layers)?,
            service: service(layers)?,
            backups: backups(layers)?,
            scrub_interval: layers.period(&keys::SCRUB_INTERVAL)?,
            retention: retention(layers)?,
            log: log(layers)?,
        })
    }
}

fn listen(layers: &Layers) -> Result<SocketAddr, ConfigError> {
    let address = layers.address(&keys::LISTEN)?;
    if !address.ip().is_loopback() && !layers.is_set(&keys::INSECURE_LISTEN)? {
        let Given { text, origin } = layers.given(&keys::LISTEN);
        return Err(ConfigError::NotLoopback { address: text, origin });
    }
    Ok(address)
}

/// What a request may name as its host, given what the server listens on.
fn hosts(layers: &Layers) -> Result<Hosts, ConfigError> {
    let given = layers.given(&keys::ALLOWED_HOSTS);
    let allowed: Vec<String> = sample::words(&given.text).map(str::to_owned).collect();
    if !allowed.iter().all(|host| Hosts::is_host(host)) {
        let expected = "names or addresses without ports, such as jobs.example.org";
        return Err(not_of_type(&keys::ALLOWED_HOSTS, &given, expected));
    }
    Ok(Hosts::new(listen(layers)?.ip(), allowed))
}

fn http(layers: &Layers) -> Result<HttpOptions, ConfigError> {
    Ok(HttpOptions {
        hosts: hosts(layers)?,
        body_bytes_max: layers.memory_bytes(&keys::BODY_BYTES_MAX)?,
        bodies_bytes_max: layers.memory_bytes(&keys::BODIES_BYTES_MAX)?,
        answers_bytes_max: layers.memory_bytes(&keys::ANSWERS_BYTES_MAX)?,
        page_bytes_max: layers.memory_bytes(&keys::PAGE_BYTES_MAX)?,
        body_timeout: layers.period(&keys::BODY_TIMEOUT)?,
        page_scan_max: layers.count(&keys::PAGE_SCAN_MAX)?,
        connections_max: layers.count(&keys::CONNECTIONS_MAX)?,
        watchers_max: layers.count(&keys::WATCHERS_MAX)?,
        header_timeout: layers.period(&keys::HEADER_TIMEOUT)?,
        idle_timeout: layers.period(&keys::IDLE_TIMEOUT)?,
        drain_timeout: layers.period(&keys::DRAIN_TIMEOUT)?,
    })
}

fn service(layers: &Layers) -> Result<ServiceOptions, ConfigError> {
    Ok(ServiceOptions {
        batch_size: layers.count(&keys::BATCH_SIZE)?,
        flush_interval: layers.period(&keys::FLUSH_INTERVAL)?,
        batch_updates_max: layers.count(&keys::BATCH_UPDATES_MAX)?,
        batch_bytes_max: layers.memory_bytes(&keys::BATCH_BYTES_MAX)?,
        queue_updates_max: layers.count(&keys::QUEUE_UPDATES_MAX)?,
        queue_bytes_max: layers.memory_bytes(&keys::QUEUE_BYTES_MAX)?,
        log_job_starts: layers.is_set(&keys::LOG_JOB_STARTS)?,
        store: store(layers)?,
        ..ServiceOptions::default()
    })
}

fn store(layers: &Layers) -> Result<StoreOptions, ConfigError> {
    let directory = layers.path(&keys::DATA_DIR);
    Ok(StoreOptions {
        directory: directory.ok_or_else(|| {
            not_of_type(&keys::DATA_DIR, &layers.given(&keys::DATA_DIR), "a directory")
        })?,
        kinds: kinds(layers)?,
        tail_jobs_max: layers.count(&keys::TAIL_JOBS_MAX)?,
        tail_bytes_max: layers.memory_bytes(&keys::TAIL_BYTES_MAX)?,
        fold_interval: layers.period(&keys::FOLD_INTERVAL)?,
        disk_reserve_bytes: layers.bytes(&keys::DISK_RESERVE)?,
        cache_bytes: layers.memory_bytes(&keys::CACHE_BYTES)?,
        feed_age_max: layers.period(&keys::FEED_AGE_MAX)?,
        feed_bytes_max: layers.bytes(&keys::FEED_BYTES_MAX)?,
        pipelines_max: layers.count(&keys::PIPELINES_MAX)?,
        statuses_max: layers.count(&keys::STATUSES_MAX)?,
        timeline_rows_max: layers.count(&keys::TIMELINE_ROWS_MAX)? as u64,
        idempotency_keys_max: layers.count(&keys::IDEMPOTENCY_KEYS_MAX)? as u64,
        idempotency_age_max: layers.period(&keys::IDEMPOTENCY_AGE_MAX)?,
        ..StoreOptions::default()
    })
}

fn backups(layers: &Layers) -> Result<Option<BackupOptions>, ConfigError> {
    let interval = layers.period(&keys::BACKUP_INTERVAL)?;
    let keep = layers.count(&keys::BACKUP_KEEP)?;
    let directory = layers.path(&keys::BACKUP_DIR);
    Ok(directory.map(|directory| BackupOptions { directory, interval, keep }))
}

fn retention(layers: &Layers) -> Result<RetentionOptions, ConfigError> {
    let keep = |age: &'static Key, jobs_max: &'static Key| -> Result<Keep, ConfigError> {
        Ok(Keep { age: layers.period(age)?, jobs_max: layers.count(jobs_max)? as u64 })
    };
    Ok(RetentionOptions {
        succeeded: keep(&keys::RETAIN_SUCCEEDED_FOR, &keys::RETAIN_SUCCEEDED_MAX)?,
        failed: keep(&keys::RETAIN_FAILED_FOR, &keys::RETAIN_FAILED_MAX)?,
        cancelled: keep(&keys::RETAIN_CANCELLED_FOR, &keys::RETAIN_CANCELLED_MAX)?,
        interval: layers.period(&keys::RETENTION_INTERVAL)?,
    })
}

fn kinds(layers: &Layers) -> Result<Kinds, ConfigError> {
    let given = layers.given(&keys::KINDS);
    let mut changed = Vec::new();
    for pair in given.text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let refused = |expected: &str| ConfigError::NotOfType {
            key: keys::KINDS.name,
            value: format!("{pair:?}"),
            expected: expected.to_owned(),
            origin: given.origin.clone(),
        };
        let (word, kind) = pair.split_once('=').ok_or_else(|| refused("word=kind"))?;
        let status = Status::parse(word.trim()).map_err(|_| refused("a word [a-z0-9_.-]{1,32}"))?;
        let kind = Kind::parse(kind.trim())
            .ok_or_else(|| refused(&format!("one of the kinds {}", keys::KINDS.shape.range())))?;
        changed.push((status, kind));
    }
    Ok(Kinds::new(changed, layers.is_set(&keys::STRICT_STATUSES)?))
}

fn log(layers: &Layers) -> Result<LogOptions, ConfigError> {
    let level = layers.given(&keys::LOG_LEVEL);
    if logging::filter(&level.text).is_none() {
        let expected = keys::LOG_LEVEL.shape.range();
        return Err(not_of_type(&keys::LOG_LEVEL, &level, &expected));
    }
    Ok(LogOptions {
        level: level.text,
        format: match layers.choice(&keys::LOG_FORMAT)? {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        },
        file: layers.path(&keys::LOG_FILE),
    })
}

/// A request fits a batch, and a batch fits the queue; else the largest could never be taken.
fn check_relations(layers: &Layers) -> Result<(), ConfigError> {
    not_above(layers, &keys::BATCH_UPDATES_MAX, &keys::QUEUE_UPDATES_MAX, Layers::count)?;
    not_above(layers, &keys::BATCH_SIZE, &keys::QUEUE_UPDATES_MAX, Layers::count)?;
    not_above(layers, &keys::BODY_BYTES_MAX, &keys::BATCH_BYTES_MAX, Layers::bytes)?;
    not_above(layers, &keys::BODY_BYTES_MAX, &keys::BODIES_BYTES_MAX, Layers::bytes)?;
    not_above(layers, &keys::BATCH_BYTES_MAX, &keys::QUEUE_BYTES_MAX, Layers::bytes)?;
    reserve_suffices(layers)
}

/// What was accepted must fit on a disk that has its reserve left, and be folded (DESIGN, section
/// 4).
fn reserve_suffices(layers: &Layers) -> Result<(), ConfigError> {
    let tails = layers.bytes(&keys::TAIL_BYTES_MAX)?.saturating_mul(2);
    let least = tails.saturating_add(layers.bytes(&keys::QUEUE_BYTES_MAX)?);
    let least = least.saturating_add(64 << 20);
    if layers.bytes(&keys::DISK_RESERVE)? >= least {
        return Ok(());
    }
    let Given { text, origin } = layers.given(&keys::DISK_RESERVE);
    let reserve = Box::new(Assigned { key: keys::DISK_RESERVE.name, value: text, origin });
    Err(ConfigError::Reserve { reserve, least: format_bytes(least) })
}

fn not_above<T: PartialOrd>(
    layers: &Layers,
    lower: &'static Key,
    upper: &'static Key,
    value: impl Fn(&Layers, &'static Key) -> Result<T, ConfigError>,
) -> Result<(), ConfigError> {
    if value(layers, lower)? <= value(layers, upper)? {
        return Ok(());
    }
    let assigned = |key: &'static Key| {
        let Given { text, origin } = layers.given(key);
        Box::new(Assigned { key: key.name, value: text, origin })
    };
    Err(ConfigError::Above { lower: assigned(lower), upper: assigned(upper) })
}
