//! Sealing a segment: its footer is written once the next segment has begun.
//!
//! It need not be flushed: without a sound footer the segment is read at the next opening.

use bytes::Bytes;
use lamppost_event::Commit;

use crate::book::{Book, Reach, Segment};
use crate::disk::DiskError;
use crate::format::checkpoint::cursor_key;
use crate::format::footer::{Footer, Place};
use crate::gather::Changes;
use crate::shared::Shared;
use crate::stats::count;
use crate::waiting::hold;

/// A state that no checkpoint can cover: the footer does not list it.
const NOT_LISTED: Commit = Commit(u64::MAX);

impl Shared {
    /// Writes the footers that are missing, so that the next opening need not read those segments again.
    pub(crate) fn seal_all(&self) -> Result<(), DiskError> {
        let unsealed: Vec<u64> = {
            let book = hold(&self.book);
            let before = book.segments.len().saturating_sub(1);
            // What the disk refused to read may be read then.
            let open = book.segments.iter().take(before).filter(|segment| !segment.sealed && !segment.refused);
            open.map(|segment| segment.lease.head.number).collect()
        };
        unsealed.into_iter().try_for_each(|number| self.seal_segment(number))
    }

    /// Writes the footer of the hot segment with that number, if it has none. One that has no room for a footer goes without.
    pub(crate) fn seal_segment(&self, number: u64) -> Result<(), DiskError> {
        let (lease, name, encoded) = {
            let book = hold(&self.book);
            let unsealed = book.segment(number).filter(|segment| !segment.sealed && !segment.lease.head.cold);
            let Some(segment) = unsealed else { return Ok(()) };
            let head = &segment.lease.head;
            let place = Place::Last { file_bytes: head.bytes, from: segment.extent };
            let mut footer = book.footer(segment);
            let encoded = footer.encode(head, place).or_else(|| {
                (footer.state, footer.state_from) = (Changes::new(), NOT_LISTED);
                footer.encode(head, place)
            });
            (std::sync::Arc::clone(&segment.lease), segment.name.clone(), encoded)
        };
        let Some((begin, bytes)) = encoded else { return Ok(()) };
        lease.file.write_at(&bytes, begin).map_err(DiskError::of("write the footer of", &name))?;
        count(&self.counters.bytes_written, bytes.len() as u64);
        let mut book = hold(&self.book);
        if let Some(segment) = book.segments.iter_mut().find(|segment| segment.lease.head.number == number) {
            segment.sealed = true;
        }
        Ok(())
    }
}

impl Book {
    /// What a segment holds, with all that changed of the state since it began.
    pub(crate) fn footer(&self, segment: &Segment) -> Footer {
        let head = &segment.lease.head;
        let [frames, events, bytes] = segment.counts;
        let gaps = self.gaps.range(head.base..head.limit());
        let gaps = gaps.flat_map(|(position, gaps)| gaps.iter().map(|gap| (*position, gap.clone()))).collect();
        Footer {
            first_commit: segment.first_commit,
            last_commit: segment.last_commit,
            end: segment.end,
            frames,
            events,
            bytes,
            state_from: self.known_since,
            epoch: head.epoch,
            span: segment.span,
            ranges: segment.ranges.clone(),
            gaps,
            state: self.changed_since(segment.first_commit),
        }
    }

    fn changed_since(&self, first: Commit) -> Changes {
        let changed = self.frozen.iter().chain(&self.delta).filter(|(_, (commit, _))| *commit >= first);
        let mut state: Changes = changed.map(|(key, (_, value))| (key.clone(), value.clone())).collect();
        for (group, table) in &self.cursors {
            for (at, entry) in table.iter().filter(|(_, entry)| entry.durable != Reach::default()) {
                let key = Bytes::from(cursor_key(group, at));
                state.insert(key, Some(entry.durable.encode().into()));
            }
        }
        state
    }
}
