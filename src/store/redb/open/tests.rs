mod damaged;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::model::{JobId, Request, Update};

/// A directory with a store in it, and what the store was left with.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A home in memory, if there is such a place: for very many openings, each of which syncs.
    fn fast() -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self { directory: tempfile::tempdir_in(place).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn options(&self) -> StoreOptions {
        StoreOptions {
            directory: self.directory.path().to_owned(),
            cache_bytes: 1 << 20,
            ..StoreOptions::default()
        }
    }

    fn open(&self) -> Result<Sides, OpenError> {
        open(self.options(), OpenHooks::default())
    }

    /// A home whose store holds `jobs` jobs, stopped cleanly or killed.
    fn with_jobs(jobs: usize, is_clean: bool) -> Self {
        let home = Self::new();
        let (mut write, read) = home.open().unwrap();
        for job in 0..jobs {
            let update = Update::status(&format!("job-{job}"), "queued").unwrap();
            write.append(&[Request::new(vec![update])], TimestampMs(1_764_000_000_000)).unwrap();
        }
        if is_clean {
            write.close().unwrap();
            return home;
        }
        // Before redb tidies up, which a killed process does not.
        let contents = home.contents();
        drop((write, read));
        home.fill(&contents);
        home
    }

    fn fill(&self, contents: &[(String, Vec<u8>)]) {
        for (name, content) in contents {
            std::fs::write(self.path(name), content).unwrap();
        }
    }

    fn jobs(&self) -> u64 {
        let (_write, read) = self.open().unwrap();
        assert_eq!(read.check().unwrap().problems, Vec::<String>::new());
        read.counts().0.total()
    }

    /// Opens, expects a refusal that names `file`, and that no file was touched.
    fn refuses(&self, file: &str) -> String {
        let before = self.contents();
        let error = match self.open() {
            Ok(_) => panic!("a store with a bad {file} opens"),
            Err(error) => error,
        };
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(file), "{text}");
        let ways = ["restore", "choose", "open it with the build"];
        assert!(ways.iter().any(|way| text.contains(way)), "the way back: {text}");
        assert_eq!(before, self.contents(), "the files are untouched");
        text
    }

    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let names = [JOURNAL, TABLES, "STORE"];
        let read = |name: &str| std::fs::read(self.path(name)).unwrap_or_default();
        names.map(|name| (name.to_owned(), read(name))).into()
    }
}

#[test]
fn a_store_lives_through_a_clean_stop_and_a_kill() {
    assert_eq!(Home::with_jobs(20, true).jobs(), 20);
    let home = Home::with_jobs(20, false);
    assert_eq!(home.jobs(), 20);
    assert_eq!(home.jobs(), 20);
}

#[test]
fn the_directory_and_its_files_belong_to_their_owner_alone() {
    let home = Home::with_jobs(1, true);
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.directory.path().to_owned()), 0o700);
    for name in ["LOCK", "STORE", JOURNAL, TABLES] {
        assert_eq!(mode(home.path(name)), 0o600, "{name}");
    }
}

