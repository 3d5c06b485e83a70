//! Cooling: the oldest hot segment, whose events have to be kept longer, is rewritten into a dense, compressed, immutable cold one,
//! and comes free.
//!
//! A cold frame stands for a run of hot ones: per partition one compressed batch of all their events, and the last position that
//! they took. It is written whole and flushed before it gets its name, and only then is the hot one given free: at every moment one of the two
//! is complete, and if both are there the hot one counts.
//!
//! **Invariant:** offsets, epochs and the order in a partition stay; a gap stays between the events that it stood between.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lamppost_event::{Gap, Position, TopicPartition};

use crate::book::{Book, Lease, Segment};
use crate::cold::{Making, NotWritten};
use crate::disk::DiskError;
use crate::format::footer::Footer;
use crate::format::segment::{FRAMES_AT, SegmentHead, cold_name};
use crate::read::{Stretch, whole};
use crate::shared::Shared;
use crate::shed::Loan;
use crate::stats::count;
use crate::waiting::hold;

/// After there was no room for a cold segment, it is tried again only once something has gone, or after this.
const PAUSE_MS: u64 = 60_000;
/// So many small cold segments become one.
const MERGED: usize = 8;

/// Partitions that are left out of a segment that is written anew, and why.
pub(crate) struct LeftOut {
    pub(crate) places: Vec<TopicPartition>,
    pub(crate) reason: &'static str,
}

impl Shared {
    /// Rewrites the oldest hot segment. False if there is none but the one being written to, or no room.
    pub(crate) fn cool(&self) -> Result<bool, DiskError> {
        let oldest = {
            let book = hold(&self.book);
            let last = book.segments.len().saturating_sub(1);
            book.segments.iter().take(last).map(|segment| segment.lease.head).find(|head| !head.cold)
        };
        let Some(head) = oldest else { return Ok(false) };
        let paused = self.now_ms() < self.cool_again_ms.load(Ordering::Relaxed);
        let written = !paused && self.cool_segment(head.number, self.options.working_room(), None)?;
        if !written && !paused {
            // Trying wears the card: not again before something has gone, or a while.
            self.cool_again_ms.store(self.now_ms() + PAUSE_MS, Ordering::Relaxed);
        }
        // Once compressed, it takes less than the file that comes free.
        Ok(written || self.in_lent_file(head.number, None, &|loan| self.cool_segment(head.number, 0, Some(loan)))?)
    }

    fn cool_segment(&self, number: u64, slack: u64, loan: Option<&Loan>) -> Result<bool, DiskError> {
        let out = self.left_behind(number);
        let written = self.counting(number, &out, || self.rewrite(&[number], slack, &out, loan))?;
        count(&self.counters.cooled, u64::from(written));
        Ok(written)
    }

    /// Puts small cold segments that lie side by side together. False if there are too few of about one size.
    pub(crate) fn merge(&self) -> Result<bool, DiskError> {
        let numbers = {
            let book = hold(&self.book);
            let Some((numbers, bytes)) = small_ones(&book, self.options.segment_bytes) else { return Ok(false) };
            // Their frames take no more together than apart; with less room it is not begun.
            if self.room_for_cold(&book) < bytes {
                return Ok(false);
            }
            numbers
        };
        self.rewrite(&numbers, 0, &LeftOut { places: Vec::new(), reason: "" }, None)
    }

    /// Writes segments that lie side by side anew as one cold one, without some partitions: into a file that is lent, or else one of its own.
    /// False if there is no room for it, less the slack.
    pub(crate) fn rewrite(
        &self,
        numbers: &[u64],
        slack: u64,
        out: &LeftOut,
        loan: Option<&Loan>,
    ) -> Result<bool, DiskError> {
        let (stretches, uncovered) = {
            let book = hold(&self.book);
            let covered = book.checkpoint.covered();
            let sources = book.segments.iter().filter(|segment| numbers.contains(&segment.lease.head.number));
            // What a hot one holds of the state goes with it.
            let uncovered = sources.clone().any(|segment| !segment.lease.head.cold && segment.last_commit > covered);
            if !book.retiring.is_empty() && sources.clone().any(|segment| segment.lease.head.cold) {
                // While a hot original is still there it counts at the next opening, and not what was made of the cold one since.
                return Ok(false);
            }
            (sources.map(|segment| whole(&book, segment)).collect::<Vec<_>>(), uncovered)
        };
        if stretches.is_empty() || (uncovered && !self.checkpoint()?) {
            return Ok(false);
        }
        let room = match loan {
            Some(_) => self.options.segment_bytes,
            None => self.room_for_cold(&hold(&self.book)).saturating_sub(slack),
        };
        let temporary = cold_temporary(numbers.first().copied().unwrap_or_default());
        match self.write_cold(&stretches, room, &temporary, out, loan) {
            Ok((segment, gaps)) => {
                drop(stretches);
                if let Some(loan) = loan {
                    self.keep_loan(loan, &segment.lease.head, &segment.name);
                }
                self.replace(numbers, segment, gaps).map(|()| true)
            }
            Err(NotWritten::NotNow) => {
                if loan.is_none() {
                    drop(self.disk.remove(&temporary));
                }
                Ok(false)
            }
            Err(NotWritten::Disk(error)) => Err(error),
        }
    }

