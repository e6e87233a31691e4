//! Any JSON value, read without judging it: the type that a field wants is asked for later.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One value. `Display` shows it for a refusal, in at most 64 characters of its own.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// Anything that `i64` or `u64` holds, also if it is written like `2.0` or `1e3`.
    Integer(i128),
    Float(f64),
    Text(Cow<'a, str>),
    Array,
    Object,
}

/// A string that is borrowed from the input if it holds no escapes.
#[derive(Debug)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

/// The value of `labels`.
#[derive(Debug)]
pub(super) enum LabelsValue {
    Null,
    Labels(BTreeMap<String, String>),
    /// Not an object of strings: what it is instead.
    Wrong(String),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            // Debug shows 1e300 as such.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{:?}", shown(text)),
            Self::Array => f.write_str("an array"),
            Self::Object => f.write_str("an object"),
        }
    }
}

/// The first 64 characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The integer that a float stands for: JSON has one kind of number, and some writers turn a column
/// of integers into floats. Above 2^53 a float has lost digits, so it stands for none.
fn whole(value: f64) -> Option<i128> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and few digits")]
    let integer = value as i128;
    (value.fract() == 0.0 && value.abs() < EXACT_MAX).then_some(integer)
}

/// The text of a number that is an integer, however long. A number that is read has lost digits
/// beyond 64 bits.
pub(super) fn integer(number: &RawValue) -> Option<&str> {
    let text = number.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar<'de>, E> {
        Ok(whole(value).map_or(Scalar::Float(value), Scalar::Integer))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ScalarVisitor)? {
            Scalar::Text(text) => Ok(Self(text)),
            other => Err(D::Error::custom(format!("{other}, not a string"))),
        }
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = LabelsValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LabelsValue, A::Error> {
        let (mut labels, mut wrong) = (BTreeMap::new(), None);
        while let Some((Text(name), value)) = map.next_entry::<Text<'de>, Scalar<'de>>()? {
            match value {
                Scalar::Null => (),
                Scalar::Text(text) => {
                    labels.insert(name.into_owned(), text.into_owned());
                }
                other => {
                    let name = shown(&name);
                    wrong.get_or_insert(format!("label {name:?} is {other}; send a string"));
                }
            }
        }
        Ok(wrong.map_or(LabelsValue::Labels(labels), LabelsValue::Wrong))
    }

    fn visit_unit<E: Error>(self) -> Result<LabelsValue, E> {
        Ok(LabelsValue::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<LabelsValue, E> {
        Ok(refused(&Scalar::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<LabelsValue, E> {
        Ok(refused(&Scalar::Integer(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<LabelsValue, E> {
        Ok(refused(&Scalar::Integer(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<LabelsValue, E> {
        Ok(refused(&Scalar::Float(value)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<LabelsValue, E> {
        Ok(refused(&Scalar::Text(Cow::Borrowed(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LabelsValue, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(refused(&Scalar::Array))
    }
}

fn refused(value: &Scalar<'_>) -> LabelsValue {
    LabelsValue::Wrong(format!("labels is {value}; send an object of strings"))
}

impl<'de> Deserialize<'de> for LabelsValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LabelsVisitor)
    }
}

/// A job id in a list of ids: a string, or an integer that is kept as its decimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdText(pub String);

impl Serialize for IdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        match serde_json::from_str(raw.get()).map_err(D::Error::custom)? {
            Scalar::Text(text) => Ok(Self(text.into_owned())),
            Scalar::Integer(integer) => Ok(Self(integer.to_string())),
            other => integer(&raw).map(|digits| Self(digits.to_owned())).ok_or_else(|| {
                D::Error::custom(format!("a job id is {other}; send a string or an integer"))
            }),
        }
    }
}
