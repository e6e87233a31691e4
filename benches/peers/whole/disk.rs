//! How much of the disk a store takes, against what it keeps.
//!
//! What it keeps are the keys and values of the tables of records and indexes, as long as they are.
//! What it takes are the allocated blocks of both files, less the pages of the feed, which is kept
//! for a time and not for good. Once as a clean close leaves it, and once compacted.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};

use jobslate::store::redb::compact;

use super::super::child::{Child, Task, Then, data};
use super::{Figure, MIB, StartChild, listen};

const JOURNAL: &str = "journal.redb";
const TABLES: &str = "tables.redb";
/// Records, and the indexes by status and by pipeline and status. The index of ids is in the tables
/// that [`RUNS`] names.
const KEPT: [&str; 3] = ["records", "by_status", "by_pipeline"];
const RUNS: &str = "runs";
const FEED: &str = "feed";
/// What `stat` counts in.
const BLOCK_BYTES: u64 = 512;

pub fn run(
    jobs: usize,
    round: usize,
    directory: &Path,
    start_child: StartChild<'_>,
) -> Vec<Figure> {
    let home = tempfile::tempdir_in(directory).expect("the directory of the benchmark is writable");
    let task = Task { directory: home.path().to_owned(), jobs, then: Then::Close };
    listen(&mut Child::start(start_child(), &task), "disk");
    let data = data(home.path());
    let path = data.join(TABLES);
    let journal = allocated(&data.join(JOURNAL));
    // Before redb opens the file, which may change it.
    let folded = allocated(&path);
    let open = || Database::open(&path).expect("redb opens what the store closed");
    let tables = open();
    let (kept, feed) = (kept_bytes(&tables), feed_bytes(&tables));
    drop(tables);
    compact(&data).expect("the store is closed");
    let compacted = allocated(&path);
    let feed_compacted = feed_bytes(&open());
    let figure = |name, value| Figure { plan: "disk", name, round, value };
    let mib = |name, bytes: u64| figure(name, bytes as f64 / MIB);
    let ratio = |bytes: u64, feed: u64| (bytes + journal).saturating_sub(feed) as f64 / kept as f64;
    vec![
        mib("kept_mib", kept),
        mib("feed_mib", feed),
        mib("journal_mib", journal),
        mib("tables_mib", folded),
        mib("tables_compacted_mib", compacted),
        figure("folded_ratio", ratio(folded, feed)),
        figure("compacted_ratio", ratio(compacted, feed_compacted)),
    ]
}

fn allocated(path: &Path) -> u64 {
    let metadata = path.metadata().expect("the file is part of the store");
    metadata.blocks() * BLOCK_BYTES
}

fn definition(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

/// The keys and values of what is kept, as long as they are.
fn kept_bytes(tables: &Database) -> u64 {
    let txn = tables.begin_read().expect("redb begins");
    let runs = txn.open_table(definition(RUNS)).expect("the table is part of the store");
    let runs = runs.iter().expect("redb reads").map(|row| {
        let number = row.expect("redb reads").0.value().try_into().map(u32::from_be_bytes);
        format!("ids_{:010}", number.expect("a run has a number"))
    });
    let names: Vec<String> = KEPT.iter().map(|name| (*name).to_owned()).chain(runs).collect();
    let of_table = |name: &String| {
        let table = txn.open_table(definition(name)).expect("the table is part of the store");
        let rows = table.iter().expect("redb reads");
        let bytes = rows.map(|row| {
            let (key, value) = row.expect("redb reads");
            key.value().len() + value.value().len()
        });
        bytes.sum::<usize>() as u64
    };
    names.iter().map(of_table).sum()
}

/// The pages of the feed.
fn feed_bytes(tables: &Database) -> u64 {
    let txn = tables.begin_read().expect("redb begins");
    let feed = txn.open_table(definition(FEED)).expect("the table is part of the store");
    let stats = feed.stats().expect("redb reads");
    stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes()
}
