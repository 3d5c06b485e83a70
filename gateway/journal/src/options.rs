//! How a journal is set up. Checked once, at opening.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use lamppost_event::{Group, Partition, Topic};

use crate::format::batch::Compression;
use crate::format::segment::FRAMES_AT;
use crate::format::{PAGE, batch, frame};
use crate::random::Entropy;

/// One topic of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOptions {
    /// Its name.
    pub topic: Topic,
    /// Its number of partitions, 1 to [`Partition::COUNT_MAX`].
    pub partitions: u16,
    /// How long its events may wait for company; `None` for [`Options::linger`], zero for at once.
    pub linger: Option<Duration>,
}

/// Which topics' events outlive which, for want of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Given up first.
    Bulk,
    /// What nothing is said about.
    #[default]
    Normal,
    /// What the cluster can never accept: taken still when those above have to wait, with a segment in reserve, or a full journal could
    /// not bury what keeps it full. It leaves the alarms theirs.
    DeadLetter,
    /// Given up last, and with a segment in reserve that no other may use (alarms may use the dead letters' as well): taken still when
    /// all others have to wait.
    Alarm,
}

/// What becomes of a topic when the quota is used up by events that are still to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Its events stay, and new ones are not taken: the source has to keep them.
    #[default]
    Refuse,
    /// Its oldest events make room: a counted gap, that readers see. Those of alarms and dead letters only for their like, once what is
    /// kept for them is used up.
    GiveUpOldest,
}

/// What may become of a topic's events before they are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Among other topics.
    pub priority: Priority,
    /// For want of room.
    pub when_full: WhenFull,
    /// Events older than this are given up, delivered or not: a counted gap. In elapsed time, as far as the gateway ran: no jump of a
    /// clock makes an event older. They go with the segment that they are in; those that all required groups have had not before it has
    /// left the hot tail.
    pub keep_for: Option<Duration>,
    /// The newest so many bytes of the topic are kept at least; what is older is given up, delivered or not: a counted gap. Counted are
    /// its batches as they lie on the disk, compressed or not. They go with the segment that they are in, and not before it has left the
    /// hot tail (of [`Options::hot_segments_max`] segments) as long as there is a required group.
    /// (Kafka's `retention.bytes`, of the whole topic and not of each partition.)
    pub keep_bytes: Option<u64>,
}

/// How a journal is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The most that all files of the journal together may take, in bytes. Never exceeded.
    pub quota_bytes: u64,
    /// The size of a segment, a multiple of 4096. Segments that exist with another size are kept and not recycled.
    pub segment_bytes: u64,
    /// The largest frame, and so the most that one commit gathers.
    pub frame_bytes_max: usize,
    /// The largest event (key, value and header together).
    pub event_bytes_max: usize,
    /// How long an event may wait for company before its commit begins.
    pub linger: Duration,
    /// A commit begins at once when this much has gathered.
    pub linger_bytes: usize,
    /// The topics that can be appended to. Others that are on the disk stay readable.
    pub topics: Vec<TopicOptions>,
    /// What may become of the topics' events; of those that are not listed, nothing may.
    pub policies: BTreeMap<Topic, Policy>,
    /// The groups without whose durable cursor no event is given up.
    pub required: Vec<Group>,
    /// How long some of them hold events back at most: of a segment that was written longer ago than that, in elapsed time as far as the
    /// gateway ran, their cursors count no more. What they have not had of it when its room is needed is a gap for them.
    pub hold_max: BTreeMap<Group, Duration>,
    /// Cursors that found no commit to ride get one of their own after this long.
    pub cursor_deadline: Duration,
    /// A checkpoint is written when this much state has changed since the last.
    pub checkpoint_bytes: usize,
    /// Of each device, so many boots are remembered by their marks: those marked last. The others are forgotten at the next
    /// checkpoint; what such a boot sends again is stored again.
    pub boots_max: NonZeroUsize,
    /// The marks of all devices may take about so many bytes in the checkpoint; `None`: a quarter of the quota. Where they would take more,
    /// those that rose longest ago are forgotten whenever all of it is written anew, and counted ([`crate::Stats::marks_crowded_out`]):
    /// what such a boot sends again is stored again. Between two such times there may be half as many again. Never more than a third of what
    /// the quota leaves beside three segments, the reserve and what [`crate::Journal::put_state`] keeps.
    pub marks_bytes_max: Option<u64>,
    /// How long a disk that refuses to read is asked again, before what it keeps back is called a gap: at opening, and of each
    /// place that a reader comes to. What is called a gap may be sound, and consumers pass over it for good.
    pub read_patience: Duration,
    /// How batches are compressed on the disk: those of a commit that takes fewer pages then, and that nobody waits behind meanwhile, or
    /// that is on the disk about as soon (the disk keeps four fifths of its speed at least). By [`crate::Hand`] no time is looked at.
    pub compression: Compression,
    /// How many openings in a row may fail because the disk refuses to read where the end of the log may be. Then the journal opens
    /// without what it can't read: it is reported, the epoch changes, and the file is kept under another name once it is recycled.
    pub refusals_max: u64,
    /// Where salts, epochs and the identity come from.
    pub entropy: Entropy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quota_bytes: 256 << 20,
            segment_bytes: 16 << 20,
            frame_bytes_max: 1 << 20,
            event_bytes_max: 256 << 10,
            linger: Duration::from_millis(50),
            linger_bytes: 64 << 10,
            topics: Vec::new(),
            policies: BTreeMap::new(),
            required: Vec::new(),
            hold_max: BTreeMap::new(),
            cursor_deadline: Duration::from_secs(5),
            checkpoint_bytes: 1 << 20,
            boots_max: BOOTS_MAX,
            marks_bytes_max: None,
            read_patience: Duration::from_secs(10),
            refusals_max: 5,
            compression: Compression::Zstd,
            entropy: Entropy::System,
        }
    }
}

