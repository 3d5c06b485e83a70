//! The bytes of a view's records, version 1. Little-endian; `text` and `data` are a u16 length and that many bytes.
//!
//! ```text
//! "a"         u8 version = 1, u64 epoch, u64 commit applied, u32 devices, u32 devices with marks,
//!             u8 marks dropped (1: a device had to be left out), u64 sum over all other records of CRC32C(key, value)
//! "d" device  i64 last seen, ms; u64 events; u8 source (0 mqtt, 1 serial, 2 i2c, 3 broker, 4 gateway);
//!             text address; u32 bytes of the latest payload; data its beginning
//! "m" device  u8 boots dropped (1: an older boot had to be left out), then for each boot kept:
//!             u64 boot, u64 highest sequence, u64 commit of that
//! ```

use lamppost_event::{Address, Commit, Epoch, SourceKind, WallTime};

/// How much of a device's latest payload is kept, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1024;

/// How many boots of one device keep their marks; the one that was heard of the longest ago goes first.
pub const BOOTS_MAX: usize = 8;

const VERSION: u8 = 1;

/// Stored bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record of format version {0}; this program knows {VERSION}")]
    Version(u8),
    #[error("a damaged {0} record")]
    Damaged(&'static str),
}

/// What a view has applied, and what it must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) epoch: Epoch,
    pub(crate) commit: Commit,
    pub(crate) devices: u32,
    pub(crate) marked: u32,
    pub(crate) marks_dropped: bool,
    pub(crate) sum: u64,
}

/// A device and its latest value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) seen: WallTime,
    pub(crate) count: u64,
    pub(crate) source: SourceKind,
    pub(crate) address: Address,
    pub(crate) payload_bytes: u32,
    pub(crate) payload: Box<[u8]>,
}

/// The marks of a device's boots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) boots_dropped: bool,
    boots: Vec<BootMark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BootMark {
    boot: u64,
    sequence: u64,
    commit: Commit,
}

/// One record's part of the checksum. A sum, so that it can be kept up without reading the other records.
pub(crate) fn checksum(key: &[u8], value: &[u8]) -> u64 {
    u64::from(crc32c::crc32c_append(crc32c::crc32c(key), value))
}

impl Applied {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.epoch.0.to_le_bytes());
        out.extend(self.commit.0.to_le_bytes());
        out.extend(self.devices.to_le_bytes());
        out.extend(self.marked.to_le_bytes());
        out.push(u8::from(self.marks_dropped));
        out.extend(self.sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields { rest: bytes, what: "position" };
        let version = fields.u8()?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let applied = Self {
            epoch: Epoch(fields.u64()?),
            commit: Commit(fields.u64()?),
            devices: fields.u32()?,
            marked: fields.u32()?,
            marks_dropped: fields.flag()?,
            sum: fields.u64()?,
        };
        fields.end().map(|()| applied)
    }
}

impl Device {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.bytes());
        out.extend(self.seen.0.to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.push(match self.source {
            SourceKind::Mqtt => 0,
            SourceKind::Serial => 1,
            SourceKind::I2c => 2,
            SourceKind::Broker => 3,
            SourceKind::Gateway => 4,
        });
        put_data(&mut out, self.address.as_str().as_bytes());
        out.extend(self.payload_bytes.to_le_bytes());
        put_data(&mut out, &self.payload);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let what = "device";
        let mut fields = Fields { rest: bytes, what };
        let device = Self {
            seen: WallTime(fields.u64()?.cast_signed()),
            count: fields.u64()?,
            source: match fields.u8()? {
                0 => SourceKind::Mqtt,
                1 => SourceKind::Serial,
                2 => SourceKind::I2c,
                3 => SourceKind::Broker,
                4 => SourceKind::Gateway,
                _ => return Err(RecordError::Damaged(what)),
            },
            address: std::str::from_utf8(fields.data()?)
                .ok()
                .and_then(|text| Address::new(text).ok())
                .ok_or(RecordError::Damaged(what))?,
            payload_bytes: fields.u32()?,
            payload: fields.data()?.into(),
        };
        fields.end().map(|()| device)
    }

    /// What it holds in memory beside its fixed size.
    pub(crate) fn bytes(&self) -> usize {
        self.address.as_str().len() + self.payload.len()
    }
}

impl Marks {
    pub(crate) fn get(&self, boot: u64) -> Option<u64> {
        self.boots.iter().find(|mark| mark.boot == boot).map(|mark| mark.sequence)
    }

