//! Who this board is. It has no memory that outlives power and can't count its resets: the gateway numbers its lives
//! (`Boot::UNNUMBERED`). Whoever starts the machine may tell it more, in the last 16 bytes of RAM (little-endian words):
//!
//! | address | holds |
//! |---|---|
//! | 0x2000_fff0 | anything random, another one at each start: makes the hello's nonce one |
//! | 0x2000_fff4 | the board's number N, 1 to 9999: it is called `lm3s6965evb-N`; anything else: `lm3s6965evb` |

use core::fmt::Write;

use heapless::String;

use crate::mmio::Register;

// SAFETY: RAM that memory.x keeps free of everything else.
const RANDOM: Register = unsafe { Register::at(0x2000_fff0) };
// SAFETY: as above.
const NUMBER: Register = unsafe { Register::at(0x2000_fff4) };

/// As random as whoever started the machine made it.
pub fn nonce() -> u32 {
    RANDOM.read()
}

/// The board's name.
pub fn name() -> String<32> {
    let mut name = String::new();
    let written = match NUMBER.read() {
        number @ 1..=9999 => write!(name, "lm3s6965evb-{number}"),
        _ => write!(name, "lm3s6965evb"),
    };
    written.expect("12 characters and 4 digits fit into 32 bytes");
    name
}
