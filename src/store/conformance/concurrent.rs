//! Readers beside a writer and its folds: they see whole batches, and numbers that add up.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const JOBS: usize = 12;
const BATCHES: u64 = 400;
const STATUSES: [&str; 3] = ["queued", "processing", "completed"];

/// A batch that gives all jobs the same status.
fn batch(number: u64) -> Request {
    let status = STATUSES[(number % STATUSES.len() as u64) as usize];
    let update = |job| Update::status(&format!("job-{job}"), status).expect("an update");
    Request::new((0..JOBS).map(update).collect())
}

/// What a reader may see at any moment: every job in the same status, or not yet there.
fn look(read: &dyn ReadStore) {
    let (counts, as_of_seq) = read.counts();
    assert_eq!(counts.total(), if as_of_seq == 0 { 0 } else { JOBS as u64 });
    assert_eq!(counts.by_status().len(), usize::from(as_of_seq > 0), "half a batch is counted");
    assert_eq!(as_of_seq % JOBS as u64, 0, "half a batch is durable");
    let page = read
        .page(&query(JobFilter::default(), Order::Newest, 1_000, 100_000))
        .expect("a page is read");
    let statuses: std::collections::HashSet<_> =
        page.jobs.iter().map(|(_, record)| record.status).collect();
    assert!(statuses.len() <= 1, "half a batch is listed: {statuses:?}");
    assert!(page.jobs.iter().all(|(_, record)| record.seq <= page.as_of_seq));
    let job_ids: Vec<JobId> =
        (0..JOBS).map(|job| JobId::parse(&format!("job-{job}")).expect("an id")).collect();
    let lookup = read.lookup(&job_ids).expect("jobs are looked up");
    let statuses: std::collections::HashSet<_> =
        lookup.records.iter().map(|it| it.as_ref().map(|it| it.status)).collect();
    assert_eq!(statuses.len(), 1, "half a batch is looked up: {statuses:?}");
    assert!(lookup.records.iter().flatten().all(|record| record.seq <= lookup.as_of_seq));
    if as_of_seq > 0 {
        let job_id = JobId::parse("job-0").expect("an id");
        assert!(read.get(&job_id).expect("a job is read").is_some(), "a job never vanishes");
    }
    let feed = read.feed(as_of_seq.saturating_sub(20), 1_000).expect("the feed is read");
    assert!(
        feed.operations.windows(2).all(|pair| pair[0].seq() + 1 == pair[1].seq()),
        "the feed has a gap"
    );
    assert_eq!(read.check().expect("the check reads").problems, Vec::<String>::new());
}

fn readers_beside_a_writer(mut subject: Subject) {
    let read = subject.read.clone().expect("the store is open");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (read, is_done) = (read.clone(), &is_done);
                scope.spawn(move || {
                    let mut looks = 0;
                    while !is_done.load(Ordering::SeqCst) || looks < 10 {
                        look(&*read);
                        looks += 1;
                    }
                })
            })
            .collect();
        for number in 0..BATCHES {
            subject.write().append(&[batch(number)], TimestampMs(NOW)).expect("append");
            if number % 7 == 0 {
                subject.fold();
            }
        }
        is_done.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.join().expect("a reader finds everything whole");
        }
    });
    look(subject.read());
    assert_eq!(subject.read().counts().1, BATCHES * JOBS as u64);
}

#[test]
fn readers_of_the_oracle_never_see_half_a_batch() {
    readers_beside_a_writer(Subject::memory());
}

#[test]
fn readers_of_a_store_on_disk_never_see_half_a_batch() {
    let directory = tempfile::tempdir().expect("a directory");
    readers_beside_a_writer(Subject::disk(directory.path()));
}

#[test]
fn the_tail_stays_within_its_bounds() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut subject = Subject::disk(directory.path());
    let jobs_max = subject.options.tail_jobs_max;
    for number in 0..300_u64 {
        let update = Update::status(&format!("job-{number}"), "queued").expect("an update");
        let batch = [Request::new(vec![update])];
        subject.write().append(&batch, TimestampMs(NOW)).expect("append");
        let tail_jobs = subject.read().stats().tail_jobs;
        assert!(tail_jobs <= 2 * jobs_max as u64, "{tail_jobs} jobs in the tail");
    }
    assert!(subject.read().stats().folds > 0, "a full tail is folded");
    assert_eq!(subject.read().check().expect("the check reads").jobs, 300);
}

/// What the tail of a store weighs at most, in bytes, while 200 updates of some KiB each come, and
/// how often it is folded.
fn tail_of_long_errors(tail_bytes_max: usize) -> (u64, u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let options =
        StoreOptions { tail_jobs_max: 1_000_000, tail_bytes_max, ..options(directory.path()) };
    let (write, read, now) = (None, None, Duration::ZERO);
    let mut subject = Subject { options, is_on_disk: true, write, read, now };
    subject.open();
    let error = "e".repeat(4 << 10);
    let mut most = 0;
    for number in 0..200_u64 {
        let (job_id, status) = (format!("job-{number}"), Some("error"));
        let fields = UpdateFields { job_id: &job_id, status, ..UpdateFields::default() };
        let update = Update::new(UpdateFields { error: Some(&error), ..fields });
        let batch = [Request::new(vec![update.expect("an update")])];
        subject.write().append(&batch, TimestampMs(NOW)).expect("append");
        most = most.max(subject.read().stats().tail_bytes);
    }
    assert_eq!(subject.read().check().expect("the check reads").jobs, 200);
    (most, subject.read().stats().folds)
}

/// Both generations together; the control has room for all of it.
#[test]
fn the_tail_stays_within_its_bytes() {
    let bytes_max = 20 << 10;
    let (most, folds) = tail_of_long_errors(bytes_max);
    assert!(most <= 2 * bytes_max as u64, "{most} bytes in the tail");
    assert!(folds > 0, "a full tail is folded");
    let (most, folds) = tail_of_long_errors(32 << 20);
    assert!(most > 20 * bytes_max as u64, "{most} bytes in the tail");
    assert_eq!(folds, 0);
}
