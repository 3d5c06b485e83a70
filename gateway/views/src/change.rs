//! What the journal's commits change in the views.

use bytes::Bytes;
use lamppost_event::{Address, DeviceId, Event, Origin, SourceKind, WallTime};

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
    },
}

/// What storing an event changes.
pub fn changes_of(event: &Event) -> impl Iterator<Item = Change> {
    let mark = match event.origin {
        Origin::Sequence { boot, sequence } => Some(Change::Mark { device: event.device.clone(), boot, sequence }),
        Origin::Unmarked | Origin::Id(_) => None,
    };
    let seen = Change::Seen {
        device: event.device.clone(),
        at: event.time.wall,
        source: event.source,
        address: event.address.clone(),
        payload: event.payload.clone(),
    };
    mark.into_iter().chain([seen])
}
