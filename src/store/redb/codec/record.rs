//! A job's record with its id, at its slot in the table `records`.
//!
//! Version 2 says of times and seqs how far they are from one another, of statuses their numbers,
//! and of transitions nothing that most of them have in common: it is about half as long as
//! version 1, which is read and no longer written. Differences wrap, so any number has one.

mod v1;

use std::sync::LazyLock;

use wincode::{SchemaRead, SchemaWrite};

#[cfg(test)]
pub(super) use v1::RecordV1;

use super::ids::PackedId;
use super::{Broken, broken, decode, labels, other_version, pipeline, seal_with, status, verified};
use crate::model::{JobId, JobRecord, Status, TimestampMs, Transition};

const RECORD_VERSION: u8 = 2;

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
pub(super) struct RecordV2<'a> {
    job_id: PackedId<'a>,
    pipeline: &'a str,
    /// Statuses that are not in [`WORDS`]: the first has the number [`OWN_WORDS`].
    words: Vec<&'a str>,
    status: u32,
    error: Option<&'a str>,
    message: Option<&'a str>,
    /// The bits of the number, the last byte first: those of short fractions are mostly zero.
    progress: Option<u64>,
    labels: Vec<(&'a str, &'a str)>,
    attempt: u32,
    attempt_given: Option<u32>,
    created_at: u64,
    /// After `created_at`.
    status_at: i64,
    /// After `status_at`; the next two also.
    seen_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    /// After `seen_at`.
    updated_at: i64,
    seq: u64,
    transition_count: u64,
    transitions: Vec<TransitionV2>,
    /// Attempts of transitions that are not as before, by their places; before the first it is 1.
    attempts: Vec<(u64, u32)>,
    /// Errors of transitions, by their places.
    errors: Vec<(u64, &'a str)>,
}

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
struct TransitionV2 {
    status: u32,
    /// Before that of the next; of the last, before that of the record.
    seq: u64,
    /// After that of the one before; of the first, after `created_at`.
    at: i64,
}

/// Statuses with a number of their own, their place here. Never reorder or remove them; new ones
/// are added at the end.
const WORDS: [&str; 21] = [
    "queued",
    "processing",
    "completed",
    "error",
    "cancelled",
    "pending",
    "running",
    "done",
    "failed",
    "scheduled",
    "waiting",
    "started",
    "retrying",
    "success",
    "succeeded",
    "finished",
    "failure",
    "timeout",
    "canceled",
    "aborted",
    "skipped",
];
/// The numbers from here on are those of a record's own words.
const OWN_WORDS: usize = 128;

/// The statuses of [`WORDS`].
static STATUSES: LazyLock<Vec<Status>> = LazyLock::new(|| {
    let known = WORDS.iter().map(|word| Status::parse(word).expect("a known word is a status"));
    known.collect()
});

/// A job with its id, as it stands at its slot.
pub fn encode_job(key: &[u8], job_id: &JobId, record: &JobRecord) -> Vec<u8> {
    seal_with(RECORD_VERSION, key, &record_v2(job_id, record), 0)
}

pub fn decode_job(key: &[u8], bytes: &[u8]) -> Result<(JobId, JobRecord), Broken> {
    match verified(key, bytes)? {
        (RECORD_VERSION, payload) => {
            let it: RecordV2<'_> = decode(payload)?;
            Ok((it.job_id.with(JobId::parse).map_err(broken)?, record(it)?))
        }
        (1, payload) => v1::job(payload),
        (version, _) => Err(other_version(version, "1 and 2")),
    }
}

/// The number of a status; `words` are the record's own so far.
fn number<'a>(status: &'a Status, words: &mut Vec<&'a str>) -> u32 {
    let word = status.as_str();
    let place = |words: &[&str]| words.iter().position(|it| *it == word);
    let number = place(&WORDS).unwrap_or_else(|| {
        let own = place(words).unwrap_or_else(|| {
            words.push(word);
            words.len() - 1
        });
        OWN_WORDS + own
    });
    u32::try_from(number).expect("a record is far below 4 GiB")
}

