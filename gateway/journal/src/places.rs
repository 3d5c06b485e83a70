//! One segment's file, place by place, whatever its name: for a dump, and for what can still be read of a file that was set aside.

use lamppost_event::{Commit, Epoch, Now, Offset, Position};

use crate::disk::{Access, Disk, DiskError, DiskFile};
use crate::export::StoredBatch;
use crate::format::PAGE;
use crate::format::frame::{Frame, Kind};
use crate::format::segment::{FRAMES_AT, HeadError, SegmentHead};
use crate::item::{ReadItem, ReadRecord, push_records};
use crate::read::internal;
use crate::recover::OpenError;
use crate::salt;
use crate::walk::{Look, Walk};
use std::sync::Arc;

/// What a segment's head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadFigures {
    /// Its number.
    pub number: u64,
    /// The journal's position of its first byte.
    pub base: Position,
    /// The epoch when it was begun.
    pub epoch: Epoch,
    /// The journal that it belongs to.
    pub identity: u128,
    /// The commit number of its first frame.
    pub first_commit: Commit,
    /// Dense and compressed.
    pub cold: bool,
}

/// A frame, as it lies in a file.
#[derive(Debug, Clone)]
pub struct FrameFigures {
    /// The byte that it begins at.
    pub byte: u64,
    /// What it takes, padding included.
    pub bytes: u64,
    /// The journal's position; of one that stands for a run of frames, the last of theirs.
    pub position: Position,
    /// The first commit that it stands for.
    pub first: Commit,
    /// The last.
    pub commit: Commit,
    /// The epoch it was written in.
    pub epoch: Epoch,
    /// `data`, `close`, `footer` or `unknown`.
    pub kind: &'static str,
    /// Of `copy` (written anew by recovery), `last-copy`, `run` (stands for several commits).
    pub flags: Vec<&'static str>,
    /// When it was written.
    pub now: Now,
    /// Its batches, those of the journal's own partitions too.
    pub batches: Vec<StoredBatch>,
    /// The ranges of offsets that it names: of a footer, those of its segment; else those of the frame before.
    pub ranges: Vec<(lamppost_event::TopicPartition, Offset, Offset)>,
    frame: Box<Frame>,
}

impl FrameFigures {
    fn of(byte: u64, frame: Box<Frame>) -> Self {
        let flags = [(frame.is_copy(), "copy"), (frame.is_last_copy(), "last-copy"), (frame.is_run(), "run")];
        Self {
            byte,
            bytes: frame.padded(),
            position: frame.position,
            first: frame.first,
            commit: frame.commit,
            epoch: frame.epoch,
            kind: match frame.kind {
                Kind::Data => "data",
                Kind::Close => "close",
                Kind::Footer => "footer",
                Kind::Other(_) => "unknown",
            },
            flags: flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect(),
            now: frame.now,
            batches: frame.batches.iter().map(|entry| StoredBatch::of(&frame, entry)).collect(),
            ranges: frame.previous.iter().map(|range| (range.at.clone(), range.from, range.to)).collect(),
            frame,
        }
    }

    /// The events in it, and gaps where a batch can't be read; those of the journal's own partitions left out.
    #[must_use]
    pub fn items(&self) -> Vec<ReadItem> {
        let mut items = Vec::new();
        for entry in self.frame.batches.iter().filter(|entry| !internal(&entry.at)) {
            push_records(entry, self.epoch, Offset(0), &mut items);
        }
        items
    }

    /// Its events alone.
    pub fn records(&self) -> impl Iterator<Item = ReadRecord> {
        self.items().into_iter().filter_map(|item| match item {
            ReadItem::Record(record) => Some(record),
            ReadItem::Gap(_) => None,
        })
    }
}

