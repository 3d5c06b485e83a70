//! An event of the journal, for tests.

use bytes::Bytes;
use lamppost_event::{
    Address, BootId, ClockQuality, DeviceId, Epoch, Event, EventTime, Monotonic, Offset, Origin, Partition, SourceKind,
    Stored, Topic, WallTime,
};

/// Of the topic `air`, partition 0.
pub(crate) fn stored(epoch: u64, offset: u64) -> Stored {
    let time = EventTime {
        device: None,
        wall: WallTime(1),
        monotonic: Monotonic(1),
        boot: BootId(1),
        quality: ClockQuality::Synced,
    };
    let event = Event {
        source: SourceKind::Mqtt,
        device: DeviceId::new("dev-1").unwrap(),
        address: Address::new("city").unwrap(),
        topic: Topic::new("air").unwrap(),
        key: Bytes::from_static(b"dev-1"),
        origin: Origin::Unmarked,
        time,
        content_type: None,
        reason: None,
        payload: Bytes::new(),
    };
    Stored { partition: Partition(0), offset: Offset(offset), epoch: Epoch(epoch), event }
}
