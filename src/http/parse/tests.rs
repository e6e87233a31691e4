//! Bodies as senders write them, good and bad.

use super::*;
use crate::model::RejectionCode;

const GOOD: &str = r#"{"job_id":"a","status":"queued"}"#;

fn read(media: Media, body: &str) -> Result<Parsed, Problem> {
    parse(media, body.as_bytes(), 100)
}

fn indexes(parsed: &Parsed) -> (Vec<u32>, Vec<(u32, RejectionCode)>) {
    let updates = parsed.updates.iter().map(|(index, _)| *index).collect();
    (updates, parsed.rejections.iter().map(|it| (it.index, it.code)).collect())
}

#[test]
fn a_bad_line_leaves_its_neighbours_and_blank_lines_do_not_count() {
    let body = format!("\u{feff}{GOOD}\r\n\n  \n{{\"job_id\":\n{GOOD}\n{{\"x\":1}}\n{GOOD}");
    let parsed = read(Media::Lines, &body).unwrap();
    let refused = [(1, RejectionCode::InvalidUpdate), (3, RejectionCode::UnknownField)];
    assert_eq!(indexes(&parsed), (vec![0, 2, 4], refused.to_vec()));
}

#[test]
fn a_line_that_is_not_utf_8_leaves_its_neighbours() {
    let body = [GOOD.as_bytes(), b"\n{\"job_id\":\"\xff\"}\n", GOOD.as_bytes()].concat();
    let parsed = parse(Media::Lines, &body, 100).unwrap();
    assert_eq!(indexes(&parsed), (vec![0, 2], vec![(1, RejectionCode::InvalidUpdate)]));
}

#[test]
fn a_bad_element_leaves_its_neighbours() {
    let body = format!(
        r#"[ {GOOD}, {{"job_id":"\ud800"}}, 5, {GOOD}, {{"job_id":"b","at":1e400}}, {GOOD} ]"#
    );
    let parsed = read(Media::Json, &body).unwrap();
    let refused = [1, 2, 4].map(|index| (index, RejectionCode::InvalidUpdate));
    assert_eq!(indexes(&parsed), (vec![0, 3, 5], refused.to_vec()));
}

#[test]
fn one_object_is_one_update() {
    let parsed = read(Media::Json, &format!(" \n{GOOD}\n")).unwrap();
    assert_eq!(indexes(&parsed), (vec![0], vec![]));
    let refused = read(Media::Json, r#"{"job_id":""}"#).unwrap();
    assert_eq!(indexes(&refused), (vec![], vec![(0, RejectionCode::InvalidJobId)]));
}

#[test]
fn a_body_that_is_broken_as_a_whole_is_refused_as_a_whole() {
    let cases = [
        (Media::Json, "", "no updates"),
        (Media::Json, " \n", "no updates"),
        (Media::Json, "[]", "no updates"),
        (Media::Lines, "", "no updates"),
        (Media::Lines, "\n \n\r\n", "no updates"),
        (Media::Json, "hello", "neither an object nor an array"),
        (Media::Json, "5", "neither an object nor an array"),
        (Media::Json, r#"{"job_id":"a""#, "not one JSON object"),
        (Media::Json, r#"{"job_id":"a"} {"job_id":"b"}"#, "application/x-ndjson"),
        (Media::Json, r#"[{"job_id":"a"}"#, "not one JSON array"),
        (Media::Json, r#"[{"job_id":"a"},]"#, "not one JSON array"),
        (Media::Json, r#"[{"job_id":"a"}] x"#, "not one JSON array"),
    ];
    for (media, body, part) in cases {
        let problem = read(media, body).expect_err(body);
        assert_eq!(problem.code, ProblemCode::InvalidBody, "{body}");
        assert!(problem.detail.contains(part), "{body}: {}", problem.detail);
    }
    let latin_1 = parse(Media::Json, b"[{\"job_id\":\"\xe9\"}]", 100).unwrap_err();
    assert_eq!(latin_1.code, ProblemCode::InvalidBody);
}

#[test]
fn no_more_updates_are_read_than_a_batch_may_hold() {
    let array = |count: usize| format!("[{}]", vec![GOOD; count].join(","));
    assert_eq!(read(Media::Json, &array(100)).unwrap().count(), 100);
    let problem = read(Media::Json, &array(101)).unwrap_err();
    assert_eq!(problem.code, ProblemCode::RequestTooLarge);
    assert_eq!(problem.detail, "the body holds more than 100 updates; split it");
    let problem = read(Media::Lines, &"x\n".repeat(101)).unwrap_err();
    assert_eq!(problem.code, ProblemCode::RequestTooLarge);
}
