//! Files of which the system holds nothing in memory.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

const READ_BYTES: usize = 1 << 20;

/// The files of a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    entries.map(|entry| entry.expect("the directory is readable").path()).collect()
}

/// Writes the files to disk and forgets their pages; all pages of the system, if that is allowed.
pub fn make_cold(directory: &Path) {
    for path in files(directory) {
        let file = File::open(path).expect("the file is there");
        file.sync_all().expect("the file is synced");
        fadvise(&file, 0, None, Advice::DontNeed).expect("the system takes advice");
    }
    // For root alone; without it the advice has to do.
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
}

/// Brings the files into memory.
pub fn make_warm(directory: &Path) {
    read_all(directory);
}

/// Reads the files once from the beginning to the end; how long it took.
pub fn read_all(directory: &Path) -> Duration {
    let mut buffer = vec![0; READ_BYTES];
    let start = Instant::now();
    for path in files(directory) {
        let mut file = File::open(path).expect("the file is there");
        while file.read(&mut buffer).expect("the file is readable") > 0 {}
    }
    start.elapsed()
}

/// Copies the files of a directory into a new one.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("the directory is new");
    std::fs::set_permissions(to, from.metadata().expect("it is there").permissions())
        .expect("the directory is ours");
    for path in files(from) {
        let name = path.file_name().expect("a file has a name");
        std::fs::copy(&path, to.join(name)).expect("there is room for a copy");
    }
}
