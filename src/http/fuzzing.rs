//! The door of the fuzz targets to what comes from outside. Not part of a build that is used.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Uri};

use super::body::{Incoming, receive};
use super::cursor::{Mark, Walk};
use super::gate::Gate;
use super::media::Media;
use super::options::HttpOptions;
use super::parse::parse;
use super::query::Params;
use crate::model::{Cursor, JobFilter, JobId, Order, Place};

const BODY_BYTES_MAX: usize = 64 << 10;
const UPDATES_MAX: usize = 100;

static GATE: LazyLock<Gate> = LazyLock::new(|| {
    Gate::new(HttpOptions { body_bytes_max: BODY_BYTES_MAX, ..HttpOptions::default() })
});

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O");
}

/// A body of updates: the first byte says how it is packed and of what kind it is.
pub fn body(data: &[u8]) {
    let Some((how, body)) = data.split_first() else { return };
    let mut headers = HeaderMap::new();
    let packing = ["identity", "gzip", "zstd"];
    let packing = packing.get(usize::from(how % 3)).copied().unwrap_or_default();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(packing));
    let kind = if how & 0x80 == 0 { "application/x-ndjson" } else { "application/json" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let mut incoming = Incoming::of(&headers, Body::from(body.to_vec()));
    let received = RUNTIME.with(|it| it.block_on(receive(&GATE, &headers, &mut incoming)));
    let Ok(unpacked) = received.and_then(super::body::Received::unpack) else { return };
    assert!(unpacked.bytes.len() <= BODY_BYTES_MAX, "no more is unpacked than may be");
    let Ok(media) = Media::of(&headers) else { return };
    let Ok(parsed) = parse(media, &unpacked.bytes, UPDATES_MAX) else { return };
    let updates = parsed.updates.iter().map(|(index, _)| *index);
    let mut places: Vec<u32> =
        updates.chain(parsed.rejections.iter().map(|rejection| rejection.index)).collect();
    places.sort_unstable();
    assert!(!places.is_empty() && places.len() <= UPDATES_MAX);
    assert!((0..).take(places.len()).eq(places), "each update has one verdict");
}

/// The query of a list.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = format!("/v1/jobs?{text}").parse::<Uri>() else { return };
    let Ok(mut params) = Params::of(&uri) else { return };
    let mut read = || {
        params.statuses()?;
        params.kinds()?;
        params.pipeline("pipeline")?;
        params.moment("updated_after")?;
        params.duration("stalled_for")?;
        let limit = params.number("limit", 1..=1_000, 200)?;
        assert!((1..=1_000).contains(&limit));
        params.flag("fresh")
    };
    if read().is_ok() {
        let _ = params.end();
    }
}

/// A cursor: any text, or (the first byte is odd) what stands behind a good head.
pub fn cursor(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let order = Order::ALL.get(usize::from(how / 2 % 3)).copied().unwrap_or_default();
    let walk = Walk::of(&JobFilter::default(), None, order, "store");
    let text = if how % 2 == 0 {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        text.to_owned()
    } else {
        let place = match order {
            Order::Id => JobId::parse("a").map_or(Place::Seq(1), Place::Id),
            Order::Newest | Order::Oldest => Place::Seq(1),
        };
        let cursor = Cursor { place, as_of_seq: 1 };
        let mut text = walk.encode(&Mark { cursor, stalled_since: None });
        // Version and hash, two digits a byte.
        text.truncate(2 * 9);
        rest.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text
    };
    if let Ok(mark) = walk.decode(&text, u64::MAX) {
        let again = walk.encode(&mark);
        assert_eq!(again, text.to_ascii_lowercase());
        assert!(walk.decode(&again, u64::MAX).is_ok_and(|it| it == mark));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redb::fuzzing::corpus;

    #[test]
    fn the_corpus_of_what_comes_from_outside_is_taken() {
        for (name, target) in [("body", body as fn(&[u8])), ("query", query), ("cursor", cursor)] {
            corpus(name).iter().for_each(|data| target(data));
        }
    }
}