    /// What the quota leaves for a cold segment, beside the checkpoints.
    pub(crate) fn room_for_cold(&self, book: &Book) -> u64 {
        let taken = book.bytes(self.options.segment_bytes) + self.checkpoint_room(book);
        self.options.quota_bytes.saturating_sub(taken)
    }

    /// Gives the new segment and all gaps that are to be told in it.
    fn write_cold(
        &self,
        stretches: &[Stretch],
        room: u64,
        temporary: &str,
        out: &LeftOut,
        loan: Option<&Loan>,
    ) -> Result<(Segment, Vec<(Position, Gap)>), NotWritten> {
        let failed = |what| move |error| NotWritten::of(DiskError::of(what, temporary)(error));
        let gone = || failed("write")(io::ErrorKind::NotFound.into());
        let first = stretches.first().ok_or_else(gone)?.head();
        let file = match loan {
            Some(loan) => Arc::clone(&loan.file),
            None => self.disk.create_zeroed(temporary, 0).map_err(failed("create"))?,
        };
        let salt = hold(&self.random).next_u64();
        // Positions between two neighbours may be nobody's: those of a segment that was begun and not gone on with.
        let limit = stretches.last().map_or(first.limit(), |last| last.head().limit());
        let span = limit.0 - first.base.0;
        let head = SegmentHead { salt, virgin: false, cold: true, span, ..*first };
        let mut making = Making::new(&*file, temporary, head, room, &out.places);
        let mut outcome = Ok(());
        for stretch in stretches {
            self.read_stretch(stretch, &mut |frame, gaps| {
                outcome = making.take(frame, &gaps);
                outcome.is_ok()
            });
            outcome?;
            outcome = Ok(());
        }
        // What a cold one keeps back now may be readable later; a hot one is kept under another name.
        let refused = |segment: &Segment| segment.refused && segment.lease.head.cold;
        let sources = stretches.iter().map(|stretch| stretch.head().number);
        if sources.clone().any(|number| hold(&self.book).segment(number).is_some_and(refused)) {
            return Err(NotWritten::NotNow);
        }
        let known = {
            let book = hold(&self.book);
            let of = |stretch: &Stretch| {
                let number = stretch.head().number;
                let source = book.segment(number)?;
                let mut footer = book.footer(source);
                for (position, gap) in left_out(source, out) {
                    let inside =
                        |(_, old): &(Position, Gap)| old.at == gap.at && gap.from <= old.from && old.to <= gap.to;
                    footer.gaps.retain(|old| !inside(old));
                    footer.gaps.push((position, gap));
                }
                Some(footer)
            };
            stretches.iter().filter_map(of).reduce(together)
        };
        let (head, footer) = making.finish(known.ok_or_else(gone)?)?;
        file.flush().map_err(failed("flush"))?;
        let name = cold_name(head.number);
        self.disk.rename(temporary, &name).map_err(failed("rename"))?;
        // From here on it counts: whatever fails now is a failure.
        self.disk.flush_dir().map_err(|error| NotWritten::Disk(DiskError::of("flush the folder for", &name)(error)))?;
        count(&self.counters.bytes_written, head.bytes);
        count(&self.counters.cold_bytes, head.bytes);
        count(&self.counters.flushes, 1);
        let segment = Segment {
            lease: Arc::new(Lease { head, file }),
            name,
            end: footer.end,
            extent: head.bytes,
            first_commit: footer.first_commit,
            last_commit: footer.last_commit,
            ranges: footer.ranges,
            counts: [footer.frames, footer.events, footer.bytes],
            span: footer.span,
            sealed: true,
            refused: false,
        };
        Ok((segment, footer.gaps))
    }

