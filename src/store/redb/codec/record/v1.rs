//! A job's record as stores of format 4 have it, until a fold writes it anew.

use wincode::SchemaRead;

use crate::model::{JobId, JobRecord, TimestampMs, Transition};
use crate::store::redb::codec::{Broken, broken, decode, labels, pipeline, status};

#[derive(SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
pub struct RecordV1<'a> {
    pipeline: &'a str,
    status: &'a str,
    error: Option<&'a str>,
    message: Option<&'a str>,
    progress: Option<f64>,
    labels: Vec<(&'a str, &'a str)>,
    attempt: u32,
    attempt_given: Option<u32>,
    created_at: u64,
    status_at: u64,
    seen_at: u64,
    started_at: Option<u64>,
    finished_at: Option<u64>,
    updated_at: u64,
    seq: u64,
    transition_count: u64,
    transitions: Vec<TransitionV1<'a>>,
}

#[derive(SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
struct TransitionV1<'a> {
    seq: u64,
    status: &'a str,
    at: u64,
    attempt: u32,
    error: Option<&'a str>,
}

pub fn job(payload: &[u8]) -> Result<(JobId, JobRecord), Broken> {
    let (job_id, it): (&str, RecordV1<'_>) = decode(payload)?;
    Ok((JobId::parse(job_id).map_err(broken)?, record(it)?))
}

fn record(it: RecordV1<'_>) -> Result<JobRecord, Broken> {
    let transition = |it: TransitionV1<'_>| -> Result<Transition, Broken> {
        Ok(Transition {
            seq: it.seq,
            status: status(it.status)?,
            at: TimestampMs(it.at),
            attempt: it.attempt,
            error: it.error.map(Into::into),
        })
    };
    Ok(JobRecord {
        pipeline: pipeline(it.pipeline)?,
        status: status(it.status)?,
        error: it.error.map(Into::into),
        message: it.message.map(Into::into),
        progress: it.progress,
        labels: labels(it.labels)?,
        attempt: it.attempt,
        attempt_given: it.attempt_given,
        created_at: TimestampMs(it.created_at),
        status_at: TimestampMs(it.status_at),
        seen_at: TimestampMs(it.seen_at),
        started_at: it.started_at.map(TimestampMs),
        finished_at: it.finished_at.map(TimestampMs),
        updated_at: TimestampMs(it.updated_at),
        seq: it.seq,
        transition_count: it.transition_count,
        transitions: it.transitions.into_iter().map(transition).collect::<Result<_, _>>()?,
    })
}
