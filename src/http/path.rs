//! A name that stands in the path.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::Uri;

/// The name, decoded; else what is wrong with it.
pub(super) fn decoded(
    path: Result<Path<String>, PathRejection>,
    uri: &Uri,
) -> Result<String, String> {
    if has_bad_escape(uri.path()) {
        let detail = "the path holds a % without two hexadecimal digits; send % as %25";
        return Err(detail.to_owned());
    }
    let Path(name) = path.map_err(|error| format!("the path cannot be read: {error}"))?;
    Ok(name)
}

/// True if a `%` of a path or query names no byte. Decoding would leave it as it is, and so name
/// another thing.
pub(super) fn has_bad_escape(path: &str) -> bool {
    path.split('%').skip(1).any(|rest| {
        let digits = rest.as_bytes().first_chunk::<2>();
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