    /// Puts the cold segment in the place of those that it was written from.
    fn replace(&self, numbers: &[u64], cold: Segment, gaps: Vec<(Position, Gap)>) -> Result<(), DiskError> {
        let head = cold.lease.head;
        let removed = {
            let mut book = hold(&self.book);
            // They were named by their places in the files that go.
            book.known_holes.retain(|(from, _)| *from < head.base || *from >= head.limit());
            let inside: Vec<Position> =
                book.gaps.range(head.base..head.limit()).map(|(position, _)| *position).collect();
            inside.iter().for_each(|position| drop(book.gaps.remove(position)));
            for (position, gap) in gaps {
                let left_out = !cold.ranges.contains_key(&gap.at);
                if let Some(kept) = book.partitions.get_mut(&gap.at).filter(|kept| left_out && gap.from <= kept.first) {
                    kept.first = kept.first.max(gap.to);
                }
                book.gaps.entry(position).or_default().push(gap);
            }
            let mut before = Vec::new();
            let mut cold = Some(cold);
            for segment in std::mem::take(&mut book.segments) {
                if !numbers.contains(&segment.lease.head.number) {
                    book.segments.push_back(segment);
                    continue;
                }
                before.push(segment);
                book.segments.extend(cold.take());
            }
            let (hot, cold): (Vec<_>, Vec<_>) = before.into_iter().partition(|segment| !segment.lease.head.cold);
            book.retiring.extend(hot);
            cold
        };
        // The first one's file went as the new one got its name. Until the others are gone, they are known by what they cover.
        for segment in removed.into_iter().filter(|segment| segment.lease.head.number != head.number) {
            self.disk.remove(&segment.name).map_err(DiskError::of("remove", &segment.name))?;
        }
        self.retire().map(drop)
    }

    /// Gives the hot segments free that nobody reads any more. True if one was.
    pub(crate) fn retire(&self) -> Result<bool, DiskError> {
        let done: Vec<Segment> =
            hold(&self.book).retiring.extract_if(.., |segment| Arc::strong_count(&segment.lease) == 1).collect();
        let mut retired = false;
        for segment in done {
            if self.release(segment)? {
                self.add_free();
                retired = true;
            }
        }
        self.trim()?;
        Ok(retired)
    }
}

/// What a cold segment is called until it is whole.
pub(crate) fn cold_temporary(number: u64) -> String {
    format!("{}.tmp", cold_name(number))
}

/// What two neighbours hold together. Gaps that have nothing between them become one.
fn together(one: Footer, two: Footer) -> Footer {
    let mut gaps = one.gaps;
    for (position, gap) in two.gaps {
        let touching = gaps
            .iter_mut()
            .find(|(_, before)| before.at == gap.at && before.to == gap.from && before.reason == gap.reason);
        match touching {
            // It is told where the later one was: nothing of the partition lies between the two.
            Some((place, before)) => (*place, before.to) = (position, gap.to),
            None => gaps.push((position, gap)),
        }
    }
    let span = match (one.span, two.span) {
        (Some((first, _)), Some((_, last))) => Some((first, last)),
        (one, two) => one.or(two),
    };
    Footer { first_commit: one.first_commit, gaps, span, ..two }
}

/// Cold segments side by side, of about one size: enough of them that putting them together is worth the writing.
fn small_ones(book: &Book, segment_bytes: u64) -> Option<(Vec<u64>, u64)> {
    // Sizes that are within a factor of eight are about one size: nothing is written more often than there are such steps.
    let step = |segment: &Segment| {
        let bytes = segment.lease.head.bytes;
        let small = segment.lease.head.cold && !segment.refused && bytes < segment_bytes / 2;
        small.then(|| bytes.ilog2() / 3)
    };
    let mut run: Vec<&Segment> = Vec::new();
    for segment in &book.segments {
        if run.last().is_some_and(|last| step(last) != step(segment)) {
            run.clear();
        }
        if step(segment).is_none() {
            continue;
        }
        run.push(segment);
        // Those that hold nothing but gaps cost next to nothing.
        let is_empty = |segment: &&Segment| segment.counts[0] == 0;
        if run.len() >= MERGED || (run.len() > 1 && run.iter().all(is_empty)) {
            // The frames, and one segment's heads and footer.
            let bytes = run.iter().map(|segment| segment.counts[2]).sum::<u64>() + 2 * FRAMES_AT;
            return Some((run.iter().map(|segment| segment.lease.head.number).collect(), bytes));
        }
    }
    None
}

/// The gaps that leaving partitions out makes. They stand at the segment's very end: nothing else of those partitions is in it.
fn left_out(source: &Segment, out: &LeftOut) -> Vec<(Position, Gap)> {
    let position = Position(source.lease.head.limit().0 - 1);
    let gap = |at: &TopicPartition| {
        let (from, to) = source.ranges.get(at).copied()?;
        Some((position, Gap { at: at.clone(), from, to, reason: out.reason.to_owned() }))
    };
    out.places.iter().filter_map(gap).collect()
}
