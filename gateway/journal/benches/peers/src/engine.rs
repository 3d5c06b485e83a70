//! What every engine does: keep records under (partition, offset), a batch at a time, durably.

use lamppost_event::StoredRecord;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A record and its place.
pub(crate) struct Entry<'a> {
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    pub(crate) record: &'a StoredRecord,
}

impl Entry<'_> {
    /// Big-endian, so that the order of the keys is that of the offsets.
    pub(crate) fn key(&self) -> [u8; 10] {
        let mut key = [0; 10];
        key[..2].copy_from_slice(&self.partition.to_be_bytes());
        key[2..].copy_from_slice(&self.offset.to_be_bytes());
        key
    }

    /// Timestamp, key, header and value, with the lengths of the first two.
    pub(crate) fn value_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.record.timestamp.0.to_le_bytes());
        for piece in [&self.record.key, &self.record.header] {
            out.extend_from_slice(&(piece.len() as u16).to_le_bytes());
            out.extend_from_slice(piece);
        }
        out.extend_from_slice(self.record.value.as_deref().unwrap_or_default());
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.record.bytes() + 12);
        self.value_to(&mut out);
        out
    }
}

/// An engine used as the log.
pub(crate) trait Engine {
    /// All of it is on the disk when this returns.
    fn commit(&mut self, entries: &[Entry<'_>]) -> Outcome<()>;

    /// Does now what the engine would do of itself later with what was committed.
    fn settle(&mut self) -> Outcome<()>;
}
