//! Updates as senders write them, good and bad.

use super::*;

fn refusal(json: &str) -> (RejectionCode, String) {
    let refused = read_update(json.as_bytes()).expect_err(json);
    (refused.code, refused.detail)
}

#[test]
fn an_update_with_every_field_is_read_and_written_alike() {
    let json = r#"{"job_id":"doc-0001","status":"error","error":"ocr timed out",
        "at":1764000000123,"attempt":2,"pipeline":"pdf","progress":0.4,"message":"page 12",
        "labels":{"source":"scan"},"if_status":"processing"}"#;
    let body: UpdateBody<'_> = serde_json::from_str(json).unwrap();
    let written = serde_json::to_string(&body).unwrap();
    assert_eq!(
        written,
        json.replace(['\n', ' '], "")
            .replace("ocrtimedout", "ocr timed out")
            .replace("page12", "page 12")
    );
    let update = read_update(json.as_bytes()).unwrap();
    assert_eq!(update, body.to_update().unwrap());
    assert_eq!(update.at, Some(TimestampMs(1_764_000_000_123)));
    assert_eq!(update.labels.unwrap().iter().collect::<Vec<_>>(), [("source", "scan")]);
    assert_eq!((update.attempt, update.progress), (Some(2), Some(0.4)));
}

#[test]
fn the_lenient_forms_are_read() {
    let read = |json: &str| read_update(json.as_bytes()).expect(json);
    assert_eq!(read(r#"{"job_id":42}"#).job_id.as_str(), "42");
    assert_eq!(read(r#"{"job_id":18446744073709551615}"#).job_id.as_str(), "18446744073709551615");
    assert_eq!(read(r#"{"job_id":-7}"#).job_id.as_str(), "-7");
    assert_eq!(read(r#"{"job_id":"a","error_message":"x"}"#).error.as_deref(), Some("x"));
    assert_eq!(read(r#"{"job_id":"a","error_message":"x","error":null}"#).error.unwrap().len(), 1);
    let at = read(r#"{"job_id":"a","at":"2025-11-24T17:00:00.5+01:00"}"#).at;
    assert_eq!(at.unwrap().to_string(), "2025-11-24T16:00:00.500Z");
    let nulls = r#"{"job_id":"a","status":null,"error":null,"at":null,"attempt":null,
        "progress":null,"message":null,"labels":null,"pipeline":null,"if_status":null}"#;
    assert_eq!(read(nulls), read(r#"{"job_id":"a"}"#));
    assert_eq!(read(r#"{"job_id":"a","progress":1}"#).progress, Some(1.0));
    assert_eq!(read(r#"{"job_id":"caf\u00e9","status":"QUEUED"}"#).job_id.as_str(), "caf\u{e9}");
}

#[test]
fn an_integer_id_of_any_length_keeps_its_digits() {
    let read = |json: &str| read_update(json.as_bytes()).expect(json).job_id.to_string();
    let longest = "7".repeat(256);
    for digits in ["18446744073709551616", "-9223372036854775809", &longest] {
        assert_eq!(read(&format!(r#"{{"job_id":{digits},"status":"queued"}}"#)), digits);
        assert_eq!(read(&format!(r#"{{"status":"queued", "job_id" : {digits} }}"#)), digits);
        assert!(read_update_of(digits, format!(r#"{{"job_id":{digits}}}"#).as_bytes()).is_ok());
    }
    let refused = read_update(br#"{"status":5,"job_id":18446744073709551616}"#).unwrap_err();
    assert_eq!(refused.job_id.as_deref(), Some("18446744073709551616"));
}

#[test]
fn each_bad_value_has_its_code_and_says_what_was_wrong() {
    use RejectionCode as Code;
    let long_id = format!(r#"{{"job_id":"{}"}}"#, "x".repeat(257));
    let long_integer = long_id.replace('x', "7").replace("\"7", "7").replace("7\"", "7");
    let cases = [
        (r#"{"status":"queued"}"#, Code::InvalidJobId, "job_id is missing"),
        (r#"{"job_id":null}"#, Code::InvalidJobId, "job_id is missing"),
        (r#"{"job_id":""}"#, Code::InvalidJobId, "job id is empty"),
        (&long_id, Code::InvalidJobId, "job id is 257 bytes, the most is 256"),
        (r#"{"job_id":"a\nb"}"#, Code::InvalidJobId, "U+000A"),
        (r#"{"job_id":"a\u0000"}"#, Code::InvalidJobId, "U+0000"),
        (r#"{"job_id":".."}"#, Code::InvalidJobId, "no URL can name"),
        (r#"{"job_id":1.5}"#, Code::InvalidJobId, "job_id is 1.5"),
        (r#"{"job_id":1e300}"#, Code::InvalidJobId, "send a string or an integer"),
        (&long_integer, Code::InvalidJobId, "job id is 257 bytes, the most is 256"),
        (r#"{"job_id":["a"]}"#, Code::InvalidJobId, "an array"),
        (r#"{"job_id":"a","status":"a b"}"#, Code::InvalidStatus, r#"status is "a b"; use"#),
        (r#"{"job_id":"a","status":5}"#, Code::InvalidStatus, "status is 5; send a string"),
        (r#"{"job_id":"a","if_status":"?"}"#, Code::InvalidStatus, "if_status: status is"),
        (r#"{"job_id":"a","pipeline":""}"#, Code::InvalidPipeline, "pipeline is empty"),
        (r#"{"job_id":"a","pipeline":true}"#, Code::InvalidPipeline, "pipeline is true"),
        (r#"{"job_id":"a","at":-1}"#, Code::InvalidTime, "at is -1, before 1970"),
        (r#"{"job_id":"a","at":1764000000}"#, Code::InvalidTime, "looks like seconds"),
        (r#"{"job_id":"a","at":7258118400000}"#, Code::InvalidTime, "after 2200"),
        (r#"{"job_id":"a","at":18446744073709551615}"#, Code::InvalidTime, "after 2200"),
        (r#"{"job_id":"a","at":"1969-12-31T23:59:59Z"}"#, Code::InvalidTime, "before 1970"),
        (r#"{"job_id":"a","at":"2200-01-01T00:00:00Z"}"#, Code::InvalidTime, "after 2200"),
        (r#"{"job_id":"a","at":1764000000.5}"#, Code::InvalidTime, "integer of Unix"),
        (r#"{"job_id":"a","attempt":-1}"#, Code::InvalidAttempt, "attempt is -1"),
        (r#"{"job_id":"a","attempt":4294967296}"#, Code::InvalidAttempt, "to 4294967295"),
        (r#"{"job_id":"a","attempt":1.5}"#, Code::InvalidAttempt, "attempt is 1.5"),
        (r#"{"job_id":"a","attempt":"1"}"#, Code::InvalidAttempt, r#"attempt is "1""#),
        (r#"{"job_id":"a","progress":1.1}"#, Code::InvalidProgress, "progress is 1.1"),
        (r#"{"job_id":"a","progress":"half"}"#, Code::InvalidProgress, "from 0 to 1"),
        (r#"{"job_id":"a","labels":[]}"#, Code::InvalidLabels, "labels is an array"),
        (r#"{"job_id":"a","labels":{"n":1}}"#, Code::InvalidLabels, r#"label "n" is 1"#),
        (r#"{"job_id":"a","labels":{"":"v"}}"#, Code::InvalidLabels, "empty"),
        (r#"{"job_id":"a","error":1}"#, Code::InvalidUpdate, "error is 1; send a string"),
        (r#"{"job_id":"a","state":"x"}"#, Code::UnknownField, r#"unknown field "state""#),
        (r#"{"job_id":"a","job_id":"b"}"#, Code::InvalidUpdate, "job_id is given twice"),
        (r#"{"job_id":"a","error":"x","error_message":"y"}"#, Code::InvalidUpdate, "one field"),
        (r#"{"job_id":"a","#, Code::InvalidUpdate, "EOF while parsing"),
        (r#"{"job_id":"\ud800"}"#, Code::InvalidUpdate, "escape"),
        ("5", Code::InvalidUpdate, "expected the object of an update at column 1"),
        ("[]", Code::InvalidUpdate, "expected the object of an update"),
        (r#"{"job_id":"a"} {}"#, Code::InvalidUpdate, "trailing characters"),
    ];
    for (json, code, part) in cases {
        let (found, detail) = refusal(json);
        assert_eq!(found, code, "{json}: {detail}");
        assert!(detail.contains(part), "{json}: {detail}");
    }
}

#[test]
fn a_refusal_names_the_job_wherever_the_mistake_is() {
    for json in [r#"{"status":5,"job_id":"a"}"#, r#"{"x":[{"y":1}],"job_id":"a"}"#] {
        assert_eq!(read_update(json.as_bytes()).unwrap_err().job_id.as_deref(), Some("a"));
    }
    let refused = read_update(br#"{"job_id":"a b","status":"a b"}"#).unwrap_err();
    let rejection = refused.into_rejection(3);
    assert_eq!((rejection.index, rejection.job_id.as_deref()), (3, Some("a b")));
}

#[test]
fn an_update_of_a_path_names_its_job_or_no_other() {
    let read = |json: &str| read_update_of("42", json.as_bytes());
    assert_eq!(read(r#"{"status":"queued"}"#).unwrap().job_id.as_str(), "42");
    assert_eq!(read(r#"{"job_id":42,"status":"queued"}"#).unwrap().job_id.as_str(), "42");
    let refused = read(r#"{"job_id":"43","status":"queued"}"#).unwrap_err();
    assert_eq!(refused.code, RejectionCode::InvalidJobId);
    assert_eq!(refused.detail, r#"job_id is "43", the path names "42""#);
    assert_eq!(read_update_of("a\nb", b"{}").unwrap_err().code, RejectionCode::InvalidJobId);
}

#[test]
fn ten_mib_of_error_text_are_cut() {
    let json = format!(r#"{{"job_id":"a","error":"{}"}}"#, "x".repeat(10 << 20));
    let error = read_update(json.as_bytes()).unwrap().error.unwrap();
    assert_eq!(error.len(), crate::model::limits::ERROR_BYTES_MAX);
    assert!(error.ends_with(" [cut, 10485760 bytes]"));
}

/// JSON Schema counts them as integers, and so do writers that keep columns of numbers as floats.
#[test]
fn whole_numbers_are_integers_however_they_are_written() {
    let read = |json: &str| read_update(json.as_bytes()).expect(json);
    let update = read(r#"{"job_id":4711.0,"at":1764000000123.0,"attempt":2e0}"#);
    assert_eq!(update.job_id.as_str(), "4711");
    assert_eq!(update.at, Some(TimestampMs(1_764_000_000_123)));
    assert_eq!(update.attempt, Some(2));
    assert_eq!(read(r#"{"job_id":-0.0}"#).job_id.as_str(), "0");
}
