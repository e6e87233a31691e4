//! `cargo bench --bench queries`: what questions cost as the store grows. See `benches/README.md`.
//!
//! `small` as an argument runs a small plan.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on may fall over"
)]

use std::path::Path;

#[path = "mod.rs"]
mod queries;

fn main() {
    let is_small = std::env::args().any(|argument| argument == "small");
    let plan = if is_small { queries::SMALL } else { queries::FULL };
    println!("{}", queries::run(&plan, Path::new(env!("CARGO_TARGET_TMPDIR"))));
}
