//! A job's record with its id, at its slot in the table `records`.

use wincode::{SchemaRead, SchemaWrite};

use super::{Broken, broken, labels, pipeline, seal, status, unseal};
use crate::model::{JobId, JobRecord, TimestampMs, Transition};

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
pub(super) struct RecordV1<'a> {
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

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
struct TransitionV1<'a> {
    seq: u64,
    status: &'a str,
    at: u64,
    attempt: u32,
    error: Option<&'a str>,
}

/// A job with its id, as it stands at its slot.
pub fn encode_job(key: &[u8], job_id: &JobId, record: &JobRecord) -> Vec<u8> {
    seal(key, &(job_id.as_str(), record_v1(record)))
}

pub fn decode_job(key: &[u8], bytes: &[u8]) -> Result<(JobId, JobRecord), Broken> {
    let (job_id, it): (&str, RecordV1<'_>) = unseal(key, bytes)?;
    Ok((JobId::parse(job_id).map_err(broken)?, record(it)?))
}

fn record_v1(record: &JobRecord) -> RecordV1<'_> {
    RecordV1 {
        pipeline: record.pipeline.as_str(),
        status: record.status.as_str(),
        error: record.error.as_deref(),
        message: record.message.as_deref(),
        progress: record.progress,
        labels: record.labels.iter().collect(),
        attempt: record.attempt,
        attempt_given: record.attempt_given,
        created_at: record.created_at.0,
        status_at: record.status_at.0,
        seen_at: record.seen_at.0,
        started_at: record.started_at.map(|at| at.0),
        finished_at: record.finished_at.map(|at| at.0),
        updated_at: record.updated_at.0,
        seq: record.seq,
        transition_count: record.transition_count,
        transitions: record.transitions.iter().map(transition_v1).collect(),
    }
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

fn transition_v1(it: &Transition) -> TransitionV1<'_> {
    TransitionV1 {
        seq: it.seq,
        status: it.status.as_str(),
        at: it.at.0,
        attempt: it.attempt,
        error: it.error.as_deref(),
    }
}
