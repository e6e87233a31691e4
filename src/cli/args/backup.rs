//! The commands that save a store, bring it back, and make its files shorter.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Server, duration};

/// Save one moment of the whole store as one file, while updates go on
///
/// Asks the running server; with --data-dir, opens a store that no server has open. The file is
/// written under another name beside it, verified, and gets its own name when it is whole. Only its
/// owner may read it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate backup jobslate.backup
  jobslate backup - | ssh vault 'cat > jobslate.backup'
  jobslate backup --data-dir /var/lib/jobslate jobslate.backup    (while the server is stopped)
`serve` makes backups by itself with --backup-dir.")]
pub struct BackupArgs {
    /// File to make, or - for standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
    /// Directory of a store that is not in use
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// No progress, and no last line that says what was saved
    #[arg(long, short)]
    pub quiet: bool,
    /// How long to try again when the server is busy or away
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub retry_for: Duration,
    #[command(flatten)]
    pub server: Server,
}

/// Make a store of a backup, and check it
///
/// The server is stopped meanwhile. The store is made beside what the directory holds, checked as
/// `jobslate check` does, and only then takes its place in one step: a backup that is damaged or
/// cut is refused and leaves everything as it was. There must be room for both. The new store has
/// an id of its own, so cursors of the old one are refused.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate restore jobslate.backup --data-dir /var/lib/jobslate
  ssh vault cat jobslate.backup | jobslate restore - --data-dir copy
Ends with 73 if there is a store already, with 76 if the backup is damaged, cut or of another
build.")]
pub struct RestoreArgs {
    /// Backup to read, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Directory of the store that is made
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Replace the store that is there, once the new one is whole
    #[arg(long)]
    pub force: bool,
    /// No progress, and no last line that says what was restored
    #[arg(long, short)]
    pub quiet: bool,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
}

/// Give the disk back what the files of a store no longer use
///
/// The server is stopped meanwhile. Files keep the length that they once had; what is free in them
/// is used for what comes. After the removal of many jobs, or a peak, this makes them as short as
/// what they hold. It reads both files whole and writes at most about as much; if it is killed, or
/// the power goes, the store is as good as before, and it may be run again.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jobslate compact --data-dir /var/lib/jobslate
Ends with 75 if a server has the store open.")]
pub struct CompactArgs {
    /// Directory of a store that is not in use
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
}
