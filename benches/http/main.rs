//! `cargo bench --bench http`: rates over HTTP. See `benches/README.md`.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on may fall over"
)]

#[path = "../../tests/it/http.rs"]
#[expect(dead_code, reason = "the tests use all of it, the benchmark some")]
mod http;
#[path = "../../tests/it/server.rs"]
#[expect(dead_code, reason = "the tests use all of it, the benchmark some")]
mod server;

#[path = "mod.rs"]
mod rates;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if let (Some("bare"), Some(body)) = (first.as_deref(), arguments.next()) {
        return rates::bare::main(body);
    }
    let plan = if first.as_deref() == Some("small") { rates::SMALL } else { rates::FULL };
    println!("{}", rates::run_import(&plan));
    let report = rates::run_get(&plan, |body| {
        let bare = rates::bare::BareProcess::start(body);
        (bare.address.clone(), bare)
    });
    println!("{report}");
}
