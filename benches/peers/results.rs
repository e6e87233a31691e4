//! All that was measured so far, and what can be said of it.

use super::figure::{Figure, Step};
use super::sample::Sample;

#[derive(Clone, Debug, Default)]
pub struct Results {
    pub samples: Vec<Sample>,
    pub figures: Vec<Figure>,
    pub steps: Vec<Step>,
}

/// A number of several rounds. The median of an even number is between the two in the middle.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// `None` without any round.
    pub fn of(mut rounds: Vec<f64>) -> Option<Self> {
        rounds.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*rounds.first()?, *rounds.last()?);
        let middle = [rounds[(rounds.len() - 1) / 2], rounds[rounds.len() / 2]];
        Some(Self { median: middle.iter().sum::<f64>() / 2.0, least, most })
    }
}

impl Results {
    pub fn add(&mut self, more: Self) {
        self.samples.extend(more.samples);
        self.figures.extend(more.figures);
        self.steps.extend(more.steps);
    }

    /// The plans that have samples, in the order of their first.
    pub fn sampled_plans(&self) -> Vec<&'static str> {
        first_ones(self.samples.iter().map(|sample| sample.plan))
    }

    /// The plans that have figures, in the order of their first.
    pub fn figured_plans(&self) -> Vec<&'static str> {
        first_ones(self.figures.iter().map(|figure| figure.plan))
    }

    /// The arms of `plan`, in the order of the first round.
    pub fn arms(&self, plan: &str) -> Vec<&'static str> {
        first_ones(self.of_plan(plan).map(|sample| sample.arm))
    }

    /// The names of the figures of `plan`.
    pub fn figure_names(&self, plan: &str) -> Vec<&'static str> {
        let figures = self.figures.iter().filter(|figure| figure.plan == plan);
        first_ones(figures.map(|figure| figure.name))
    }

    pub fn of_plan(&self, plan: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.plan == plan)
    }

    /// The rounds of one arm.
    pub fn of_arm(&self, plan: &str, arm: &str) -> impl Iterator<Item = &Sample> {
        self.of_plan(plan).filter(move |sample| sample.arm == arm)
    }

    /// Something of every round of an arm.
    pub fn spread(&self, plan: &str, arm: &str, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.of_arm(plan, arm).map(figure).collect())
    }

    /// Something of one arm against the same of another one, taken within each round.
    pub fn ratio(
        &self,
        (plan, arm): (&str, &str),
        (other_plan, other): (&str, &str),
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let ratios = self.of_arm(plan, arm).filter_map(|sample| {
            let mut others = self.of_arm(other_plan, other);
            let other = others.find(|it| it.round == sample.round)?;
            Some(figure(sample) / figure(other))
        });
        Spread::of(ratios.collect())
    }

    /// A figure of every round.
    pub fn figure(&self, plan: &str, name: &str) -> Option<Spread> {
        let figures = self.figures.iter().filter(|it| it.plan == plan && it.name == name);
        Spread::of(figures.map(|figure| figure.value).collect())
    }
}

fn first_ones(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut firsts = Vec::new();
    for name in names {
        if !firsts.contains(&name) {
            firsts.push(name);
        }
    }
    firsts
}
