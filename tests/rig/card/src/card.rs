//! The modelled card: an image, the writes and flushes that reached it in their order, figures, and the time things take.
//!
//! A card does one thing at a time. A write is in its memory when it is answered; it is safe once a flush that came after it is
//! answered.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::image::{BeyondEnd, Image};

/// How long things take. All zero for a card that takes no time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// A flush, in milliseconds.
    pub flush_ms: f64,
    /// A write, whatever its size, in milliseconds.
    pub write_ms: f64,
    /// Besides that, so many megabytes (10^6 bytes) of writes a second; zero for no limit.
    pub mb_per_s: f64,
}

impl Pace {
    fn flush(&self) -> Duration {
        millis(self.flush_ms)
    }

    fn write(&self, bytes: usize) -> Duration {
        let transfer_ms = if self.mb_per_s > 0.0 { bytes as f64 / (self.mb_per_s * 1000.0) } else { 0.0 };
        millis(self.write_ms + transfer_ms)
    }
}

/// What is negative or no number takes no time; an hour is the most.
fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(if ms > 0.0 { ms.min(3_600_000.0) / 1000.0 } else { 0.0 })
}

/// What reached the card since [`Card::begin`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Flushes.
    pub flushes: u64,
    /// Writes, of at most 1 MiB each as the kernel sends them.
    pub writes: u64,
    /// Bytes of these writes.
    pub bytes_written: u64,
}

/// One thing that reached the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bytes were written.
    Write {
        /// Where.
        at: u64,
        /// What.
        bytes: Bytes,
    },
    /// Everything before it is safe.
    Flush,
}

/// The steps in their order, and the image they began with.
pub struct Record {
    /// Before the first step.
    pub start: Image,
    /// All of them.
    pub steps: Vec<Step>,
}

struct Content {
    image: Image,
    figures: Figures,
    pace: Pace,
    record: Option<Record>,
    recorded_bytes: u64,
}

/// A card. All methods may be called from several threads.
pub struct Card {
    content: Mutex<Content>,
    bytes: u64,
}

/// Why the card refuses a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It ends before.
    BeyondEnd,
    /// No more is recorded than [`RECORDED_BYTES_MAX`].
    RecordFull,
}

/// The most bytes of writes that are remembered in their order.
pub const RECORDED_BYTES_MAX: u64 = 1 << 30;

impl Card {
    /// A card with this content, that takes no time and records nothing.
    #[must_use]
    pub fn new(image: Image) -> Self {
        let bytes = image.bytes();
        let (figures, pace) = (Figures::default(), Pace::default());
        Self { content: Mutex::new(Content { image, figures, pace, record: None, recorded_bytes: 0 }), bytes }
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From here on things take their time, and the figures count from zero.
    pub fn begin(&self, pace: Pace) {
        let mut content = self.content();
        (content.pace, content.figures) = (pace, Figures::default());
    }

    /// From here on every step is recorded.
    pub fn record(&self) {
        let mut content = self.content();
        content.record = Some(Record { start: content.image.clone(), steps: Vec::new() });
        content.recorded_bytes = 0;
    }

    /// How many steps were recorded. What was acknowledged before this is asked rests on steps below it. Without a recording, more
    /// than any record holds: what is acknowledged then rests on steps that no record has.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.content().record.as_ref().map_or(usize::MAX, |record| record.steps.len())
    }

    /// Ends the recording and gives it.
    #[must_use]
    pub fn take_record(&self) -> Option<Record> {
        self.content().record.take()
    }

