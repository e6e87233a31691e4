use redb::backends::InMemoryBackend;

use super::*;

std::thread_local! {
    /// For a control: what is refused at the release of a hold is noted nowhere.
    pub static RELEASE_NOTES_NOTHING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// For a control: what is changed while a file is opened is not held back.
    pub static HOLDS_NOTHING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// For controls: a disk that is opened believes what it reads.
    pub static BELIEVES_BLOCKS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn content(backend: &dyn StorageBackend) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(backend.len().unwrap()).unwrap()];
    backend.read(0, &mut bytes).unwrap();
    bytes
}

fn holding(file: Backend) -> (Disk, Arc<Hold>) {
    let trouble = Trouble::new(Arc::new(|| ()));
    let (disk, hold) = Disk::holding(file, DiskCounters::default(), trouble, Locks::Taken).unwrap();
    (disk.verifying().unwrap(), hold)
}

/// Plays the same operations on a held disk and on a plain one.
fn play(operations: &[(u8, u64, usize)]) {
    let file = || {
        let file = InMemoryBackend::new();
        file.set_len(10_000).unwrap();
        file.write(0, &[9; 10_000]).unwrap();
        file
    };
    let plain = file();
    let (disk, hold) = holding(Arc::new(file()));
    for (number, (kind, place, size)) in (1..).zip(operations.iter().copied()) {
        let length = plain.len().unwrap();
        match kind {
            0 => {
                plain.set_len(place).unwrap();
                disk.set_len(place).unwrap();
            }
            1 => disk.sync_data().unwrap(),
            _ if place + size as u64 <= length => {
                plain.write(place, &vec![number; size]).unwrap();
                disk.write(place, &vec![number; size]).unwrap();
            }
            _ => assert!(disk.read(place, &mut vec![0; size]).is_err() || size == 0),
        }
        assert_eq!(content(&plain), content(&disk));
    }
    assert_eq!(content(&*hold.inner), vec![9; 10_000], "nothing was written yet");
    hold.release().unwrap();
    assert_eq!(content(&plain), content(&*hold.inner));
    disk.set_len(5).unwrap();
    assert_eq!(hold.inner.len().unwrap(), 5, "nothing is held back any more");
}

proptest::proptest! {
    #[test]
    fn a_held_disk_reads_as_if_it_were_written_and_writes_nothing(
        operations in proptest::collection::vec((0..4_u8, 0..20_000_u64, 0..9_000_usize), 0..12),
    ) {
        play(&operations);
    }
}

#[test]
fn a_block_that_the_file_changes_by_itself_reads_as_a_blank_one() {
    let file = Arc::new(InMemoryBackend::new());
    file.set_len(3 * 4096).unwrap();
    let (disk, hold) = holding(file.clone());
    let read = |at: u64| {
        let mut page = [0; 4096];
        disk.read(at * 4096, &mut page).unwrap();
        page
    };
    // Held back, let through, and written since.
    disk.write(0, &[7; 2 * 4096]).unwrap();
    assert_eq!((read(0), read(1), read(2)), ([7; 4096], [7; 4096], [0; 4096]));
    hold.release().unwrap();
    assert_eq!((read(0), read(1), read(2)), ([7; 4096], [7; 4096], [0; 4096]));
    disk.write(4096, &[8; 4096]).unwrap();
    assert_eq!(read(1), [8; 4096]);
    for at in 0..3 {
        file.write(at * 4096 + 9, &[1]).unwrap();
        assert_eq!(read(at), [0xff; 4096], "{at}");
    }
    // It is as it was again; and what is new is not compared with what was.
    file.write(9, &[7]).unwrap();
    assert_eq!(read(0), [7; 4096]);
    disk.set_len(4096).unwrap();
    disk.set_len(3 * 4096).unwrap();
    assert_eq!((read(0), read(1), read(2)), ([7; 4096], [0; 4096], [0; 4096]));
}