#[test]
fn a_second_opener_is_told_who_has_the_directory() {
    let home = Home::new();
    let _sides = home.open().unwrap();
    let error = home.open().err().unwrap();
    assert!(matches!(&error, OpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn a_missing_or_empty_file_is_refused_and_never_made_anew() {
    for name in [JOURNAL, TABLES] {
        let home = Home::with_jobs(3, true);
        std::fs::remove_file(home.path(name)).unwrap();
        assert!(home.refuses(name).contains("missing"));
        assert!(!home.path(name).exists());
        let home = Home::with_jobs(3, true);
        std::fs::write(home.path(name), b"").unwrap();
        assert!(home.refuses(name).contains("empty"));
    }
}

#[test]
fn a_file_of_zeros_of_text_or_cut_short_is_refused() {
    for name in [JOURNAL, TABLES] {
        for content in [vec![0; 100_000], b"not a store, a letter home".to_vec()] {
            let home = Home::with_jobs(3, true);
            std::fs::write(home.path(name), content).unwrap();
            home.refuses(name);
        }
        let home = Home::with_jobs(3, true);
        let whole = std::fs::read(home.path(name)).unwrap();
        std::fs::write(home.path(name), &whole[..whole.len() / 2]).unwrap();
        home.refuses(name);
    }
}

#[test]
fn a_link_a_folder_or_a_pipe_in_a_files_place_is_refused() {
    let home = Home::with_jobs(3, true);
    let elsewhere = home.path("elsewhere");
    std::fs::rename(home.path(TABLES), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, home.path(TABLES)).unwrap();
    assert!(home.refuses(TABLES).contains("not a plain file"));
    std::fs::remove_file(home.path(TABLES)).unwrap();
    std::fs::create_dir(home.path(TABLES)).unwrap();
    assert!(home.refuses(TABLES).contains("not a plain file"));
}

#[test]
fn a_file_of_another_store_is_refused() {
    for name in [JOURNAL, TABLES] {
        let (home, other) = (Home::with_jobs(3, true), Home::with_jobs(3, true));
        std::fs::copy(other.path(name), home.path(name)).unwrap();
        assert!(home.refuses(name).contains("belongs to store"));
    }
}

#[test]
fn a_damaged_mark_of_the_store_is_refused() {
    let other = std::fs::read(Home::with_jobs(1, true).path("STORE")).unwrap();
    let texts = [vec![], vec![0; other.len()], b"a letter home\n".to_vec(), other];
    let home = Home::with_jobs(3, true);
    let whole = std::fs::read(home.path("STORE")).unwrap();
    // Without its last line break it says the same.
    let cut = (0..whole.len() - 1).map(|length| whole[..length].to_vec());
    let flipped = (0..whole.len()).map(|place| {
        let mut flipped = whole.clone();
        flipped[place] ^= 0x04;
        flipped
    });
    for text in texts.into_iter().chain(cut).chain(flipped) {
        std::fs::write(home.path("STORE"), text).unwrap();
        // A name that is another's is told at the file that has the right one.
        home.refuses("");
    }
    std::fs::write(home.path("STORE"), whole).unwrap();
    assert_eq!(home.jobs(), 3, "nothing else was touched");
}

/// The control: a store that is whole is not taken for a refused one.
#[test]
#[should_panic(expected = "opens")]
fn a_whole_store_is_not_refused() {
    Home::with_jobs(3, true).refuses("STORE");
}

#[test]
fn a_journal_that_does_not_reach_the_fold_mark_is_refused() {
    let home = Home::with_jobs(3, false);
    let old = std::fs::read(home.path(JOURNAL)).unwrap();
    let (write, read) = home.open().unwrap();
    drop(read);
    write.close().unwrap();
    let (mut write, read) = home.open().unwrap();
    for job in 0..9 {
        let update = Update::status(&format!("late-{job}"), "queued").unwrap();
        write.append(&[Request::new(vec![update])], TimestampMs(1_764_000_000_000)).unwrap();
    }
    drop(read);
    write.close().unwrap();
    std::fs::write(home.path(JOURNAL), old).unwrap();
    assert!(home.refuses(JOURNAL).contains("folded through"));
}

#[test]
fn a_store_without_its_mark_is_refused_and_an_interrupted_first_start_is_not() {
    let home = Home::with_jobs(3, true);
    std::fs::remove_file(home.path("STORE")).unwrap();
    home.refuses("STORE");

    let home = Home::new();
    std::fs::write(home.path("INITIALISING"), b"").unwrap();
    std::fs::write(home.path(JOURNAL), b"half of a journal").unwrap();
    std::fs::write(home.path("LOCK"), b"").unwrap();
    assert_eq!(home.jobs(), 0);

    // The power may go while STORE itself is written.
    let home = Home::with_jobs(3, true);
    std::fs::write(home.path("INITIALISING"), b"").unwrap();
    std::fs::write(home.path("STORE"), b"").unwrap();
    assert_eq!(home.jobs(), 0);
    assert!(!home.path("INITIALISING").exists());
}

#[test]
fn the_lock_outlives_a_writer_that_gave_up() {
    let home = Home::new();
    let (write, read) = home.open().unwrap();
    drop(write);
    assert!(matches!(home.open(), Err(OpenError::Locked { .. })));
    drop(read);
    assert!(home.open().is_ok());
}

#[test]
fn only_a_clean_stop_is_taken_for_one() {
    let was_clean = |home: &Home| Directory::lock(home.directory.path()).unwrap().was_clean;
    assert!(was_clean(&Home::with_jobs(1, true)));
    assert!(!was_clean(&Home::with_jobs(1, false)));
    let home = Home::with_jobs(1, true);
    std::fs::remove_file(home.path("LOCK")).unwrap();
    assert!(!was_clean(&home), "nobody knows how the last stop was");
    let home = Home::with_jobs(1, true);
    std::fs::write(home.path("LOCK"), b"").unwrap();
    assert!(!was_clean(&home), "a kill while LOCK was written");
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let home = Home::new();
    std::fs::write(home.path("holiday.jpg"), b"sea").unwrap();
    assert!(home.refuses("holiday.jpg").contains("choose an empty"));
    assert!(!home.path("LOCK").exists());
}

#[test]
fn a_replayed_store_goes_on_with_the_next_seq() {
    let home = Home::with_jobs(5, false);
    let (mut write, read) = home.open().unwrap();
    let update = Update::status("job-0", "processing").unwrap();
    let appended = write.append(&[Request::new(vec![update])], TimestampMs(1)).unwrap();
    assert_eq!(appended.answers[0].seqs, Some((6, 6)));
    let record = read.get(&JobId::parse("job-0").unwrap()).unwrap().unwrap();
    // A clock set back to 1970 does not take the time of durability back.
    assert_eq!(record.updated_at, TimestampMs(1_764_000_000_000));
    assert_eq!(read.check().unwrap().problems, Vec::<String>::new());
}
