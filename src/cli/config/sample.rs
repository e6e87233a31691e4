//! The table of keys as a sample file and as a Markdown table.

use super::keys::{ALL, Key, Shape};

/// A file with every key at its default, commented out, with its meaning, range and effect.
pub fn sample() -> String {
    let mut text = String::from(
        "# The configuration of jobslate. Every key is shown with its default.\n\
         # An environment variable (JOBSLATE_BATCH_SIZE) goes over this file, a flag\n\
         # (--batch-size) over both. `jobslate config` prints what is in effect, and why.\n\
         # Made by `jobslate config --sample`.\n",
    );
    let mut group = "";
    // A table must come last: what follows it would belong to it.
    let (tables, keys): (Vec<&Key>, Vec<&Key>) =
        ALL.iter().copied().partition(|key| key.shape == Shape::Kinds);
    for key in keys.into_iter().chain(tables) {
        if key.group != group && key.shape != Shape::Kinds {
            group = key.group;
            text.push_str(&format!("\n# ---- {group} ----\n"));
        }
        text.push_str(&format!("\n# {}.\n# ({})\n", key.meaning, key.effect));
        text.push_str(&format!("# {}: {}\n", key.shape.range_title(), key.shape.range()));
        text.push_str(&format!("{}\n", sample_line(key)));
    }
    text
}

fn sample_line(key: &Key) -> String {
    match key.shape {
        Shape::Kinds => format!("#[{}]\n#ocr-pass = \"running\"\n#parked = \"waiting\"", key.name),
        Shape::Path if key.default.is_empty() => {
            let is_directory = key.name.ends_with("_dir");
            let example = if is_directory {
                "/var/lib/jobslate-backups"
            } else {
                "/var/log/jobslate/jobslate.log"
            };
            format!("#{} = \"{example}\"", key.name)
        }
        _ => format!("#{} = {}", key.name, toml_value(key, key.default)),
    }
}

/// `text` as the file would have it: numbers and truth values bare, the rest in quotes.
pub(super) fn toml_value(key: &Key, text: &str) -> String {
    match key.shape {
        Shape::Count { .. } | Shape::Flag => text.to_owned(),
        Shape::Hosts => {
            let names: Vec<String> = words(text).map(quoted).collect();
            format!("[{}]", names.join(", "))
        }
        Shape::Kinds => {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            let pairs: Vec<String> = pairs
                .map(|(word, kind)| format!("{} = {}", quoted(word.trim()), quoted(kind.trim())))
                .collect();
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
        _ => quoted(text),
    }
}

/// The words of a list that is written with commas.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The table of keys for a README.
pub fn markdown() -> String {
    let mut text = String::from(
        "| key | type | default | range | meaning (effect) |\n| --- | --- | --- | --- | --- |\n",
    );
    for key in ALL {
        let default = if key.default.is_empty() { "none" } else { key.default };
        let row = format!(
            "| `{}` | {} | `{default}` | {} | {} ({}) |\n",
            key.name,
            key.shape.type_name(),
            key.shape.range(),
            key.meaning,
            key.effect,
        );
        text.push_str(&row);
    }
    text
}
