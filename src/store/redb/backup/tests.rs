mod restore;
mod seeds;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{
    Command, Counts, Expectations, IdempotencyKey, JobId, JobRecord, Operation, PageQuery,
    PipelineName, Request, TimestampMs, Update, UpdateFields,
};
use crate::store::redb::open;
use crate::store::{
    BackupError, BackupFault, BackupSummary, OpenHooks, ReadStore, Reserved, RestoreError, Sides,
    StoreOptions, WriteStore,
};

const NOW: u64 = 1_764_000_000_000;

fn options(directory: &Path) -> StoreOptions {
    StoreOptions {
        directory: directory.to_owned(),
        cache_bytes: 1 << 20,
        feed_block_bytes: 300,
        merge_ids_min: 5,
        ..StoreOptions::default()
    }
}

fn opened(directory: &Path) -> Sides {
    open(options(directory), OpenHooks::default()).unwrap()
}

fn closed((write, read): Sides) {
    drop(read);
    write.close().unwrap();
}

fn append(write: &mut dyn WriteStore, request: Request, now: u64) {
    write.append(&[request], TimestampMs(now)).unwrap();
}

/// Reports one status of each of some jobs, under a key.
fn report(write: &mut dyn WriteStore, jobs: std::ops::Range<u64>, status: &str, now: u64) {
    let idempotency = IdempotencyKey::new(&format!("{status}-{}", jobs.start), [7; 32]);
    let update = |number: u64| {
        let (id, pipeline) = (format!("job-{number}"), ["pdf", "ocr"][number as usize % 2]);
        let labels = Some(vec![("source".to_owned(), format!("scan {number}"))]);
        let (status, pipeline) = (Some(status), Some(pipeline));
        let error = (status == Some("error")).then_some("no text");
        let fields = UpdateFields { status, error, pipeline, labels, ..fields(&id) };
        Update::new(fields).unwrap()
    };
    let request = Request { idempotency, ..Request::new(jobs.map(update).collect()) };
    append(write, request, now);
}

fn fields(job_id: &str) -> UpdateFields<'_> {
    UpdateFields { job_id, ..UpdateFields::default() }
}

/// Two lives of a store: the first is folded, of the second everything is in the tail.
fn sample(directory: &Path) -> Sides {
    let (mut write, read) = opened(directory);
    report(&mut *write, 0..12, "queued", NOW);
    report(&mut *write, 0..9, "processing", NOW + 1_000);
    report(&mut *write, 3..6, "error", NOW + 61_000);
    let (pipeline, total) = (PipelineName::parse("pdf").unwrap(), Some(3));
    append(&mut *write, Request::of_command(Command::Expect { pipeline, total }), NOW + 62_000);
    closed((write, read));
    let (mut write, read) = opened(directory);
    report(&mut *write, 0..3, "completed", NOW + 3_600_000);
    let gone = Command::Remove(JobId::parse("job-11").unwrap());
    append(&mut *write, Request::of_command(gone), NOW + 3_601_000);
    let heartbeat =
        UpdateFields { progress: Some(0.5), message: Some("page 3"), ..fields("job-7") };
    append(&mut *write, Request::new(vec![Update::new(heartbeat).unwrap()]), NOW + 3_602_000);
    // Nothing but a key: a batch without an operation.
    let rejected = Update::new(UpdateFields { message: Some("?"), ..fields("nobody") }).unwrap();
    let idempotency = IdempotencyKey::new("rejected", [7; 32]);
    let request = Request { idempotency, ..Request::new(vec![rejected]) };
    append(&mut *write, request, NOW + 3_603_000);
    (write, read)
}

/// Everything that a reader can be told.
#[derive(Debug, PartialEq)]
struct Contents {
    jobs: Vec<(JobId, Arc<JobRecord>)>,
    counts: Arc<Counts>,
    as_of_seq: u64,
    expectations: Arc<Expectations>,
    feed: Vec<Operation>,
    first_held: u64,
    updated_at: TimestampMs,
    keys: BTreeMap<String, bool>,
}

fn contents(read: &dyn ReadStore) -> Contents {
    let query = PageQuery { limit: 1_000, scan_max: 10_000, ..PageQuery::default() };
    let mut jobs = read.page(&query).unwrap().jobs;
    jobs.sort_by(|a, b| a.0.cmp(&b.0));
    let (counts, as_of_seq) = read.counts();
    let feed = read.feed(0, 10_000).unwrap();
    let names = ["queued-0", "processing-0", "error-3", "completed-0", "rejected", "never"];
    let kept = |name: &str| read.kept_answer(name, TimestampMs(NOW)).unwrap().is_some();
    Contents {
        jobs,
        counts,
        as_of_seq,
        expectations: read.expectations(),
        feed: feed.operations,
        first_held: feed.first_held,
        updated_at: read.updated_at(),
        keys: names.into_iter().map(|name| (name.to_owned(), kept(name))).collect(),
    }
}

