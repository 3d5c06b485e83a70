//! Looking through a segment's bytes, page by page.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::Position;

use crate::disk::DiskFile;
use crate::format::PAGE;
use crate::format::frame::{Frame, Front, Kind, cold_front, front};
use crate::format::segment::{FRAMES_AT, SegmentHead};
use crate::memory::Memory;

/// How much is read at a time, about: as much as stays in a processor's own cache until it has been looked at.
const WINDOW_MAX: usize = 256 * 1024;
/// How much at first: often one frame is all that is wanted. Each further time it is twice as much.
const WINDOW_MIN: usize = 16 * 1024;
/// Read beyond what is known to be there: the front of the frame behind, which says how long that one is.
const SLACK: usize = 2 * PAGE;
static ZEROS: [u8; PAGE] = [0; PAGE];
/// How often a read that the disk refuses is tried alone. Some errors pass (a bus reset, a card that was busy).
pub(crate) const TRIES: usize = 3;
/// The first pause before a refused read is tried again; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a disk that refuses to read is asked again. *Refused* is not *damaged*: what can't be read now may be sound.
pub(crate) struct Patience {
    left: Cell<Duration>,
    pause: Cell<Duration>,
}

impl Patience {
    pub(crate) const fn new(time: Duration) -> Self {
        Self { left: Cell::new(time), pause: Cell::new(PAUSE) }
    }

    /// Waits a little. False once there is no time left.
    pub(crate) fn pause(&self) -> bool {
        let pause = self.pause.get().min(self.left.get());
        if pause.is_zero() {
            return false;
        }
        self.left.set(self.left.get().saturating_sub(pause));
        self.pause.set((2 * pause).min(PAUSE_MAX));
        crate::sync::sleep(pause);
        true
    }
}

/// What stands at a place.
#[derive(Debug)]
pub(crate) enum Look {
    /// A sound frame.
    Frame(Box<Frame>),
    /// Nothing of the segment's present life.
    Foreign,
    /// Something was written here in the segment's present life that is no sound frame.
    Trace,
    /// The disk can't read it.
    Unreadable,
}

/// A segment being looked through.
pub(crate) struct Walk<'a> {
    file: &'a dyn DiskFile,
    head: &'a SegmentHead,
    /// Nothing is read from here on.
    end: u64,
    /// Nothing is read ahead from here on.
    ahead: u64,
    patience: Option<&'a Patience>,
    window: Bytes,
    window_at: u64,
    /// What a window shares with the one before, on its way.
    known: Vec<u8>,
    /// What the last frame took: the next one will, about.
    stride: usize,
    /// How much to read the next time.
    reach: usize,
    /// The version of a sound frame that was met, newer than known.
    pub(crate) newer: Option<u16>,
}

impl<'a> Walk<'a> {
    pub(crate) const fn new(file: &'a dyn DiskFile, head: &'a SegmentHead, end: u64) -> Self {
        Self {
            file,
            head,
            end,
            ahead: end,
            patience: None,
            window: Bytes::new(),
            window_at: 0,
            known: Vec::new(),
            stride: PAGE,
            reach: WINDOW_MIN,
            newer: None,
        }
    }

