//! The house rules as a test: what a reviewer would say about any file, said by a machine.
//!
//! Each rule is a function from a file to complaints, followed by a test that shows it complaining.
//! The rules read lines, not syntax: they count on `cargo fmt`, which the test command runs first.

use std::fs;
use std::path::Path;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// The rooms from top to bottom; imports point to a later row. Rooms of one row do not see each
/// other. `telemetry` is open to every room but the values below it.
const ROOMS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["client", "http"],
    &["api"],
    &["service"],
    &["batch"],
    &["store"],
    &["telemetry"],
    &["model"],
];

/// External engines, each with the one place that may name it. `redb` is also a module of ours: a
/// path through `store::`, or a name imported from our own library, does not count.
const ENGINES: &[(&str, &str)] = &[
    ("axum", "src/http/"),
    ("hyper", "src/http/"),
    ("hyper_util", "src/http/"),
    ("tower", "src/http/"),
    ("tower_http", "src/http/"),
    ("utoipa_axum", "src/http/"),
    ("redb", "src/store/redb/"),
    ("wincode", "src/store/redb/codec"),
    ("reqwest", "src/client/"),
    ("clap", "src/cli/"),
    ("clap_complete", "src/cli/"),
];

/// A file of the project, with its path from the top: `src/store/mod.rs`.
struct SourceFile {
    path: String,
    text: String,
}

impl SourceFile {
    /// The room that the file belongs to; `None` for `src/lib.rs`, the table of contents.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let room = inside.split('/').next()?.trim_end_matches(".rs");
        (room != "lib").then_some(room)
    }

    /// The lines with their numbers, comments removed.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| {
            let code = line.split("//").next().unwrap_or_default();
            (index + 1, code)
        })
    }

    fn complain(&self, line: usize, what: String) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The complaints of one rule about one file.
type Rule = fn(&SourceFile) -> Vec<String>;

/// Rules for what is shipped.
const SHIPPED: &[Rule] = &[imports_point_downward, engines_stay_home, nothing_is_unfinished];
/// Rules for every Rust file.
const EVERYWHERE: &[Rule] = &[files_open_with_docs, files_fit, functions_fit, lines_fit];

#[test]
fn the_source_keeps_the_house_rules() {
    let shipped = read_tree("src");
    for room in ROOMS.iter().flat_map(|row| row.iter()) {
        let is_there = shipped.iter().any(|file| file.room() == Some(*room));
        assert!(is_there, "room {room} has no file: the rules would look at nothing");
    }
    let others = ["tests", "benches", "packaging"].into_iter().flat_map(read_tree);
    let mut complaints = Vec::new();
    for file in &shipped {
        complaints.extend(SHIPPED.iter().flat_map(|rule| rule(file)));
    }
    for file in shipped.into_iter().chain(others) {
        complaints.extend(EVERYWHERE.iter().flat_map(|rule| rule(&file)));
    }
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// Every `.rs` file under `directory`.
fn read_tree(directory: &str) -> Vec<SourceFile> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut pending = vec![top.join(directory)];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("the directory is part of the project") {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                files.push(SourceFile { path, text });
            }
        }
    }
    files
}

fn row(room: &str) -> Option<usize> {
    ROOMS.iter().position(|row| row.contains(&room))
}

/// A room imports only rooms below it.
fn imports_point_downward(file: &SourceFile) -> Vec<String> {
    let Some(from) = file.room() else { return Vec::new() };
    let Some(from_row) = row(from) else {
        return vec![file.complain(1, format!("{from} is not a room; see ROOMS in tests/it"))];
    };
    let mut complaints = Vec::new();
    for (line, to) in imported_rooms(file) {
        if to != from && row(&to).is_some_and(|to_row| to_row <= from_row) {
            complaints
                .push(file.complain(line, format!("{from} imports {to}, which is not below")));
        }
    }
    complaints
}

/// The first names of all paths that begin at the top of the library, with their lines.
fn imported_rooms(file: &SourceFile) -> Vec<(usize, String)> {
    let code: Vec<(usize, &str)> = file.code_lines().collect();
    let mut rooms = Vec::new();
    for (index, (line, text)) in code.iter().enumerate() {
        for root in ["crate::", "jobslate::"] {
            for (start, _) in text.match_indices(root) {
                let rest = &text[start + root.len()..];
                let tail = code[index + 1..].iter().map(|(_, text)| *text);
                rooms.extend(first_names(rest, tail).into_iter().map(|room| (*line, room)));
            }
        }
        for climb in climbs_out(file, text) {
            rooms.push((*line, climb));
        }
    }
    rooms
}

