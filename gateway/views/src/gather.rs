//! Changes that are applied but not written yet, newest value only.

use std::collections::BTreeMap;

use lamppost_event::{Commit, DeviceId};

use crate::change::Change;
use crate::record::{Device, Marks, PAYLOAD_BYTES_MAX};
use crate::store::{Kind, Store, StoreError};
use crate::views::DEVICES_MAX;

/// How much is gathered before it is written, in bytes of records.
pub const GATHER_BYTES_MAX: usize = 512 * 1024;

/// A record's share of a map, about.
const RECORD_BYTES: usize = 128;

/// Gathered records and the totals with them.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    pub(crate) marks: BTreeMap<DeviceId, Marks>,
    pub(crate) device_count: u32,
    pub(crate) marked_count: u32,
    pub(crate) marks_dropped: bool,
    /// Once more devices are written than this, those that were heard of longest ago are forgotten.
    pub(crate) devices_max: u32,
    bytes: usize,
}

impl Gathered {
    pub(crate) const fn new() -> Self {
        Self {
            devices: BTreeMap::new(),
            marks: BTreeMap::new(),
            device_count: 0,
            marked_count: 0,
            marks_dropped: false,
            devices_max: DEVICES_MAX,
            bytes: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= GATHER_BYTES_MAX
    }

    pub(crate) fn clear(&mut self) {
        self.devices.clear();
        self.marks.clear();
        self.bytes = 0;
    }

    pub(crate) fn take(&mut self, store: &Store, commit: Commit, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Mark { device, boot, sequence } => self.mark(store, commit, device, *boot, *sequence),
            Change::Seen { device, at, source, address, payload, payload_bytes } => {
                let kept = payload.get(..PAYLOAD_BYTES_MAX).unwrap_or(payload);
                let latest = Device {
                    seen: *at,
                    count: 1,
                    source: *source,
                    address: address.clone(),
                    payload_bytes: *payload_bytes,
                    payload: kept.into(),
                };
                self.seen(store, device, latest)
            }
        }
    }

    fn mark(
        &mut self,
        store: &Store,
        commit: Commit,
        device: &DeviceId,
        boot: u64,
        sequence: u64,
    ) -> Result<(), StoreError> {
        if let Some(marks) = self.marks.get_mut(device) {
            marks.raise(boot, sequence, commit);
            return Ok(());
        }
        let stored = store.get(Kind::Marks, device)?;
        if stored.is_none() && self.marked_count >= DEVICES_MAX {
            self.marks_dropped = true;
            return Ok(());
        }
        self.marked_count += u32::from(stored.is_none());
        let mut marks = stored.map(|bytes| Marks::decode(&bytes)).transpose()?.unwrap_or_default();
        marks.raise(boot, sequence, commit);
        self.bytes += RECORD_BYTES + device.as_str().len();
        self.marks.insert(device.clone(), marks);
        Ok(())
    }

    fn seen(&mut self, store: &Store, device: &DeviceId, mut latest: Device) -> Result<(), StoreError> {
        let before = match self.devices.get(device) {
            Some(gathered) => {
                self.bytes = self.bytes.saturating_sub(gathered.bytes() + RECORD_BYTES + device.as_str().len());
                Some(gathered.count)
            }
            None => match store.get(Kind::Device, device)? {
                Some(bytes) => Some(Device::decode(&bytes)?.count),
                None => None,
            },
        };
        self.device_count += u32::from(before.is_none());
        latest.count = before.unwrap_or(0).saturating_add(1);
        self.bytes += latest.bytes() + RECORD_BYTES + device.as_str().len();
        self.devices.insert(device.clone(), latest);
        Ok(())
    }
}