    /// What the disk refuses is tried again while there is patience left.
    pub(crate) const fn with(mut self, patience: &'a Patience) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Looks at the page-aligned byte `at`.
    pub(crate) fn look(&mut self, at: u64) -> Look {
        // The page is let go of before a frame is read: it holds the window.
        let looked = match self.bytes(at, PAGE) {
            Some(page) => self.front(&page, at),
            None => return Look::Unreadable,
        };
        match looked {
            Front::Foreign => Look::Foreign,
            Front::Trace => Look::Trace,
            Front::Length(length) => self.frame(at, length),
        }
    }

    fn front(&self, page: &[u8], at: u64) -> Front {
        let room = self.end.saturating_sub(at);
        if self.head.cold {
            return match cold_front(page, self.head.base..=self.head.limit(), room) {
                Front::Foreign => Front::Trace,
                looked => looked,
            };
        }
        match front(page, self.head.position(at), self.head.base, room) {
            Front::Foreign if self.head.virgin && *page != ZEROS => Front::Trace,
            looked => looked,
        }
    }

    fn frame(&mut self, at: u64, length: usize) -> Look {
        let Some(bytes) = self.bytes(at, length) else { return Look::Unreadable };
        let salt = self.head.salt_at(at);
        match Frame::decode(bytes.clone(), salt) {
            Some(frame) => {
                self.stride = length.next_multiple_of(PAGE);
                Look::Frame(Box::new(frame))
            }
            None => {
                self.newer = self.newer.or(Frame::newer(&bytes, salt));
                Look::Trace
            }
        }
    }

    /// `length` bytes from `at` on, from the window or else from the file.
    fn bytes(&mut self, at: u64, length: usize) -> Option<Bytes> {
        if let Some(bytes) = self.cut(at, length) {
            return Some(bytes);
        }
        let left = usize::try_from(self.end.checked_sub(at)?).unwrap_or(usize::MAX);
        // A large window may fail for one bad sector in it: then only what is asked for is tried, a few times.
        let alone = length.next_multiple_of(PAGE).min(left);
        let mut sizes = std::iter::once(self.window_for(at, alone).min(left)).chain([alone; TRIES]);
        let found = sizes.find_map(|size| self.fetch(at, size).and_then(|()| self.cut(at, length)));
        if found.is_some() || alone < length {
            return found;
        }
        while self.patience.is_some_and(Patience::pause) {
            if self.fetch(at, alone).is_some() {
                return self.cut(at, length);
            }
        }
        None
    }

    /// How much to read where at least `needed` bytes are wanted: whole frames, if those that come are like the last one.
    fn window_for(&self, at: u64, needed: usize) -> usize {
        let stride = self.stride.max(needed);
        let frames = (self.reach / stride).max(1);
        let ahead = usize::try_from(self.ahead.saturating_sub(at)).unwrap_or(usize::MAX);
        (frames * stride).min(ahead).max(needed).saturating_add(SLACK)
    }

    /// Reads `size` bytes from `at` on; what the window has of them already is not read again.
    fn fetch(&mut self, at: u64, size: usize) -> Option<()> {
        let begin = at.checked_sub(self.window_at).and_then(|begin| usize::try_from(begin).ok());
        let known = begin.and_then(|begin| self.window.get(begin..)).unwrap_or_default();
        let known = known.get(..size).unwrap_or(known);
        self.known.clear();
        self.known.extend_from_slice(known);
        self.reach = (2 * self.reach).min(WINDOW_MAX);
        // Where nobody holds it, it is read into again: a processor's cache has it still.
        self.window = Bytes::new();
        let mut memory = Memory::of(size);
        let (front, rest) = memory.bytes().split_at_mut_checked(self.known.len())?;
        front.copy_from_slice(&self.known);
        let read = self.file.read_at(rest, at + front.len() as u64);
        // What was read before is not lost by what is refused now.
        self.window = if read.is_ok() { memory.share() } else { Bytes::copy_from_slice(&self.known) };
        self.window_at = at;
        read.ok()
    }

    fn cut(&self, at: u64, length: usize) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.window_at)?).ok()?;
        let to = from.checked_add(length)?;
        (to <= self.window.len()).then(|| self.window.slice(from..to))
    }
}

/// What a reader meets in a segment.
pub(crate) enum Step {
    /// A frame of the log, and where to go on behind it.
    Frame(Box<Frame>, Position),
    /// No frame where one should be: the byte of the page, and whether the disk refused to read it.
    Hole { at: u64, refused: bool },
    /// A frame that lies wholly before the place to read from.
    Passed,
}

/// A segment's frames from a position on.
pub(crate) struct Frames<'a> {
    walk: Walk<'a>,
    from: Position,
    at: u64,
    /// How much is wanted from `from` on, in bytes.
    wanted: u64,
}

impl<'a> Frames<'a> {
    /// `end` is the byte behind the segment's last frame.
    pub(crate) fn new(file: &'a dyn DiskFile, head: &'a SegmentHead, end: u64, from: Position) -> Self {
        let place = from.0.saturating_sub(head.base.0).max(FRAMES_AT).next_multiple_of(PAGE as u64);
        // In a cold segment places and positions differ: its frames say which positions they stand for.
        let at = if head.cold { FRAMES_AT } else { place };
        Self { walk: Walk::new(file, head, end), from, at, wanted: u64::MAX }
    }

    /// Begins at that byte of a cold segment, if it is known: nothing before it is wanted.
    pub(crate) fn beginning(mut self, at: Option<u64>) -> Self {
        self.at = at.unwrap_or(self.at);
        self
    }

    /// Reads ahead as if `bytes` were wanted.
    pub(crate) fn limited(mut self, bytes: usize) -> Self {
        self.walk.reach = bytes.clamp(WINDOW_MIN, WINDOW_MAX);
        self.wanted = bytes as u64;
        self.want();
        self
    }

    /// What is wanted begins here, or behind.
    fn want(&mut self) {
        self.walk.ahead = self.at.saturating_add(self.wanted).min(self.walk.end);
    }

    /// Looks there next.
    pub(crate) fn again(&mut self, at: u64) {
        self.at = at;
    }

    /// The byte to look at next.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn step(&mut self) -> Option<Step> {
        let head = self.walk.head;
        while self.at < self.walk.end {
            let at = self.at;
            let look = self.walk.look(at);
            let Look::Frame(frame) = look else {
                self.at += PAGE as u64;
                return Some(Step::Hole { at, refused: matches!(look, Look::Unreadable) });
            };
            self.at += frame.padded();
            if !matches!(frame.kind, Kind::Data | Kind::Close) {
                continue;
            }
            if head.cold && frame.position < self.from {
                self.want();
                return Some(Step::Passed);
            }
            let next = if head.cold { Position(frame.position.0 + 1) } else { head.position(self.at) };
            return Some(Step::Frame(frame, next));
        }
        None
    }
}
