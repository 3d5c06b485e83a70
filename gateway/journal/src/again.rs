//! Looking at a journal again, for who follows it: only what was written since is read.

use std::sync::Arc;

use crate::book::Kept;
use crate::checkpoint::commit_in;
use crate::files::sizes;
use crate::format::frame::{Frame, Kind};
use crate::format::segment::number_in;
use crate::inspect::{Inspect, Looked};
use crate::recover::{OpenError, Visit};
use crate::scan::Verdict;
use crate::waiting::hold;
use crate::walk::{Look, Walk};

impl Inspect {
    /// Takes in what was written since. As long as the segments are the same, only frames behind the last one are read, and a new checkpoint's
    /// cursors; otherwise all that [`Inspect::open`] reads.
    ///
    /// # Errors
    /// As [`Inspect::open`].
    pub fn look_again(&mut self) -> Result<(), OpenError> {
        let files = sizes(&*self.disk)?;
        let same = self.tail.is_none() && self.headless.is_empty() && live(&files).eq(live(&self.files));
        let another_checkpoint = !layers(&files).eq(layers(&self.files));
        self.files = files;
        if !(same && self.go_on()) {
            *self = Self::look(Arc::clone(&self.disk))?;
        } else if another_checkpoint {
            // It may have taken cursors that no frame had room for.
            self.read_checkpoints()?;
        }
        Ok(())
    }

    /// False where going on behind the last frame does not tell all.
    fn go_on(&mut self) -> bool {
        let Some((lease, from)) = self.last.take() else { return true };
        let (mut at, mut told) = (from, true);
        let mut walk = Walk::new(&*lease.file, &lease.head, lease.head.bytes);
        while at < lease.head.bytes {
            match walk.look(at) {
                Look::Frame(frame) if matches!(frame.kind, Kind::Data | Kind::Close) => {
                    told = self.take_in(lease.head.number, at, &frame);
                    at += frame.padded();
                }
                // Sealed: there is another segment by now.
                Look::Frame(_) => told = false,
                Look::Foreign => break,
                // It is being written, or damaged and there may be more behind it.
                Look::Trace | Look::Unreadable => told = false,
            }
            if !told {
                break;
            }
        }
        self.last = Some((lease, at));
        self.settle();
        told
    }

    /// False if it is not simply the next frame of the log.
    fn take_in(&mut self, number: u64, at: u64, frame: &Frame) -> bool {
        let Some(segment) = self.segments.last_mut().filter(|segment| segment.head.number == number) else {
            return false;
        };
        if self.account.take(frame, None) != Verdict::New {
            return false;
        }
        segment.survey.note(frame, at);
        Looked { cursors: &mut self.cursors, bad: &mut Vec::new() }.frame(frame);
        if let Some(times) = self.times.get_mut() {
            times.learn(&frame.now);
        }
        self.span = Some((self.span.map_or(frame.now, |(first, _)| first), frame.now));
        self.closed = frame.kind == Kind::Close;
        true
    }

    /// What follows from the account.
    fn settle(&mut self) {
        for (at, next) in &self.account.next {
            let first = self.account.first.get(at).copied().unwrap_or(*next);
            let kept = self.partitions.entry(at.clone()).or_insert(Kept { first, next: *next });
            kept.next = kept.next.max(*next);
        }
        let known = &mut hold(&self.known).gaps;
        for (position, gaps) in std::mem::take(&mut self.account.gaps) {
            known.entry(position).or_default().extend(gaps);
        }
    }
}

/// The names of segments.
fn live(files: &[(String, u64)]) -> impl Iterator<Item = &str> {
    let names = files.iter().map(|(name, _)| name.as_str());
    names.filter(|name| number_in(name, "hot-").or_else(|| number_in(name, "cold-")).is_some())
}

/// The names of checkpoints.
fn layers(files: &[(String, u64)]) -> impl Iterator<Item = &str> {
    files.iter().map(|(name, _)| name.as_str()).filter(|name| commit_in(name).is_some())
}
