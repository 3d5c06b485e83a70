//! The stage for a scene: a journal with its threads, what was taken, and what was acknowledged.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lamppost_event::*;
use lamppost_journal::sim::SimDisk;
use lamppost_journal::*;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread::{JoinHandle, spawn};

use crate::platter::{Image, Platter, restored};
use crate::world::*;

/// Changes of priority that PCT makes in an interleaving.
const CHANGES: usize = 4;
const SEED: u64 = 20_260_101;

/// Plays a scene in many interleavings.
pub fn explore(interleavings: usize, scene: impl Fn() + Send + Sync + 'static) {
    let asked = std::env::var("LAMPPOST_INTERLEAVINGS").ok();
    let asked = asked.map(|count| count.parse().expect("LAMPPOST_INTERLEAVINGS is a number"));
    let half = asked.unwrap_or(interleavings).div_ceil(2);
    let scene = Arc::new(scene);
    play(RandomScheduler::new_from_seed(SEED, half), Arc::clone(&scene));
    play(PctScheduler::new_from_seed(SEED, CHANGES, half), scene);
}

fn play(scheduler: impl Scheduler + 'static, scene: Arc<impl Fn() + Send + Sync + 'static>) {
    let mut config = shuttle::Config::new();
    config.stack_size = 256 << 10;
    shuttle::Runner::new(scheduler, config).run(move || scene());
}

/// Each look at it, a millisecond has passed.
struct LookClock(AtomicU64);

impl Clock for LookClock {
    fn now(&self) -> Now {
        let ms = self.0.fetch_add(1, Ordering::Relaxed);
        let (wall, monotonic) = (WallTime(1_700_000_000_000 + ms as i64), Monotonic(ms));
        Now { wall, monotonic, boot: BootId(7), quality: ClockQuality::Synced }
    }
}

/// Blocks the thread; for ever is a deadlock, which shuttle reports.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    shuttle::future::block_on(future)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    commit: Commit,
    partition: u16,
    offset: Offset,
    text: String,
}

/// What had been taken when this commit was told to be durable, and what was on the platter then.
struct Acknowledged {
    durable: Commit,
    taken: Vec<Taken>,
    image: Image,
}

/// The locks of its own are the standard library's, and never held over a point of scheduling.
pub struct Stage {
    pub journal: Journal,
    pub disk: SimDisk,
    pub platter: Arc<Platter>,
    taken: Arc<Mutex<Vec<Taken>>>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
}

impl Stage {
    pub fn open(options: Options) -> Self {
        let disk = SimDisk::new(1);
        let platter = Platter::new(&disk);
        let clock = Arc::new(LookClock(AtomicU64::new(1)));
        let (journal, _) = Journal::open(Arc::clone(&platter), options, clock).unwrap();
        Self { journal, disk, platter, taken: Arc::default(), acknowledged: Arc::default() }
    }

    fn share(&self) -> Self {
        Self {
            journal: self.journal.clone(),
            disk: self.disk.clone(),
            platter: Arc::clone(&self.platter),
            taken: Arc::clone(&self.taken),
            acknowledged: Arc::clone(&self.acknowledged),
        }
    }