    pub(crate) fn raise(&mut self, boot: u64, sequence: u64, commit: Commit) {
        if let Some(mark) = self.boots.iter_mut().find(|mark| mark.boot == boot) {
            mark.sequence = mark.sequence.max(sequence);
            mark.commit = commit;
            return;
        }
        if self.boots.len() >= BOOTS_MAX
            && let Some(oldest) = (0..self.boots.len()).min_by_key(|at| self.boots.get(*at).map(|mark| mark.commit))
        {
            self.boots.remove(oldest);
            self.boots_dropped = true;
        }
        self.boots.push(BootMark { boot, sequence, commit });
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + 24 * self.boots.len());
        out.push(u8::from(self.boots_dropped));
        for mark in &self.boots {
            out.extend(mark.boot.to_le_bytes());
            out.extend(mark.sequence.to_le_bytes());
            out.extend(mark.commit.0.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields { rest: bytes, what: "marks" };
        let mut marks = Self { boots_dropped: fields.flag()?, boots: Vec::new() };
        while !fields.rest.is_empty() && marks.boots.len() < BOOTS_MAX {
            marks.boots.push(BootMark { boot: fields.u64()?, sequence: fields.u64()?, commit: Commit(fields.u64()?) });
        }
        fields.end().map(|()| marks)
    }
}

fn put_data(out: &mut Vec<u8>, data: &[u8]) {
    // Addresses and payloads kept are at most 1024 bytes.
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    debug_assert_eq!(usize::from(length), data.len());
    out.extend(length.to_le_bytes());
    out.extend(data.iter().take(usize::from(length)));
}

struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Damaged(self.what))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, RecordError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Damaged(self.what)),
        }
    }

    fn data(&mut self) -> Result<&'a [u8], RecordError> {
        let length = usize::from(self.array().map(u16::from_le_bytes)?);
        let (data, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Damaged(self.what))?;
        self.rest = rest;
        Ok(data)
    }

    fn end(&self) -> Result<(), RecordError> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::Damaged(self.what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_these_bytes() {
        let applied =
            Applied { epoch: Epoch(0x0102), commit: Commit(3), devices: 4, marked: 5, marks_dropped: true, sum: 6 };
        let golden = b"\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\x05\0\0\0\x01\x06\0\0\0\0\0\0\0";
        assert_eq!(applied.encode(), golden);
        assert_eq!(Applied::decode(golden), Ok(applied));

        let device = Device {
            seen: WallTime(-2),
            count: 1,
            source: SourceKind::I2c,
            address: Address::new("a/b").unwrap(),
            payload_bytes: 5000,
            payload: (*b"17").into(),
        };
        let golden = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0\0\0\0\0\x02\x03\0a/b\x88\x13\0\0\x02\x0017";
        assert_eq!(device.encode(), golden);
        assert_eq!(Device::decode(golden), Ok(device));

        let mut marks = Marks::default();
        marks.raise(1, 2, Commit(3));
        let golden = b"\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0";
        assert_eq!(marks.encode(), golden);
        assert_eq!(Marks::decode(golden), Ok(marks));
    }

    #[test]
    fn cut_or_longer_records_are_damaged() {
        let mut marks = Marks::default();
        marks.raise(1, 2, Commit(3));
        let whole = marks.encode();
        for cut in [0, 2, whole.len() - 1] {
            assert_eq!(Marks::decode(&whole[..cut]), Err(RecordError::Damaged("marks")), "{cut}");
        }
        assert_eq!(Applied::decode(b"\x02"), Err(RecordError::Version(2)));
        assert_eq!(Device::decode(&[9; 300]), Err(RecordError::Damaged("device")));
    }

    #[test]
    fn a_mark_only_rises_and_the_boot_heard_of_longest_ago_goes_first() {
        let mut marks = Marks::default();
        marks.raise(0, 9, Commit(1));
        marks.raise(0, 4, Commit(2));
        assert_eq!(marks.get(0), Some(9));
        for boot in 1..BOOTS_MAX as u64 {
            marks.raise(boot, 1, Commit(2 + boot));
        }
        marks.raise(0, 10, Commit(50));
        assert!(!marks.boots_dropped);
        marks.raise(100, 1, Commit(51));
        assert_eq!((marks.get(0), marks.get(1), marks.get(100)), (Some(10), None, Some(1)));
        assert!(marks.boots_dropped);
    }
}
