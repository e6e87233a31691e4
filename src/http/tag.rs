//! The `ETag` of a job: it changes with all that the answer is made of.
//!
//! The seq stands for the record, but another store counts its own, and the kind of a status comes
//! from the configuration. So a hash of store and kind stands behind it, made once for each kind.

use axum::http::header::HeaderValue;

use crate::model::Kind;

/// The hashes of one store, in the order of [`Kind::ALL`].
#[derive(Debug)]
pub(super) struct Tags([u32; Kind::ALL.len()]);

impl Tags {
    pub fn of(store_id: &str) -> Self {
        Self(Kind::ALL.map(|kind| hash(store_id, kind)))
    }

    /// The tag of a job whose last update was `seq` and whose status means `kind`.
    pub fn tag(&self, seq: u64, kind: Kind) -> String {
        let place = Kind::ALL.iter().position(|it| *it == kind);
        let hash = place.and_then(|place| self.0.get(place)).copied().unwrap_or_default();
        format!("\"{seq}-{hash:08x}\"")
    }
}

fn hash(store_id: &str, kind: Kind) -> u32 {
    let mut hasher = blake3::Hasher::new();
    for part in [store_id, kind.as_str()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hash = [0; 4];
    hasher.finalize_xof().fill(&mut hash);
    u32::from_be_bytes(hash)
}

/// True if an `If-None-Match` names `tag`, weak or strong, or anything.
pub(super) fn names(value: &HeaderValue, tag: &str) -> bool {
    let mut tags = value.to_str().unwrap_or("").split(',').map(str::trim);
    tags.any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}
