//! The log's batches as they lie on the disk, for who takes them elsewhere: they are Kafka's own.

use bytes::Bytes;
use lamppost_event::{Epoch, Now, Offset, TopicPartition};

use crate::format::batch::{BatchError, Compression};
use crate::format::frame::{BatchEntry, Frame};
use crate::inspect::Inspect;
use crate::read::internal;
use crate::times::{Times, is_told_by_its_ends};
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

    /// What is known of the clocks of each boot in the log: by it times are corrected. Reads only the segments in which a clock may have
    /// become right between the first frame and the last.
    #[must_use]
    pub fn times(&self) -> Times {
        self.times.get_or_init(|| self.learn_times()).clone()
    }

    fn learn_times(&self) -> Times {
        let mut times = Times::default();
        for segment in self.surveyed() {
            let Some((first, last)) = segment.survey.span else { continue };
            times.learn(&first);
            if !is_told_by_its_ends(&first, &last) {
                let mut frames = Frames::new(&*segment.file, &segment.head, segment.survey.end, segment.head.base);
                while let Some(step) = frames.step() {
                    if let Step::Frame(frame, _) = step {
                        times.learn(&frame.now);
                    }
                }
            }
            times.learn(&last);
        }
        times
    }
}
