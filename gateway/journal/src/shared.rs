//! What the journal's handle and its threads share.

use std::sync::Arc;

use lamppost_event::{Clock, JournalStopped, Partition, Topic, TopicPartition};

use crate::book::Book;
use crate::commit::Writer;
use crate::disk::{Disk, DiskLock};
use crate::gather::Gathering;
use crate::options::Options;
use crate::random::SplitMix64;
use crate::stats::Counters;
use crate::stops::Stops;
use crate::surplus::Weights;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, OnceLock};
use crate::waiting::Waiters;

/// The journal's own topic.
pub(crate) const STATE_TOPIC: &str = "__state";
/// Its place among the partitions.
pub(crate) const STATE_SLOT: usize = 0;

/// A topic that can be appended to.
pub(crate) struct TopicEntry {
    pub(crate) topic: Topic,
    pub(crate) first_slot: usize,
    pub(crate) partitions: u16,
    pub(crate) linger_ms: u64,
}

#[derive(Default)]
pub(crate) struct KeeperSignal {
    pub(crate) wanted: bool,
    pub(crate) stop: bool,
}

/// Lock order: `writer`, `gather`, `book`; none of the later ones is held over I/O.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: u128,
    pub(crate) slots: Vec<TopicPartition>,
    /// By name.
    pub(crate) topics: Vec<TopicEntry>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) gather: Mutex<Gathering>,
    pub(crate) wake_writer: Condvar,
    pub(crate) book: Mutex<Book>,
    pub(crate) keeper: Mutex<KeeperSignal>,
    pub(crate) wake_keeper: Condvar,
    /// One keeper's step at a time.
    pub(crate) keeping: Mutex<()>,
    /// Monotonic ms before which growing is not tried again after the disk was full.
    pub(crate) grow_again_ms: AtomicU64,
    /// Monotonic ms before which rewriting the oldest hot segment is not tried again after there was no room.
    pub(crate) cool_again_ms: AtomicU64,
    /// The same for giving something up.
    pub(crate) shed_again_ms: AtomicU64,
    /// The same for lending a free file's room.
    pub(crate) lend_again_ms: AtomicU64,
    /// The same for giving up what is too old.
    pub(crate) expire_again_ms: AtomicU64,
    /// The same for writing all state anew to make room for values.
    pub(crate) whole_again_ms: AtomicU64,
    /// Monotonic ms before which whoever was refused a value is not told to ask again.
    pub(crate) refused_again_ms: AtomicU64,
    /// What there is of values leaves no room in the quota.
    pub(crate) values_refused: AtomicBool,
    /// What topics with a bound take in sealed segments. Locked after `book`.
    pub(crate) weights: Mutex<Weights>,
    /// Where readers stopped. Nothing else is locked while it is.
    pub(crate) stops: Stops,
    pub(crate) durable: AtomicU64,
    pub(crate) committed: Waiters,
    pub(crate) room: Waiters,
    pub(crate) stopped: OnceLock<JournalStopped>,
    pub(crate) closing: AtomicBool,
    pub(crate) random: Mutex<SplitMix64>,
    pub(crate) counters: Counters,
    pub(crate) lock: Mutex<Option<DiskLock>>,
}

impl Shared {
    /// Stops the journal for good: nothing more is acknowledged. The first reason is the one that counts.
    pub(crate) fn stop(&self, reason: String) -> JournalStopped {
        let stopped = self.stopped.get_or_init(|| JournalStopped { reason }).clone();
        self.committed.wake();
        self.room.wake();
        self.wake_writer.notify_all();
        self.wake_keeper.notify_all();
        stopped
    }

    pub(crate) fn running(&self) -> Result<(), JournalStopped> {
        self.stopped.get().map_or(Ok(()), |stopped| Err(stopped.clone()))
    }

    /// Whether anything new may be taken. Asked under the lock of `gather` or `book`, both of which are held as `closing` is set.
    pub(crate) fn taking(&self) -> Result<(), JournalStopped> {
        if self.closing.load(std::sync::atomic::Ordering::Acquire) {
            self.running()?;
            return Err(JournalStopped { reason: "it is being closed".to_owned() });
        }
        self.running()
    }

    /// A partition that can be appended to: its topic's entry, its slot, and its name.
    pub(crate) fn slot(&self, topic: &Topic, partition: Partition) -> Option<(&TopicEntry, usize, &TopicPartition)> {
        let found = self.topics.binary_search_by(|entry| entry.topic.cmp(topic)).ok()?;
        let entry = self.topics.get(found).filter(|entry| partition.0 < entry.partitions)?;
        let index = entry.first_slot + usize::from(partition.0);
        Some((entry, index, self.slots.get(index)?))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now().monotonic.0
    }

    /// Asks the keeper to look for work.
    pub(crate) fn ask_keeper(&self) {
        crate::waiting::hold(&self.keeper).wanted = true;
        self.wake_keeper.notify_one();
    }
}

/// The slots and topics of a set of options; the journal's own partition comes first.
pub(crate) fn layout(options: &Options, state: Topic) -> (Vec<TopicPartition>, Vec<TopicEntry>) {
    let mut slots = vec![TopicPartition { topic: state, partition: Partition(0) }];
    let mut topics = Vec::new();
    for entry in &options.topics {
        let linger = entry.linger.unwrap_or(options.linger);
        let linger_ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
        let (first_slot, partitions) = (slots.len(), entry.partitions);
        topics.push(TopicEntry { topic: entry.topic.clone(), first_slot, partitions, linger_ms });
        for partition in 0..partitions {
            let partition = Partition(partition);
            slots.push(TopicPartition { topic: entry.topic.clone(), partition });
        }
    }
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    (slots, topics)
}