/// What stands at a place of a segment's file.
#[derive(Debug, Clone)]
pub enum Place {
    /// A sound frame.
    Frame(Box<FrameFigures>),
    /// No sound frame, though something was written here, or the disk refuses to read it.
    Damaged {
        /// The byte that it begins at.
        byte: u64,
        /// How many there are.
        bytes: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Nothing of the segment's present life.
    Unwritten {
        /// The byte that it begins at.
        byte: u64,
        /// How many there are.
        bytes: u64,
    },
}

impl Place {
    /// Where it begins in its file.
    #[must_use]
    pub fn byte(&self) -> u64 {
        match self {
            Self::Frame(frame) => frame.byte,
            Self::Damaged { byte, .. } | Self::Unwritten { byte, .. } => *byte,
        }
    }
}

/// A segment's file, opened to look.
pub struct SegmentFile {
    name: String,
    bytes: u64,
    file: Arc<dyn DiskFile>,
    /// What both copies say; made up from the frames where neither can be read.
    head: Option<SegmentHead>,
    sound_heads: [bool; 2],
}

impl SegmentFile {
    /// Reads the heads. Where both are damaged, what they said is found from the frames, if there are at least two sound ones.
    ///
    /// # Errors
    /// The file can't be opened, or was written by a newer program.
    pub fn open(disk: &dyn Disk, name: &str) -> Result<Self, OpenError> {
        let file = disk.open(name, Access::Read).map_err(DiskError::of("open", name))?;
        let bytes = file.len().map_err(DiskError::of("measure", name))?;
        let mut heads = [None, None];
        for (copy, head) in heads.iter_mut().enumerate() {
            let mut page = vec![0; PAGE];
            if file.read_at(&mut page, (copy * PAGE) as u64).is_err() {
                continue;
            }
            *head = match SegmentHead::decode(&page) {
                Ok(head) => Some(head),
                Err(HeadError::Newer(version)) => return Err(OpenError::Newer { name: name.to_owned(), version }),
                Err(HeadError::Damaged) => None,
            };
        }
        let sound_heads = [heads[0].is_some(), heads[1].is_some()];
        let known = heads[0].or(heads[1]);
        // A cold one may lie in a file that was lent for it, and is not cut off yet.
        let bytes = known.filter(|head| head.cold).map_or(bytes, |head| bytes.min(head.bytes));
        let head = known.or_else(|| salt::head_from_frames(&*file, bytes, name.contains("cold-")));
        Ok(Self { name: name.to_owned(), bytes, file, head, sound_heads })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Which of the two copies of the head are sound.
    #[must_use]
    pub fn sound_heads(&self) -> [bool; 2] {
        self.sound_heads
    }

    /// What the head says, if a copy is sound.
    #[must_use]
    pub fn head(&self) -> Option<HeadFigures> {
        let head = self.head.filter(|_| self.sound_heads.contains(&true))?;
        let SegmentHead { number, base, epoch, identity, first_commit, cold, .. } = head;
        Some(HeadFigures { number, base, epoch, identity, first_commit, cold })
    }

    /// Whether its frames can be told from garbage: a head is sound, or what it said could be found from the frames.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.head.is_some()
    }

    /// Hands over what stands at each place, by rising byte, until `take` fails.
    ///
    /// # Errors
    /// What `take` gave.
    pub fn places<E>(&self, take: &mut dyn FnMut(Place) -> Result<(), E>) -> Result<(), E> {
        let Some(head) = self.head else { return Ok(()) };
        let mut walk = Walk::new(&*self.file, &head, self.bytes);
        let (mut at, mut before) = (FRAMES_AT, None);
        while at < self.bytes {
            let page = PAGE as u64;
            let (place, step) = match walk.look(at) {
                Look::Frame(frame) => {
                    // A footer ends with its file; behind it there is only where it begins.
                    let step = if frame.kind == Kind::Footer { self.bytes - at } else { frame.padded() };
                    (Place::Frame(Box::new(FrameFigures::of(at, frame))), step)
                }
                Look::Unreadable => {
                    (Place::Damaged { byte: at, bytes: page, what: "the disk refuses to read it" }, page)
                }
                Look::Trace => (Place::Damaged { byte: at, bytes: page, what: "no sound frame" }, page),
                Look::Foreign => (Place::Unwritten { byte: at, bytes: page }, page),
            };
            at += step;
            if let Some(rest) = together(&mut before, place) {
                take(rest)?;
            }
        }
        before.map_or(Ok(()), take)
    }
}

/// Puts a place behind the one before it, if they are of one kind; else gives the one before.
fn together(before: &mut Option<Place>, place: Place) -> Option<Place> {
    match (before.as_mut(), &place) {
        (Some(Place::Damaged { bytes, what, .. }), Place::Damaged { bytes: more, what: also, .. })
            if *what == *also =>
        {
            *bytes += more;
            None
        }
        (Some(Place::Unwritten { bytes, .. }), Place::Unwritten { bytes: more, .. }) => {
            *bytes += more;
            None
        }
        _ => before.replace(place),
    }
}
