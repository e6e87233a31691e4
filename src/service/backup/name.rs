//! The files in the directory of backups: their names alone say whose they are, and which holds
//! more. A clock does not.

use std::fmt;
use std::io;
use std::path::Path;

use crate::model::TimestampMs;
use crate::telemetry::BACKUP_FAILED;

const PREFIX: &str = "jobslate-";
const SUFFIX: &str = ".backup";
/// Of a file that is not whole yet.
const PART_SUFFIX: &str = ".backup.part";

/// `jobslate-8c1f0b7d92aa-20261125T110203.123Z-918273.backup`: store, time, last seq. Ordered by
/// what it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub store: String,
    pub seq: u64,
    pub moment: TimestampMs,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, seq, moment } = self;
        write!(f, "{PREFIX}{store}-{}-{seq}{SUFFIX}", compact(*moment))
    }
}

impl Name {
    /// `None` for the name of any other file.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (rest, seq) = rest.rsplit_once('-')?;
        let (store, moment) = rest.split_once('-')?;
        let (store, seq) = (store.to_owned(), seq.parse().ok()?);
        let name = Self { store, seq, moment: moment_of(moment)? };
        (name.to_string() == text).then_some(name)
    }
}

/// The name of the file while it is made.
pub fn part_of(store: &str, moment: TimestampMs) -> String {
    format!("{PREFIX}{store}-{}{PART_SUFFIX}", compact(moment))
}

fn compact(moment: TimestampMs) -> String {
    moment.to_string().replace(['-', ':'], "")
}

fn moment_of(text: &str) -> Option<TimestampMs> {
    let (date, time) = text.split_once('T')?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let (hour, minute, rest) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    TimestampMs::from_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{rest}")).ok()
}

/// The whole backups of a store, that which holds the most last.
///
/// # Errors
/// The directory's.
pub fn names(directory: &Path, store: &str) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(Name::parse).filter(|name| name.store == store));
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes what a killed process of this store left, as far as that goes.
pub fn remove_parts(directory: &Path, store: &str) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let of_store = name.strip_prefix(PREFIX).and_then(|it| it.strip_prefix(store));
        let moment = of_store.and_then(|it| it.strip_prefix('-')?.strip_suffix(PART_SUFFIX));
        if moment.is_some_and(|moment| moment_of(moment).is_some()) {
            remove(directory, &name);
        }
    }
}

/// Keeps `newest`, and the last of the others of its store. One that cannot be removed stays, and
/// is no failure of the backup that was made.
pub fn remove_oldest(directory: &Path, newest: &Name, keep: usize) {
    let mut others = names(directory, &newest.store).unwrap_or_default();
    others.retain(|name| name != newest);
    let too_many = (others.len() + 1).saturating_sub(keep.max(1));
    others.iter().take(too_many).for_each(|name| remove(directory, &name.to_string()));
}

fn remove(directory: &Path, name: &str) {
    let path = directory.join(name);
    if let Err(error) = std::fs::remove_file(&path) {
        let file = path.display();
        tracing::warn!(event = BACKUP_FAILED, %error, "An old backup cannot be removed: {file}");
    }
}
