//! The journal with its real threads: appenders, one a partition; one thread that waits for commits and tells what they made
//! safe; and one that moves the required group's cursor on, so that segments are recycled.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, park, scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use lamppost_event::{
    BootId, Clock, ClockQuality, Commit, Cursor, DeviceId, Group, Monotonic, Now, Offset, Partition, Position,
    StoredRecord, Topic, TopicPartition, WallTime,
};
use lamppost_journal::{AppendError, Directory, Journal, Mark, Options, ReadItem, Recovery, SplitMix64, TopicOptions};

use super::Task;
use super::events::{Ids, id_of, payload};
use super::tell::{tell, tell_and_wait};
use crate::words::Word;

const PARTITIONS: u16 = 3;
/// What a reader is told who comes too late.
const RECYCLED: &str = "recycled before it was read";
/// All marks are of one boot: its sequence is the event's id.
const BOOT: u64 = 1;
const CHUNK_BYTES: usize = 64 << 10;
/// No more events than this wait for their commit in one partition.
const WAITING_MAX: usize = 64;

pub(super) fn write(task: &Task) -> Result<()> {
    let folder = Directory::create(task.dir.join("journal")).context("the folder can't be made")?;
    let clock = Arc::new(MachineClock::new());
    let (journal, recovery) = Journal::open(Arc::new(folder), options()?, clock).context("it does not open")?;
    read(&journal, &recovery)?;
    if task.read_only {
        // Some are closed and some are left as by a crash.
        return if task.seed.is_multiple_of(2) { Ok(journal.close()?) } else { Ok(()) };
    }
    let waiting = Mutex::new(VecDeque::new());
    let stopped = scope(|scope| {
        let hands: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let (journal, waiting) = (&journal, &waiting);
                scope.spawn(move || append(journal, partition, task, waiting))
            })
            .chain([scope.spawn(|| acknowledge(&journal, &waiting)), scope.spawn(|| give_up(&journal, task))])
            .collect();
        // None ends before the journal has stopped.
        hands
            .into_iter()
            .map(|hand| hand.join().map_err(|_| anyhow::anyhow!("a thread of the writer panicked"))?)
            .collect()
    });
    let stopped: Result<Vec<()>> = stopped;
    stopped?;
    bail!("it stopped")
}

/// Small, so that segments turn over and checkpoints are written many times in a second.
fn options() -> Result<Options> {
    let mut options = Options {
        segment_bytes: 80 << 10,
        frame_bytes_max: 16 << 10,
        event_bytes_max: 4 << 10,
        checkpoint_bytes: 4096,
        linger: Duration::from_millis(1),
        linger_bytes: 8 << 10,
        cursor_deadline: Duration::from_millis(20),
        topics: vec![TopicOptions { topic: topic()?, partitions: PARTITIONS, linger: None }],
        required: vec![group()?],
        ..Options::default()
    };
    options.quota_bytes = options.quota_min() + 4 * options.segment_bytes;
    Ok(options)
}

fn topic() -> Result<Topic> {
    Ok(Topic::user("air")?)
}

fn group() -> Result<Group> {
    Ok(Group::new("cluster")?)
}

fn device(partition: u16) -> Result<DeviceId> {
    Ok(DeviceId::new(&format!("device-{partition}"))?)
}

/// Tells all that the journal holds.
fn read(journal: &Journal, recovery: &Recovery) -> Result<()> {
    tell(&[Word::Opened]);
    if !recovery.damage.is_empty() {
        tell(&[Word::Damage(recovery.damage.len() as u64)]);
    }
    for bounds in journal.partitions() {
        tell(&[Word::First(bounds.at.partition.0, bounds.first.0)]);
    }
    // What the required group has passed may be recycled while it is read: that is no damage.
    let passed: BTreeMap<u16, u64> =
        journal.resume(&group()?)?.cursors.iter().map(|cursor| (cursor.at.partition.0, cursor.next.0)).collect();
    let (mut from, mut had) = (Position(0), BTreeMap::new());
    loop {
        let chunk = journal.read(from, CHUNK_BYTES)?;
        // The keeper may have made a segment denser since the last chunk: what this reader has had comes again then. Within a chunk
        // nothing may.
        let before = had.clone();
        let new = |item: &&ReadItem| match item {
            ReadItem::Record(read) => before.get(&read.partition.0).is_none_or(|next| read.offset.0 >= *next),
            ReadItem::Gap(_) => true,
        };
        let items: Vec<&ReadItem> = chunk.items.iter().filter(new).collect();
        tell(&items.iter().map(|item| word_of(item, &passed)).collect::<Vec<_>>());
        for item in items {
            if let ReadItem::Record(read) = item {
                had.insert(read.partition.0, read.offset.0 + 1);
            }
        }
        from = chunk.next;
        if chunk.caught_up {
            break;
        }
    }
    for partition in 0..PARTITIONS {
        let mark = journal.mark(&device(partition)?, BOOT)?;
        tell(&[Word::Mark(partition, mark.unwrap_or(0))]);
    }
    tell(&[Word::Read]);
    Ok(())
}

