//! What outlives power: the last 272 KiB of the flash (memory.x leaves them out of the program's way), in pages of 4 KiB.
//!
//! | from the flash's start | pages | holds |
//! |---|---|---|
//! | 0x1b_c000 | 64 | readings until they are acknowledged; more pages than they need, to spread the wear |
//! | 0x1f_c000 | 2 | alarms: this board has none |
//! | 0x1f_e000 | 2 | the numbers of its lives |

use embassy_embedded_hal::adapter::BlockingAsync;
use embassy_rp::Peri;
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::peripherals::FLASH;
use lamppost_node::{Boot, Reading, Saved};
use lamppost_node_flash::{FlashSaved, Places};

const FLASH_BYTES: usize = 2 * 1024 * 1024;
const PLACES: Places = Places { bulk: 0x1b_c000..0x1f_c000, alarms: 0x1f_c000..0x1f_e000, lives: 0x1f_e000..0x20_0000 };

type Chip = Flash<'static, FLASH, Blocking, FLASH_BYTES>;

/// The flash chip.
pub(crate) struct Memory {
    chip: Chip,
    /// Its serial number; `None` for a chip that has none.
    pub(crate) serial_number: Option<[u8; 8]>,
}

impl Memory {
    pub(crate) fn new(chip: Peri<'static, FLASH>) -> Self {
        let mut chip = Flash::new_blocking(chip);
        let serial_number = serial_number(&mut chip);
        Self { chip, serial_number }
    }

    /// Begins another life, with what was saved in those before. `random` numbers the first of all.
    pub(crate) fn begin(self, random: u32) -> Kept {
        Kept(FlashSaved::begin(BlockingAsync::new(self.chip), PLACES, random).ok())
    }
}

/// A chip without one answers with nothing: all ones or all zeros.
fn serial_number(chip: &mut Chip) -> Option<[u8; 8]> {
    let mut number = [0; 8];
    chip.blocking_unique_id(&mut number).ok()?;
    Some(number).filter(|number| *number != [0; 8] && *number != [0xff; 8])
}

/// What is kept over a reset; nothing where the flash takes no number for this life, which the gateway then numbers.
pub(crate) struct Kept(Option<FlashSaved<BlockingAsync<Chip>>>);

impl Kept {
    /// The number of this life.
    pub(crate) fn boot(&self) -> Boot {
        self.0.as_ref().map_or(Boot::UNNUMBERED, FlashSaved::boot)
    }
}

impl Saved for Kept {
    fn restore(&mut self, keep: &mut dyn FnMut(Reading, bool)) {
        if let Some(saved) = &mut self.0 {
            saved.restore(keep);
        }
    }

    fn given(&mut self, boot: Boot) -> Option<Boot> {
        self.0.as_mut().and_then(|saved| saved.given(boot))
    }

    fn save(&mut self, reading: &Reading, alarm: bool) -> bool {
        self.0.as_mut().is_some_and(|saved| saved.save(reading, alarm))
    }

    fn forget(&mut self, reading: &Reading, alarm: bool) {
        if let Some(saved) = &mut self.0 {
            saved.forget(reading, alarm);
        }
    }

    fn renumber(&mut self, from: Boot, to: Boot) {
        if let Some(saved) = &mut self.0 {
            saved.renumber(from, to);
        }
    }
}
