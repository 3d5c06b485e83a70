//! What a node keeps over a reset, in NOR flash: readings in two queues (bulk, alarms), and the numbers of its lives.
//! Over `sequential-storage`, which spreads the wear over all pages and survives a loss of power at any write or erase.
//!
//! ```text
//! pages     bulk ...............  alarms ....  lives ..
//! reading   u32 boot, u64 sequence, u64 uptime in ms, i64 value, u8 measure       little-endian
//! life      u32 boot, u32 number that the gateway has given to it, 0 if none      little-endian
//! ```
//!
//! A reading costs 37 bytes of flash (29 and a head of 8): a page of 4 KiB takes 110. At one reading a second, all saved,
//! 64 pages (256 KiB) of a flash for 100,000 erasures last 22 years.
//!
//! **Invariant:** a life is numbered only once its number is in flash, and its number is above all that are there: boots
//! strictly grow. **Invariant:** a queue's readings leave it from the front only.
//!
//! One hole is left: a flash that was wiped, whose first life is drawn a number that the gateway has readings of (one in
//! millions), and loses power before the gateway has told it so: what that life had saved is taken for what it has.
//!
//! Calls wait for the flash: on most microcontrollers nothing else can run from flash meanwhile anyway (RP2040: below 1 ms
//! for a reading, some 50 ms where a page is erased first).
#![no_std]
#![forbid(unsafe_code)]

mod item;
mod ready;

use core::ops::Range;

use embedded_storage_async::nor_flash::MultiwriteNorFlash;
use lamppost_node::{Boot, Reading, Saved};
use sequential_storage::cache::Cache;
use sequential_storage::queue::{QueueConfig, QueueStorage};

use crate::item::{ITEM_BYTES_MAX, Life, reading_from, reading_to};
use crate::ready::wait;

/// Where in the flash: each from the beginning of a page to the end of one, apart from each other and the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// For bulk readings: at least two pages, and room for as many as the ring holds with a page to spare.
    pub bulk: Range<u32>,
    /// For alarms: at least two pages.
    pub alarms: Range<u32>,
    /// For the numbers of lives: at least two pages.
    pub lives: Range<u32>,
}

/// The flash can't be used like that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashError {
    /// A place is not whole pages, less than two of them, or beyond the flash.
    Place,
    /// The number of this life could not be written.
    Life,
}

impl core::fmt::Display for FlashError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Place => "a place in the flash is not at least two whole pages of it",
            Self::Life => "the flash does not take the number of this life",
        })
    }
}

impl core::error::Error for FlashError {}

/// Readings and lives in flash.
#[derive(Debug)]
pub struct FlashSaved<F> {
    flash: F,
    places: Places,
    life: Life,
    /// The last life that was looked up.
    known: Option<Life>,
}

impl<F: MultiwriteNorFlash> FlashSaved<F> {
    /// Opens the flash and begins another life in it. Where it knows of none, the first is numbered by `seed`, as random as
    /// the board can make it: then a flash that was wiped does not count through the numbers of the device's lives before.
    ///
    /// # Errors
    /// [`FlashError`]. Where it is [`FlashError::Life`], run without it and as [`Boot::UNNUMBERED`].
    pub fn begin(flash: F, places: Places, seed: u32) -> Result<Self, FlashError> {
        let capacity = u32::try_from(flash.capacity()).unwrap_or(u32::MAX);
        for place in [&places.bulk, &places.alarms, &places.lives] {
            let fits = place.end <= capacity && place.end.saturating_sub(place.start) >= 2 * page_bytes::<F>();
            if !fits || QueueConfig::<F>::try_new(place.clone()).is_err() {
                return Err(FlashError::Place);
            }
        }
        let mut saved = Self { flash, places, life: Life { boot: Boot(0), given: Boot(0) }, known: None };
        let mut last = None;
        saved.each_life(|life| last = last.max(Some(life.boot)));
        // Half of the numbers that nodes count with are left to count.
        let last = last.unwrap_or(Boot(seed % (Boot::GIVEN_MIN.0 / 2)));
        let boot = Boot(last.0.saturating_add(1));
        saved.life = Life { boot, given: Boot(0) };
        if boot >= Boot::GIVEN_MIN || !saved.write_life() {
            return Err(FlashError::Life);
        }
        Ok(saved)
    }

