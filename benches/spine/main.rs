//! `cargo bench --bench spine`: durable updates per second. See `benches/README.md`.
//!
//! Plans by number as arguments (`cargo bench --bench spine -- 0 1`), or `small`; without any, all.

#![expect(clippy::indexing_slicing, reason = "a benchmark that cannot go on may fall over")]

use std::path::Path;

#[path = "mod.rs"]
mod spine;

fn main() {
    // Cargo adds `--bench`.
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let plans: Vec<spine::Plan> = match chosen.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => spine::FULL.to_vec(),
        ["small"] => vec![spine::SMALL],
        ref numbers => numbers.iter().map(|text| plan(text)).collect(),
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for plan in plans {
        println!("{}", spine::run(&plan, directory));
    }
}

fn plan(text: &str) -> spine::Plan {
    let number: Option<usize> = text.parse().ok();
    let plan = number.and_then(|number| spine::FULL.get(number));
    *plan.unwrap_or_else(|| panic!("{text} is not a plan; use 0 to {}", spine::FULL.len() - 1))
}
