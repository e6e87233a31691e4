//! The door of the fuzz targets to what is read from disk. Not part of a build that is used.
//!
//! Payloads get a good checksum here, so that the decoders behind it are reached. What is decoded
//! must be encoded to bytes that mean the same.

use super::backup::BackupReader;
use super::codec::{
    Broken, Segment, decode_ages, decode_expected, decode_feed_block, decode_filter,
    decode_identity, decode_ids, decode_job, decode_kept, decode_mark, decode_number, decode_run,
    decode_segment, decode_tally, decode_timeline_mark, encode_ages, encode_expected,
    encode_feed_block, encode_filter, encode_identity, encode_ids, encode_job, encode_kept,
    encode_mark, encode_number, encode_run, encode_segment, encode_tally, encode_timeline_mark,
};
use super::reader::segments;

const KEY: &[u8] = b"k";
const BATCH_NO: u64 = 7;
/// Kinds of values.
const KINDS: u8 = 15;

/// A value under a good checksum.
fn sealed(version: u8, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![version];
    bytes.extend_from_slice(payload);
    let sum = crc32c::crc32c_append(crc32c::crc32c(key), &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Decodes, encodes, and does both again: the bytes must not change any more.
fn round_trip(bytes: &[u8], again: impl Fn(&[u8]) -> Result<Vec<u8>, Broken>) {
    if let Ok(once) = again(bytes) {
        let twice = again(&once).expect("what was encoded is decoded");
        assert_eq!(once, twice, "the second round trip changed the value");
    }
}

/// Decodes a value of a kind, and encodes it.
fn again(kind: u8, bytes: &[u8]) -> Result<Vec<u8>, Broken> {
    let key = KEY;
    Ok(match kind % KINDS {
        0 | 12 => {
            let (job_id, record) = decode_job(key, bytes)?;
            encode_job(key, &job_id, &record)
        }
        1 => {
            let (ordinal, kept) = decode_kept(key, bytes)?;
            encode_kept(key, ordinal, &kept)
        }
        2 => encode_mark(key, &decode_mark(key, bytes)?),
        3 => {
            let (version, store_id) = decode_identity(key, bytes)?;
            encode_identity(key, version, store_id)
        }
        4 => {
            let (at, last_seq, frame) = decode_feed_block(key, bytes)?;
            encode_feed_block(key, at, last_seq, frame)
        }
        5 => encode_tally(key, decode_tally(key, bytes)?),
        6 => encode_expected(key, decode_expected(key, bytes)?),
        7 => encode_timeline_mark(key, &decode_timeline_mark(key, bytes)?),
        8 | 13 => encode_ids(key, decode_ids(key, bytes)?),
        9 => {
            let (level, ids) = decode_run(key, bytes)?;
            encode_run(key, level, ids)
        }
        10 => encode_filter(key, decode_filter(key, bytes)?),
        14 => {
            let (now, ages) = decode_ages(key, bytes)?;
            encode_ages(key, now, &ages)
        }
        _ => encode_number(key, decode_number(key, bytes)?),
    })
}

/// One value of a table: the first byte says which, the others are its payload. Those whose shape
/// has changed are there in both.
pub fn value(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let version = if matches!(kind % KINDS, 12 | 13) { 2 } else { 1 };
    let bytes = sealed(version, KEY, payload);
    round_trip(&bytes, |bytes| again(*kind, bytes));
    // One bit of it turned, which the payload chooses: whatever it was, it is no value any more.
    let bits = bytes.len() * 8;
    let place = payload.iter().fold(0, |place, byte| (place * 31 + usize::from(*byte)) % bits);
    let mut turned = bytes;
    if let Some(byte) = turned.get_mut(place / 8) {
        *byte ^= 1 << (place % 8);
    }
    assert!(again(*kind, &turned).is_err(), "a turned bit is taken");
}

/// The payload of a segment of the journal.
pub fn segment(data: &[u8]) {
    round_trip(&sealed(1, &BATCH_NO.to_be_bytes(), data), |bytes| {
        let segment: Segment = decode_segment(BATCH_NO, bytes)?;
        let seqs = segment.operations.iter().map(crate::model::Operation::seq);
        assert!(seqs.eq((segment.first_seq..).take(segment.operations.len())), "seqs in a row");
        Ok(encode_segment(BATCH_NO, &segment))
    });
}

/// A backup: what is taken says what it holds, and one byte more is not. It is read a second time
/// without its checksums, so that what stands behind them is reached, too.
pub fn backup(data: &[u8]) {
    let trusted = |data: &[u8]| BackupReader::trusting(data).and_then(BackupReader::drain);
    let (checked, trusting) = (super::verify_backup(data).ok(), trusted(data).ok());
    assert!(checked.is_none() || checked == trusting, "without checksums it says something else");
    let Some(summary) = trusting else { return };
    assert_eq!(summary.bytes, data.len() as u64, "all of it is the backup");
    let longer = [data, b"x"].concat();
    assert!(super::verify_backup(&*longer).is_err(), "nothing follows a backup");
    assert!(trusted(&longer).is_err(), "nothing follows a backup, whatever its checksums");
}

/// What is in the frame of a block of the feed: segments in a row.
pub fn feed_block(data: &[u8]) {
    let frame = zstd::bulk::compress(data, 1).expect("memory takes every frame");
    let block = encode_feed_block(KEY, 1, 9, &frame);
    let Ok((last_seq, segments)) = segments(KEY, &block, 0) else { return };
    assert_eq!(last_seq, 9);
    let bytes = segments.iter().map(|(_, segment)| 12 + segment.len()).sum::<usize>();
    assert_eq!(bytes, data.len(), "all of it is segments");
    for (batch_no, segment) in segments {
        let _ = decode_segment(batch_no, &segment);
    }
}

/// The committed inputs of a target; there are some.
#[cfg(test)]
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(top.join("tests/fuzz/corpus").join(target)).unwrap();
    let inputs: Vec<_> = files.map(|it| std::fs::read(it.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty(), "no corpus of {target}");
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redb::codec::tests::IGNORES_CHECKSUMS;

    /// The control: a decoder that does not look at the checksum.
    #[test]
    #[should_panic(expected = "a turned bit is taken")]
    fn a_decoder_that_ignores_checksums_is_found_out() {
        IGNORES_CHECKSUMS.set(true);
        corpus("value").iter().for_each(|data| value(data));
    }

    #[test]
    fn the_corpus_of_what_is_on_disk_is_taken() {
        for (name, target) in [
            ("value", value as fn(&[u8])),
            ("segment", segment),
            ("feed_block", feed_block),
            ("backup", backup),
        ] {
            corpus(name).iter().for_each(|data| target(data));
        }
    }
}
