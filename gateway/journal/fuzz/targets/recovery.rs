//! Any bytes as the input of [`lamppost_journal::fuzzing::recovery`].
#![no_main]

#[path = "../../tests/regressions/bounded.rs"]
mod bounded;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    lamppost_journal::fuzzing::recovery(data);
});