fn word_of(item: &ReadItem, passed: &BTreeMap<u16, u64>) -> Word {
    match item {
        ReadItem::Record(read) => {
            let id = read.record.value.as_ref().and_then(|value| id_of(value));
            let (partition, offset) = (read.partition.0, read.offset.0);
            id.map_or(Word::Garbled(partition, offset), |id| Word::Kept(partition, offset, id))
        }
        ReadItem::Gap(gap) => {
            let partition = gap.at.partition.0;
            let recycled = gap.reason == RECYCLED && passed.get(&partition).is_some_and(|next| gap.to.0 <= *next);
            if recycled { Word::First(partition, gap.to.0) } else { Word::Gap(partition, gap.from.0, gap.to.0) }
        }
    }
}

/// An event that was taken and is not safe yet.
struct Taken {
    commit: Commit,
    partition: u16,
    offset: u64,
    id: u64,
}

type Waiting = Mutex<VecDeque<Taken>>;

fn append(journal: &Journal, partition: u16, task: &Task, waiting: &Waiting) -> Result<()> {
    let mut random = SplitMix64::new(task.seed ^ (u64::from(partition) << 32));
    let (mut ids, topic, device) = (Ids::of_life(task.life), topic()?, device(partition)?);
    loop {
        for _ in 0..=random.below(8) {
            let id = ids.next();
            let mark = Mark { device: device.clone(), boot: BOOT, sequence: id };
            let mut record = record(id);
            let appended = loop {
                match journal.append(&topic, Partition(partition), record, Some(&mark)) {
                    Ok(appended) => break appended,
                    Err(AppendError::Full(back)) => {
                        record = *back;
                        block_on(journal.room());
                    }
                    Err(error) => return Err(error.into()),
                }
            };
            let (commit, offset) = (appended.commit, appended.offset.0);
            hold(waiting).push_back(Taken { commit, partition, offset, id });
        }
        while hold(waiting).len() > WAITING_MAX {
            sleep(Duration::from_micros(200));
        }
        if random.chance(1, 8) {
            sleep(Duration::from_micros(random.below(3000)));
        }
    }
}

fn record(id: u64) -> StoredRecord {
    StoredRecord {
        timestamp: WallTime(1_700_000_000_000),
        key: Bytes::from_static(b"key"),
        value: Some(Bytes::from(payload(id))),
        header: Bytes::from_static(b"header"),
    }
}

/// Tells of events once their commit is durable.
fn acknowledge(journal: &Journal, waiting: &Waiting) -> Result<()> {
    let mut durable = journal.durable()?;
    let mut turned = (0, 0);
    loop {
        durable = block_on(journal.durable_after(durable))?;
        let mut words = Vec::new();
        hold(waiting).retain(|taken| {
            let safe = taken.commit <= durable;
            if safe {
                words.push(Word::Acknowledged(taken.partition, taken.offset, taken.id));
            }
            !safe
        });
        let stats = journal.stats();
        if turned != (stats.recycled, stats.checkpoints) {
            turned = (stats.recycled, stats.checkpoints);
            words.push(Word::Turned(stats.recycled, stats.checkpoints));
        }
        tell(&words);
    }
}

/// Moves the cursors up to somewhere between what is given up and the end. The ledger knows before the journal does.
fn give_up(journal: &Journal, task: &Task) -> Result<()> {
    let (mut random, group, topic) = (SplitMix64::new(!task.seed), group()?, topic()?);
    loop {
        sleep(Duration::from_millis(1 + random.below(8)));
        for bounds in journal.partitions() {
            let kept = bounds.next.0.saturating_sub(bounds.first.0);
            let next = bounds.first.0 + random.below(kept + 1);
            let at = TopicPartition { topic: topic.clone(), partition: bounds.at.partition };
            tell_and_wait(Word::Asking(at.partition.0, next));
            journal.commit_cursors(&group, &[Cursor { at, next: Offset(next) }])?;
        }
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks the thread on a future.
fn block_on<T>(mut future: impl Future<Output = T> + Unpin) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(value) = std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        park();
    }
}

/// The wall clock stands; only what passes since the start is of interest.
struct MachineClock(Instant);

impl MachineClock {
    #[expect(clippy::disallowed_methods, reason = "this is the program's clock")]
    fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Now {
        let ms = u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wall = WallTime(1_700_000_000_000_i64.saturating_add_unsigned(ms));
        Now { wall, monotonic: Monotonic(ms), boot: BootId(7), quality: ClockQuality::Synced }
    }
}
