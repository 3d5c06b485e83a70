//! From a broker's message to an arrival.

use bytes::Bytes;
use lamppost_event::{Address, Arrival, ContentType, NameError, Origin, SourceKind};

use super::Broker;

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

    pub(super) fn arrival(self, broker: &Broker) -> Result<Arrival, NameError> {
        let address = if broker.prefix.is_empty() {
            Address::new(&self.topic)
        } else {
            Address::new(&format!("{}{}", broker.prefix, self.topic))
        }?;
        let origin = match self.sender_id {
            Some(id) if (1..=255).contains(&id.len()) => Origin::Id(id.into()),
            _ => Origin::Unmarked,
        };
        Ok(Arrival {
            source: SourceKind::Broker,
            device: broker.name.clone(),
            address,
            origin,
            device_time: None,
            content_type: self.content_type.and_then(|text| ContentType::new(&text).ok()),
            // Copied: a slice would keep rumqttc's whole read buffer in memory for as long as the event waits.
            payload: Bytes::copy_from_slice(&self.payload),
            refused: false,
        })
    }
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

    #[test]
    fn the_topic_is_the_address_and_the_broker_is_the_device() {
        let plain = message(1, "city/north/air").arrival(&broker()).unwrap();
        assert_eq!((plain.address.as_str(), plain.device.as_str()), ("city/north/air", "plant"));
        assert_eq!((plain.source, plain.origin), (SourceKind::Broker, Origin::Unmarked));
        let prefixed = Broker { prefix: "plant/".into(), ..broker() };
        assert_eq!(message(1, "a").arrival(&prefixed).unwrap().address.as_str(), "plant/a");
    }

    #[test]
    fn what_5_0_says_beside_the_payload_is_taken_where_it_is_legal() {
        let full = Message {
            content_type: Some("application/json".into()),
            sender_id: Some("ev-1".into()),
            ..message(1, "a")
        };
        let arrival = full.arrival(&broker()).unwrap();
        assert_eq!(arrival.content_type.unwrap().as_str(), "application/json");
        assert_eq!(arrival.origin, Origin::Id("ev-1".into()));
        let odd = Message { content_type: Some("é".into()), sender_id: Some("x".repeat(256)), ..message(1, "a") };
        let arrival = odd.arrival(&broker()).unwrap();
        assert_eq!((arrival.content_type, arrival.origin), (None, Origin::Unmarked));
    }

    #[test]
    fn a_topic_that_can_t_be_an_address_is_an_error() {
        for topic in ["a\u{7}", &"a".repeat(1025)] {
            assert!(message(1, topic).arrival(&broker()).is_err());
        }
    }
}
