//! What commands print on standard output: JSON for machines, tables for people.
//!
//! Colours leave with anstream when the output is no terminal or `NO_COLOR` is set. Texts of jobs
//! are other people's: [`shown`] takes their control characters away before a terminal sees them.
//! Data (JSON, CSV) goes past anstream, which takes bytes away: a program gets each as it is, and a
//! terminal escapes that are JSON too.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use serde::Serialize;

/// Prints `value` as JSON: indented on a terminal, else on one line.
///
/// # Errors
/// The output cannot be written.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let is_person = io::stdout().is_terminal();
    let text = match is_person {
        true => serde_json::to_string_pretty(value)?,
        false => serde_json::to_string(value)?,
    };
    data(format!("{text}\n").as_bytes())
}

/// Prints `value` as one line of JSON, wherever to.
///
/// # Errors
/// The output cannot be written.
pub fn json_line(value: &impl Serialize) -> io::Result<()> {
    rows(std::slice::from_ref(value))
}

/// Prints rows as JSON, one a line.
///
/// # Errors
/// The output cannot be written.
pub fn rows(rows: &[impl Serialize]) -> io::Result<()> {
    data(&ndjson(rows))
}

/// Prints `text` as it is.
///
/// # Errors
/// The output cannot be written.
pub fn text(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints `text` and ends the line.
///
/// # Errors
/// The output cannot be written.
pub fn text_line(line: &str) -> io::Result<()> {
    text(&format!("{line}\n"))
}

/// Prints JSON or CSV byte by byte, if it goes to a program or a file. A terminal gets it without
/// characters that it would obey; JSON stays JSON of the same value.
///
/// # Errors
/// The output cannot be written.
pub fn data(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        out.write_all(for_terminal(&String::from_utf8_lossy(bytes)).as_bytes())?;
    } else {
        out.write_all(bytes)?;
    }
    out.flush()
}

/// Rows as JSON, one a line.
pub fn ndjson(rows: &[impl Serialize]) -> Vec<u8> {
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, row).expect("a shape of the wire has JSON");
        lines.push(b'\n');
    }
    lines
}

/// Says something beside the output, on standard error.
pub fn note(line: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Prints a table, without the spaces that fill its last column.
///
/// # Errors
/// The output cannot be written.
pub fn table(mut table: Table) -> io::Result<()> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let whole = table.trim_fmt();
    if anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never {
        return text_line(&whole);
    }
    // The marks of the colours stand after the spaces, which are trimmed only without them.
    let plain = anstream::adapter::strip_str(&whole).to_string();
    text_line(&plain.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

/// An empty table under `header`. Its rows are as wide as they are: an id that is broken into
/// lines can be neither copied nor searched for.
pub fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    // anstream decides about colours, for the whole output and not by cell.
    table.enforce_styling();
    table.style_text_only();
    if !header.is_empty() {
        let cells = header.iter().map(|name| Cell::new(name).fg(Color::DarkGrey));
        table.set_header(cells);
    }
    table
}

/// A status in the colour of its kind.
pub fn status_cell(status: &str, kind: &str) -> Cell {
    let cell = Cell::new(shown(status));
    match kind {
        "waiting" => cell.fg(Color::Blue),
        "running" => cell.fg(Color::Cyan),
        "succeeded" => cell.fg(Color::Green),
        "failed" => cell.fg(Color::Red),
        "cancelled" => cell.fg(Color::Yellow),
        _ => cell,
    }
}

/// Somebody's text in the colour of a kind.
pub fn painted(text: &str, kind: &str) -> String {
    use owo_colors::OwoColorize;
    let text = shown(text);
    match kind {
        "waiting" => text.blue().to_string(),
        "running" => text.cyan().to_string(),
        "succeeded" => text.green().to_string(),
        "failed" => text.red().to_string(),
        "cancelled" => text.yellow().to_string(),
        _ => text,
    }
}

/// Somebody's text on one line, at most `chars_max` characters, without control characters.
pub fn shown_short(text: &str, chars_max: usize) -> String {
    let mut kept: String = text.chars().take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() {
        kept.push_str("...");
    }
    shown(&kept)
}

/// Somebody's text on one line, without characters that a terminal would obey. Quotes and
/// backslashes stay as they are: this is for people, not for programs.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// The text with what [`shown`] escapes written as `\uXXXX`, save ends of lines.
fn for_terminal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        if matches!(c, '\n' | '"' | '\'' | '\\') || c.escape_debug().eq([c]) {
            escaped.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            escaped.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn json_on_a_terminal_is_json_of_the_same_value_without_what_a_terminal_obeys() {
        let text = "a\u{1b}[2J\u{7f}\u{9b}2J\u{202e}\u{200b}\u{e0041}\r\n\t\"\\ \u{fc} \u{1f600}";
        let rows = [serde_json::json!({"error": text}), serde_json::json!("b")];
        let json = String::from_utf8(ndjson(&rows)).unwrap();
        let safe = for_terminal(&json);
        assert!(!safe.chars().any(|c| c.is_control() && c != '\n'), "{safe:?}");
        assert!(safe.contains(r"\u007f\u009b2J\u202e\u200b\udb40\udc41"), "{safe}");
        assert!(safe.contains("\u{fc} \u{1f600}"), "{safe}");
        let back: Vec<serde_json::Value> =
            safe.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, rows);
        assert_eq!(for_terminal("a,\u{1b}\"\r\n"), "a,\\u001b\"\n");
    }

    #[test]
    fn texts_of_jobs_cannot_move_the_cursor_or_break_a_row() {
        assert_eq!(shown("a\u{1b}[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{202e}");
        assert_eq!(shown(r#"status is "a b" in C:\x"#), r#"status is "a b" in C:\x"#);
        assert_eq!(shown_short("abcdef", 3), "abc...");
        assert_eq!(shown_short("abc", 3), "abc");
    }
}