fn backup(read: &dyn ReadStore) -> (Vec<u8>, BackupSummary) {
    let mut bytes = Vec::new();
    let summary = read.backup(&mut bytes, TimestampMs(NOW)).unwrap();
    (bytes, summary)
}

/// The bytes of the files of a directory, with their names.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = std::fs::read_dir(directory).unwrap().map(|it| it.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    names.map(|path| (name(&path), std::fs::read(&path).unwrap_or_default())).collect()
}

#[test]
fn a_restored_store_tells_what_the_store_told_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let (mut write, read) = sample(&from);
    let (bytes, summary) = backup(&*read);
    let told = contents(&*read);
    assert!(told.keys["rejected"] && !told.keys["never"]);
    assert_eq!((summary.jobs, summary.as_of_seq), (11, told.as_of_seq));
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(verify_backup(&*bytes).unwrap(), summary);
    // The store moves on; the backup does not.
    report(&mut *write, 0..12, "cancelled", NOW + 7_200_000);
    closed((write, read));

    assert_eq!(restore(&*bytes, &to, false).unwrap(), summary);
    let (mut write, read) = opened(&to);
    assert_eq!(contents(&*read), told);
    assert_ne!(read.store_id(), summary.store_id, "a cursor of the old store means nothing here");
    report(&mut *write, 5..30, "completed", NOW + 7_200_000);
    assert_eq!(read.counts().1, told.as_of_seq + 25);
    closed((write, read));
    let (_write, read) = opened(&to);
    assert_eq!(read.check().unwrap().problems, [] as [String; 0]);
    assert_eq!(read.counts().0.total(), 30);
}

#[test]
fn a_store_without_a_tail_and_an_empty_store_come_back_too() {
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().join("from");
    let (write, read) = opened(&from);
    let (empty, summary) = backup(&*read);
    assert_eq!((summary.jobs, summary.as_of_seq), (0, 0));
    closed((write, read));
    closed(sample(&from));
    let (write, read) = opened(&from);
    assert_eq!(read.stats().tail_updates, 0, "everything is folded");
    let (folded, _) = backup(&*read);
    let told = contents(&*read);
    closed((write, read));

    restore(&*empty, &directory.path().join("empty"), false).unwrap();
    restore(&*folded, &directory.path().join("folded"), false).unwrap();
    let (mut write, read) = opened(&directory.path().join("empty"));
    report(&mut *write, 0..2, "queued", NOW);
    assert_eq!(read.counts().1, 2);
    let (mut write, read) = opened(&directory.path().join("folded"));
    assert_eq!(contents(&*read), told);
    report(&mut *write, 0..2, "queued", NOW + 9_000_000);
    closed((write, read));
    let (_write, read) = opened(&directory.path().join("folded"));
    assert!(read.check().unwrap().is_clean());
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_write, read) = sample(directory.path());
    let (bytes, _) = backup(&*read);
    for length in 0..bytes.len() {
        let fault = verify_backup(&bytes[..length]).unwrap_err();
        assert!(matches!(fault, BackupFault::Damaged(_)), "{length}: {fault}");
    }
    assert!(verify_backup(&*[&*bytes, b"\0"].concat()).is_err());
    let mut accepted_without_sums = 0;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let fault = verify_backup(&*damaged);
            assert!(matches!(fault, Err(BackupFault::Damaged(_))), "{at}, {flip}: {fault:?}");
            // The control: without checksums, damage comes through.
            let trusting = BackupReader::trusting(&*damaged).and_then(BackupReader::drain);
            accepted_without_sums += usize::from(trusting.is_ok());
        }
    }
    let flips = bytes.len() * 3;
    println!("{accepted_without_sums} of {flips} flips come through without checksums");
    assert!(accepted_without_sums > 100, "the test would not notice a missing checksum");
}

#[test]
fn a_swapped_block_a_row_twice_and_a_table_less_are_refused() {
    let header = codec_header();
    let write = |rows: &[&[u8]], tables: usize| {
        let mut bytes = Vec::new();
        let mut writer = write::BackupWriter::new(&mut bytes, &header).unwrap();
        for name in table_names().take(tables) {
            writer.table(&name).unwrap();
            rows.iter().for_each(|key| writer.row(key, b"value").unwrap());
        }
        writer.finish().unwrap();
        verify_backup(&*bytes)
    };
    let all = table_names().count();
    assert!(write(&[b"a", b"b"], all).is_ok());
    assert!(write(&[b"b", b"a"], all).is_err());
    assert!(write(&[b"a", b"a"], all).is_err());
    assert!(write(&[b"a", b"b"], all - 1).is_err());
}

fn codec_header() -> crate::store::redb::codec::BackupHeader<'static> {
    crate::store::redb::codec::BackupHeader {
        backup_format: BACKUP_FORMAT,
        store_format: 4,
        store_id: "store",
        made_at: NOW,
        as_of_seq: 3,
        jobs: 2,
    }
}

