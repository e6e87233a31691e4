use std::sync::Arc;

use super::*;
use crate::model::{Clock, ManualClock, Request, Update, UpdateFields};
use crate::service::ServiceOptions;
use crate::store::redb::verify_backup;
use crate::telemetry::capture::logged;

const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    directory: tempfile::TempDir,
    service: Service,
    clock: ManualClock,
}

impl Bench {
    fn new(reserve_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(TimestampMs(1_764_000_000_000));
        let mut options =
            ServiceOptions { clock: Clock::Manual(clock.clone()), ..ServiceOptions::default() };
        options.store.directory = directory.path().join("data");
        options.store.disk_reserve_bytes = reserve_bytes;
        let service = Service::open(options, Arc::new(|_| ())).unwrap();
        let bench = Self { directory, service, clock };
        bench.service.queue(Update::status("doc-1", "queued").unwrap()).unwrap();
        bench
    }

    fn report(&self, status: &str) {
        let request = Request::new(vec![Update::status("doc-1", status).unwrap()]);
        self.service.submit_blocking(request).unwrap();
    }

    fn options(&self, keep: usize) -> BackupOptions {
        let directory = self.directory.path().join("backups");
        BackupOptions { directory, interval: HOUR, keep }
    }

    fn make(&self, keep: usize) {
        self.service.make_backup(&self.options(keep)).unwrap();
    }

    /// The files in the directory of backups.
    fn found(&self) -> Vec<String> {
        let found = std::fs::read_dir(self.directory.path().join("backups")).unwrap();
        let mut found: Vec<String> =
            found.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        found.sort_unstable();
        found
    }

    fn totals(&self) -> BackupTotals {
        self.service.stats().backups
    }
}

/// A backup of another store in the same directory.
const OTHER: &str = "jobslate-000000000000-20251124T160000.000Z-1.backup";

/// A reserve that the disk has once, and not twice.
fn most_of_the_disk() -> u64 {
    let disk = rustix::fs::statvfs(std::env::temp_dir()).unwrap();
    disk.f_bavail * disk.f_frsize / 4 * 3
}

#[test]
fn the_newest_backups_are_kept_and_nothing_else_is_touched() {
    let bench = Bench::new(0);
    let options = bench.options(3);
    std::fs::create_dir(&options.directory).unwrap();
    let others =
        ["jobslate-1.backup", "jobslate-20251124T160000Z.backup", "notes", "x.backup.part", OTHER];
    for name in others {
        std::fs::write(options.directory.join(name), "not ours").unwrap();
    }
    bench.service.flush_blocking().unwrap();
    // What a process that was killed left.
    let store = bench.service.backup_name();
    let left = options.directory.join(format!("jobslate-{store}-20251124T150000.000Z.backup.part"));
    std::fs::write(&left, "half").unwrap();
    for _ in 0..5 {
        bench.make(3);
        bench.clock.advance(HOUR);
    }
    let mut expected = others.map(str::to_owned).to_vec();
    let of_hour = |hour| format!("jobslate-{store}-20251124T{hour}0000.000Z-1.backup");
    expected.extend([18, 19, 20].map(of_hour));
    expected.sort_unstable();
    assert_eq!(bench.found(), expected);
    let newest = File::open(options.directory.join(of_hour(20)));
    let summary = verify_backup(io::BufReader::new(newest.unwrap())).unwrap();
    let last = bench.totals().last.unwrap();
    assert_eq!((summary.jobs, summary.as_of_seq), (1, 1));
    assert_eq!((last.bytes, last.as_of_seq, last.made_at), (summary.bytes, 1, summary.made_at));
    assert_eq!((bench.totals().made, bench.totals().failed), (5, 0));
}

/// The control: as long as there are no more than are kept, none goes.
#[test]
fn all_are_kept_where_there_is_room_for_more() {
    let bench = Bench::new(0);
    for _ in 0..5 {
        bench.make(99);
        bench.clock.advance(HOUR);
    }
    assert_eq!(bench.found().len(), 5, "{:?}", bench.found());
}

#[test]
fn a_backup_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new(0);
    bench.make(1);
    let directory = bench.options(1).directory;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let found = bench.found();
    assert_eq!(found.len(), 1);
    assert_eq!(mode(&directory.join(&found[0])), 0o600, "{found:?}");
}

#[test]
fn backups_are_told_apart_by_what_they_hold_whatever_the_clock_says() {
    let bench = Bench::new(0);
    // A clock that jumped forward once: from then on the time of a backup stands still.
    bench.clock.set_wall(TimestampMs(4_102_444_800_000));
    bench.report("processing");
    bench.clock.set_wall(TimestampMs(1_764_000_000_000));
    let store = bench.service.backup_name();
    for seq in 3..7 {
        bench.report("processing");
        let moment = bench.service.now();
        let wait = first_wait(&bench.options(3), &store, moment, seq);
        assert_eq!(wait, Duration::ZERO, "there is none that holds as much");
        bench.make(3);
        assert_eq!(first_wait(&bench.options(3), &store, moment, seq), HOUR);
    }
    let expected =
        [4, 5, 6].map(|seq| format!("jobslate-{store}-21000101T000000.000Z-{seq}.backup"));
    assert_eq!(bench.found(), expected);
    bench.make(1);
    assert_eq!(bench.found(), expected[2..]);
}