/// `store::x` gives `store`; `{api, model::{Ack, Answer}}` gives `api` and `model`. Lists may
/// go on over lines.
fn first_names<'a>(rest: &'a str, tail: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(inside) = rest.strip_prefix('{') else {
        return vec![rest.chars().take_while(|c| is_word(*c)).collect()];
    };
    let (mut depth, mut names, mut name) = (1, Vec::new(), String::new());
    let mut is_open = true;
    for c in inside.chars().chain(tail.flat_map(str::chars)) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => is_open = true,
            c if is_open && is_word(c) => name.push(c),
            _ => {}
        }
        if !name.is_empty() && !is_word(c) {
            is_open = false;
            names.push(std::mem::take(&mut name));
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// The rooms that chains of `super::` lead to, if they leave the room of `file`.
fn climbs_out(file: &SourceFile, text: &str) -> Vec<String> {
    let steps: Vec<&str> = file.path.trim_end_matches(".rs").split('/').skip(1).collect();
    let depth = steps.len() - usize::from(steps.last() == Some(&"mod"));
    let mut rooms = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("super::") {
        let mut path = &rest[start..];
        let mut climbed = 0;
        while let Some(higher) = path.strip_prefix("super::") {
            (path, climbed) = (higher, climbed + 1);
        }
        if climbed >= depth {
            rooms.extend(first_names(path, std::iter::empty()));
        }
        rest = path;
    }
    rooms
}

#[test]
fn an_import_that_points_up_or_aside_is_reported() {
    let complaints = |path, text| imports_point_downward(&snippet(path, text)).len();
    assert_eq!(complaints("src/store/mod.rs", "use crate::service::Service;"), 1);
    assert_eq!(complaints("src/http/mod.rs", "let c = crate::client::Client::new();"), 1);
    assert_eq!(complaints("src/batch/queue.rs", "use crate::{\n  model::Ack,\n  service,\n};"), 1);
    assert_eq!(complaints("src/store/mod.rs", "use super::service::Service;"), 1);
    assert_eq!(complaints("src/store/redb/fold.rs", "use super::super::super::api::Job;"), 1);
    assert_eq!(complaints("src/model/id.rs", "use crate::telemetry::EVENT;"), 1);
    assert_eq!(complaints("src/attic.rs", ""), 1, "a file outside the rooms");
    assert_eq!(complaints("src/store/mod.rs", "use crate::model::{self, JobId};"), 0);
    assert_eq!(complaints("src/store/redb/fold.rs", "use super::super::StoreError;"), 0);
    assert_eq!(complaints("src/api/mod.rs", "//! crate::http says more.\nuse crate::store::X;"), 0);
    assert_eq!(complaints("src/main.rs", "fn main() { jobslate::cli::run() }"), 0);
}

/// An external engine is named in its own room alone.
fn engines_stay_home(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    for (engine, home) in ENGINES {
        if file.path.starts_with(home) || imports_own(file, engine) {
            continue;
        }
        for (line, _) in file.code_lines().filter(|(_, text)| names_crate(text, engine)) {
            complaints.push(file.complain(line, format!("{engine} is named outside {home}")));
        }
    }
    complaints
}

/// True if the file imports a module of ours with this name.
fn imports_own(file: &SourceFile, name: &str) -> bool {
    file.code_lines().any(|(_, text)| {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.next() == Some("use")
            && matches!(words.next(), Some("super" | "crate" | "self"))
            && words.any(|word| word == name)
    })
}

/// True if `text` has a path that begins with `name`, or imports it whole.
fn names_crate(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(start, _)| {
        let (before, after) = (&text[..start], &text[start + name.len()..]);
        let is_path = after.starts_with("::") || (before.trim_end().ends_with("use"));
        let is_whole = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let is_start = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || "_:".contains(c));
        is_path && is_whole && (is_start || before.ends_with(" ::"))
    })
}

#[test]
fn an_engine_outside_its_room_is_reported() {
    let complaints = |path, text| engines_stay_home(&snippet(path, text)).len();
    assert_eq!(complaints("src/service/mod.rs", "use axum::Router;"), 1);
    assert_eq!(complaints("src/store/memory.rs", "fn f(db: redb::Database) {}"), 1);
    assert_eq!(complaints("src/cli/import.rs", "use reqwest;"), 1);
    assert_eq!(complaints("src/main.rs", "use ::clap::Parser;"), 1);
    assert_eq!(complaints("src/store/redb/fold.rs", "use wincode::SchemaRead;"), 1);
    assert_eq!(complaints("src/service/mod.rs", "use crate::store::redb::open;"), 0);
    assert_eq!(complaints("src/http/mod.rs", "use axum::Router;"), 0);
    assert_eq!(complaints("src/store/a.rs", "use super::{b, redb};\nredb::open();"), 0);
    assert_eq!(complaints("src/store/mod.rs", "pub mod redb; // redb::Database"), 0);
}

