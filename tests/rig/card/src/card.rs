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
    keeping: Keeping,
    power: Power,
}

/// What a record keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// Every step.
    All,
    /// What no flush has made safe yet; the rest goes into the image it starts with.
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// It goes with the first write that finds both used up.
    Going {
        writes: u64,
        open: usize,
    },
    Off,
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
    /// Its power is off.
    Off,
}

/// The most bytes of writes that are remembered in their order.
pub const RECORDED_BYTES_MAX: u64 = 1 << 30;

impl Card {
    /// A card with this content, that takes no time and records nothing.
    #[must_use]
    pub fn new(image: Image) -> Self {
        let bytes = image.bytes();
        let (figures, pace) = (Figures::default(), Pace::default());
        let (keeping, power) = (Keeping::All, Power::On);
        let content = Content { image, figures, pace, record: None, recorded_bytes: 0, keeping, power };
        Self { content: Mutex::new(content), bytes }
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
        content.record(Keeping::All);
    }

    /// From here on what is not flushed yet is recorded, so that the power can go at any moment of a life however long. The steps
    /// of such a record are writes alone.
    pub fn follow(&self) {
        self.content().record(Keeping::Open);
    }

    /// From here on flushes are answered, and nothing that is recorded is made safe by them: a card that lies.
    pub fn be_deaf(&self) {
        self.content().keeping = Keeping::All;
    }

    /// The power goes with the first write that `writes` others came before, counted from now, and that finds `open` others that
    /// are not flushed. That write is answered; nothing is written or flushed after it.
    pub fn fail_after(&self, writes: u64, open: usize) {
        self.content().power = Power::Going { writes, open };
    }

    /// The power goes now.
    pub fn switch_off(&self) {
        self.content().power = Power::Off;
    }

    /// Whether the power went.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.content().power == Power::Off
    }

    /// The power comes back, and this is what is on the card. It takes its time as before, its figures go on, and nothing is recorded.
    pub fn switch_on(&self, image: Image) {
        assert_eq!(image.bytes(), self.bytes, "the card has the size that it had");
        let mut content = self.content();
        (content.image, content.power, content.record) = (image, Power::On, None);
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
    ///
    /// # Errors
    /// [`Refused::Off`]; nothing is made safe then.
    pub fn flush(&self) -> Result<(), Refused> {
        let pace = self.content().pace;
        wait(pace.flush());
        let mut content = self.content();
        if content.power == Power::Off {
            return Err(Refused::Off);
        }
        content.figures.flushes += 1;
        content.flushed();
        Ok(())
    }

    fn take(&self, bytes: &[u8], at: u64) -> Result<(), Refused> {
        let mut content = self.content();
        let content = &mut *content;
        if content.power == Power::Off {
            return Err(Refused::Off);
        }
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
        content.spend();
        Ok(())
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn record(&mut self, keeping: Keeping) {
        self.record = Some(Record { start: self.image.clone(), steps: Vec::new() });
        (self.recorded_bytes, self.keeping) = (0, keeping);
    }

    fn flushed(&mut self) {
        let Some(record) = &mut self.record else { return };
        if self.keeping == Keeping::All {
            record.steps.push(Step::Flush);
            return;
        }
        for step in record.steps.drain(..) {
            if let Step::Write { at, bytes } = step {
                record.start.share(&self.image, at, bytes.len());
            }
        }
        self.recorded_bytes = 0;
    }

    /// A write has come: one less until the power goes.
    fn spend(&mut self) {
        let Power::Going { writes, open } = self.power else { return };
        let found = self.record.as_ref().map_or(0, |record| record.steps.len().saturating_sub(1));
        self.power = match writes.checked_sub(1) {
            None if found >= open => Power::Off,
            left => Power::Going { writes: left.unwrap_or(0), open },
        };
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
        card.flush().unwrap();
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
        card.flush().unwrap();
        assert_eq!(card.steps(), 2);
        let record = card.take_record().unwrap();
        card.write(&[3; 512], 0).unwrap();
        assert_eq!(record.steps, [Step::Write { at: 0, bytes: Bytes::from(vec![2; 512]) }, Step::Flush]);
        let mut before = [0; 512];
        record.start.read(&mut before, 0).unwrap();
        assert_eq!(before, [1; 512]);
    }

    #[test]
    fn a_card_that_is_followed_keeps_what_is_not_flushed_and_starts_with_the_rest() {
        let card = Card::new(Image::zeros(1 << 20));
        card.follow();
        card.write(&[2; 9000], 4000).unwrap();
        card.flush().unwrap();
        card.write(&[3; 512], 4096).unwrap();
        let record = card.take_record().unwrap();
        assert_eq!(record.steps, [Step::Write { at: 4096, bytes: Bytes::from(vec![3; 512]) }]);
        let mut before = [0; 9002];
        record.start.read(&mut before, 3999).unwrap();
        assert_eq!((before[0], before[9001]), (0, 0));
        assert!(before[1..9001].iter().all(|byte| *byte == 2));
    }

    #[test]
    fn a_card_that_is_deaf_answers_flushes_and_keeps_none_of_it_safe() {
        let card = Card::new(Image::zeros(1 << 20));
        card.follow();
        card.write(&[1; 512], 0).unwrap();
        card.flush().unwrap();
        card.be_deaf();
        card.write(&[2; 512], 0).unwrap();
        card.flush().unwrap();
        let record = card.take_record().unwrap();
        let mut start = [0];
        record.start.read(&mut start, 0).unwrap();
        assert_eq!((start, record.steps.len()), ([1], 2));
    }

    #[test]
    fn the_power_goes_behind_so_many_writes_as_soon_as_enough_is_open_and_nothing_is_taken_until_it_is_back() {
        let card = Card::new(Image::zeros(1 << 20));
        card.follow();
        card.fail_after(2, 1);
        for at in [0, 512] {
            card.write(&[1; 512], at).unwrap();
            card.flush().unwrap();
        }
        card.write(&[2; 512], 1024).unwrap();
        assert!(!card.is_off(), "no other write is open");
        card.write(&[3; 512], 1536).unwrap();
        assert!(card.is_off());
        assert_eq!(card.write(&[4; 512], 2048), Err(Refused::Off));
        assert_eq!(card.flush(), Err(Refused::Off));
        let record = card.take_record().unwrap();
        assert_eq!(record.steps.len(), 2);
        card.switch_on(record.start);
        let mut bytes = [0; 2560];
        card.read(&mut bytes, 0).unwrap();
        assert!(bytes[..1024].iter().all(|byte| *byte == 1) && bytes[1024..].iter().all(|byte| *byte == 0));
        card.write(&[5; 512], 0).unwrap();
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
