//! See `src/http/fuzzing.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jobslate::http::fuzzing::body(data));
