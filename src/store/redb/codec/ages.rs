//! The clock of ages, and when which seq was the last one.

use super::{Broken, seal, unseal};
use crate::model::TimestampMs;
use crate::store::ages::{Ages, Sample};

/// The time of the clock, then each sample less the one before: its time and its last seq.
pub fn encode_ages(key: &[u8], now: TimestampMs, ages: &Ages) -> Vec<u8> {
    let (mut at, mut last_seq) = (0, 0);
    let steps = ages.samples().iter().map(|sample| {
        let step = (sample.at.0 - at, sample.last_seq - last_seq);
        (at, last_seq) = (sample.at.0, sample.last_seq);
        step
    });
    seal(key, &(now.0, steps.collect::<Vec<(u64, u64)>>()))
}

pub fn decode_ages(key: &[u8], bytes: &[u8]) -> Result<(TimestampMs, Ages), Broken> {
    let (now, steps): (u64, Vec<(u64, u64)>) = unseal(key, bytes)?;
    let (mut at, mut last_seq) = (0_u64, 0_u64);
    let mut samples = Vec::with_capacity(steps.len());
    for (step_ms, seqs) in steps {
        let next = at.checked_add(step_ms).zip(last_seq.checked_add(seqs));
        let is_later = seqs > 0 && (step_ms > 0 || samples.is_empty());
        let next = next.filter(|(at, _)| *at <= now && is_later);
        (at, last_seq) = next.ok_or_else(|| Broken("the ages do not rise".to_owned()))?;
        samples.push(Sample { at: TimestampMs(at), last_seq });
    }
    Ok((TimestampMs(now), Ages::new(samples)))
}
