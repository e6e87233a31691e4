//! The real binary under a wall clock that jumps between its lives: a repeated call is answered by
//! its first answer, and what is newest stays so. Where `faketime` is installed, as by Debian's
//! package; the same is shown without it in `src/service/tests/time.rs`.

use std::path::PathBuf;

use reqwest::Method;

use crate::http::Call;
use crate::server::{Site, skip};

/// The library, in the folder of whatever machine this is.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut libraries = folders.map(|it| it.path().join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.is_file())
}

#[test]
fn a_clock_that_jumps_between_starts_forgets_no_key() {
    let Some(library) = library() else {
        return skip("a false clock", "faketime is not installed");
    };
    let mut site = Site::new(&[]);
    let (mut first, mut is_2100) = (None, false);
    for clock in ["+0d", "@1970-01-02 00:00:00", "@2100-01-01 00:00:00", "+0d", "-1d", "+1d"] {
        site = site
            .with_variable("LD_PRELOAD", &library)
            .with_variable("FAKETIME", clock)
            .with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let server = site.start();
        let call = || {
            let headers =
                [("content-type", "application/json"), ("idempotency-key", "once")].as_slice();
            let (method, body) = (Method::POST, br#"{"job_id":"a","status":"queued"}"#.to_vec());
            let call = Call { method, path: "/v1/updates", headers, body };
            server.http.try_send(call).unwrap().text
        };
        let answer = call();
        assert_eq!(*first.get_or_insert_with(|| answer.clone()), answer, "{clock}");
        let put = server.http.put("b", "", r#"{"status":"processing"}"#).unwrap();
        assert_eq!(put.json()["applied"], 1, "{clock}: an update without `at` is never late");
        assert_eq!(call(), answer, "{clock}");
        let updated_at = server.http.get("/v1/jobs/b").ok()["updated_at"].clone();
        let is_false = updated_at.as_str().unwrap().starts_with("2100-01-01T");
        // The clock is false indeed; afterwards no update becomes durable before the last one.
        is_2100 |= clock.starts_with("@2100");
        assert_eq!(is_false, is_2100, "{clock}: {updated_at}");
        assert!(server.stop().success());
    }
}
