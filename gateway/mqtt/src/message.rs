//! What goes from a publisher to subscribers.

use bytes::Bytes;
use lamppost_event::{Address, DeviceId, Monotonic};

use crate::codec::Qos;

/// A published message on its way to subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: Address,
    pub(crate) payload: Bytes,
    /// As published.
    pub(crate) qos: Qos,
    /// As published.
    pub(crate) retain: bool,
    pub(crate) publisher: DeviceId,
    /// When it may no longer be delivered, by this boot's clock.
    pub(crate) expires: Option<Monotonic>,
    /// Encoded v5 properties that go to subscribers unchanged.
    pub(crate) properties: Bytes,
}

impl Message {
    /// What it counts for in queues.
    pub(crate) fn bytes(&self) -> usize {
        128 + self.payload.len() + self.properties.len() + self.topic.as_str().len()
    }

    /// When a message received at `now` with this Message Expiry Interval is over.
    pub(crate) fn expires(now: Monotonic, expiry_s: u32) -> Monotonic {
        Monotonic(now.0.saturating_add(u64::from(expiry_s) * 1_000))
    }

    pub(crate) fn is_expired(&self, now: Monotonic) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// What is left of the Message Expiry Interval, in seconds, begun ones counted [MQTT-3.3.2-6]. At least 1: what is over is not sent
    /// at all, or was sent before.
    pub(crate) fn expiry_left_s(&self, now: Monotonic) -> Option<u32> {
        let left_ms = self.expires?.0.saturating_sub(now.0);
        Some(u32::try_from(left_ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_expires_when_its_interval_is_over_and_says_what_is_left() {
        let expires = Some(Message::expires(Monotonic(5_000), 60));
        let message = Message {
            topic: Address::new("a").unwrap(),
            payload: Bytes::new(),
            qos: Qos::AtMostOnce,
            retain: false,
            publisher: DeviceId::new("d").unwrap(),
            expires,
            properties: Bytes::new(),
        };
        let left = |now| (message.expiry_left_s(Monotonic(now)), message.is_expired(Monotonic(now)));
        assert_eq!(left(5_000), (Some(60), false));
        assert_eq!(left(5_001), (Some(60), false));
        assert_eq!(left(6_000), (Some(59), false));
        assert_eq!(left(64_999), (Some(1), false));
        assert_eq!(left(65_000), (Some(1), true));
    }
}
