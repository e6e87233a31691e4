//! A store that was damaged while no server ran: the real binary refuses it with 76 and changes no
//! byte, or opens it and says what is wrong where it is asked for. `check` ends with 1 then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use redb::{Database, ReadableTable, TableDefinition};
use serde_json::Value;

use crate::server::{Server, Site, eventually, jobslate};

const JOBS: usize = 300;
/// The job that is damaged.
const VICTIM: &str = "job-0123";

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

fn name(number: usize) -> String {
    format!("job-{number:04}")
}

/// A site with jobs, all of them in the tables: the server that made it is stopped.
fn stopped() -> Site {
    let site = Site::new(&[]);
    let server = site.start();
    let line = |number| format!("{{\"job_id\":\"{}\",\"status\":\"queued\"}}\n", name(number));
    let lines: String = (0..JOBS).map(line).collect();
    let reply = server.http.post_as("application/x-ndjson", "/v1/updates", &lines);
    assert_eq!(reply.ok()["applied"], JOBS);
    assert!(server.stop().success());
    site
}

/// A site of its own for a copy of the data of `site`, damaged by `damage`.
fn damaged(site: &Site, damage: impl FnOnce(&Path)) -> Site {
    damaged_with(&[], site, damage)
}

/// The same for servers with `flags`.
fn damaged_with(flags: &[&str], site: &Site, damage: impl FnOnce(&Path)) -> Site {
    let copy = Site::new(flags);
    std::fs::create_dir(copy.data()).unwrap();
    for (file, bytes) in files(&site.data()) {
        std::fs::write(copy.data().join(file), bytes).unwrap();
    }
    damage(&copy.data());
    copy
}

/// What is in the files of a store. The lock is none: it has the number of who holds it.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(directory).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())
    });
    files.filter(|(name, _)| name != "LOCK").collect()
}

fn check_offline(site: &Site) -> Output {
    jobslate(&["check", "--data-dir"]).arg(site.data()).output().unwrap()
}

