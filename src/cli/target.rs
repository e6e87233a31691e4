//! Where an export or a backup goes: standard output, or a file that is whole or not there.
//!
//! A file is written under another name in the same directory, synced, and renamed at the end. If
//! the process is killed, the other name stays and may be removed. Only the owner may read a new
//! file, as errors of jobs may be private; one that is replaced keeps its mode.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;

const BUFFER_BYTES: usize = 256 << 10;
/// Of a new file.
const MODE: u32 = 0o600;
/// Who may read, write and execute, without the bits that lend an identity.
const MODE_MASK: u32 = 0o777;
/// Links after which one leads nowhere, as for the system.
const LINKS_MAX: usize = 40;

/// An open output.
#[derive(Debug)]
pub enum Target {
    Stdout,
    /// A pipe or a device with a name: it is there already, and is written as it is.
    Device(BufWriter<File>),
    File(NewFile),
}

/// A file that has not got its name yet; removed if it is dropped before it has.
#[derive(Debug)]
pub struct NewFile {
    writer: BufWriter<File>,
    written_as: PathBuf,
    path: PathBuf,
    may_replace: bool,
    is_named: bool,
}

impl Target {
    /// Opens `path`, or standard output for `-`.
    ///
    /// # Errors
    /// [`Failure`]: it is there already and may not be replaced, or it cannot be made.
    pub fn open(path: &Path, may_replace: bool) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        // Through links: a link that leads to a file is kept, and that file replaced.
        let mut mode = MODE;
        let path = match std::fs::metadata(path) {
            Ok(there) if is_device(&there) => {
                let file = OpenOptions::new().write(true).open(path);
                let file = file.map_err(|error| cannot_create(path, &error.to_string()))?;
                return Ok(Self::Device(BufWriter::with_capacity(BUFFER_BYTES, file)));
            }
            Ok(there) if there.is_dir() => {
                return Err(cannot_create(path, "it is a directory"));
            }
            Ok(_) if !may_replace => return Err(is_there(path)),
            Ok(there) => {
                mode = there.permissions().mode() & MODE_MASK;
                path.canonicalize().unwrap_or_else(|_| path.to_owned())
            }
            // A link that leads to no file yet is there as well.
            Err(_) if !may_replace && path.is_symlink() => return Err(is_there(path)),
            Err(_) => led_to(path),
        };
        NewFile::create(path, may_replace, mode).map(Self::File)
    }

    /// True if people see the data, and a progress bar would stand between.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Stdout) && io::stdout().is_terminal()
    }

    /// True if standard output is free for other things.
    pub fn is_file(&self) -> bool {
        !matches!(self, Self::Stdout)
    }

    /// # Errors
    /// As of the output; a file is not made.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => Ok(output::data(bytes)?),
            Self::Device(writer) => Ok(writer.write_all(bytes)?),
            Self::File(file) => file.writer.write_all(bytes).map_err(|error| file.failed(&error)),
        }
    }

    /// What was written, to be read from its beginning; `None` if it is gone.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub fn written(&mut self) -> Result<Option<File>, Failure> {
        let Self::File(new) = self else { return Ok(None) };
        let opened = new.writer.flush().and_then(|()| File::open(&new.written_as));
        opened.map(Some).map_err(|error| new.failed(&error))
    }

    /// Everything is written: a file is synced and gets its name.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => Ok(()),
            Self::Device(mut writer) => Ok(writer.flush()?),
            Self::File(file) => file.finish(),
        }
    }
}

impl NewFile {
    fn create(path: PathBuf, may_replace: bool, mode: u32) -> Result<Self, Failure> {
        let Some(name) = path.file_name() else {
            return Err(cannot_create(&path, "it has no name"));
        };
        let mut other = std::ffi::OsString::from(".");
        other.push(name);
        other.push(format!(".{}.part", std::process::id()));
        let written_as = path.with_file_name(other);
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&written_as);
        let file = file.map_err(|error| cannot_create(&path, &error.to_string()))?;
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        let new = Self { writer, written_as, path, may_replace, is_named: false };
        if mode != MODE {
            // Not by the call that makes it: the umask would take a part away.
            let permitted = new.writer.get_ref().set_permissions(Permissions::from_mode(mode));
            permitted.map_err(|error| cannot_create(&new.path, &error.to_string()))?;
        }
        Ok(new)
    }

    fn finish(mut self) -> Result<(), Failure> {
        let synced = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        synced.map_err(|error| self.failed(&error))?;
        if !self.may_replace && self.path.symlink_metadata().is_ok() {
            return Err(is_there(&self.path));
        }
        let renamed = std::fs::rename(&self.written_as, &self.path);
        renamed.map_err(|error| self.failed(&error))?;
        self.is_named = true;
        // Without it, the old file may be back after a power failure.
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = File::open(directory.unwrap_or(Path::new("."))).and_then(|it| it.sync_all());
        synced.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new(Exit::Io, format!("cannot write {}: {error}", self.path.display()))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            // What cannot be removed is named so that people know what it is.
            let _ = std::fs::remove_file(&self.written_as);
        }
    }
}

/// Where the links of `path` lead, though there is nothing.
fn led_to(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = path.read_link() else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

fn is_device(there: &Metadata) -> bool {
    !there.is_file() && !there.is_dir()
}

fn is_there(path: &Path) -> Failure {
    cannot_create(path, "it is there already; --force replaces it")
}

fn cannot_create(path: &Path, why: &str) -> Failure {
    Failure::new(Exit::CannotCreate, format!("cannot make {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let names = std::fs::read_dir(directory).unwrap().map(|it| it.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.csv");
        let mut dropped = Target::open(&path, false).unwrap();
        dropped.write(b"half").unwrap();
        assert!(!path.exists());
        drop(dropped);
        assert_eq!(names(directory.path()), [""; 0]);
        let mut whole = Target::open(&path, false).unwrap();
        whole.write(b"whole").unwrap();
        whole.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(directory.path()), ["jobs.csv"]);
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_if_that_was_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.csv");
        let mut slow = Target::open(&path, false).unwrap();
        slow.write(b"new").unwrap();
        std::fs::write(&path, "old").unwrap();
        assert_eq!(Target::open(&path, false).unwrap_err().exit, Exit::CannotCreate);
        assert_eq!(slow.finish().unwrap_err().exit, Exit::CannotCreate);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut forced = Target::open(&link, true).unwrap();
        forced.write(b"new").unwrap();
        forced.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(link.is_symlink());
    }

    #[test]
    fn a_new_file_is_the_owners_and_one_that_is_replaced_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.csv");
        let write = |may_replace| {
            let mut target = Target::open(&path, may_replace).unwrap();
            target.write(b"x").unwrap();
            target.finish().unwrap();
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!(write(false), 0o600);
        for mode in [0o600, 0o640, 0o666] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(write(true), mode);
        }
    }

    #[test]
    fn a_link_that_leads_to_no_file_is_refused_at_once_or_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (link, file) = (directory.path().join("link"), directory.path().join("file"));
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert_eq!(Target::open(&link, false).unwrap_err().exit, Exit::CannotCreate);
        let mut forced = Target::open(&link, true).unwrap();
        forced.write(b"x").unwrap();
        forced.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }

    #[test]
    fn a_device_is_written_and_a_directory_is_refused() {
        let mut device = Target::open(Path::new("/dev/null"), false).unwrap();
        device.write(b"x").unwrap();
        device.finish().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let refused = Target::open(directory.path(), true).unwrap_err();
        assert!(refused.message.ends_with("it is a directory"), "{refused}");
    }
}
