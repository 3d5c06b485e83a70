//! What the journal's commits change in the views.

use bytes::Bytes;
use lamppost_event::{Address, DeviceId, Event, SourceKind, WallTime};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A sequence of a device's boot was stored.
    Mark {
        /// The sender.
        device: DeviceId,
        /// Its boot.
        boot: u64,
        /// The sequence; lower ones than known change nothing.
        sequence: u64,
    },
    /// A device reported.
    Seen {
        /// Who.
        device: DeviceId,
        /// When it was received, by the gateway's clock of then.
        at: WallTime,
        /// By which kind of source.
        source: SourceKind,
        /// Where.
        address: Address,
        /// What; kept up to [`crate::PAYLOAD_BYTES_MAX`].
        payload: Bytes,
        /// How much it was.
        payload_bytes: u32,
    },
}

impl Change {
    /// That the event's device reported; of its payload of `payload_bytes` there may be only the beginning.
    #[must_use]
    pub fn seen(event: Event, payload_bytes: u32) -> Self {
        let Event { device, time, source, address, payload, .. } = event;
        Self::Seen { device, at: time.wall, source, address, payload, payload_bytes }
    }
}
