mod shapes;

use super::record::{RecordV1, RecordV2};
use super::segment::SegmentV1;
use super::*;
use crate::model::{
    Answer, Change, Expectation, JobId, JobRecord, Operation, Rejection, RejectionCode, Removal,
    TimestampMs, Transition,
};
use crate::store::KeptAnswer;
use crate::store::ages::{Ages, Sample};

fn status_of(text: &str) -> Status {
    Status::parse(text).unwrap()
}

/// The key of slot 7.
const SLOT: &[u8] = &7_u64.to_be_bytes();

fn job_id() -> JobId {
    JobId::parse("doc-0001").unwrap()
}

/// A record with every field in use.
fn record() -> JobRecord {
    JobRecord {
        pipeline: PipelineName::parse("pdf").unwrap(),
        status: status_of("error"),
        error: Some("ocr timed out".into()),
        message: Some("page 12".into()),
        progress: Some(0.4),
        labels: Labels::new(vec![("source".into(), "scan".into())]).unwrap(),
        attempt: 2,
        attempt_given: Some(2),
        created_at: TimestampMs(1_764_000_000_000),
        status_at: TimestampMs(1_764_000_000_123),
        seen_at: TimestampMs(1_764_000_000_124),
        started_at: Some(TimestampMs(1_764_000_000_001)),
        finished_at: None,
        updated_at: TimestampMs(1_764_000_000_200),
        seq: 918_273,
        transition_count: 5,
        transitions: [Transition {
            seq: 17,
            status: status_of("queued"),
            at: TimestampMs(1_764_000_000_000),
            attempt: 1,
            error: None,
        }]
        .into(),
    }
}