#[test]
fn an_old_backup_that_cannot_be_removed_is_no_failure() {
    let bench = Bench::new(0);
    bench.make(1);
    let store = bench.service.backup_name();
    let stuck = format!("jobslate-{store}-20251124T100000.000Z-0.backup");
    // No file, so that removing it fails for everybody.
    std::fs::create_dir(bench.options(1).directory.join(&stuck)).unwrap();
    bench.report("processing");
    bench.make(1);
    assert_eq!(bench.found().len(), 2, "{:?}", bench.found());
    assert_eq!((bench.totals().made, bench.totals().failed), (2, 0));
}

#[test]
fn a_failure_is_logged_and_counted_leaves_the_others_and_disturbs_no_write() {
    let bench = Bench::new(0);
    bench.make(2);
    bench.clock.advance(HOUR);
    let before = bench.found();
    let held = File::open(bench.options(2).directory).unwrap();
    held.try_lock().unwrap();
    let log = logged(tracing::Level::ERROR, || {
        let failed = bench.service.make_backup(&bench.options(2)).unwrap_err();
        assert!(failed.to_string().contains("another process"), "{failed}");
    });
    let log = log.join("\n");
    assert!(log.contains("backup_failed") && log.contains("another process"), "{log}");
    bench.report("processing");
    assert_eq!(bench.found(), before);
    let totals = bench.totals();
    assert_eq!((totals.made, totals.failed, totals.is_failing), (1, 1, true));
    drop(held);
    bench.make(2);
    assert_eq!((bench.totals().made, bench.totals().is_failing), (2, false));
}

#[test]
fn a_disk_that_is_nearly_full_gets_no_backup_and_keeps_nothing_of_one() {
    let bench = Bench::new(most_of_the_disk());
    let failed = bench.service.make_backup(&bench.options(2)).unwrap_err();
    assert!(failed.is_full(), "{failed}");
    assert_eq!(bench.found(), [""; 0]);
    assert!(bench.service.backup_for_sending().unwrap_err().is_full());
    bench.report("processing");
}

#[test]
fn the_interval_counts_over_restarts() {
    let bench = Bench::new(0);
    let (options, begin) = (bench.options(2), bench.service.now());
    let store = bench.service.backup_name();
    let wait = |at: u64| first_wait(&options, &store, TimestampMs(at), 1);
    assert_eq!(wait(begin.0), Duration::ZERO, "there is none yet");
    bench.service.flush_blocking().unwrap();
    std::fs::create_dir(&options.directory).unwrap();
    std::fs::write(options.directory.join(OTHER), "of another store").unwrap();
    assert_eq!(wait(begin.0), Duration::ZERO, "there is none of this store");
    bench.make(2);
    assert_eq!(wait(begin.0), HOUR);
    assert_eq!(wait(begin.0 + 1_000), HOUR - Duration::from_secs(1));
    assert_eq!(wait(begin.0 + 4_000_000), Duration::ZERO);
    assert_eq!(wait(0), HOUR, "the clock was set back, and nothing is new");
}

#[tokio::test(start_paused = true)]
async fn a_server_makes_backups_at_the_interval_until_the_store_is_closed() {
    let bench = Bench::new(0);
    let (service, options) = (bench.service.clone(), bench.options(10));
    let begin = tokio::time::Instant::now();
    let running = tokio::spawn(async move { service.run_backups(options).await });
    // Time passes only while nothing else is to be done.
    while bench.totals().made < 4 {
        bench.clock.advance(Duration::from_millis(1));
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(begin.elapsed().as_secs() / 3600, 3, "at once, then every hour");
    assert!(bench.totals().is_scheduled);
    bench.service.drain().await.unwrap();
    running.await.unwrap();
    // Time went on while the drain was waited for.
    assert!(bench.totals().made >= 4 && bench.totals().failed == 0);
    assert!(matches!(bench.service.backup(&mut Vec::new()), Err(BackupError::Closed)));
}

/// Does something before it takes the first bytes.
struct Meanwhile<F>(Option<F>);

impl<F: FnOnce()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(act) = self.0.take() {
            act();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stop_does_not_wait_for_a_backup_which_says_that_it_is_not_whole() {
    let bench = Bench::new(0);
    for number in 0..60_u64 {
        let update = |part: u64| {
            let mut noise = [0; 4 << 10];
            let seed = (number << 32 | part).to_le_bytes();
            blake3::Hasher::new().update(&seed).finalize_xof().fill(&mut noise);
            let noise: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
            let (id, status) = (format!("noise-{number}-{part}"), Some("error"));
            let error = Some(noise.as_str());
            let fields = UpdateFields { job_id: &id, status, error, ..UpdateFields::default() };
            Update::new(fields).unwrap()
        };
        let request = Request::new((0..10).map(update).collect());
        bench.service.submit_blocking(request).unwrap();
    }
    // Fold it: then there is more in the tables than goes out at once.
    bench.service.drain_blocking().unwrap();
    let directory = bench.directory.path().join("data");
    let Bench { service, directory: _kept, .. } = bench;
    drop(service);
    let mut options = ServiceOptions::default();
    options.store.directory = directory;
    let service = Service::open(options, Arc::new(|_| ())).unwrap();
    let drain = || {
        service.drain_blocking().unwrap();
    };
    let made = service.backup(&mut Meanwhile(Some(drain)));
    assert!(matches!(made, Err(BackupError::Closed)), "{made:?}");
}