/// Nothing unfinished is shipped.
fn nothing_is_unfinished(file: &SourceFile) -> Vec<String> {
    let marks = [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("FIX", "ME")];
    let mut complaints = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
            complaints.push(file.complain(index + 1, format!("{mark} is not finished")));
        }
    }
    complaints
}

#[test]
fn an_unfinished_line_is_reported() {
    let text =
        concat!("fn f() { to", "do!() }\nfn g() { unimple", "mented!() }\n// FIX", "ME: h\n");
    assert_eq!(nothing_is_unfinished(&snippet("src/model/id.rs", text)).len(), 3);
    assert_eq!(nothing_is_unfinished(&snippet("src/model/id.rs", "fn todo() {}")).len(), 0);
}

/// A file says first what lives in it.
fn files_open_with_docs(file: &SourceFile) -> Vec<String> {
    let opens = file.text.lines().find(|line| !line.starts_with("#!["));
    let is_test_part = file.path.starts_with("src/") && file.path.ends_with("/tests.rs");
    match opens {
        Some(line) if line.starts_with("//!") || is_test_part => Vec::new(),
        _ => vec![file.complain(1, "open the file with //! and what lives here".to_owned())],
    }
}

#[test]
fn a_file_that_does_not_say_what_it_is_is_reported() {
    assert_eq!(files_open_with_docs(&snippet("src/model/id.rs", "use std::fmt;\n")).len(), 1);
    assert_eq!(files_open_with_docs(&snippet("src/model/id.rs", "")).len(), 1);
    let text = "#![forbid(unsafe_code)]\n//! The library.\n";
    assert_eq!(files_open_with_docs(&snippet("src/lib.rs", text)).len(), 0);
}

/// A file is one noun.
fn files_fit(file: &SourceFile) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![file.complain(lines, format!("{lines} lines, the most is {FILE_LINES_MAX}"))]
}

#[test]
fn a_long_file_is_reported() {
    assert_eq!(files_fit(&snippet("src/a.rs", &"\n".repeat(401))).len(), 1);
    assert_eq!(files_fit(&snippet("src/a.rs", &"\n".repeat(400))).len(), 0);
}

/// A function fits a screen. Its end is the first closing brace at the indentation of its `fn`.
fn functions_fit(file: &SourceFile) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut complaints = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_function_start(line)) {
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        let is_short = line.ends_with('}') || line.ends_with(';');
        let length = lines[index..].iter().position(|line| **line == end).unwrap_or(0) + 1;
        if !is_short && length > FUNCTION_LINES_MAX {
            let what = format!("function of {length} lines, the most is {FUNCTION_LINES_MAX}");
            complaints.push(file.complain(index + 1, what));
        }
    }
    complaints
}

fn is_function_start(line: &str) -> bool {
    let mut words = line.trim_start().split(' ');
    let is_qualifier =
        |word: &str| matches!(word, "pub" | "const" | "async") || word.starts_with("pub(");
    words.find(|word| !is_qualifier(word)) == Some("fn")
}

#[test]
fn a_long_function_is_reported() {
    let of_lines =
        |lines| format!("    pub(super) async fn f() {{\n{}    }}\n", "x;\n".repeat(lines));
    assert_eq!(functions_fit(&snippet("src/a.rs", &of_lines(69))).len(), 1);
    assert_eq!(functions_fit(&snippet("src/a.rs", &of_lines(68))).len(), 0);
    let trait_method = format!("fn f();\n{}}}\n", "\n".repeat(99));
    assert_eq!(functions_fit(&snippet("src/a.rs", &trait_method)).len(), 0);
}

/// A line fits half a screen.
fn lines_fit(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX {
            let what = format!("{columns} columns, the most is {LINE_COLUMNS_MAX}");
            complaints.push(file.complain(index + 1, what));
        }
    }
    complaints
}

#[test]
fn a_long_line_is_reported() {
    assert_eq!(lines_fit(&snippet("src/a.rs", &"\u{e9}".repeat(101))).len(), 1);
    assert_eq!(lines_fit(&snippet("src/a.rs", &"\u{e9}".repeat(100))).len(), 0);
}

/// A panic unwinds in every build, or that of a handler could not become a 500.
fn profiles_unwind(cargo: &str) -> bool {
    let cargo: toml::Table = cargo.parse().unwrap();
    let profiles = cargo.get("profile").and_then(toml::Value::as_table);
    profiles
        .into_iter()
        .flatten()
        .all(|(_, profile)| profile.get("panic").is_none_or(|it| it.as_str() == Some("unwind")))
}

#[test]
fn no_profile_aborts_at_a_panic() {
    assert!(profiles_unwind(include_str!("../../Cargo.toml")));
    assert!(!profiles_unwind("[profile.dev]\n[profile.release]\npanic = \"abort\""));
}

fn snippet(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}
