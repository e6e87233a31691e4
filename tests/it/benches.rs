//! The benchmarks run, small, so that they cannot rot. Their figures are not judged here.

#[path = "../../benches/http/mod.rs"]
#[expect(dead_code, reason = "the full plans are for `cargo bench`")]
mod http_bench;
#[path = "../../benches/peers/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the full plans are for `cargo bench`")]
#[expect(clippy::duplicate_mod, reason = "each benchmark has the same workload")]
mod peers;
#[path = "../../benches/queries/mod.rs"]
#[expect(dead_code, reason = "the full plans are for `cargo bench`")]
mod queries;
#[path = "../../benches/spine/mod.rs"]
#[expect(dead_code, reason = "the full plans are for `cargo bench`")]
mod spine;

#[test]
fn the_spine_benchmark_fills_its_table() {
    let directory = tempfile::tempdir().unwrap();
    let report = spine::run(&spine::SMALL, directory.path());
    assert_eq!(figures(&report).len(), 5 * 7, "{report}");
}

#[test]
fn the_benchmark_of_questions_fills_its_tables() {
    let directory = tempfile::tempdir().unwrap();
    let report = queries::run(&queries::SMALL, directory.path());
    assert_eq!(figures(&report).len(), (9 + 1) * 5, "{report}");
}

#[test]
fn the_http_benchmark_fills_its_table() {
    let import = http_bench::run_import(&http_bench::SMALL);
    assert!(import.contains(" updates/s"), "{import}");
    let report = http_bench::run_get(&http_bench::SMALL, |body| {
        let (tell, told) = std::sync::mpsc::channel();
        let body = body.to_owned();
        // It serves until the test ends.
        std::thread::spawn(move || {
            http_bench::bare::serve(body, |address| tell.send(address.to_owned()).unwrap());
        });
        (told.recv().unwrap(), ())
    });
    assert_eq!(figures(&report).len(), 2 * 4, "{report}");
}

#[test]
fn the_benchmark_of_peers_fills_its_tables() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("output");
    let names = peers::names(&peers::SMALL);
    let start_child = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "benches::a_child_of_the_benchmark_of_peers", "--nocapture"]);
        command
    };
    let report = peers::run(&peers::SMALL, &names, directory.path(), &output, &start_child);
    for name in names {
        assert!(report.contains(&format!("### {name}\n")), "{name} has no table\n{report}");
    }
    assert!(!report.contains("NaN") && !report.contains("inf"), "{report}");
    assert_eq!(std::fs::read_to_string(output.join("report.md")).unwrap(), report);
}

/// What the benchmark's children do, as their executable is the harness; else nothing.
#[test]
fn a_child_of_the_benchmark_of_peers() {
    peers::child::run_if_child();
}

/// The finite numbers in the cells of the tables.
fn figures(report: &str) -> Vec<f64> {
    let cells = report.lines().filter(|line| line.starts_with('|')).flat_map(|row| row.split('|'));
    cells.filter_map(|cell| cell.trim().parse().ok()).filter(|it: &f64| it.is_finite()).collect()
}
