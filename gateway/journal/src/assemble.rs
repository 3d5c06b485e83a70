//! Putting the journal together from its parts: what its handle and its threads share, before it has a segment to write to.

use std::sync::Arc;

use lamppost_event::{Clock, Commit, Epoch, Offset, Position, Topic};

use crate::book::{Book, Lease};
use crate::commit::Writer;
use crate::disk::{Disk, DiskFile, DiskLock};
use crate::format::frame::{ENTRY, FRAME_HEAD, Range};
use crate::format::padded;
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::gather::{Bounds, Gathering, Space, ranges_cost};
use crate::options::Options;
use crate::random::SplitMix64;
use crate::shared::{KeeperSignal, STATE_SLOT, STATE_TOPIC, Shared, layout};
use crate::stats::Counters;
use crate::stops::Stops;
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, OnceLock};
use crate::waiting::Waiters;

/// Of a segment's bytes, one in so many is kept for its footer.
const FOOTER_SHARE: usize = 64;

/// What a journal stands on.
pub(crate) struct Ground {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: u128,
    pub(crate) random: SplitMix64,
    pub(crate) lock: DiskLock,
}

/// The journal as the book has it; the writer has no segment yet.
pub(crate) fn assemble(ground: Ground, book: Book, last_ranges: Vec<Range>) -> Shared {
    let Ground { disk, options, clock, identity, random, lock } = ground;
    let (last, epoch) = (book.durable, book.epoch);
    let (slots, topics) = layout(&options, Topic::new(STATE_TOPIC).expect("the name is a legal one"));
    let names: usize = options.topics.iter().map(|entry| 1 + entry.topic.as_str().len()).sum();
    let closing = padded(FRAME_HEAD + 64 + names + ENTRY * slots.len());
    // For the footer: it lists what changed of the state, as far as there is room.
    let close_room = (closing + padded(options.segment_bytes as usize / FOOTER_SHARE)) as u64;
    let state_next = slots.get(STATE_SLOT).and_then(|at| book.partitions.get(at)).map_or(Offset(0), |kept| kept.next);
    let (frame_bytes_max, segment_bytes) = (options.frame_bytes_max, options.segment_bytes);
    let bounds = Bounds { frame_bytes_max, segment_bytes, close_room, reserve: options.reserve() };
    let next = slots.iter().map(|at| {
        let next = book.partitions.get(at).map_or(Offset(0), |kept| kept.next);
        (next, options.left_to_others(options.policy(&at.topic).priority))
    });
    let next = next.collect();
    let previous = ranges_cost(last_ranges.iter().map(|range| &range.at));
    let space = Space { remaining: 0, free: 0 };
    let placeholder = Arc::new(Lease { head: blank_head(), file: Arc::new(NoFile) });
    Shared {
        gather: Mutex::new(Gathering::new(last.next(), next, space, bounds, previous)),
        writer: Mutex::new(Writer {
            lease: placeholder,
            at: FRAMES_AT,
            epoch,
            previous: last_ranges,
            state_next,
            close_room,
            now: clock.now(),
            used: Vec::new(),
            frame: Vec::new(),
            state: Default::default(),
            packing: Default::default(),
            disk_time: Default::default(),
            unannounced: false,
        }),
        disk,
        options,
        clock,
        identity,
        slots,
        topics,
        wake_writer: Condvar::new(),
        book: Mutex::new(book),
        // It prepares segments as soon as it runs.
        keeper: Mutex::new(KeeperSignal { wanted: true, stop: false }),
        wake_keeper: Condvar::new(),
        keeping: Mutex::new(()),
        grow_again_ms: AtomicU64::new(0),
        cool_again_ms: AtomicU64::new(0),
        shed_again_ms: AtomicU64::new(0),
        lend_again_ms: AtomicU64::new(0),
        expire_again_ms: AtomicU64::new(0),
        whole_again_ms: AtomicU64::new(0),
        refused_again_ms: AtomicU64::new(0),
        values_refused: AtomicBool::new(false),
        weights: Mutex::default(),
        stops: Stops::default(),
        durable: AtomicU64::new(last.0),
        committed: Waiters::default(),
        room: Waiters::default(),
        stopped: OnceLock::new(),
        closing: AtomicBool::new(false),
        random: Mutex::new(random),
        counters: Counters::default(),
        lock: Mutex::new(Some(lock)),
    }
}

const fn blank_head() -> SegmentHead {
    SegmentHead {
        number: 0,
        base: Position(0),
        bytes: 0,
        salt: 0,
        epoch: Epoch(0),
        identity: 0,
        first_commit: Commit(0),
        virgin: false,
        cold: false,
        span: 0,
    }
}

/// Stands in until the first segment is there; never read or written.
struct NoFile;

impl DiskFile for NoFile {
    fn read_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }
    fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }
    fn flush(&self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }
    fn shorten(&self, _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }
    fn len(&self) -> std::io::Result<u64> {
        Ok(0)
    }
    fn forget_cache(&self) {}
}
