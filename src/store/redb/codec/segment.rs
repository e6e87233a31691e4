//! A batch: its operations, and the idempotency keys with their answers.

use wincode::{SchemaRead, SchemaWrite};

use super::kept::{KeptV1, kept, kept_v1};
use super::{
    Broken, VERSION, add, broken, kind, kind_number, labels, pipeline, seal_parts, status, unseal,
};
use crate::model::{
    Change, Expectation, JobId, Operation, PipelineName, Removal, Status, TimestampMs,
};
use crate::store::KeptAnswer;

/// One batch as the journal and the feed hold it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// The seq of the first operation; the others follow without gaps.
    pub first_seq: u64,
    pub updated_at: TimestampMs,
    pub operations: Vec<Operation>,
    pub keys: Vec<(Box<str>, KeptAnswer)>,
}

#[derive(SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
pub(super) struct SegmentV1<'a> {
    first_seq: u64,
    updated_at: u64,
    #[cfg_attr(test, serde(borrow))]
    operations: Vec<OperationV1<'a>>,
    keys: Vec<(&'a str, KeptV1<'a>)>,
}

/// What a segment can hold; new operations are added at the end.
#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
enum OperationV1<'a> {
    #[cfg_attr(test, serde(borrow))]
    Update(ChangeV1<'a>),
    /// An update that finished its pipeline.
    FinishingUpdate(ChangeV1<'a>),
    Removal(RemovalV1<'a>),
    Expectation(ExpectationV1<'a>),
}

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
struct RemovalV1<'a> {
    job_id: &'a str,
    at: u64,
    status: &'a str,
    kind: u8,
    pipeline: &'a str,
}

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
struct ExpectationV1<'a> {
    pipeline: &'a str,
    at: u64,
    total: Option<u64>,
    finishes_pipeline: bool,
}

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
struct ChangeV1<'a> {
    job_id: &'a str,
    applied: bool,
    is_heartbeat: bool,
    at: u64,
    status: &'a str,
    kind: u8,
    previous: Option<&'a str>,
    previous_kind: Option<u8>,
    pipeline: &'a str,
    previous_pipeline: Option<&'a str>,
    attempt: u32,
    attempt_given: Option<u32>,
    error: Option<&'a str>,
    message: Option<&'a str>,
    progress: Option<f64>,
    labels: Option<Vec<(&'a str, &'a str)>>,
}

/// Room for a usual update, at once.
const OPERATION_BYTES_EXPECTED: usize = 128;

pub fn encode_segment(batch_no: u64, segment: &Segment) -> Vec<u8> {
    let Segment { first_seq, updated_at, operations, keys } = segment;
    let bytes_expected = operations.len() * OPERATION_BYTES_EXPECTED;
    // The fields of `SegmentV1`, without putting one together.
    seal_parts(VERSION, &batch_no.to_be_bytes(), bytes_expected, |bytes| {
        add(bytes, &(*first_seq, updated_at.0));
        add(bytes, &(operations.len() as u64));
        operations.iter().for_each(|it| add(bytes, &operation_v1(it)));
        add(bytes, &(keys.len() as u64));
        keys.iter().for_each(|(key, kept)| add(bytes, &(&**key, kept_v1(kept))));
    })
}

pub fn decode_segment(batch_no: u64, bytes: &[u8]) -> Result<Segment, Broken> {
    let it: SegmentV1<'_> = unseal(&batch_no.to_be_bytes(), bytes)?;
    let count = it.operations.len() as u64;
    if it.first_seq == 0 || it.first_seq.checked_add(count).is_none() {
        return Err(Broken(format!("{count} operations from seq {}", it.first_seq)));
    }
    // The seqs come second: none is made beyond the last operation.
    let operations = it.operations.into_iter().zip(it.first_seq..);
    let operations = operations.map(|(it, seq)| operation(seq, it));
    let keys = it.keys.into_iter().map(|(key, it)| Ok((key.into(), kept(it)?)));
    Ok(Segment {
        first_seq: it.first_seq,
        updated_at: TimestampMs(it.updated_at),
        operations: operations.collect::<Result<_, Broken>>()?,
        keys: keys.collect::<Result<_, Broken>>()?,
    })
}

fn operation(seq: u64, it: OperationV1<'_>) -> Result<Operation, Broken> {
    Ok(match it {
        OperationV1::Update(it) => Operation::Update(change(seq, it)?),
        OperationV1::FinishingUpdate(it) => {
            Operation::Update(Change { finishes_pipeline: true, ..change(seq, it)? })
        }
        OperationV1::Removal(it) => Operation::Removal(Removal {
            seq,
            job_id: JobId::parse(it.job_id).map_err(broken)?,
            at: TimestampMs(it.at),
            status: status(it.status)?,
            kind: kind(it.kind)?,
            pipeline: pipeline(it.pipeline)?,
        }),
        OperationV1::Expectation(it) => Operation::Expectation(Expectation {
            seq,
            pipeline: pipeline(it.pipeline)?,
            at: TimestampMs(it.at),
            total: it.total,
            finishes_pipeline: it.finishes_pipeline,
        }),
    })
}

fn change(seq: u64, it: ChangeV1<'_>) -> Result<Change, Broken> {
    Ok(Change {
        seq,
        job_id: JobId::parse(it.job_id).map_err(broken)?,
        applied: it.applied,
        is_heartbeat: it.is_heartbeat,
        at: TimestampMs(it.at),
        status: status(it.status)?,
        kind: kind(it.kind)?,
        previous: it.previous.map(status).transpose()?,
        previous_kind: it.previous_kind.map(kind).transpose()?,
        pipeline: pipeline(it.pipeline)?,
        previous_pipeline: it.previous_pipeline.map(pipeline).transpose()?,
        attempt: it.attempt,
        attempt_given: it.attempt_given,
        error: it.error.map(Into::into),
        message: it.message.map(Into::into),
        progress: it.progress,
        labels: it.labels.map(labels).transpose()?,
        finishes_pipeline: false,
    })
}

fn operation_v1(it: &Operation) -> OperationV1<'_> {
    match it {
        Operation::Update(it) if it.finishes_pipeline => {
            OperationV1::FinishingUpdate(change_v1(it))
        }
        Operation::Update(it) => OperationV1::Update(change_v1(it)),
        Operation::Removal(it) => OperationV1::Removal(RemovalV1 {
            job_id: it.job_id.as_str(),
            at: it.at.0,
            status: it.status.as_str(),
            kind: kind_number(it.kind),
            pipeline: it.pipeline.as_str(),
        }),
        Operation::Expectation(it) => OperationV1::Expectation(ExpectationV1 {
            pipeline: it.pipeline.as_str(),
            at: it.at.0,
            total: it.total,
            finishes_pipeline: it.finishes_pipeline,
        }),
    }
}

fn change_v1(it: &Change) -> ChangeV1<'_> {
    ChangeV1 {
        job_id: it.job_id.as_str(),
        applied: it.applied,
        is_heartbeat: it.is_heartbeat,
        at: it.at.0,
        status: it.status.as_str(),
        kind: kind_number(it.kind),
        previous: it.previous.as_ref().map(Status::as_str),
        previous_kind: it.previous_kind.map(kind_number),
        pipeline: it.pipeline.as_str(),
        previous_pipeline: it.previous_pipeline.as_ref().map(PipelineName::as_str),
        attempt: it.attempt,
        attempt_given: it.attempt_given,
        error: it.error.as_deref(),
        message: it.message.as_deref(),
        progress: it.progress,
        labels: it.labels.as_ref().map(|labels| labels.iter().collect()),
    }
}
