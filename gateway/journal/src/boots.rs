//! Bounds the marks: of each device, only the boots that were marked last outlive a checkpoint.
//!
//! A checkpoint is merged by rising key, and a device's boots stand together in it: no more than one device's are held here.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::format::checkpoint::{mark_commit, mark_device};

/// The boots of one device that are kept so far.
pub(crate) struct Boots {
    max: usize,
    device: Vec<u8>,
    kept: BTreeMap<Bytes, Bytes>,
    forgotten: Vec<Bytes>,
}

impl Boots {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, device: Vec::new(), kept: BTreeMap::new(), forgotten: Vec::new() }
    }

    /// Whether this mark is of the device whose boots are held.
    pub(crate) fn is_same(&self, key: &[u8]) -> bool {
        mark_device(key) == Some(self.device.as_slice())
    }

    /// Takes a mark in, of the device that is held, or of the first after [`Boots::drain`]. The one that was marked longest ago
    /// goes if they are too many; of those marked in one commit the boot with the lowest number.
    pub(crate) fn take(&mut self, key: &Bytes, value: &Bytes) {
        if !self.is_same(key) {
            self.device = mark_device(key).unwrap_or_default().to_vec();
        }
        self.kept.insert(key.clone(), value.clone());
        while self.kept.len() > self.max {
            let oldest = self.kept.iter().min_by_key(|(key, value)| (mark_commit(value), *key));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            self.kept.remove(&key);
            self.forgotten.push(key);
        }
    }

    /// The marks that are kept, by rising boot. The next device may come.
    pub(crate) fn drain(&mut self) -> BTreeMap<Bytes, Bytes> {
        self.device.clear();
        std::mem::take(&mut self.kept)
    }

    /// What was forgotten since this was asked last.
    pub(crate) fn forgotten(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.forgotten)
    }
}
