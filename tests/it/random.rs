//! Random choices that can be repeated: every use prints its seed, and `JOBSLATE_SEED` sets it.

use std::time::SystemTime;

/// SplitMix64: one word of state, good enough to choose moments and orders.
pub struct Random(u64);

impl Random {
    /// The seed of `JOBSLATE_SEED`, else one of the clock. Printed, so that a failure shows it.
    pub fn from_environment() -> Self {
        let given = std::env::var("JOBSLATE_SEED").ok();
        let seed = match given {
            Some(text) => text.parse().expect("JOBSLATE_SEED is a number"),
            None => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20)
            }
        };
        println!("seed: JOBSLATE_SEED={seed}");
        Self(seed)
    }

    /// What `JOBSLATE_SEED` must say to go on from here.
    pub fn seed(&self) -> u64 {
        self.0
    }

    /// Another source, which depends on this one alone.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// For a place that makes no choice.
    pub fn unused() -> Self {
        Self(0)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}

/// A number that the environment may set.
pub fn number_from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}"))
    })
}
