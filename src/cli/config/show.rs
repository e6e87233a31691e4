//! The configuration in effect, with the origin of each value.

use serde_json::{Map, Value, json};

use super::error::{ConfigError, Origin};
use super::keys::{ALL, Shape};
use super::layers::Layers;
use super::sample::{toml_value, words};

/// A TOML file that would give the same configuration; each line says where its value came from.
///
/// # Errors
/// [`ConfigError`], as for [`Config::from_layers`](super::Config::from_layers).
pub fn effective_toml(layers: &Layers) -> Result<String, ConfigError> {
    let mut text = String::new();
    let mut group = "";
    for key in ALL {
        if key.group != group {
            let gap = if group.is_empty() { "" } else { "\n" };
            group = key.group;
            text.push_str(&format!("{gap}# {group}\n"));
        }
        let given = layers.given(key);
        let assignment = if given.text.is_empty() {
            format!("# {} is not set", key.name)
        } else {
            let plain = match key.shape {
                Shape::Count { .. } => layers.count(key)?.to_string(),
                Shape::Flag => layers.is_set(key)?.to_string(),
                _ => given.text,
            };
            format!("{} = {}", key.name, toml_value(key, &plain))
        };
        text.push_str(&format!("{assignment:<40} # {}\n", given.origin));
    }
    Ok(text)
}

/// The same for machines: bytes as numbers, durations in milliseconds.
///
/// ```json
/// {"flush_interval": {"value": 2000, "unit": "ms", "given": "2s", "origin": "default"}}
/// ```
///
/// # Errors
/// [`ConfigError`], as for [`Config::from_layers`](super::Config::from_layers).
pub fn effective_json(layers: &Layers) -> Result<Value, ConfigError> {
    let mut keys = Map::new();
    for key in ALL {
        let given = layers.given(key);
        let (value, unit) = match key.shape {
            Shape::Count { .. } => (json!(layers.count(key)?), Value::Null),
            Shape::Bytes { .. } => (json!(layers.bytes(key)?), json!("bytes")),
            Shape::Period { .. } => {
                let ms = u64::try_from(layers.period(key)?.as_millis()).unwrap_or(u64::MAX);
                (json!(ms), json!("ms"))
            }
            Shape::Flag => (json!(layers.is_set(key)?), Value::Null),
            Shape::Kinds => {
                let pairs = given.text.split(',').filter_map(|pair| pair.split_once('='));
                let kinds = pairs.map(|(word, kind)| (word.trim().to_owned(), json!(kind.trim())));
                (Value::Object(kinds.collect()), Value::Null)
            }
            Shape::Hosts => (words(&given.text).collect(), Value::Null),
            Shape::Path if given.text.is_empty() => (Value::Null, Value::Null),
            _ => (json!(given.text), Value::Null),
        };
        let origin = match &given.origin {
            Origin::File { path, line } => json!({"file": path.to_string_lossy(), "line": line}),
            other => json!(other.to_string()),
        };
        let shown = json!({"value": value, "unit": unit, "given": given.text, "origin": origin});
        keys.insert(key.name.to_owned(), shown);
    }
    Ok(Value::Object(keys))
}
