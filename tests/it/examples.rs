//! The examples that embed the service run, small, so that they cannot rot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[path = "../../packaging/examples/embed_threads.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod embed_threads;
#[path = "../../packaging/examples/embed_tokio.rs"]
#[expect(dead_code, reason = "`main` is for `cargo run --example`")]
mod embed_tokio;

fn numbers(by_status: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    by_status.iter().map(|(status, jobs)| (status.as_str(), *jobs)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tokio_pipeline_keeps_the_status_of_its_jobs() {
    let directory = tempfile::tempdir().unwrap();
    let summary = embed_tokio::run(directory.path(), 200).await.unwrap();
    // Of the 20 with a bad line, the two without a good one fail again.
    assert_eq!(numbers(&summary.jobs_by_status), [("completed", 198), ("error", 2)]);
    let updates = 200 * 3 + 20 * 2;
    assert_eq!(summary.updates, updates);
    assert!((1..updates / 2).contains(&summary.transactions), "{}", summary.transactions);
}

#[test]
fn a_threaded_pipeline_finds_after_a_restart_what_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots: Vec<PathBuf> = ["src/model", "tests/data"].map(|it| project.join(it)).into();
    let first = embed_threads::run(&roots, directory.path()).unwrap();
    let [("completed", texts), ("error", others)] = numbers(&first.jobs_by_status)[..] else {
        panic!("{:?}", first.jobs_by_status)
    };
    assert!(texts > 10 && others > 3, "{texts} texts, {others} others");
    assert_eq!((first.updates, first.skipped), (3 * (texts + others), 0));
    assert!(first.transactions < texts + others, "{} transactions", first.transactions);

    let second = embed_threads::run(&roots, directory.path()).unwrap();
    assert_eq!(second.jobs_by_status, first.jobs_by_status);
    assert_eq!((second.updates, second.skipped as u64), (3 * others, texts));
}
