//! Bounds the marks: of each device, only the boots that were marked last outlive a checkpoint.
//!
//! A layer is merged by rising key, and a device's boots stand together in it: no more than one device's are held here. Of a layer that lies
//! over others only those that it holds itself are known; what is not among its latest is not among the latest of all.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::format::checkpoint::{mark_commit, mark_device};

/// The boots of one device so far.
pub(crate) struct Boots {
    max: usize,
    device: Vec<u8>,
    kept: BTreeMap<Bytes, Bytes>,
    /// By rising boot.
    removed: Vec<Bytes>,
    forgotten: Vec<Bytes>,
}

impl Boots {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, device: Vec::new(), kept: BTreeMap::new(), removed: Vec::new(), forgotten: Vec::new() }
    }

    /// Whether this mark is of the device whose boots are held.
    pub(crate) fn is_same(&self, key: &[u8]) -> bool {
        mark_device(key) == Some(self.device.as_slice())
    }

    /// Takes a mark in, or that it was removed, of the device that is held, or of the first after [`Boots::drain`]. The one that was
    /// marked longest ago goes if they are too many; of those marked in one commit the boot with the lowest number.
    pub(crate) fn take(&mut self, key: Bytes, value: Option<Bytes>) {
        if !self.is_same(&key) {
            self.device = mark_device(&key).unwrap_or_default().to_vec();
        }
        let Some(value) = value else { return self.removed.push(key) };
        self.kept.insert(key, value);
        while self.kept.len() > self.max {
            let oldest = self.kept.iter().min_by_key(|(key, value)| (mark_commit(value), *key));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            self.kept.remove(&key);
            self.forgotten.push(key);
        }
    }

    /// The device's marks by rising boot, those that were removed or forgotten with no value, and apart from them those that were
    /// forgotten. The next device may come.
    pub(crate) fn drain(&mut self) -> (BTreeMap<Bytes, Option<Bytes>>, Vec<Bytes>) {
        self.device.clear();
        let forgotten = std::mem::take(&mut self.forgotten);
        // They may lie in a layer beneath as well.
        let gone = std::mem::take(&mut self.removed).into_iter().chain(forgotten.iter().cloned());
        let kept = std::mem::take(&mut self.kept).into_iter().map(|(key, value)| (key, Some(value)));
        (gone.map(|key| (key, None)).chain(kept).collect(), forgotten)
    }
}
