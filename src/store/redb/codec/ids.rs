//! Ids of jobs as values hold them: one like a UUID takes 16 bytes, any other stands as it is.

use std::cmp::Ordering;

use uuid::Uuid;
use wincode::{SchemaRead, SchemaWrite};

use super::{Broken, decode, other_version, seal_with, verified};

/// What a block of ids is written with; version 1 has them as texts.
const IDS_VERSION: u8 = 2;
/// Room for an id like a UUID and its slot.
const ID_BYTES_EXPECTED: usize = 24;

/// The id of a job. Each text has one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaWrite, SchemaRead)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub enum PackedId<'a> {
    Text(&'a str),
    /// `8c2a6f0e-1b7d-4c39-9e55-0a1b2c3d4e5f`: lower case, with its four hyphens.
    Uuid([u8; 16]),
}

impl<'a> PackedId<'a> {
    pub fn of(text: &'a str) -> Self {
        let uuid = Uuid::try_parse(text).ok().filter(|uuid| spelled(*uuid, |it| it == text));
        uuid.map_or(Self::Text(text), |uuid| Self::Uuid(uuid.into_bytes()))
    }

    /// Calls `act` with the text.
    pub fn with<T>(&self, act: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Text(text) => act(text),
            Self::Uuid(bytes) => spelled(Uuid::from_bytes(*bytes), act),
        }
    }

    /// Whether the id comes before `text`, as texts are ordered.
    pub fn order(&self, text: &str) -> Ordering {
        self.with(|own| own.cmp(text))
    }
}

fn spelled<T>(uuid: Uuid, act: impl FnOnce(&str) -> T) -> T {
    act(uuid.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}

/// Some ids of a run, in their order, with the slots of their jobs.
pub fn encode_ids(key: &[u8], ids: Vec<(PackedId<'_>, u64)>) -> Vec<u8> {
    seal_with(IDS_VERSION, key, &ids, ids.len() * ID_BYTES_EXPECTED)
}

pub fn decode_ids<'a>(key: &[u8], bytes: &'a [u8]) -> Result<Vec<(PackedId<'a>, u64)>, Broken> {
    match verified(key, bytes)? {
        (IDS_VERSION, payload) => decode(payload),
        (1, payload) => {
            let ids: Vec<(&str, u64)> = decode(payload)?;
            Ok(ids.into_iter().map(|(id, slot)| (PackedId::Text(id), slot)).collect())
        }
        (version, _) => Err(other_version(version, "1 and 2")),
    }
}
