//! What outlives power: the last 64 KiB of the flash.
//!
//! | from the flash's start | bytes | holds |
//! |---|---|---|
//! | 0x1f_0000 | 0xe000 | nothing yet |
//! | 0x1f_e000 | 0x2000 | the count of boots: a map of sequential-storage, key 1, u32 |

use embassy_embedded_hal::adapter::BlockingAsync;
use embassy_rp::Peri;
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::peripherals::FLASH;
use lamppost_node::Boot;
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};

const FLASH_BYTES: usize = 2 * 1024 * 1024;
const BOOTS_FROM: u32 = 0x1f_e000;
const BOOTS_TO: u32 = 0x20_0000;
const BOOT_COUNT: u8 = 1;
/// Beyond it lie the numbers that a gateway gives (drivers/wire/README.md, "Boots and sequences").
const BOOT_MAX: u32 = (1 << 24) - 1;

type Chip = BlockingAsync<Flash<'static, FLASH, Blocking, FLASH_BYTES>>;
type Boots = MapStorage<u8, Chip, Cache<Uncached, Uncached, Uncached, u8>>;

/// The flash chip, and what of it is ours.
pub(crate) struct Memory {
    boots: Boots,
    /// The flash chip's serial number; `None` for a chip that has none.
    pub(crate) serial_number: Option<[u8; 8]>,
}

impl Memory {
    pub(crate) fn new(chip: Peri<'static, FLASH>) -> Self {
        let mut chip = Flash::new_blocking(chip);
        let serial_number = serial_number(&mut chip);
        let chip = BlockingAsync::new(chip);
        Self {
            boots: MapStorage::new(chip, MapConfig::new(BOOTS_FROM..BOOTS_TO), Cache::new_uncached()),
            serial_number,
        }
    }

    /// Counts this boot and returns its number, on flash before it is used. [`Boot::UNNUMBERED`] where the flash fails or
    /// the numbers are used up: then the gateway numbers this life. Where the count was damaged, it begins anew, and
    /// the gateway finds that the number was used and gives another one.
    pub(crate) async fn count_boot(&mut self) -> Boot {
        let mut buffer = [0; 32];
        let before = match self.boots.fetch_item::<u32>(&mut buffer, &BOOT_COUNT).await {
            Ok(count) => count.unwrap_or(0),
            Err(_) if self.boots.erase_all().await.is_ok() => 0,
            Err(_) => return Boot::UNNUMBERED,
        };
        let count = before.saturating_add(1);
        if count > BOOT_MAX {
            return Boot::UNNUMBERED;
        }
        match self.boots.store_item(&mut buffer, &BOOT_COUNT, &count).await {
            Ok(()) => Boot(count),
            Err(_) => Boot::UNNUMBERED,
        }
    }
}

/// A chip without one answers with nothing: all ones or all zeros.
fn serial_number(chip: &mut Flash<'static, FLASH, Blocking, FLASH_BYTES>) -> Option<[u8; 8]> {
    let mut number = [0; 8];
    chip.blocking_unique_id(&mut number).ok()?;
    Some(number).filter(|number| *number != [0; 8] && *number != [0xff; 8])
}
