//! See `src/store/redb/fuzzing.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jobslate::store::redb::fuzzing::backup(data));
