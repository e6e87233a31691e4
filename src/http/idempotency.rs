//! `Idempotency-Key`: the name of a call, and the fingerprint of what it asks for.

use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::problem::Problem;
use crate::api::ProblemCode;
use crate::model::IdempotencyKey;
use crate::model::limits::IDEMPOTENCY_KEY_BYTES_MAX;

/// The header with the key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The key of the call, over its method, path, query and decoded body; `None` if it names none.
pub(super) fn key_of(parts: &Parts, body: &[u8]) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(key) = text_of(&parts.headers)? else { return Ok(None) };
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or(""));
    let mut hasher = blake3::Hasher::new();
    for part in [parts.method.as_str().as_bytes(), path.as_bytes(), query.as_bytes(), body] {
        // The lengths keep two calls apart whose parts only join to the same bytes.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    IdempotencyKey::new(key, hasher.finalize().into()).map(Some).ok_or_else(invalid)
}

fn text_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid())?;
    if values.next().is_some() || text.chars().any(char::is_control) {
        return Err(invalid());
    }
    Ok(Some(text))
}

fn invalid() -> Problem {
    let detail = format!(
        "idempotency-key must be given once, with 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes of UTF-8 \
         and no control characters"
    );
    Problem::new(ProblemCode::InvalidIdempotencyKey, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn parts(uri: &str, keys: &[&[u8]]) -> Parts {
        let mut builder = Request::post(uri);
        for key in keys {
            builder = builder.header(IDEMPOTENCY_KEY, *key);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_key_covers_method_path_query_and_body() {
        let of = |uri: &str, body: &[u8]| key_of(&parts(uri, &[b"k"]), body).unwrap().unwrap();
        let first = of("/v1/updates?ack=queued", b"{}");
        assert_eq!(first, of("/v1/updates?ack=queued", b"{}"));
        assert_ne!(first, of("/v1/updates", b"{}"));
        assert_ne!(first, of("/v1/updates?ack=queued", b"{ }"));
        assert_ne!(of("/a?b", b"c"), of("/a", b"bc"));
        let mut put = parts("/v1/updates?ack=queued", &[b"k"]);
        put.method = axum::http::Method::PUT;
        assert_ne!(first, key_of(&put, b"{}").unwrap().unwrap());
        assert_eq!(key_of(&parts("/v1/updates", &[]), b"{}").unwrap(), None);
    }

    #[test]
    fn keys_are_bounded_and_given_once() {
        let of = |keys: &[&[u8]]| key_of(&parts("/", keys), b"");
        assert!(of(&[&[b'k'; 255]]).is_ok());
        assert!(of(&["cl\u{e9}".as_bytes()]).is_ok());
        for bad in [&[&b""[..]][..], &[&[b'k'; 256]], &[b"a", b"b"], &[b"\xff"], &[b"a\tb"]] {
            let problem = of(bad).unwrap_err();
            assert_eq!(problem.code, ProblemCode::InvalidIdempotencyKey);
        }
    }
}
