//! Random filters, orders and page sizes: whatever the oracle's scan gives, the indexes give.

use std::collections::HashSet;

use super::*;

/// A query without a cursor; pages are small, and some end short.
pub fn page_query() -> impl Strategy<Value = PageQuery> {
    let statuses = ["queued", "processing", "completed", "error", "own.word", "never.seen"];
    let prefixes = ["", "job-", "job-1", "job-11", "j", "x"];
    let moment = || proptest::option::weighted(0.2, 0..110_u64);
    let filter = (
        proptest::collection::vec(0..statuses.len(), 0..3),
        proptest::collection::vec(0..Kind::ALL.len(), 0..3),
        proptest::option::weighted(0.4, 0..4_usize),
        0..prefixes.len(),
        (moment(), moment(), moment()),
    );
    let filter = filter.prop_map(move |(words, kinds, pipeline, prefix, (from, before, since))| {
        let at = |step: Option<u64>| step.map(|step| TimestampMs(NOW + step * STEP_MS));
        JobFilter {
            statuses: words.iter().map(|it| Status::parse(statuses[*it]).expect("one")).collect(),
            kinds: kinds.iter().map(|it| Kind::ALL[*it]).collect(),
            pipeline: pipeline
                .and_then(|it| PipelineName::parse(["a", "b", "default", "none"][it]).ok()),
            prefix: prefixes[prefix].to_owned(),
            updated_from: at(from),
            updated_before: at(before),
            stalled_since: at(since),
        }
    });
    let orders = [Order::Newest, Order::Oldest, Order::Id];
    (filter, 0..orders.len(), 1..6_usize, prop_oneof![1 => 1..6_usize, 2 => Just(10_000)]).prop_map(
        move |(filter, order, limit, scan_max)| query(filter, orders[order], limit, scan_max),
    )
}

/// Every page of a walk, joined; the walk must end, and meet no job twice.
pub fn walk(read: &dyn ReadStore, query: &PageQuery) -> Vec<(JobId, u64)> {
    let (mut query, mut jobs) = (query.clone(), Vec::new());
    for _ in 0..1_000 {
        let page = read.page(&query).expect("a page is read");
        assert!(page.jobs.len() <= query.limit);
        jobs.extend(page.jobs.into_iter().map(|(job_id, record)| (job_id, record.seq)));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => {
                let ids: HashSet<_> = jobs.iter().map(|(id, _)| id).collect();
                assert_eq!(ids.len(), jobs.len(), "a job appears twice: {query:?} {jobs:?}");
                return jobs;
            }
        }
    }
    panic!("the walk does not end");
}

/// Asserts that both give the same jobs in the same order, whatever the length of the pages.
pub fn compare(oracle: &dyn ReadStore, subject: &dyn ReadStore, query: &PageQuery) {
    let whole = PageQuery { limit: 1_000, scan_max: 10_000, ..query.clone() };
    let page = oracle.page(&whole).expect("a page is read");
    let expected: Vec<_> = page.jobs.into_iter().map(|(id, record)| (id, record.seq)).collect();
    assert_eq!(expected, walk(oracle, query), "{query:?}");
    assert_eq!(expected, walk(subject, &whole), "{query:?}");
    assert_eq!(expected, walk(subject, query), "{query:?}");
}

/// A walk while others write: nothing twice, nothing missed that did not change, nothing newer than
/// its beginning.
fn walk_during_writes(query: &PageQuery, steps: Vec<Vec<Request>>) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut subject = Subject::disk(directory.path());
    let mut steps = steps.into_iter().enumerate();
    for (number, requests) in steps.by_ref().take(6) {
        let time = TimestampMs(NOW + number as u64 * STEP_MS);
        subject.write().append(&requests, time).expect("append");
    }
    let whole = PageQuery { limit: 1_000, scan_max: 10_000, ..query.clone() };
    let before = walk(subject.read(), &whole);
    let begun_as_of = subject.read().counts().1;
    let (mut query, mut met) = (query.clone(), Vec::new());
    loop {
        let page = subject.read().page(&query).expect("a page is read");
        assert_eq!(page.as_of_seq, begun_as_of, "a walk reflects one moment");
        met.extend(page.jobs.into_iter().map(|(job_id, record)| (job_id, record.seq)));
        let Some(next) = page.next else { break };
        query.cursor = Some(next);
        if let Some((number, requests)) = steps.next() {
            let time = TimestampMs(NOW + number as u64 * STEP_MS);
            subject.write().append(&requests, time).expect("append");
            match number % 5 {
                0 => subject.fold(),
                1 => subject.reopen(),
                _ => (),
            }
        }
    }
    let ids: HashSet<_> = met.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), met.len(), "a job appears twice: {query:?} {met:?}");
    assert!(met.iter().all(|job| before.contains(job)), "{query:?} met {met:?} of {before:?}");
    for (job_id, seq) in before {
        let now = subject.read().get(&job_id).expect("read");
        let is_unchanged = now.is_some_and(|record| record.seq == seq);
        assert!(!is_unchanged || met.contains(&(job_id.clone(), seq)), "{job_id} was missed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2 * cases(), max_shrink_iters: 200, ..ProptestConfig::default()
    })]

    #[test]
    fn a_walk_beside_writers_shows_its_beginning(
        query in page_query(),
        steps in proptest::collection::vec(proptest::collection::vec(request(), 1..4), 6..30),
    ) {
        walk_during_writes(&query, steps);
    }
}
