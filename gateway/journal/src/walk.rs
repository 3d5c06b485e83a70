//! Looking through a segment's bytes, page by page.

use bytes::{Bytes, BytesMut};

use crate::disk::DiskFile;
use crate::format::PAGE;
use crate::format::frame::{Frame, Front, front};
use crate::format::segment::SegmentHead;

/// How much is read at a time.
const WINDOW: usize = 256 * 1024;
/// How often a read that the disk refuses is tried alone. Some errors pass (a bus reset, a card that was busy).
pub(crate) const TRIES: usize = 3;

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
    window: Bytes,
    window_at: u64,
}

impl<'a> Walk<'a> {
    pub(crate) const fn new(file: &'a dyn DiskFile, head: &'a SegmentHead, end: u64) -> Self {
        Self { file, head, end, window: Bytes::new(), window_at: 0 }
    }

    /// Looks at the page-aligned byte `at`.
    pub(crate) fn look(&mut self, at: u64) -> Look {
        let Some(page) = self.bytes(at, PAGE) else { return Look::Unreadable };
        let room = self.end.saturating_sub(at);
        match front(&page, self.head.position(at), self.head.base, room) {
            Front::Foreign if self.head.virgin && page.iter().any(|byte| *byte != 0) => Look::Trace,
            Front::Foreign => Look::Foreign,
            Front::Trace => Look::Trace,
            Front::Length(length) => {
                let Some(bytes) = self.bytes(at, length) else { return Look::Unreadable };
                Frame::decode(bytes, self.head.salt).map_or(Look::Trace, |frame| Look::Frame(Box::new(frame)))
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
        let alone = length.div_ceil(PAGE).saturating_mul(PAGE).min(left);
        let sizes = std::iter::once(WINDOW.max(length).min(left)).chain([alone; TRIES]);
        sizes.into_iter().find_map(|size| {
            let mut buffer = BytesMut::zeroed(size);
            self.file.read_at(&mut buffer, at).ok()?;
            (self.window, self.window_at) = (buffer.freeze(), at);
            self.cut(at, length)
        })
    }

    fn cut(&self, at: u64, length: usize) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.window_at)?).ok()?;
        let to = from.checked_add(length)?;
        (to <= self.window.len()).then(|| self.window.slice(from..to))
    }
}
