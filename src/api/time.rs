//! Moments on the wire: RFC 3339 in UTC with milliseconds, `"2025-11-24T16:00:00.123Z"`.

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::words;
use crate::model::TimestampMs;

/// A moment in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeBody(pub TimestampMs);

impl Serialize for TimeBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TimeBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;
        impl Visitor<'_> for Rfc3339 {
            type Value = TimeBody;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time like 2025-11-24T16:00:00.123Z")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TimeBody, E> {
                TimestampMs::from_rfc3339(text).map(TimeBody).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Rfc3339).map_err(D::Error::custom)
    }
}

impl PartialSchema for TimeBody {
    fn schema() -> RefOr<Schema> {
        words::Time::schema()
    }
}

impl ToSchema for TimeBody {
    fn name() -> std::borrow::Cow<'static, str> {
        words::Time::name()
    }
}
