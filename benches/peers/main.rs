//! `cargo bench --bench peers`: this store beside what people use instead. See `benches/README.md`.
//!
//! Plans by name as arguments (`cargo bench --bench peers -- inproc-50 disk`); without any, all.
//! `small` among them runs tiny sizes, once; `rounds=1` makes a look at the full ones short.
//! `packaging/peers` starts the servers that some arms need and then this; without them these arms
//! are left out.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on may fall over"
)]

use std::path::Path;

#[path = "mod.rs"]
mod peers;

fn main() {
    if peers::net::bare::is_child() {
        return peers::net::bare::child_main();
    }
    if peers::child::run_if_child() {
        return;
    }
    // Cargo adds `--bench`.
    let mut arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_small = arguments.iter().any(|argument| argument == "small");
    arguments.retain(|argument| argument != "small");
    let mut size = if is_small { peers::SMALL } else { peers::FULL };
    arguments.retain(|argument| {
        let Some(rounds) = argument.strip_prefix("rounds=") else { return true };
        size.rounds = rounds.parse().expect("a number of rounds");
        false
    });
    let names = peers::names(&size);
    if let Some(unknown) = arguments.iter().find(|it| !names.contains(&it.as_str())) {
        panic!("{unknown} is not a plan; there are {}", names.join(", "));
    }
    let is_chosen = |name: &&str| arguments.is_empty() || arguments.iter().any(|it| it == name);
    let chosen: Vec<&'static str> = names.into_iter().filter(is_chosen).collect();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Only a whole run replaces the report of a whole run.
    let is_whole = arguments.is_empty() && !is_small && size.rounds == peers::FULL.rounds;
    let output = directory.with_file_name(if is_whole { "peers" } else { "peers-look" });
    let start_child = &peers::child::this_executable;
    println!("{}", peers::run(&size, &chosen, directory, &output, start_child));
    eprintln!("The report and its numbers are in {}", output.display());
}