/// A mistake in the options, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The segment size can't be used.
    #[error("segment size {bytes} must be a multiple of {PAGE}, from {min} to {max} bytes")]
    SegmentBytes {
        /// What was given.
        bytes: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The frame size can't be used.
    #[error("largest frame {bytes} must lie between {min} and a quarter of a segment, {max} bytes")]
    FrameBytes {
        /// What was given.
        bytes: usize,
        /// The least.
        min: usize,
        /// The most.
        max: u64,
    },
    /// The event size can't be used.
    #[error("largest event {bytes} must lie between 1 and {max} bytes (half of the largest frame)")]
    EventBytes {
        /// What was given.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// The quota is too small to work in.
    #[error(
        "quota {bytes} must be at least {min} bytes: four segments, one each for alarms and dead letters, and room for checkpoints and to work in"
    )]
    Quota {
        /// What was given.
        bytes: u64,
        /// The least.
        min: u64,
    },
    /// A topic has no partition, or too many.
    #[error("topic {topic} must have 1 to {} partitions, not {partitions}", Partition::COUNT_MAX)]
    Partitions {
        /// The topic.
        topic: Topic,
        /// What was given.
        partitions: u16,
    },
    /// A topic is there twice.
    #[error("topic {0} is there twice")]
    TopicTwice(Topic),
    /// A topic has one of the journal's own names.
    #[error("topic {0}: names that begin with \"__\" belong to the journal")]
    TopicReserved(Topic),
    /// More partitions in all than a frame could hold.
    #[error("{count} partitions in all; the largest frame has room for {max}")]
    TooManyPartitions {
        /// How many.
        count: usize,
        /// The most.
        max: usize,
    },
    /// The state threshold is too small.
    #[error("checkpoint threshold {bytes} must be at least {min} bytes")]
    CheckpointBytes {
        /// What was given.
        bytes: usize,
        /// The least.
        min: usize,
    },
}

const SEGMENT_MIN: u64 = 64 << 10;
const SEGMENT_MAX: u64 = 1 << 30;
const FRAME_MIN: usize = 4 * PAGE;
const CHECKPOINT_MIN: usize = 4096;
const BOOTS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