fn segment() -> Segment {
    let kept = KeptAnswer {
        fingerprint: [7; 32],
        at: TimestampMs(1_764_000_000_200),
        answer: Answer {
            accepted: 1,
            applied: 1,
            rejected: 1,
            durable: true,
            seqs: Some((5, 5)),
            errors: vec![Rejection::new(
                1,
                Some("b"),
                RejectionCode::UnknownJob,
                "no such job".to_owned(),
            )],
            ..Answer::default()
        },
    };
    let change = Change {
        seq: 5,
        job_id: job_id(),
        applied: true,
        is_heartbeat: false,
        at: TimestampMs(1_764_000_000_123),
        status: status_of("error"),
        kind: Kind::Failed,
        previous: Some(status_of("processing")),
        previous_kind: Some(Kind::Running),
        pipeline: PipelineName::parse("pdf").unwrap(),
        previous_pipeline: Some(PipelineName::default()),
        attempt: 2,
        attempt_given: Some(2),
        error: Some("ocr timed out".into()),
        message: None,
        progress: Some(0.5),
        labels: Some(Labels::new(vec![("source".into(), "scan".into())]).unwrap()),
        finishes_pipeline: false,
    };
    Segment {
        first_seq: 5,
        updated_at: TimestampMs(1_764_000_000_200),
        operations: vec![Operation::Update(change)],
        keys: vec![("key".into(), kept)],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.trim().as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

const GOLDEN_RECORD: &str = include_str!("golden_record.hex");
const GOLDEN_RECORD_V1: &str = include_str!("golden_record_v1.hex");
const GOLDEN_SEGMENT: &str = include_str!("golden_segment.hex");

#[test]
fn records_and_segments_are_written_byte_for_byte() {
    assert_eq!(hex(&encode_job(SLOT, &job_id(), &record())), GOLDEN_RECORD.trim());
    assert_eq!(hex(&encode_segment(3, &segment())), GOLDEN_SEGMENT.trim());
}

#[test]
fn what_is_written_is_read_back() {
    let bytes = encode_job(SLOT, &job_id(), &record());
    assert_eq!(decode_job(SLOT, &bytes).unwrap(), (job_id(), record()));
    let segment = segment();
    let bytes = encode_segment(3, &segment);
    assert_eq!(decode_segment(3, &bytes).unwrap(), segment);
    let (_, kept) = segment.keys.first().unwrap();
    assert_eq!(decode_kept(b"k", &encode_kept(b"k", 9, kept)).unwrap(), (9, kept.clone()));
}

/// A segment with one of each operation.
fn all_operations() -> Segment {
    let Some(Operation::Update(change)) = segment().operations.pop() else { unreachable!() };
    let removal = Removal {
        seq: 7,
        job_id: change.job_id.clone(),
        at: TimestampMs(1_764_000_000_150),
        status: change.status,
        kind: change.kind,
        pipeline: change.pipeline.clone(),
    };
    let expectation = |seq, total, finishes_pipeline| {
        let (pipeline, at) = (change.pipeline.clone(), TimestampMs(1_764_000_000_160));
        Operation::Expectation(Expectation { seq, pipeline, at, total, finishes_pipeline })
    };
    let operations = vec![
        Operation::Update(change.clone()),
        Operation::Update(Change { seq: 6, finishes_pipeline: true, ..change.clone() }),
        Operation::Removal(removal),
        expectation(8, Some(3_957), false),
        expectation(9, None, true),
    ];
    Segment { operations, keys: vec![], ..segment() }
}

const GOLDEN_OPERATIONS: &str = include_str!("golden_operations.hex");

#[test]
fn every_operation_is_written_byte_for_byte_and_read_back() {
    let bytes = encode_segment(3, &all_operations());
    assert_eq!(hex(&bytes), GOLDEN_OPERATIONS.trim());
    assert_eq!(decode_segment(3, &bytes).unwrap(), all_operations());
    let config = bincode::config::standard();
    let ours: SegmentV1<'_> = unseal(&3_u64.to_be_bytes(), &bytes).unwrap();
    let (theirs, _) =
        bincode::serde::borrow_decode_from_slice::<SegmentV1<'_>, _>(payload(&bytes), config)
            .unwrap();
    assert_eq!(theirs, ours);
}

#[test]
fn the_small_values_are_written_byte_for_byte_and_read_back() {
    let tally = Tally { updates: 300, net: -5 };
    let bytes = encode_tally(b"k", tally);
    assert_eq!(hex(payload(&bytes)), "fb2c0109");
    assert_eq!(decode_tally(b"k", &bytes).unwrap(), tally);
    let expected = Expected { total: 3_957, finished_seq: Some(9) };
    let bytes = encode_expected(b"k", expected);
    assert_eq!(hex(payload(&bytes)), "fb750f0109");
    assert_eq!(decode_expected(b"k", &bytes).unwrap(), expected);
    let mark = TimelineMark { rows: [1, 2, 3, 4, 5], steps: [6, 7, 8, 9, 10], floors: [11; 5] };
    let bytes = encode_timeline_mark(b"k", &mark);
    assert_eq!(hex(payload(&bytes)), "0102030405060708090a0b0b0b0b0b");
    assert_eq!(decode_timeline_mark(b"k", &bytes).unwrap(), mark);
    let bytes = encode_run(b"k", 2, 300);
    assert_eq!(hex(payload(&bytes)), "02fb2c01");
    assert_eq!(decode_run(b"k", &bytes).unwrap(), (2, 300));
    let bytes = encode_filter(b"k", &[1, 2, 3]);
    assert_eq!(hex(payload(&bytes)), "03010203");
    assert_eq!(decode_filter(b"k", &bytes).unwrap(), [1, 2, 3]);
    let ages = ages(&[(300, 5), (301, 305)]);
    let bytes = encode_ages(b"k", TimestampMs(302), &ages);
    assert_eq!(hex(payload(&bytes)), "fb2e0102fb2c010501fb2c01");
    assert_eq!(decode_ages(b"k", &bytes).unwrap(), (TimestampMs(302), ages));
}

fn ages(samples: &[(u64, u64)]) -> Ages {
    let sample = |&(at, last_seq): &(u64, u64)| Sample { at: TimestampMs(at), last_seq };
    Ages::new(samples.iter().map(sample).collect())
}

#[test]
fn ages_that_do_not_rise_are_refused() {
    assert!(decode_ages(b"k", &encode_ages(b"k", TimestampMs(0), &ages(&[(0, 1)]))).is_ok());
    for wrong in [
        (300, vec![(301, 5)]),
        (300, vec![(200, 5), (0, 1)]),
        (300, vec![(200, 5), (1, 0)]),
        (u64::MAX, vec![(200, 5), (u64::MAX, 1)]),
        (300, vec![(200, 5), (1, u64::MAX)]),
    ] {
        assert!(decode_ages(b"k", &seal(b"k", &wrong)).is_err(), "{wrong:?}");
    }
}

/// The payload between version and checksum.
fn payload(bytes: &[u8]) -> &[u8] {
    &bytes[1..bytes.len() - CHECKSUM_BYTES]
}

#[test]
fn the_last_bincode_reads_what_is_written() {
    let config = bincode::config::standard();
    let bytes = encode_job(SLOT, &job_id(), &record());
    let ours: RecordV2<'_> = decode(payload(&bytes)).unwrap();
    let (theirs, length) =
        bincode::serde::borrow_decode_from_slice::<RecordV2<'_>, _>(payload(&bytes), config)
            .unwrap();
    assert_eq!((theirs, length), (ours, payload(&bytes).len()));

    let bytes = from_hex(GOLDEN_RECORD_V1);
    let ours: (&str, RecordV1<'_>) = unseal(SLOT, &bytes).unwrap();
    let (theirs, length) = bincode::serde::borrow_decode_from_slice::<(&str, RecordV1<'_>), _>(
        payload(&bytes),
        config,
    )
    .unwrap();
    assert_eq!((theirs, length), (ours, payload(&bytes).len()));

    let bytes = encode_ids(b"a", vec![(PackedId::of(shapes::UUID), 300), (PackedId::of("b"), 1)]);
    let ours: Vec<(PackedId<'_>, u64)> = decode(payload(&bytes)).unwrap();
    let (theirs, length) = bincode::serde::borrow_decode_from_slice::<Vec<(PackedId<'_>, u64)>, _>(
        payload(&bytes),
        config,
    )
    .unwrap();
    assert_eq!((theirs, length), (ours, payload(&bytes).len()));

    let bytes = encode_segment(3, &segment());
    let ours: SegmentV1<'_> = unseal(&3_u64.to_be_bytes(), &bytes).unwrap();
    let (theirs, length) =
        bincode::serde::borrow_decode_from_slice::<SegmentV1<'_>, _>(payload(&bytes), config)
            .unwrap();
    assert_eq!((theirs, length), (ours, payload(&bytes).len()));
}

#[test]
fn a_flipped_bit_a_cut_and_a_misplaced_value_are_found() {
    let bytes = encode_job(SLOT, &job_id(), &record());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_job(SLOT, &flipped).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(decode_job(SLOT, &bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(decode_job(&8_u64.to_be_bytes(), &bytes).is_err());
    let mut longer = bytes;
    longer.push(0);
    assert!(decode_job(SLOT, &longer).is_err());
}

#[test]
fn a_later_version_is_refused_by_name() {
    let mut bytes = encode_number(b"k", 5);
    bytes[0] = 2;
    let body = bytes.len() - CHECKSUM_BYTES;
    let sum = crc32c::crc32c_append(crc32c::crc32c(b"k"), &bytes[..body]);
    bytes.truncate(body);
    bytes.extend_from_slice(&sum.to_le_bytes());
    let broken = decode_number(b"k", &bytes).unwrap_err();
    assert_eq!(broken.0, "version 2, this build reads 1");
}

/// A payload under a good checksum.
fn sealed(version: u8, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![version];
    bytes.extend_from_slice(payload);
    let sum = crc32c::crc32c_append(crc32c::crc32c(key), &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// As [`sealed`], as a segment of batch `k`.
fn sealed_for_batch(payload: &[u8]) -> Vec<u8> {
    sealed(VERSION, &u64::from(b'k').to_be_bytes(), payload)
}

#[test]
fn a_segment_whose_seqs_overflow_is_refused() {
    let bytes = encode_segment(3, &Segment { first_seq: u64::MAX, ..segment() });
    assert!(decode_segment(3, &bytes).is_err());
}

proptest::proptest! {
    #[test]
    fn hostile_payloads_are_refused_without_a_panic(
        payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
    ) {
        // With a good checksum, so that the decoder itself is reached.
        let bytes = sealed(VERSION, b"k", &payload);
        for version in [1, 2] {
            let bytes = sealed(version, b"k", &payload);
            let _ = decode_job(b"k", &bytes);
            let _ = decode_ids(b"k", &bytes);
        }
        let _ = decode_segment(u64::from(b'k'), &sealed_for_batch(&payload));
        let _ = decode_kept(b"k", &bytes);
        let _ = decode_mark(b"k", &bytes);
        let _ = decode_identity(b"k", &bytes);
        let _ = decode_feed_block(b"k", &bytes);
        let _ = decode_tally(b"k", &bytes);
        let _ = decode_expected(b"k", &bytes);
        let _ = decode_timeline_mark(b"k", &bytes);
        let _ = decode_run(b"k", &bytes);
        let _ = decode_filter(b"k", &bytes);
        let _ = decode_ages(b"k", &bytes);
    }
}

std::thread_local! {
    /// For controls: what is damaged is decoded on this thread as if it were whole.
    pub static IGNORES_CHECKSUMS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
