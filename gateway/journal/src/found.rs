//! What opening learns of the durable state behind the checkpoint: from frames that are gone through, and from footers.

use std::collections::BTreeMap;

use bytes::Bytes;
use lamppost_event::{Commit, Group, TopicPartition};

use crate::book::{CursorEntry, Delta, Reach, lay};
use crate::format::checkpoint::{CURSOR, read_cursor_key};
use crate::format::footer::Footer;
use crate::format::frame::{Frame, Range};
use crate::format::segment::SegmentHead;
use crate::recover::Visit;
use crate::shared::STATE_TOPIC;

/// State found in frames behind the checkpoint.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) delta: Delta,
    pub(crate) delta_bytes: usize,
    pub(crate) delta_value_bytes: usize,
    pub(crate) cursors: BTreeMap<Group, BTreeMap<TopicPartition, CursorEntry>>,
    pub(crate) last_ranges: Vec<Range>,
    pub(crate) bad_batches: u64,
    /// The commit of the checkpoint that this lies behind.
    pub(crate) since: Commit,
}

impl Visit for Found {
    fn suffices(&self, head: &SegmentHead, footer: &Footer) -> bool {
        // There is no state in a cold one, and only its footer knows of what was missing before it was written.
        head.cold || footer.last_commit <= self.since || footer.state_from <= self.since
    }

    fn footer(&mut self, footer: Footer) {
        if footer.last_commit > self.since {
            for (key, value) in &footer.state {
                self.change(footer.last_commit, key, value.as_ref());
            }
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let ranges =
            frame.batches.iter().map(|batch| Range { at: batch.at.clone(), from: batch.base, to: batch.next() });
        self.last_ranges = ranges.collect();
        if frame.commit <= self.since {
            return;
        }
        for entry in frame.batches.iter().filter(|entry| entry.at.topic.as_str() == STATE_TOPIC) {
            let Ok(batch) = entry.batch() else {
                self.bad_batches += 1;
                continue;
            };
            for record in batch.records() {
                match record {
                    Ok((_, record)) => self.change(frame.commit, &record.key, record.value.as_ref()),
                    Err(_) => self.bad_batches += 1,
                }
            }
        }
    }
}

impl Found {
    /// Nothing yet, of what came after the commit `since`.
    pub(crate) fn behind(since: Commit) -> Self {
        Self { since, ..Self::default() }
    }

    pub(crate) fn cursor(&mut self, key: &[u8], value: &[u8]) {
        let (Some((group, at)), Some(reach)) = (read_cursor_key(key), Reach::decode(value)) else { return };
        let entry = self.cursors.entry(group).or_default().entry(at).or_default();
        entry.reach = entry.reach.max(reach);
        entry.durable = entry.reach;
    }

    fn change(&mut self, commit: Commit, key: &Bytes, value: Option<&Bytes>) {
        if key.first() == Some(&CURSOR) {
            return self.cursor(key, value.map_or(&[], |value| value));
        }
        // Copied out of the read window, which would else be kept whole.
        let (key, value) = (Bytes::copy_from_slice(key), value.map(|value| Bytes::copy_from_slice(value)));
        lay(&mut self.delta, (&mut self.delta_bytes, &mut self.delta_value_bytes), commit, key, value);
    }
}
