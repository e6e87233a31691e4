//! The lines as a monitor reads them.

use super::*;
use crate::telemetry::capture::logged;

fn line(updates: u64, commit_ms: u64) -> BatchLine {
    BatchLine {
        updates,
        jobs: updates,
        bytes: 100,
        wait: Duration::from_millis(12),
        commit: Duration::from_millis(commit_ms),
        reason: "size",
        seq: 1200,
    }
}

#[test]
fn batches_become_one_line_a_second_with_the_sums() {
    let second = Duration::from_secs(1);
    let lines = logged(tracing::Level::INFO, || {
        let mut log = BatchLog::default();
        assert_eq!(log.due_at(), None);
        log.batch(&line(50, 3));
        assert_eq!(log.due_at(), Some(Duration::ZERO));
        log.write_due(second);
        log.batch(&line(60, 7));
        log.write_due(second * 3 / 2);
        log.batch(&line(70, 5));
        assert_eq!(log.due_at(), Some(second * 2));
        log.write_due(second * 2);
        assert_eq!(log.due_at(), None);
        log.write_due(second * 9);
        log.batch(&line(1, 1));
        log.write_rest();
        log.write_rest();
    });
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].contains("INFO Batch updated 50 job statuses event=\"batch_committed\""));
    assert!(lines[1].contains("Batch updated 130 job statuses"), "{}", lines[1]);
    assert!(lines[1].contains(
        "updates=130 jobs=130 batches=2 bytes=200 commit_ms_max=7.0 reason=\"size\" seq=1200"
    ));
    assert!(lines[2].contains("Batch updated 1 job statuses"));
}

#[test]
fn a_batch_of_rejections_alone_is_no_updated_batch() {
    let lines = logged(tracing::Level::INFO, || {
        let mut log = BatchLog::default();
        log.batch(&line(0, 3));
        assert_eq!(log.due_at(), None);
        log.write_rest();
    });
    assert!(lines.is_empty(), "{lines:#?}");
}

#[test]
fn every_batch_is_a_line_of_its_own_at_debug() {
    let lines = logged(tracing::Level::DEBUG, || {
        let mut log = BatchLog::default();
        log.batch(&line(50, 3));
        log.batch(&line(51, 3));
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("Batch appended event=\"batch_appended\" updates=51"));
}

#[test]
fn a_started_job_is_named_and_cannot_forge_a_line() {
    let lines = logged(tracing::Level::INFO, || {
        BatchLog::default().job_started("doc-0001");
        BatchLog::default().job_started("x\u{202e} gestartet");
    });
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("Pipeline-Job doc-0001 gestartet"), "{}", lines[0]);
    assert!(lines[1].contains(r"Pipeline-Job x\u{202e} gestartet gestartet"), "{}", lines[1]);
}

#[test]
fn rejections_that_nobody_waits_for_are_summed() {
    let lines = logged(tracing::Level::INFO, || {
        let mut log = BatchLog::default();
        log.rejected(0, "");
        log.write_due(Duration::ZERO);
        log.rejected(1, "unknown_job");
        log.write_due(Duration::ZERO);
        for _ in 0..1000 {
            log.rejected(2, "unknown_job");
            log.write_due(Duration::from_secs(19));
        }
        assert_eq!(log.due_at(), Some(Duration::from_secs(20)));
        log.write_due(Duration::from_secs(20));
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("WARN Queued updates were rejected at commit"), "{}", lines[1]);
    assert!(lines[1].contains("rejected=2000 code=\"unknown_job\""), "{}", lines[1]);
}
