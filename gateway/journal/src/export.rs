//! The log's batches as they lie on the disk, for who takes them elsewhere: they are Kafka's own.

use bytes::Bytes;
use lamppost_event::{BootId, ClockQuality, Epoch, Now, Offset, TopicPartition};

use crate::format::batch::{BatchError, Compression};
use crate::format::frame::{BatchEntry, Frame};
use crate::inspect::Inspect;
use crate::read::internal;
use crate::walk::{Frames, Step};

/// A batch of the log: a Kafka `RecordBatch` v2, compressed or not.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    /// Its partition.
    pub at: TopicPartition,
    /// The offset of its first record.
    pub base: Offset,
    /// The offset behind its last record.
    pub next: Offset,
    /// The epoch of its frame.
    pub epoch: Epoch,
    /// When its frame was written; of a cold one, the first frame that it stands for.
    pub now: Now,
    /// How its records are compressed. The whole batch has been checked, Kafka's own CRC included.
    pub compression: Result<Compression, BatchError>,
    /// The batch as it lies on the disk.
    pub bytes: Bytes,
}

impl StoredBatch {
    pub(crate) fn of(frame: &Frame, entry: &BatchEntry) -> Self {
        let sound = entry.batch().and_then(|batch| batch.check_crc().map(|()| batch.compression()));
        Self {
            at: entry.at.clone(),
            base: entry.base,
            next: entry.next(),
            epoch: frame.epoch,
            now: frame.now,
            compression: sound,
            bytes: entry.bytes(),
        }
    }
}

impl Inspect {
    /// Hands over each batch in the log's order, the journal's own left out, until `take` fails. `progress` gets the bytes done and
    /// the bytes in all. In a partition offsets rise; what is missing is told by [`Inspect::figures`].
    ///
    /// # Errors
    /// What `take` gave.
    pub fn batches<E>(
        &self,
        progress: &mut dyn FnMut(u64, u64),
        take: &mut dyn FnMut(StoredBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_frame(progress, &mut |frame| {
            let entries = frame.batches.iter().filter(|entry| !internal(&entry.at));
            entries.map(|entry| StoredBatch::of(frame, entry)).try_for_each(&mut *take)
        })
    }

    fn each_frame<E>(
        &self,
        progress: &mut dyn FnMut(u64, u64),
        take: &mut dyn FnMut(&Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        let total = self.surveyed().iter().map(|segment| segment.survey.end).sum();
        let mut done = 0;
        for segment in self.surveyed() {
            let mut frames = Frames::new(&*segment.file, &segment.head, segment.survey.end, segment.head.base);
            while let Some(step) = frames.step() {
                if let Step::Frame(frame, _) = step {
                    take(&frame)?;
                }
                progress(done + frames.at().min(segment.survey.end), total);
            }
            done += segment.survey.end;
        }
        Ok(())
    }

    /// Of each boot of which the log holds a frame that was written while the clock was right: the clocks of the first such frame of
    /// the best quality. By it what that boot stamped before can be corrected ([`lamppost_event::EventTime::corrected`]). Reads only
    /// the segments in which a clock may have become right.
    #[must_use]
    pub fn right_clocks(&self) -> Vec<Now> {
        let mut clocks = Vec::new();
        for segment in self.surveyed() {
            let Some((first, last)) = segment.survey.span else { continue };
            learn(&mut clocks, first);
            // A clock that is right stays right, and between two frames of one boot there is no other boot.
            if first.boot == last.boot && (first.quality == last.quality || knows(&clocks, last.boot, last.quality)) {
                continue;
            }
            let mut frames = Frames::new(&*segment.file, &segment.head, segment.survey.end, segment.head.base);
            while let Some(step) = frames.step() {
                if let Step::Frame(frame, _) = step {
                    learn(&mut clocks, frame.now);
                }
            }
            learn(&mut clocks, last);
        }
        clocks
    }
}

fn knows(clocks: &[Now], boot: BootId, quality: ClockQuality) -> bool {
    clocks.iter().any(|known| known.boot == boot && known.quality >= quality)
}

fn learn(clocks: &mut Vec<Now>, now: Now) {
    if now.quality == ClockQuality::Unset || knows(clocks, now.boot, now.quality) {
        return;
    }
    clocks.retain(|known| known.boot != now.boot);
    clocks.push(now);
}