fn table_names() -> impl Iterator<Item = String> {
    use crate::store::redb::schema::{OF_TABLES, SEGMENTS};
    let names = OF_TABLES.into_iter().chain([SEGMENTS]);
    names.map(|table| redb::TableHandle::name(&table).to_owned())
}

#[test]
fn a_row_longer_than_a_block_and_one_at_its_edge_come_back() {
    let mut bytes = Vec::new();
    let mut writer = write::BackupWriter::new(&mut bytes, &codec_header()).unwrap();
    let long = vec![5; 3 * BLOCK_BYTES + 17];
    let mut rows =
        vec![(vec![0; 9], vec![1; BLOCK_BYTES - 17]), (vec![1], long), (vec![2], vec![])];
    rows.push((vec![3], vec![9; BLOCK_BYTES - 8]));
    for name in table_names() {
        writer.table(&name).unwrap();
        rows.iter().for_each(|(key, value)| writer.row(key, value).unwrap());
    }
    writer.finish().unwrap();
    let mut reader = BackupReader::open(&*bytes).unwrap();
    let mut found = Vec::new();
    loop {
        match reader.next().unwrap() {
            Entry::Table(_) => found.clear(),
            Entry::Row(key, value) => found.push((key.to_vec(), value.to_vec())),
            Entry::End(_) => break,
        }
    }
    assert!(found == rows);
}

#[test]
fn a_backup_of_another_format_is_refused_by_name() {
    let mut bytes = Vec::new();
    let header = crate::store::redb::codec::BackupHeader { store_format: 9, ..codec_header() };
    write::BackupWriter::new(&mut bytes, &header).unwrap().finish().unwrap();
    let fault = verify_backup(&*bytes).unwrap_err();
    assert!(matches!(fault, BackupFault::OtherFormat { .. }), "{fault:?}");
    assert!(fault.to_string().contains("of a store of 9"), "{fault}");
}

#[test]
fn a_backup_holds_its_moment_no_longer_than_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (mut write, read) = opened(directory.path());
    for number in 0..400_u64 {
        let mut noise = [0; 4 << 10];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
        let noise: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("noise-{number}");
        let (status, error) = (Some("error"), Some(noise.as_str()));
        let update = Update::new(UpdateFields { status, error, ..fields(&id) }).unwrap();
        append(&mut *write, Request::new(vec![update]), NOW);
    }
    let mut time = Duration::ZERO;
    let mut fold = |from: u64| {
        for number in from..from + 3 {
            // First into the generation that a view has.
            report(&mut *write, number..number + 1, "queued", NOW + number);
            let folds = read.stats().folds;
            while read.stats().folds == folds {
                time += Duration::from_secs(60);
                write.maintain(time).unwrap();
            }
        }
    };
    fold(0);
    let (bytes, _) = backup(&*read);
    assert!(bytes.len() > BLOCK_BYTES, "an output sees some of it before all of it was read");
    fold(20);
    assert_eq!(read.stats().moments_held, 1);
    // The control: an output that is a client, which takes its time.
    let (told, mut held, mut bytes) = (contents(&*read), 0, Vec::new());
    let act = || {
        fold(40);
        held = held.max(read.stats().moments_held);
    };
    read.backup(&mut Slow { act, bytes: &mut bytes }, TimestampMs(NOW)).unwrap();
    assert!(held > 1, "the test would not notice a moment that is held");
    // Batches and folds while it was written are not in it.
    assert_ne!(read.counts().1, told.as_of_seq);
    let copy = tempfile::tempdir().unwrap();
    restore(&*bytes, &copy.path().join("copy"), false).unwrap();
    assert!(contents(&*opened(&copy.path().join("copy")).1) == told);
}

/// Does something before it takes bytes.
struct Slow<'a, F> {
    act: F,
    bytes: &'a mut Vec<u8>,
}

impl<F: FnMut()> std::io::Write for Slow<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.act)();
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_backup_stops_before_the_disk_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let (_write, read) = sample(directory.path());
    let names = || files(directory.path()).into_keys().collect::<Vec<_>>();
    let before = names();
    let scratch = read.scratch().unwrap();
    assert_eq!(names(), before, "it has no name");
    let mut none_left = Reserved::new(scratch, u64::MAX / 2);
    let full = read.backup(&mut none_left, TimestampMs(NOW)).unwrap_err();
    assert!(full.is_full(), "{full}");
    let mut roomy = Reserved::new(read.scratch().unwrap(), 0);
    read.backup(&mut roomy, TimestampMs(NOW)).unwrap();
    roomy.flush().unwrap();
    let file: File = roomy.into_file();
    assert!(file.metadata().unwrap().len() > 0);
    let other = BackupError::Output(std::io::Error::other("no"));
    assert!(!other.is_full());
}
