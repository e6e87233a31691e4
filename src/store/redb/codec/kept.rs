//! The first answer to a call with an idempotency key.

use wincode::{SchemaRead, SchemaWrite};

use super::{Broken, seal, unseal};
use crate::model::{Answer, Rejection, RejectionCode, TimestampMs};
use crate::store::KeptAnswer;

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
pub(super) struct KeptV1<'a> {
    fingerprint: [u8; 32],
    at: u64,
    accepted: u64,
    applied: u64,
    stale: u64,
    merged: u64,
    rejected: u64,
    durable: bool,
    seqs: Option<(u64, u64)>,
    #[cfg_attr(test, serde(borrow))]
    errors: Vec<RejectionV1<'a>>,
    errors_truncated: bool,
}

#[derive(SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
struct RejectionV1<'a> {
    index: u32,
    job_id: Option<&'a str>,
    code: &'a str,
    detail: &'a str,
}

pub(super) fn kept_v1(kept: &KeptAnswer) -> KeptV1<'_> {
    KeptV1 {
        fingerprint: kept.fingerprint,
        at: kept.at.0,
        accepted: kept.answer.accepted,
        applied: kept.answer.applied,
        stale: kept.answer.stale,
        merged: kept.answer.merged,
        rejected: kept.answer.rejected,
        durable: kept.answer.durable,
        seqs: kept.answer.seqs,
        errors: kept.answer.errors.iter().map(rejection_v1).collect(),
        errors_truncated: kept.answer.errors_truncated,
    }
}

pub(super) fn kept(it: KeptV1<'_>) -> Result<KeptAnswer, Broken> {
    let rejection = |it: RejectionV1<'_>| -> Result<Rejection, Broken> {
        let code = RejectionCode::parse(it.code)
            .ok_or_else(|| Broken(format!("unknown rejection code {:?}", it.code)))?;
        let (job_id, detail) = (it.job_id.map(Into::into), it.detail.into());
        Ok(Rejection { index: it.index, job_id, code, detail })
    };
    let answer = Answer {
        accepted: it.accepted,
        applied: it.applied,
        stale: it.stale,
        merged: it.merged,
        rejected: it.rejected,
        durable: it.durable,
        seqs: it.seqs,
        errors: it.errors.into_iter().map(rejection).collect::<Result<_, _>>()?,
        errors_truncated: it.errors_truncated,
    };
    Ok(KeptAnswer { fingerprint: it.fingerprint, at: TimestampMs(it.at), answer })
}

/// A kept answer with its place in the order of age.
pub fn encode_kept(key: &[u8], ordinal: u64, answer: &KeptAnswer) -> Vec<u8> {
    seal(key, &(ordinal, kept_v1(answer)))
}

pub fn decode_kept(key: &[u8], bytes: &[u8]) -> Result<(u64, KeptAnswer), Broken> {
    let (ordinal, answer): (u64, KeptV1<'_>) = unseal(key, bytes)?;
    Ok((ordinal, kept(answer)?))
}

fn rejection_v1(it: &Rejection) -> RejectionV1<'_> {
    RejectionV1 {
        index: it.index,
        job_id: it.job_id.as_deref(),
        code: it.code.as_str(),
        detail: &it.detail,
    }
}
