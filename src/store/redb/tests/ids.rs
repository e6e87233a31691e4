//! Runs of ids, and their merging over many folds.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Command, Order, PageQuery};

/// Lists all jobs in the order of their ids.
fn ids(read: &dyn ReadStore) -> Vec<String> {
    let mut query = PageQuery { order: Order::Id, limit: 7, scan_max: 50, ..PageQuery::default() };
    let mut ids = Vec::new();
    loop {
        let page = read.page(&query).unwrap();
        ids.extend(page.jobs.iter().map(|(id, _)| id.to_string()));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return ids,
        }
    }
}

/// Folds what there is.
fn fold(write: &mut dyn WriteStore, read: &dyn ReadStore) {
    let folds = read.stats().folds;
    write.maintain(Duration::ZERO).unwrap();
    write.maintain(Duration::from_secs(3_600)).unwrap();
    while read.stats().folds == folds {
        std::thread::yield_now();
    }
}

#[test]
fn jobs_are_found_removed_and_made_again_through_hundreds_of_folds_and_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let (mut write, mut read) = open(&options);
    let mut expected: BTreeMap<String, &str> = BTreeMap::new();
    for number in 0..300_u64 {
        // Seven new jobs in no order, a change of an old one, and now and then a removal.
        let name = |it: u64| format!("{:05}", it * 7_919 % 10_007);
        let mut updates: Vec<_> =
            (number * 7..number * 7 + 7).map(|it| (name(it), "queued")).collect();
        updates.push((name(number * 3), "completed"));
        for (id, status) in &updates {
            expected.insert(id.clone(), status);
        }
        let updates = updates.iter().map(|(id, status)| Update::status(id, status).unwrap());
        write.append(&[Request::new(updates.collect())], TimestampMs(NOW)).unwrap();
        if number % 5 == 0 {
            let gone = name(number * 2);
            let job_id = JobId::parse(&gone).unwrap();
            let request = Request::of_command(Command::Remove(job_id));
            write.append(&[request], TimestampMs(NOW)).unwrap();
            expected.remove(&gone);
        }
        fold(&mut *write, &*read);
        if number % 50 == 49 {
            assert_eq!(read.check().unwrap().problems, Vec::<String>::new(), "fold {number}");
            assert_eq!(ids(&*read), expected.keys().cloned().collect::<Vec<_>>());
        }
        if number == 170 {
            // In the middle of a merge.
            drop(read);
            write.close().unwrap();
            (write, read) = open(&options);
        }
    }
    for (id, status) in &expected {
        let record = read.get(&JobId::parse(id).unwrap()).unwrap().unwrap();
        assert_eq!(record.status.as_str(), *status, "{id}");
    }
    drop(read);
    write.close().unwrap();
    let db = Database::open(directory.path().join("tables.redb")).unwrap();
    let tables = db.begin_write().unwrap().list_tables().unwrap().count();
    assert!(tables < 60, "merged runs are removed: {tables} tables");
}
