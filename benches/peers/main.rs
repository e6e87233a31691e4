//! `cargo bench --bench peers`: this store beside what people use instead. See `benches/README.md`.

#[path = "sample.rs"]
mod sample;

fn main() {}
