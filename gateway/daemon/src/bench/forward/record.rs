//! The events of the benchmark: the same bytes from the gateway and from the bare producer.

use bytes::Bytes;
use lamppost_event::{Address, DeviceId, Event, EventTime, Origin, SourceKind, Topic};

/// As many devices as a small post has.
const DEVICES: u64 = 50;
/// The gateway that is measured.
pub(super) const GATEWAY: &str = "bench";

/// The device of the `n`th event, which is its key.
pub(super) fn device(n: u64, text: &mut String) {
    text.clear();
    text.push_str(&format!("bench-{:04}", n % DEVICES));
}

/// The address of the `n`th event.
pub(super) fn address(n: u64) -> String {
    format!("bench/{:04}", n % DEVICES)
}

/// The payload of the `n`th event: a reading in JSON of about so many bytes, whose numbers compress as measured values do.
pub(super) fn payload(n: u64, bytes: u32, text: &mut String) {
    text.clear();
    text.push_str(&format!("{{\"n\":{n},\"values\":["));
    let mut random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while text.len() + 8 < bytes as usize {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        text.push_str(&format!("{}.{},", 10 + random % 30, (random >> 32) % 10));
    }
    text.push_str("0]}");
}

/// How many different payloads a backlog has: more than a batch holds, so that none finds itself again in it.
const DIFFERENT: u64 = 65_536;

/// The payloads of a backlog, made ahead: neither side pays for making them while it is timed. They come round.
pub(super) struct Payloads(Vec<Box<str>>);

impl Payloads {
    pub(super) fn new(events: u64, bytes: u32) -> Self {
        let mut text = String::new();
        let made = (0..events.clamp(1, DIFFERENT)).map(|n| {
            payload(n, bytes, &mut text);
            text.as_str().into()
        });
        Self(made.collect())
    }

    /// Of the `n`th event.
    pub(super) fn of(&self, n: u64) -> &str {
        let at = usize::try_from(n % self.0.len() as u64).unwrap_or(0);
        self.0.get(at).map_or("", |payload| payload)
    }
}

/// Which event a payload is of.
pub(super) fn number(payload: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(payload).ok()?;
    text.strip_prefix("{\"n\":")?.split(',').next()?.parse().ok()
}

/// The `n`th event, as the MQTT front makes it.
pub(super) fn event(n: u64, payload: &str, topic: &Topic, time: EventTime) -> anyhow::Result<Event> {
    let mut text = String::new();
    device(n, &mut text);
    let device = DeviceId::new(&text)?;
    Ok(Event {
        source: SourceKind::Mqtt,
        key: Bytes::copy_from_slice(device.as_str().as_bytes()),
        device,
        address: Address::new(&address(n))?,
        topic: topic.clone(),
        origin: Origin::Unmarked,
        time,
        content_type: None,
        reason: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_its_number_is_json_and_has_about_the_size_asked_for() {
        let mut text = String::new();
        for (n, bytes) in [(0, 64), (7, 200), (u64::MAX, 1000)] {
            payload(n, bytes, &mut text);
            assert_eq!(number(text.as_bytes()), Some(n));
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            assert!(text.len().abs_diff(bytes as usize) < 12, "{} for {bytes}", text.len());
        }
        assert_eq!(number(b"{\"m\":5}"), None);
        let payloads = Payloads::new(3, 100);
        assert_eq!([0, 1, 4].map(|n| number(payloads.of(n).as_bytes())), [Some(0), Some(1), Some(1)]);
    }
}