    /// The number of this life, for [`lamppost_node::Identity`].
    #[must_use]
    pub const fn boot(&self) -> Boot {
        self.life.boot
    }

    /// Gives the flash back.
    #[must_use]
    pub fn into_flash(self) -> F {
        self.flash
    }

    fn queue(&mut self, place: Range<u32>) -> Option<QueueStorage<&mut F, Uncached>> {
        let config = QueueConfig::try_new(place).ok()?;
        Some(QueueStorage::new(&mut self.flash, config, Cache::new_uncached()))
    }

    fn readings(&mut self, alarm: bool) -> Option<QueueStorage<&mut F, Uncached>> {
        let place = if alarm { &self.places.alarms } else { &self.places.bulk };
        let place = place.clone();
        self.queue(place)
    }

    fn write_life(&mut self) -> bool {
        let bytes = self.life.to_bytes();
        let place = self.places.lives.clone();
        // The oldest page makes room: the last life is in the newest.
        self.queue(place).is_some_and(|mut queue| wait(queue.push(&bytes, true)).is_ok())
    }

    fn each_life(&mut self, mut each: impl FnMut(Life)) {
        let place = self.places.lives.clone();
        self.each_item(place, |bytes| {
            if let Some(life) = Life::from_bytes(bytes) {
                each(life);
            }
        });
    }

    fn each_item(&mut self, place: Range<u32>, mut each: impl FnMut(&[u8])) {
        let Some(mut queue) = self.queue(place) else { return };
        let mut bytes = [0; ITEM_BYTES_MAX];
        let Ok(mut items) = wait(queue.iter()) else { return };
        while let Ok(Some(item)) = wait(items.next(&mut bytes)) {
            each(&item);
        }
    }

    /// The number under which the readings of a life are saved, where it has another one now.
    fn saved_under(&mut self, boot: Boot) -> Boot {
        if boot < Boot::GIVEN_MIN {
            return boot;
        }
        if let Some(known) = [Some(self.life), self.known].into_iter().flatten().find(|life| life.given == boot) {
            return known.boot;
        }
        let mut found = None;
        self.each_life(|life| found = if life.given == boot { Some(life) } else { found });
        self.known = found.or(self.known);
        found.map_or(boot, |life| life.boot)
    }
}

type Uncached = Cache<
    sequential_storage::cache::Uncached,
    sequential_storage::cache::Uncached,
    sequential_storage::cache::Uncached,
>;

const fn page_bytes<F: MultiwriteNorFlash>() -> u32 {
    F::ERASE_SIZE as u32
}

impl<F: MultiwriteNorFlash> Saved for FlashSaved<F> {
    fn restore(&mut self, keep: &mut dyn FnMut(Reading, bool)) {
        for alarm in [false, true] {
            let place = if alarm { self.places.alarms.clone() } else { self.places.bulk.clone() };
            self.each_item(place, |bytes| {
                if let Some(reading) = reading_from(bytes) {
                    keep(reading, alarm);
                }
            });
        }
    }

    fn given(&mut self, boot: Boot) -> Option<Boot> {
        let mut given = None;
        self.each_life(|life| {
            if life.boot == boot && life.given != Boot(0) {
                given = Some(life.given);
            }
        });
        given
    }

    fn save(&mut self, reading: &Reading, alarm: bool) -> bool {
        let boot = self.saved_under(reading.boot);
        let bytes = reading_to(&Reading { boot, ..*reading });
        self.readings(alarm).is_some_and(|mut queue| wait(queue.push(&bytes, false)).is_ok())
    }

    fn forget(&mut self, reading: &Reading, alarm: bool) {
        let upto = (self.saved_under(reading.boot), reading.sequence);
        let Some(mut queue) = self.readings(alarm) else { return };
        let mut bytes = [0; ITEM_BYTES_MAX];
        let Ok(mut items) = wait(queue.iter()) else { return };
        while let Ok(Some(item)) = wait(items.next(&mut bytes)) {
            // What is none can't be sent, and goes too.
            if reading_from(&item).is_some_and(|oldest| (oldest.boot, oldest.sequence) > upto)
                || wait(item.pop()).is_err()
            {
                return;
            }
        }
    }

    fn renumber(&mut self, from: Boot, to: Boot) {
        if from == self.life.boot || from == self.life.given {
            self.life.given = to;
            self.write_life();
        }
    }
}
