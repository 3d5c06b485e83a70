//! sled, behind the few calls that the views need. Any of them may panic: [`crate::Views`] catches that.

use std::path::Path;
use std::time::Duration;

use lamppost_event::DeviceId;
use sled::{Batch, Db, IVec};

use crate::gather::Gathered;
use crate::record::{Applied, Device, RecordError, checksum};

/// sled's own default is 1 GiB.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
const APPLIED: &[u8] = b"a";

/// sled lets go of its lock a moment after the last handle was dropped.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("records without a position: they were being rebuilt")]
    Unfinished,
    #[error("records are missing or damaged: {found} of {expected} with checksum {sum_found:016x}, not {sum:016x}")]
    Incomplete { expected: u64, found: u64, sum: u64, sum_found: u64 },
    #[error("what it is rebuilt from failed: {0}")]
    Source(String),
    #[error("a key that is none of ours")]
    Key,
}

/// The records that are kept for a device.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Device,
    Marks,
}

impl Kind {
    const fn prefix(self) -> u8 {
        match self {
            Self::Device => b'd',
            Self::Marks => b'm',
        }
    }

    fn key(self, device: &DeviceId) -> Vec<u8> {
        [&[self.prefix()], device.as_str().as_bytes()].concat()
    }
}

pub(crate) struct Store {
    db: Db,
}

impl Store {
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            // Written when we say so: the background thread would wear the card for nothing.
            .flush_every_ms(None);
        for _ in 1..LOCK_TRIES {
            match config.open() {
                Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                other => return Ok(Self { db: other? }),
            }
        }
        Ok(Self { db: config.open()? })
    }

    /// Reads all records and returns what was applied; `None` if there are none.
    pub(crate) fn verify(&self) -> Result<Option<Applied>, StoreError> {
        let applied = self.db.get(APPLIED)?.map(|bytes| Applied::decode(&bytes)).transpose()?;
        let (mut devices, mut marked, mut sum) = (0_u32, 0_u32, 0_u64);
        for entry in self.db.iter() {
            let (key, value) = entry?;
            match key.first() {
                Some(b'a') => continue,
                Some(b'd') => devices += 1,
                Some(b'm') => marked += 1,
                _ => return Err(StoreError::Key),
            }
            sum = sum.wrapping_add(checksum(&key, &value));
        }
        let found = u64::from(devices) + u64::from(marked);
        let Some(applied) = applied else {
            return if found == 0 { Ok(None) } else { Err(StoreError::Unfinished) };
        };
        if (applied.devices, applied.marked, applied.sum) != (devices, marked, sum) {
            let expected = u64::from(applied.devices) + u64::from(applied.marked);
            return Err(StoreError::Incomplete { expected, found, sum: applied.sum, sum_found: sum });
        }
        Ok(Some(applied))
    }

    pub(crate) fn get(&self, kind: Kind, device: &DeviceId) -> Result<Option<IVec>, StoreError> {
        Ok(self.db.get(kind.key(device))?)
    }

    /// Records after that device, in the order of their names.
    pub(crate) fn after(
        &self,
        kind: Kind,
        device: Option<&DeviceId>,
    ) -> impl Iterator<Item = Result<(DeviceId, IVec), StoreError>> {
        use std::ops::Bound::{Excluded, Included};
        let from = device.map_or(Included(vec![kind.prefix()]), |device| Excluded(kind.key(device)));
        let to = Excluded(vec![kind.prefix() + 1]);
        self.db.range::<Vec<u8>, _>((from, to)).map(|entry| {
            let (key, value) = entry?;
            let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
            let device = name.and_then(|name| DeviceId::new(name).ok()).ok_or(StoreError::Key)?;
            Ok((device, value))
        })
    }

    /// Writes what was gathered in one batch, and with it what has thereby been applied, if that is known yet. `sum` is
    /// the checksum of all records, and is kept up.
    pub(crate) fn write(
        &self,
        gathered: &Gathered,
        sum: &mut u64,
        applied: impl FnOnce(u64) -> Option<Applied>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let devices = gathered.devices.iter().map(|(id, device)| (Kind::Device.key(id), device.encode()));
        let marks = gathered.marks.iter().map(|(id, marks)| (Kind::Marks.key(id), marks.encode()));
        for (key, value) in devices.chain(marks) {
            let before = self.db.get(&key)?.map_or(0, |before| checksum(&key, &before));
            *sum = sum.wrapping_sub(before).wrapping_add(checksum(&key, &value));
            batch.insert(key, value);
        }
        if let Some(applied) = applied(*sum) {
            batch.insert(APPLIED, applied.encode());
        }
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(())
    }

    /// Removes the devices that were heard of longest ago, in one batch, until `keep` are left, and returns how many those were. Of those
    /// heard of at the same time, the first by name go. `applied` is told that number and the checksum.
    pub(crate) fn forget_devices(
        &self,
        keep: usize,
        sum: &mut u64,
        applied: impl FnOnce(u32, u64) -> Option<Applied>,
    ) -> Result<u32, StoreError> {
        let mut heard = Vec::new();
        for entry in self.after(Kind::Device, None) {
            heard.push(Device::decode(&entry?.1)?.seen);
        }
        let mut left = heard.len().saturating_sub(keep);
        let Some(last) = left.checked_sub(1) else { return Ok(0) };
        let (before, newest, _) = heard.select_nth_unstable(last);
        let newest = *newest;
        // So many of those heard of at that very time go too.
        let mut ties = left - before.iter().filter(|seen| **seen < newest).count();
        let (mut batch, mut gone) = (Batch::default(), 0);
        for entry in self.after(Kind::Device, None) {
            let (device, bytes) = entry?;
            let seen = Device::decode(&bytes)?.seen;
            if left == 0 || seen > newest || (seen == newest && ties == 0) {
                continue;
            }
            ties -= usize::from(seen == newest);
            (left, gone) = (left - 1, gone + 1);
            let key = Kind::Device.key(&device);
            *sum = sum.wrapping_sub(checksum(&key, &bytes));
            batch.remove(key);
        }
        if let Some(applied) = applied(gone, *sum) {
            batch.insert(APPLIED, applied.encode());
        }
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(gone)
    }
}