    /// The figures since [`Card::begin`].
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.content().figures
    }

    /// A copy of what it holds now.
    #[must_use]
    pub fn image(&self) -> Image {
        self.content().image.clone()
    }

    /// Reads. Takes no time: what the journal waits for are writes and flushes.
    ///
    /// # Errors
    /// [`BeyondEnd`].
    pub fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), BeyondEnd> {
        self.content().image.read(buffer, at)
    }

    /// Writes, and comes back when a real card would.
    ///
    /// # Errors
    /// [`Refused`]; nothing is written then.
    pub fn write(&self, bytes: &[u8], at: u64) -> Result<(), Refused> {
        self.take(bytes, at)?;
        let pace = self.content().pace;
        wait(pace.write(bytes.len()));
        Ok(())
    }

    /// Makes safe what was written, and comes back when a real card would.
    pub fn flush(&self) {
        let pace = self.content().pace;
        wait(pace.flush());
        let mut content = self.content();
        content.figures.flushes += 1;
        if let Some(record) = &mut content.record {
            record.steps.push(Step::Flush);
        }
    }

    fn take(&self, bytes: &[u8], at: u64) -> Result<(), Refused> {
        let mut content = self.content();
        let content = &mut *content;
        if content.record.is_some() && content.recorded_bytes + bytes.len() as u64 > RECORDED_BYTES_MAX {
            return Err(Refused::RecordFull);
        }
        content.image.write(bytes, at).map_err(|BeyondEnd| Refused::BeyondEnd)?;
        content.figures.writes += 1;
        content.figures.bytes_written += bytes.len() as u64;
        if let Some(record) = &mut content.record {
            content.recorded_bytes += bytes.len() as u64;
            record.steps.push(Step::Write { at, bytes: Bytes::copy_from_slice(bytes) });
        }
        Ok(())
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait(time: Duration) {
    if !time.is_zero() {
        sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SD: Pace = Pace { flush_ms: 5.0, write_ms: 0.4, mb_per_s: 15.0 };

    #[test]
    fn a_write_takes_its_fixed_time_and_that_of_its_transfer() {
        assert_eq!(SD.write(15_000), Duration::from_micros(1400));
        assert_eq!(SD.flush(), Duration::from_millis(5));
        assert_eq!(Pace { mb_per_s: 0.0, ..SD }.write(15_000), Duration::from_micros(400));
        assert_eq!(Pace::default().write(1 << 20), Duration::ZERO);
        let odd = Pace { flush_ms: f64::NAN, write_ms: -1.0, mb_per_s: f64::INFINITY };
        assert_eq!((odd.flush(), odd.write(1)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn figures_count_from_the_beginning_that_was_named() {
        let card = Card::new(Image::zeros(1 << 20));
        card.write(&[1; 512], 0).unwrap();
        card.begin(Pace::default());
        card.write(&[1; 512], 512).unwrap();
        card.write(&[1; 1024], 0).unwrap();
        card.flush();
        assert_eq!(card.figures(), Figures { flushes: 1, writes: 2, bytes_written: 1536 });
        assert_eq!(card.write(&[1; 512], 1 << 20), Err(Refused::BeyondEnd));
        assert_eq!(card.figures().writes, 2);
    }

    #[test]
    fn the_record_holds_every_step_in_order_and_the_image_before_the_first() {
        let card = Card::new(Image::zeros(1 << 20));
        card.write(&[1; 512], 0).unwrap();
        card.record();
        card.write(&[2; 512], 0).unwrap();
        card.flush();
        assert_eq!(card.steps(), 2);
        let record = card.take_record().unwrap();
        card.write(&[3; 512], 0).unwrap();
        assert_eq!(record.steps, [Step::Write { at: 0, bytes: Bytes::from(vec![2; 512]) }, Step::Flush]);
        let mut before = [0; 512];
        record.start.read(&mut before, 0).unwrap();
        assert_eq!(before, [1; 512]);
    }

    #[test]
    fn what_is_heard_after_the_record_was_taken_rests_on_none_of_its_steps() {
        let card = Card::new(Image::zeros(1 << 20));
        card.record();
        card.write(&[2; 512], 0).unwrap();
        let record = card.take_record().unwrap();
        assert!(card.steps() > record.steps.len());
    }
}
