//! The ids of a generation in their order, for lists by id.
//!
//! Nobody keeps them sorted while they come in: a list by id sorts what came since the last one and
//! merges it with the runs of before, the smaller ones first. So many lists pay for an id only a
//! few times together, and writers never do.

use std::sync::Arc;

use crate::model::JobId;

/// Sorted runs, each at least twice as long as the next.
#[derive(Debug, Default)]
pub struct IdRuns {
    runs: Vec<Arc<[JobId]>>,
    covered: usize,
}

impl IdRuns {
    /// Ids that are copied under one hold of the generation's lock.
    pub const SLICE_IDS: usize = 4_096;

    /// How many ids are in the runs.
    pub fn covered(&self) -> usize {
        self.covered
    }

    pub fn runs(&self) -> Vec<Arc<[JobId]>> {
        self.runs.clone()
    }

    /// Takes further ids; none of them is in the runs yet.
    pub fn add(&mut self, mut ids: Vec<JobId>) {
        self.covered += ids.len();
        ids.sort_unstable();
        let mut run = ids;
        while let Some(last) = self.runs.pop_if(|last| last.len() < 2 * run.len()) {
            run = merge(&last, run);
        }
        self.runs.push(run.into());
    }
}

fn merge(a: &[JobId], b: Vec<JobId>) -> Vec<JobId> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.into_iter().peekable());
    loop {
        let is_a = match (a.peek(), b.peek()) {
            (Some(a), Some(b)) => *a < b,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return merged,
        };
        merged.extend(if is_a { a.next().cloned() } else { b.next() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_sorted_few_and_complete() {
        let mut runs = IdRuns::default();
        let id = |number: usize| JobId::parse(&format!("{:05}", number * 7_919 % 10_007)).unwrap();
        for start in (0..3_000).step_by(100) {
            runs.add((start..start + 100).map(id).collect());
        }
        let runs = runs.runs();
        assert!(runs.len() <= 6 && runs.iter().all(|run| run.is_sorted()), "{}", runs.len());
        assert_eq!(runs.iter().map(|run| run.len()).sum::<usize>(), 3_000);
    }
}