impl Options {
    /// Checks everything that can be wrong.
    ///
    /// # Errors
    /// The first mistake found.
    pub fn check(&self) -> Result<(), OptionsError> {
        let bytes = self.segment_bytes;
        if !(SEGMENT_MIN..=SEGMENT_MAX).contains(&bytes) || !bytes.is_multiple_of(PAGE as u64) {
            return Err(OptionsError::SegmentBytes { bytes, min: SEGMENT_MIN, max: SEGMENT_MAX });
        }
        let (bytes, max) = (self.frame_bytes_max, (self.segment_bytes - FRAMES_AT) / 4);
        if bytes < FRAME_MIN || bytes as u64 > max {
            return Err(OptionsError::FrameBytes { bytes, min: FRAME_MIN, max });
        }
        let (bytes, max) = (self.event_bytes_max, self.frame_bytes_max / 2);
        if bytes == 0 || bytes > max {
            return Err(OptionsError::EventBytes { bytes, max });
        }
        let min = self.quota_min();
        if self.quota_bytes < min {
            return Err(OptionsError::Quota { bytes: self.quota_bytes, min });
        }
        if self.checkpoint_bytes < CHECKPOINT_MIN {
            return Err(OptionsError::CheckpointBytes { bytes: self.checkpoint_bytes, min: CHECKPOINT_MIN });
        }
        self.check_topics()
    }

    /// The least quota: one segment to write, one in reserve for recovery, two to move in, one for alarms and one for dead letters if
    /// there are any, room to write what stays of a segment that something is given up of, and room for checkpoints.
    #[must_use]
    pub fn quota_min(&self) -> u64 {
        (4 + self.reserve() as u64) * self.segment_bytes + self.working_room() + 3 * (64 << 10)
    }

    /// Bytes that neither new files nor cooling may take: in a full journal, what stays of a segment that something is given up of is
    /// written there.
    pub(crate) const fn working_room(&self) -> u64 {
        self.segment_bytes / 4
    }

    /// What the marks of all devices may take in the checkpoint, in bytes.
    pub(crate) fn marks_bytes_max(&self) -> u64 {
        self.marks_bytes_max.unwrap_or(self.quota_bytes / 4)
    }

    /// What may become of a topic's events.
    #[must_use]
    pub fn policy(&self, topic: &Topic) -> Policy {
        self.policies.get(topic).copied().unwrap_or_default()
    }

    /// Segments that are kept for alarms and dead letters: one for either.
    pub(crate) fn reserve(&self) -> usize {
        self.reserve_for(Priority::DeadLetter) + self.reserve_for(Priority::Alarm)
    }

    fn reserve_for(&self, priority: Priority) -> usize {
        usize::from(self.policies.values().any(|policy| policy.priority == priority))
    }

    /// Of those, how many events of that priority leave to others.
    pub(crate) fn left_to_others(&self, priority: Priority) -> usize {
        match priority {
            Priority::Bulk | Priority::Normal => self.reserve(),
            Priority::DeadLetter => self.reserve_for(Priority::Alarm),
            Priority::Alarm => 0,
        }
    }

    /// How many files of the size of a segment there are before the oldest events that have to be kept are rewritten into cold segments:
    /// those of a quarter of the quota, but 4 to 16, and the reserve for alarms and dead letters.
    #[must_use]
    pub fn hot_segments_max(&self) -> usize {
        usize::try_from(self.quota_bytes / 4 / self.segment_bytes.max(1)).unwrap_or(16).clamp(4, 16) + self.reserve()
    }

    fn check_topics(&self) -> Result<(), OptionsError> {
        let mut count = 1_usize;
        for (index, entry) in self.topics.iter().enumerate() {
            let (topic, partitions) = (entry.topic.clone(), entry.partitions);
            if partitions == 0 || partitions > Partition::COUNT_MAX {
                return Err(OptionsError::Partitions { topic, partitions });
            }
            if topic.as_str().starts_with("__") {
                return Err(OptionsError::TopicReserved(topic));
            }
            if self.topics.iter().take(index).any(|other| other.topic == topic) {
                return Err(OptionsError::TopicTwice(topic));
            }
            count += usize::from(partitions);
        }
        // A frame must be able to name all partitions of the frame before beside one largest event.
        let names: usize = self.topics.iter().map(|entry| 1 + entry.topic.as_str().len()).sum();
        let left = (self.frame_bytes_max / 4).saturating_sub(frame::FRAME_HEAD + batch::BATCH_HEAD + names);
        let max = left / frame::ENTRY;
        if count > max { Err(OptionsError::TooManyPartitions { count, max }) } else { Ok(()) }
    }
}
