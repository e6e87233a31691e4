//! The papers say what is: links lead somewhere, paths exist, the table of keys is the one in use.

use std::path::Path;

use crate::server::jobslate;

const PAPERS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benches/README.md", "tests/data/README.md"];

fn read(paper: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(paper)).unwrap()
}

#[test]
fn the_readme_shows_the_configuration_keys_in_use() {
    let output = jobslate(&["config", "--markdown"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.starts_with("| key |"), "{table}");
    let readme = read("README.md");
    let missing: Vec<&str> = table.lines().filter(|row| !readme.contains(row)).collect();
    assert!(missing.is_empty(), "`jobslate config --markdown` has more:\n{}", missing.join("\n"));
    let row_count = |text: &str| text.lines().filter(|line| line.starts_with("| `")).count();
    let section = readme.split("\n## ").find(|part| part.starts_with("Configuration")).unwrap();
    assert_eq!(row_count(section), row_count(&table), "the README has a key that is gone");
}

#[test]
fn the_architecture_is_short_enough_to_be_read() {
    assert!(read("ARCHITECTURE.md").lines().count() <= 200);
}

#[test]
fn every_path_that_a_paper_names_exists() {
    let mut gone = Vec::new();
    let mut named_count = 0;
    for paper in PAPERS {
        let (text, home) = (read(paper), Path::new(paper).parent().unwrap());
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let named = quoted(&text).into_iter().map(|path| top.join(path));
        let linked = links(&text).into_iter().map(|path| top.join(home).join(path));
        for path in named.chain(linked) {
            named_count += 1;
            if !path.exists() {
                gone.push(format!("{paper} names {}", path.display()));
            }
        }
    }
    assert!(gone.is_empty(), "{}", gone.join("\n"));
    assert!(named_count > 20, "only {named_count} paths were looked at");
}

/// What stands in backticks and looks like a path from the top of the project.
fn quoted(text: &str) -> Vec<&str> {
    let tops = ["src/", "tests/", "benches/", "packaging/", ".ci/"];
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .filter(|span| tops.iter().any(|top| span.starts_with(top)) && !span.contains(' '))
        .collect()
}

/// The targets of links into the project.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}
