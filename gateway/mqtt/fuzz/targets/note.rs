//! Any bytes as the input of [`lamppost_mqtt::fuzzing::note`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    lamppost_mqtt::fuzzing::note(data);
});