fn record_v2<'a>(job_id: &'a JobId, record: &'a JobRecord) -> RecordV2<'a> {
    let mut words = Vec::new();
    let status = number(&record.status, &mut words);
    let (mut attempts, mut errors) = (Vec::new(), Vec::new());
    let (mut at, mut attempt) = (record.created_at, 1);
    let seqs = record.transitions.iter().map(|it| it.seq).skip(1).chain([record.seq]);
    let places = record.transitions.iter().zip(seqs).zip(0..);
    let transition = |((it, next_seq), place): ((&'a Transition, u64), u64)| {
        if it.attempt != attempt {
            attempts.push((place, it.attempt));
        }
        errors.extend(it.error.as_deref().map(|error| (place, error)));
        let after = since(at, it.at);
        (at, attempt) = (it.at, it.attempt);
        let status = number(&it.status, &mut words);
        TransitionV2 { status, seq: next_seq.wrapping_sub(it.seq), at: after }
    };
    let transitions = places.map(transition).collect();
    RecordV2 {
        job_id: PackedId::of(job_id.as_str()),
        pipeline: record.pipeline.as_str(),
        words,
        status,
        error: record.error.as_deref(),
        message: record.message.as_deref(),
        progress: record.progress.map(|it| it.to_bits().swap_bytes()),
        labels: record.labels.iter().collect(),
        attempt: record.attempt,
        attempt_given: record.attempt_given,
        created_at: record.created_at.0,
        status_at: since(record.created_at, record.status_at),
        seen_at: since(record.status_at, record.seen_at),
        started_at: record.started_at.map(|it| since(record.status_at, it)),
        finished_at: record.finished_at.map(|it| since(record.status_at, it)),
        updated_at: since(record.seen_at, record.updated_at),
        seq: record.seq,
        transition_count: record.transition_count,
        transitions,
        attempts,
        errors,
    }
}

fn since(from: TimestampMs, to: TimestampMs) -> i64 {
    to.0.wrapping_sub(from.0).cast_signed()
}

fn after(from: TimestampMs, difference: i64) -> TimestampMs {
    TimestampMs(from.0.wrapping_add_signed(difference))
}

/// The status with a number.
fn numbered(number: u32, words: &[Status]) -> Result<Status, Broken> {
    let place = number as usize;
    let status = match place.checked_sub(OWN_WORDS) {
        Some(own) => words.get(own),
        None => STATUSES.get(place),
    };
    status.copied().ok_or_else(|| Broken(format!("no status has the number {number}")))
}

fn record(it: RecordV2<'_>) -> Result<JobRecord, Broken> {
    let words = it.words.iter().map(|word| status(word)).collect::<Result<Vec<_>, _>>()?;
    let created_at = TimestampMs(it.created_at);
    let status_at = after(created_at, it.status_at);
    let seen_at = after(status_at, it.seen_at);
    // The distance of the first from the record is that of all together.
    let distance = it.transitions.iter().fold(0, |sum: u64, it| sum.wrapping_add(it.seq));
    let (mut seq, mut at, mut attempt) = (it.seq.wrapping_sub(distance), created_at, 1);
    let (mut attempts, mut errors) = (it.attempts.iter().peekable(), it.errors.iter().peekable());
    let transition = |(place, it): (u64, &TransitionV2)| {
        at = after(at, it.at);
        attempt = attempts.next_if(|it| it.0 == place).map_or(attempt, |it| it.1);
        let error = errors.next_if(|it| it.0 == place).map(|it| it.1.into());
        let status = numbered(it.status, &words)?;
        let transition = Transition { seq, status, at, attempt, error };
        seq = seq.wrapping_add(it.seq);
        Ok(transition)
    };
    let transitions = (0..).zip(&it.transitions).map(transition).collect::<Result<_, Broken>>()?;
    if attempts.len() + errors.len() > 0 {
        return Err(Broken("it says something of a transition that it does not have".to_owned()));
    }
    Ok(JobRecord {
        pipeline: pipeline(it.pipeline)?,
        status: numbered(it.status, &words)?,
        error: it.error.map(Into::into),
        message: it.message.map(Into::into),
        progress: it.progress.map(|bits| f64::from_bits(bits.swap_bytes())),
        labels: labels(it.labels)?,
        attempt: it.attempt,
        attempt_given: it.attempt_given,
        created_at,
        status_at,
        seen_at,
        started_at: it.started_at.map(|it| after(status_at, it)),
        finished_at: it.finished_at.map(|it| after(status_at, it)),
        updated_at: after(seen_at, it.updated_at),
        seq: it.seq,
        transition_count: it.transition_count,
        transitions,
    })
}