    /// A thread on this stage.
    pub fn run(&self, act: impl FnOnce(&Self) + Send + 'static) -> JoinHandle<()> {
        let stage = self.share();
        spawn(move || act(&stage))
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// Offers one event until it is taken.
    fn append(&self, partition: u16, text: &str) -> Result<Commit, JournalStopped> {
        let mark = mark(partition, self.taken().iter().filter(|taken| taken.partition == partition).count() as u64 + 1);
        loop {
            match self.journal.append(&topic(), Partition(partition), record(text), Some(&mark)) {
                Ok(Appended { commit, offset }) => {
                    let text = text.to_owned();
                    self.taken.lock().unwrap().push(Taken { commit, partition, offset, text });
                    return Ok(commit);
                }
                Err(AppendError::Full(_)) => wait(self.journal.room()),
                Err(AppendError::Stopped(stopped)) => return Err(stopped),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Notes what was told to be durable, and the platter as it is at that moment.
    fn note(&self, durable: Commit) {
        let taken = self.taken().into_iter().filter(|taken| taken.commit <= durable).collect();
        self.acknowledged.lock().unwrap().push(Acknowledged { durable, taken, image: self.platter.image() });
    }

    fn wait_for(&self, commit: Commit) -> Result<(), JournalStopped> {
        let durable = wait(self.journal.durable_after(Commit(commit.0 - 1)))?;
        assert!(durable >= commit);
        self.note(durable);
        Ok(())
    }

    pub fn append_and_wait(&self, partition: u16, events: u64) {
        for number in 0..events {
            let commit = self.append(partition, &format!("{partition}:{number}")).unwrap();
            self.wait_for(commit).unwrap();
        }
    }

    /// Acknowledges what was taken, and does not wait until it is durable.
    pub fn append_and_acknowledge_at_once(&self, partition: u16, events: u64) {
        for number in 0..events {
            let commit = self.append(partition, &format!("{partition}:{number}")).unwrap();
            self.note(commit);
        }
    }

    pub fn append_until_stopped(&self, partition: u16, events: u64) {
        for number in 0..events {
            let Ok(commit) = self.append(partition, &format!("{partition}:{number}")) else { return };
            if self.wait_for(commit).is_err() {
                return;
            }
        }
    }

    pub fn append_and_forget(&self, partition: u16, events: u64) {
        for number in 0..events {
            self.append(partition, &format!("{partition}:{number}")).unwrap();
            if let Ok(durable) = self.journal.durable() {
                self.note(durable);
            }
        }
    }

    /// Events of nearly the largest size, so that a frame holds only a few.
    pub fn append_large(&self, partition: u16, events: u64) {
        for number in 0..events {
            self.append(partition, &format!("{number:03900}")).unwrap();
        }
    }

    /// Follows what is durable until `events` were: it only rises.
    pub fn watch_durable(&self, events: usize) {
        let mut seen = self.journal.durable().unwrap();
        while self.taken().iter().filter(|taken| taken.commit <= seen).count() < events {
            let durable = wait(self.journal.durable_after(seen)).unwrap();
            assert!(durable > seen, "{durable} after {seen}");
            let now = self.journal.durable().unwrap();
            assert!(now >= durable, "{now} after {durable}");
            seen = durable;
            self.note(seen);
        }
    }

    /// Reads on, for a group if one is given, until so many events have come or the journal stops. Gives how many came, in order
    /// and none left out.
    pub fn read(&self, events: u64, group: Option<&Group>) -> u64 {
        let mut next = BTreeMap::<u16, Offset>::new();
        let (mut had, mut from) = (0, Position(0));
        while had < events {
            wait(self.journal.grown(from));
            let Ok(chunk) = self.journal.read(from, 10_000) else { return had };
            for item in chunk.items {
                match item {
                    ReadItem::Record(record) => {
                        let next = next.entry(record.partition.0).or_default();
                        assert!(record.offset <= *next, "in {:?}: {} after {next}", record.partition, record.offset);
                        // Some come again where a segment was made denser meanwhile.
                        if record.offset == *next {
                            *next = next.next();
                            had += 1;
                        }
                    }
                    // What this reader has had already may have been recycled.
                    ReadItem::Gap(gap) => assert!(gap.to <= next[&gap.at.partition.0], "{gap:?}"),
                }
            }
            from = chunk.next;
            if let Some(group) = group {
                let cursors: Vec<_> = next.iter().map(|(of, next)| Cursor { at: at(*of), next: *next }).collect();
                self.journal.commit_cursors(group, &cursors).unwrap();
            }
        }
        had
    }

    /// Reads on until events and gaps together come to so many: no offset is passed over without a word.
    pub fn read_what_is_left(&self, events: u64) {
        let mut next = BTreeMap::<u16, Offset>::new();
        let mut from = Position(0);
        while next.values().map(|next| next.0).sum::<u64>() < events {
            wait(self.journal.grown(from));
            let chunk = self.journal.read(from, 5_000).unwrap();
            for item in chunk.items {
                let (partition, found, after) = match item {
                    ReadItem::Record(record) => (record.partition, record.offset, record.offset.next()),
                    ReadItem::Gap(gap) => (gap.at.partition, gap.from, gap.to),
                };
                let next = next.entry(partition.0).or_default();
                assert!(found <= *next, "{partition:?}: {found} after {next}");
                *next = after.max(*next);
            }
            from = chunk.next;
        }
    }

    pub fn end(self) -> Ended {
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        Ended { taken: self.taken(), acknowledged, platter: self.platter, journal: Some(self.journal) }
    }
}

/// The scene is over; what was told is compared with what is there.
pub struct Ended {
    taken: Vec<Taken>,
    acknowledged: Vec<Acknowledged>,
    platter: Arc<Platter>,
    journal: Option<Journal>,
}

impl Ended {
    /// So many events were taken and acknowledged.
    pub fn all_acknowledged(self, events: usize) -> Self {
        let durable = self.acknowledged.iter().map(|one| one.durable).max().unwrap();
        assert_eq!(self.taken.iter().filter(|taken| taken.commit <= durable).count(), events);
        self
    }

    pub fn nothing_acknowledged(&self) -> bool {
        self.acknowledged.is_empty()
    }

    pub fn drop_journal(mut self) -> Self {
        self.journal = None;
        self
    }

    /// What was durable was on the platter as it was told: each event at its offset, each partition's mark with its last event.
    pub fn check(&self) {
        let acknowledged = self.acknowledged.iter().map(|one| (one.durable, &one.taken, &one.image));
        for (durable, taken, image) in acknowledged {
            let stored = stored(image);
            for Taken { partition, offset, text, .. } in taken {
                let found = stored.events.get(&(*partition, *offset));
                assert_eq!(found, Some(text), "{partition}/{offset} was told durable with commit {durable}");
            }
        }
    }

    /// The platter holds exactly these, and whether its end is a clean one.
    pub fn nothing_but(&self, mut taken: Vec<Taken>, clean: bool) {
        taken.sort_by_key(|taken| (taken.partition, taken.offset));
        let stored = stored(&self.platter.image());
        let expected: Vec<_> = taken.into_iter().map(|taken| ((taken.partition, taken.offset), taken.text)).collect();
        assert_eq!(stored.events.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(stored.clean, clean);
    }
}

struct Stored {
    events: BTreeMap<(u16, Offset), String>,
    clean: bool,
}

/// What a journal finds on this disk.
fn stored(image: &Image) -> Stored {
    let (journal, _hand, recovery) = open(&restored(image), &small_options(2));
    let mut events = BTreeMap::new();
    for item in read_all(&journal) {
        let ReadItem::Record(record) = item else { panic!("a gap where nothing was damaged: {item:?}") };
        let text = text_of(&record);
        let twice = events.insert((record.partition.0, record.offset), text);
        assert_eq!(twice, None, "an offset names one event");
    }
    for partition in 0..PARTITIONS {
        let count = events.keys().filter(|(of, _)| *of == partition).count() as u64;
        let mark = journal.mark(&device(partition), 1).unwrap();
        assert_eq!(mark, (count > 0).then_some(count), "a mark goes with its event, neither before nor after");
    }
    Stored { events, clean: recovery.clean }
}
