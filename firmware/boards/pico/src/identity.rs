//! What this board is called.

use core::fmt::Write;

use heapless::String;

use crate::memory::Memory;

/// The name that the program was built with (`LAMPPOST_DEVICE=NAME firmware/build pico`), if it was.
const BUILT_IN: Option<&str> = option_env!("LAMPPOST_DEVICE");
const NAME_BYTES_MAX: usize = 32;

const _: () = assert!(
    match BUILT_IN {
        Some(name) => !name.is_empty() && name.len() <= NAME_BYTES_MAX,
        None => true,
    },
    "LAMPPOST_DEVICE has to have 1 to 32 bytes"
);

/// The built-in name, or `pico-` and the flash chip's serial number in hexadecimal, which no other board has.
pub(crate) fn name(memory: &Memory) -> String<NAME_BYTES_MAX> {
    let mut name = String::new();
    match (BUILT_IN, memory.serial_number) {
        (Some(built_in), _) => write!(name, "{built_in}"),
        (None, Some(number)) => write!(name, "pico-{:016x}", u64::from_be_bytes(number)),
        (None, None) => write!(name, "pico"),
    }
    .expect("5 characters and 16 digits, or a name that was measured, fit into 32 bytes");
    name
}
