//! What an import sums up and how it says so; the process itself is tested from outside.

use super::summary::Summary;
use super::*;
use crate::api::{AnswerBody, RejectionBody};

fn chunk(text: &str) -> Chunk {
    let bounds = ChunkBounds { lines_max: 1000, bytes_max: CHUNK_BYTES_MAX };
    Chunker::new(text.as_bytes(), bounds, None).next_chunk().unwrap().unwrap()
}

fn sent(applied: u64, rejected: &[u32], replayed: bool) -> Sent {
    let error = |index: &u32| RejectionBody {
        index: *index,
        job_id: None,
        code: "invalid_status".into(),
        detail: "status is \"a b\"".into(),
    };
    let answer = AnswerBody {
        accepted: applied,
        applied,
        stale: 0,
        merged: 0,
        rejected: rejected.len() as u64,
        durable: true,
        first_seq: None,
        last_seq: None,
        errors: rejected.iter().map(error).collect(),
        errors_truncated: false,
    };
    Sent { answer, replayed }
}

#[test]
fn rejected_updates_are_named_by_their_line_in_the_file() {
    let mut summary = Summary::default();
    summary.add(&chunk("a\n\n\nb\nc\n"), &sent(2, &[1], false));
    summary.end(Duration::from_secs(1), true);
    assert_eq!(summary.rejections[0].line, 4);
    let text = summary.text();
    assert!(text.starts_with("line 4: invalid_status: status is"), "{text}");
    assert!(text.contains("3 lines in 1.0 s: 2 accepted (2 applied"), "{text}");
}

#[test]
fn only_the_first_twenty_rejections_are_named() {
    let mut summary = Summary::default();
    let lines = "x\n".repeat(30);
    summary.add(&chunk(&lines), &sent(0, &(0..30).collect::<Vec<_>>(), false));
    assert_eq!(summary.rejections.len(), 20);
    assert!(summary.text().contains("... and 10 rejected lines more"), "{}", summary.text());
}

#[test]
fn replayed_chunks_count_in_the_sums_but_not_in_the_rate() {
    let mut summary = Summary::default();
    summary.add(&chunk("a\nb\n"), &sent(2, &[], true));
    summary.add(&chunk("c\nd\n"), &sent(2, &[], false));
    summary.end(Duration::from_secs(2), true);
    assert_eq!((summary.accepted, summary.replayed_chunks, summary.replayed_updates), (4, 1, 2));
    assert_eq!(summary.updates_per_second, 1.0);
    assert!(summary.text().contains("1 of 2 chunks were stored already"));
}

#[test]
fn a_replay_without_its_details_still_says_where_lines_were_rejected() {
    let mut summary = Summary::default();
    let mut kept = sent(1, &[0], true);
    kept.answer.errors.clear();
    summary.add(&chunk("a\nb\n"), &kept);
    assert_eq!(
        summary.rejections[0].detail,
        "1 of the lines 1 to 2 were rejected when they came first"
    );
}

#[test]
fn the_input_is_to_blame_for_what_a_decompressor_finds() {
    let broken = unreadable(&Input::Stdin, &io::ErrorKind::UnexpectedEof.into());
    assert_eq!(broken.exit, Exit::BadData);
    let disk = unreadable(&Input::Stdin, &io::Error::from_raw_os_error(5));
    assert_eq!(disk.exit, Exit::Io);
}

#[test]
fn an_early_end_says_how_to_go_on() {
    let summary = Summary { last_line: 17, ..Summary::default() };
    let failure = with_way_on(Failure::new(Exit::Interrupted, "stopped"), &summary, false);
    assert!(failure.message.contains("up to line 17 is stored; the same command goes on"));
    let failure = with_way_on(Failure::new(Exit::BadData, "broken"), &summary, false);
    assert_eq!(failure.message, "broken\n  everything up to line 17 is stored");
    let failure = with_way_on(Failure::new(Exit::Interrupted, "stopped"), &summary, true);
    assert!(failure.message.contains("piped again from its beginning"), "{}", failure.message);
    assert!(!failure.message.contains("the same command goes on"), "{}", failure.message);
}

#[test]
fn a_single_line_is_not_called_lines() {
    let mut summary = Summary::default();
    summary.add(&chunk("a\n"), &sent(1, &[], false));
    assert!(summary.text().starts_with("1 line in 0.0 s"), "{}", summary.text());
}
