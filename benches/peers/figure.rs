//! A measured number that is no rate: bytes, seconds, counts.

/// One number of one round.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// A short id that stays: `memory`, `disk`.
    pub plan: &'static str,
    /// What it is, with its unit: `peak_mib`, `warm_s`.
    pub name: &'static str,
    pub round: usize,
    pub value: f64,
}

/// How fast a store filled, one step of many: for the plot of growth.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub round: usize,
    /// Updates stored at the end of the step.
    pub updates: usize,
    /// Updates per second within the step.
    pub rate: f64,
}
