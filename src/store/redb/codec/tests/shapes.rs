//! Values whose shape has changed: what is written now, and what was written before.

use super::*;

#[test]
fn records_of_version_1_are_read() {
    assert_eq!(decode_job(SLOT, &from_hex(GOLDEN_RECORD_V1)).unwrap(), (job_id(), record()));
}

pub const UUID: &str = "8c2a6f0e-1b7d-4c39-9e55-0a1b2c3d4e5f";

#[test]
fn blocks_of_ids_are_written_byte_for_byte_and_those_of_version_1_are_read() {
    let ids = vec![(PackedId::of(UUID), 300), (PackedId::of("b"), 1)];
    let bytes = encode_ids(b"a", ids.clone());
    let uuid = UUID.replace('-', "");
    assert_eq!(hex(&bytes[..1]) + &hex(payload(&bytes)), format!("020201{uuid}fb2c0100016201"));
    assert_eq!(decode_ids(b"a", &bytes).unwrap(), ids);
    let old = seal(b"a", &vec![("a", 300_u64), ("b", 1)]);
    assert_eq!(hex(&old[..1]) + &hex(payload(&old)), "01020161fb2c01016201");
    assert_eq!(
        decode_ids(b"a", &old).unwrap(),
        [(PackedId::Text("a"), 300), (PackedId::Text("b"), 1)]
    );
    assert!(decode_ids(b"a", &seal_with(3, b"a", &0_u8, 0)).is_err());
}

#[test]
fn an_id_like_a_uuid_is_packed_and_every_other_stands_as_it_is() {
    assert!(matches!(PackedId::of(UUID), PackedId::Uuid(_)));
    let braced = format!("{{{UUID}}}");
    let others = ["a", &UUID.to_uppercase(), &UUID.replace('-', ""), &braced, &UUID[1..]];
    for text in others {
        assert_eq!(PackedId::of(text), PackedId::Text(text));
    }
    let mut texts = vec![UUID, "8c2a6f0e-1b7d-4c39-9e55-0a1b2c3d4e5e", "0", "9", "8c2a", "\u{e9}"];
    texts.extend(others);
    for (one, other) in texts.iter().flat_map(|one| texts.iter().map(move |other| (one, other))) {
        assert_eq!(PackedId::of(one).order(other), one.cmp(other), "{one} {other}");
        assert_eq!(PackedId::of(one).with(str::to_owned), *one);
    }
}

/// What is far from the usual comes back as well.
#[test]
fn records_with_rare_statuses_times_attempts_and_errors_are_read_back() {
    let transition = |seq, word: &str, at, attempt, error: Option<&str>| Transition {
        seq,
        status: status_of(word),
        at: TimestampMs(at),
        attempt,
        error: error.map(Into::into),
    };
    let transitions = [
        transition(3, "own-word", u64::MAX, 1, None),
        transition(u64::MAX, "skipped", 0, 7, Some("EVICT")),
        transition(5, "other", 1_764_000_000_000, 7, None),
        transition(9, "own-word", 5, u32::MAX, Some("")),
    ];
    let one = JobRecord {
        status: status_of("other"),
        created_at: TimestampMs(u64::MAX),
        status_at: TimestampMs(0),
        seen_at: TimestampMs(1),
        finished_at: Some(TimestampMs(u64::MAX)),
        progress: Some(1.0 / 3.0),
        seq: 2,
        transitions: transitions.into(),
        ..record()
    };
    let none = JobRecord { transitions: [].into(), ..record() };
    for record in [one, none] {
        let bytes = encode_job(SLOT, &job_id(), &record);
        assert_eq!(decode_job(SLOT, &bytes).unwrap(), (job_id(), record));
    }
}

/// A job with an id like a UUID that went the usual way; version 1 takes 201 bytes.
#[test]
fn a_usual_record_is_short() {
    let begin = 1_764_000_000_000;
    let steps = [(900, "queued", 0), (4_903, "processing", 20_000), (9_817, "completed", 95_000)];
    let transition = |(seq, word, after)| Transition {
        seq,
        status: status_of(word),
        at: TimestampMs(begin + after),
        attempt: 1,
        error: None,
    };
    let record = JobRecord {
        status: status_of("completed"),
        error: None,
        message: None,
        progress: Some(0.5),
        labels: Labels::default(),
        attempt: 1,
        attempt_given: None,
        status_at: TimestampMs(begin + 95_000),
        seen_at: TimestampMs(begin + 95_000),
        started_at: Some(TimestampMs(begin + 20_000)),
        finished_at: Some(TimestampMs(begin + 95_000)),
        updated_at: TimestampMs(begin + 95_007),
        seq: 9_817,
        transition_count: 3,
        transitions: steps.map(transition).into(),
        ..record()
    };
    let job_id = JobId::parse(UUID).unwrap();
    let bytes = encode_job(SLOT, &job_id, &record);
    assert_eq!(decode_job(SLOT, &bytes).unwrap(), (job_id, record));
    assert_eq!(bytes.len(), 87);
}
