//! From a broker's message to an arrival.

use bytes::Bytes;
use lamppost_event::{Address, Arrival, ContentType, NameError, Origin, SourceKind};

use super::Broker;
use super::inbox::{BEGINNING, Offer};

/// A message as a broker delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// To be acknowledged; `None` for QoS 0.
    pub(super) packet_id: Option<u16>,
    pub(super) duplicate: bool,
    /// Sent for a subscription, not for a publish (3.3.1.3 of both standards).
    pub(super) retained: bool,
    pub(super) topic: String,
    pub(super) payload: Bytes,
    /// 5.0: the content type property.
    pub(super) content_type: Option<String>,
    /// 5.0: the user property `id`, the same that our own server takes as the sender's mark.
    pub(super) sender_id: Option<String>,
}

impl Message {
    /// What counts against bounds.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len() + self.topic.len() + 64
    }

    /// What is offered to the journal. `cut`: of a packet of so many bytes this is the beginning.
    ///
    /// # Errors
    /// [`NameError`]: not even something like its topic can be an address.
    pub(super) fn offer(self, broker: &Broker, cut: Option<usize>) -> Result<Offer, NameError> {
        let written = format!("{}{}", broker.prefix, self.topic);
        let (address, illegal) = match Address::new(&written) {
            Ok(address) => (address, None),
            Err(error) => (Address::new(&legible(&written))?, Some(format!("its topic can't be an address: {error}"))),
        };
        let cut = cut.map(|bytes| {
            format!("a packet of {bytes} bytes, packet_max allows {}{BEGINNING}", broker.packet_bytes_max)
        });
        let origin = match self.sender_id {
            Some(id) if (1..=255).contains(&id.len()) => Origin::Id(id.into()),
            _ => Origin::Unmarked,
        };
        let arrival = Box::new(Arrival {
            source: SourceKind::Broker,
            device: broker.name.clone(),
            address,
            origin,
            device_time: None,
            content_type: self.content_type.and_then(|text| ContentType::new(&text).ok()),
            // Copied: a slice would keep rumqttc's whole read buffer in memory for as long as the event waits.
            payload: Bytes::copy_from_slice(&self.payload),
            refused: false,
        });
        let reasons: Vec<String> = illegal.into_iter().chain(cut).collect();
        Ok(if reasons.is_empty() { Offer::Event(arrival) } else { Offer::Dead(arrival, reasons.join("; ")) })
    }
}

/// As much of a topic as an address may have, with a mark in place of each character that it may not.
fn legible(topic: &str) -> String {
    let mut legible: String =
        topic.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    let end = (0..=Address::BYTES_MAX.min(legible.len())).rev().find(|at| legible.is_char_boundary(*at));
    legible.truncate(end.unwrap_or(0));
    legible
}

#[cfg(test)]
pub(super) mod tests {
    use lamppost_event::DeviceId;

    use super::*;
    use crate::upstream::{BrokerFilter, BrokerVersion};

    pub(in crate::upstream) fn broker() -> Broker {
        Broker {
            name: DeviceId::new("plant").unwrap(),
            host: "127.0.0.1".into(),
            port: 1883,
            tls: None,
            version: BrokerVersion::V5,
            client_id: "lamppost-post-17".into(),
            login: None,
            filters: vec![BrokerFilter::at_least_once("#").unwrap()],
            prefix: String::new(),
            keep_alive: std::time::Duration::from_secs(60),
            session_expiry: std::time::Duration::from_secs(3600),
            window: 4,
            window_bytes_max: 10_000,
            packet_bytes_max: 10_000,
        }
    }

    pub(in crate::upstream) fn message(packet_id: u16, topic: &str) -> Message {
        Message {
            packet_id: (packet_id != 0).then_some(packet_id),
            duplicate: false,
            retained: false,
            topic: topic.into(),
            payload: Bytes::from_static(b"21.5"),
            content_type: None,
            sender_id: None,
        }
    }

    fn arrival(message: Message, broker: &Broker) -> Arrival {
        match message.offer(broker, None).unwrap() {
            Offer::Event(arrival) => *arrival,
            Offer::Dead(_, reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn the_topic_is_the_address_and_the_broker_is_the_device() {
        let plain = arrival(message(1, "city/north/air"), &broker());
        assert_eq!((plain.address.as_str(), plain.device.as_str()), ("city/north/air", "plant"));
        assert_eq!((plain.source, plain.origin), (SourceKind::Broker, Origin::Unmarked));
        let prefixed = Broker { prefix: "plant/".into(), ..broker() };
        assert_eq!(arrival(message(1, "a"), &prefixed).address.as_str(), "plant/a");
    }

    #[test]
    fn what_5_0_says_beside_the_payload_is_taken_where_it_is_legal() {
        let full = Message {
            content_type: Some("application/json".into()),
            sender_id: Some("ev-1".into()),
            ..message(1, "a")
        };
        let told = arrival(full, &broker());
        assert_eq!(told.content_type.unwrap().as_str(), "application/json");
        assert_eq!(told.origin, Origin::Id("ev-1".into()));
        let odd = Message { content_type: Some("é".into()), sender_id: Some("x".repeat(256)), ..message(1, "a") };
        let told = arrival(odd, &broker());
        assert_eq!((told.content_type, told.origin), (None, Origin::Unmarked));
    }

    #[test]
    fn what_can_t_be_an_event_is_a_dead_letter_with_the_reason_under_a_legible_address() {
        let dead = |message: Message, cut| match message.offer(&broker(), cut).unwrap() {
            Offer::Dead(arrival, reason) => (arrival.address.as_str().to_owned(), reason),
            Offer::Event(_) => panic!("an event"),
        };
        let (address, reason) = dead(message(1, "a\u{7}/b"), None);
        assert_eq!(address, "a\u{FFFD}/b");
        assert!(reason.starts_with("its topic can't be an address: "), "{reason}");
        let (address, reason) = dead(message(1, &"ü".repeat(600)), Some(12_345));
        assert_eq!(address, "ü".repeat(512));
        assert!(
            reason
                .ends_with("; a packet of 12345 bytes, packet_max allows 10000; of its payload this is the beginning"),
            "{reason}"
        );
    }
}
