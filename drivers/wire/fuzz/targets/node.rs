//! Any bytes as what the node hears from a gateway.
#![no_main]

#[path = "../../tests/fuzzing/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzzing::node(data);
});