fn change(file: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(&file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

/// Turns a bit wherever the name of the victim stands.
fn turn_bits(bytes: &mut [u8]) {
    let places: Vec<usize> = (0..bytes.len() - VICTIM.len())
        .filter(|at| bytes[*at..].starts_with(VICTIM.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "the name stands in the file");
    places.into_iter().for_each(|at| bytes[at] ^= 1);
}

type Damage = (&'static str, &'static str, fn(&Path));

const REFUSED: [Damage; 7] = [
    ("tables cut to the half", "tables.redb", |data| {
        change(data.join("tables.redb"), |bytes| bytes.truncate(bytes.len() / 2));
    }),
    ("tables with turned bits", "tables.redb", |data| {
        change(data.join("tables.redb"), |bytes| turn_bits(bytes));
    }),
    ("tables of zeros", "tables.redb", |data| {
        change(data.join("tables.redb"), |bytes| bytes.fill(0));
    }),
    ("empty tables", "tables.redb", |data| change(data.join("tables.redb"), Vec::clear)),
    ("no tables", "tables.redb", |data| std::fs::remove_file(data.join("tables.redb")).unwrap()),
    ("no journal", "journal.redb", |data| {
        std::fs::remove_file(data.join("journal.redb")).unwrap();
    }),
    ("a foreign journal", "journal.redb", |data| {
        let other = stopped();
        std::fs::copy(other.data().join("journal.redb"), data.join("journal.redb")).unwrap();
    }),
];

#[test]
fn a_damaged_store_is_refused_with_76_by_server_and_check_and_no_byte_is_changed() {
    let site = stopped();
    for (what, file, damage) in REFUSED {
        let copy = damaged(&site, damage);
        let before = files(&copy.data());
        for output in [check_offline(&copy), copy.serve().output().unwrap(), check_offline(&copy)] {
            assert_eq!(output.status.code(), Some(76), "{what}: {output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(file) && said.contains("restore"), "{what}: {said}");
            assert!(files(&copy.data()) == before, "{what}: the files were changed");
        }
    }
    // The control: nothing is wrong with the copy alone.
    let copy = damaged(&site, |_| ());
    assert_eq!(check_offline(&copy).status.code(), Some(0));
    let server = copy.start();
    assert_eq!(server.http.get("/v1/counts").ok()["total"], JOBS);
    assert_eq!(server.run(&["check"]).status.code(), Some(0));
    assert!(server.stop().success());
}

/// Changes a table of the tables as a program does that knows the engine, and not what the rows
/// mean: every page is as it should be.
fn edit(
    data: &Path,
    table: &'static str,
    edit: impl FnOnce(&mut redb::Table<&'static [u8], &'static [u8]>),
) {
    let db = Database::open(data.join("tables.redb")).unwrap();
    let write = db.begin_write().unwrap();
    edit(&mut write.open_table(Table::new(table)).unwrap());
    write.commit().unwrap();
}

/// The key and the value of the row whose value names the victim: that of its record.
fn row(table: &redb::Table<&'static [u8], &'static [u8]>) -> (Vec<u8>, Vec<u8>) {
    let rows = table.iter().unwrap().map(|row| {
        let (key, value) = row.unwrap();
        (key.value().to_vec(), value.value().to_vec())
    });
    let name = VICTIM.as_bytes();
    let mut rows = rows.filter(|(_, value)| value.windows(name.len()).any(|part| part == name));
    rows.next().expect("the job has a row")
}

fn drop_index_row(data: &Path) {
    edit(data, "by_status", |table| {
        assert!(table.pop_first().unwrap().is_some(), "some job has a row");
    });
}

fn turn_bit_of_record(data: &Path) {
    edit(data, "records", |table| {
        let (key, mut value) = row(table);
        *value.last_mut().unwrap() ^= 1;
        table.insert(&*key, &*value).unwrap();
    });
}

#[test]
fn a_store_whose_rows_contradict_each_other_makes_check_end_with_1_on_line_and_off() {
    let site = stopped();
    type Damage = fn(&Path);
    let edits = [
        ("by_status", drop_index_row as Damage, 200),
        ("records", turn_bit_of_record as Damage, 500),
    ];
    for (table, damage, status) in edits {
        let copy = damaged(&site, damage);
        let says = |output: &Output| {
            assert_eq!(output.status.code(), Some(1), "{table}: {output:?}");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("NOT CLEAN") && said.contains(table), "{said}");
        };
        says(&check_offline(&copy));
        let server = copy.start();
        says(&server.run(&["check"]));
        // Never another value, and its neighbours are told as before.
        let reply = server.http.get(&format!("/v1/jobs/{VICTIM}"));
        assert_eq!(reply.status, status, "{}", reply.text);
        if status == 500 {
            assert_eq!(reply.json()["code"], "corrupt_record");
        }
        assert_eq!(server.http.get(&format!("/v1/jobs/{}", name(7))).status, 200);
        assert!(server.stop().success());
        says(&check_offline(&copy));
    }
}

fn scrub(server: &Server) -> Value {
    server.http.get("/v1/stats").ok()["scrub"].clone()
}

/// What the statistics say of the scrub after its first round.
fn scrubbed(server: &Server) -> Value {
    eventually("all that is stored was read", || {
        let scrub = scrub(server);
        (scrub["rounds"].as_u64() >= Some(1)).then_some(scrub)
    })
}

#[test]
fn the_scrub_of_a_running_server_finds_what_its_start_does_not() {
    let site = stopped();
    let scrubbing = ["--scrub-interval=1s"];
    let bad = damaged_with(&scrubbing, &site, turn_bit_of_record);
    let server = bad.start();
    let totals = scrubbed(&server);
    assert!(totals["problems"].as_u64() >= Some(1), "{totals}");
    assert_eq!(totals["scheduled"], true);
    let log = bad.log();
    let line = log.lines().find(|line| line.contains("scrub_problem")).expect(&log);
    assert!(line.contains("ERROR") && line.contains("records"), "{line}");
    // It goes on.
    assert_eq!(server.http.get(&format!("/v1/jobs/{}", name(7))).status, 200);
    assert_eq!(server.http.put("next", "", r#"{"status":"queued"}"#).unwrap().status, 200);
    assert!(server.stop().success());

    // The controls: a whole store has none, and without an interval nobody looks.
    let whole = damaged_with(&scrubbing, &site, |_| ());
    let server = whole.start();
    let totals = scrubbed(&server);
    assert_eq!(totals["problems"], 0, "{totals}");
    assert!(totals["rows"].as_u64() > Some(JOBS as u64), "{totals}");
    assert!(server.stop().success());
    let log = whole.log();
    assert!(log.contains("scrub_done") && !log.contains("scrub_problem"), "{log}");
    let unseen = damaged_with(&["--scrub-interval=0s"], &site, turn_bit_of_record);
    let server = unseen.start();
    let totals = scrub(&server);
    assert_eq!((&totals["scheduled"], &totals["rounds"]), (&false.into(), &0.into()), "{totals}");
    assert!(server.stop().success());
}
