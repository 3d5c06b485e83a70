//! One connected client as a state machine without I/O: packets go in, answers come out as bytes and what has to be done as
//! an [`Effect`].

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lamppost_event::{Address, Arrival, Commit, ContentType, DeviceId, Monotonic, Origin, SourceKind};

use crate::access::{Action, Denied, Permissions};
use crate::acks::{Acks, NOT_AUTHORIZED, Pending};
use crate::cause::{Close, RefusedFilter};
use crate::codec::{self, Filter, Packet, Publish, PublishProperties, Qos, Version, Will};
use crate::message::Message;
use crate::{Cause, Limits, SubscriptionCause, topic};

/// So many filters of a SUBSCRIBE are looked at at the least.
const LOOKED_AT_MIN: usize = 64;

/// What has to be done for a packet.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Nothing more.
    None,
    /// Offer it to the journal, then [`Session::taken`].
    Offer(Box<Offer>),
    /// Subscribe, then answer with the codes.
    Subscribe(SubscribeRequest),
    /// Unsubscribe, then answer.
    Unsubscribe { packet_id: u16, filters: Vec<Box<str>> },
    /// The client has what was delivered with this packet id.
    Delivered(u16),
    /// The client leaves.
    Leave { with_will: bool, session_expiry_s: Option<u32> },
}

/// A publish that was taken in.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) arrival: Arrival,
    /// To be acknowledged; `None` for QoS 0.
    pub(crate) packet_id: Option<u16>,
    /// To go to subscribers, if there may be any.
    pub(crate) message: Option<Message>,
}

/// A SUBSCRIBE: for each filter what was asked for, or why it is refused.
#[derive(Debug)]
pub(crate) struct SubscribeRequest {
    pub(crate) packet_id: u16,
    pub(crate) filters: Vec<Result<Wish, RefusedFilter>>,
}

/// One filter that may be subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) filter: Box<str>,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
    pub(crate) subscription_id: Option<u32>,
}

/// A will, ready to be stored.
#[derive(Debug)]
pub(crate) struct LastWill {
    pub(crate) arrival: Box<Arrival>,
    /// Its expiry begins when it is published.
    pub(crate) message: Message,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) delay_s: u32,
}

/// A connected client's side of the protocol towards the journal.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) version: Version,
    pub(crate) device: DeviceId,
    pub(crate) acks: Acks,
    pub(crate) permissions: Permissions,
    /// Boxed: most clients try nothing that they may not.
    denied: Option<Box<Denied>>,
    limits: Arc<Limits>,
    aliases: Vec<Option<Address>>,
    /// Most clients publish to one topic: it is parsed once.
    last_address: Option<Address>,
}

impl Session {
    pub(crate) fn new(version: Version, device: DeviceId, limits: Arc<Limits>) -> Self {
        Self {
            version,
            device,
            acks: Acks::default(),
            permissions: Permissions::default(),
            denied: None,
            limits,
            aliases: Vec::new(),
            last_address: None,
        }
    }

    /// What the client has tried in vain since this was asked last.
    pub(crate) fn take_denied(&mut self) -> Option<Box<Denied>> {
        self.denied.take()
    }

    /// Whether another packet may be looked at. A v5 client that goes beyond its window is at fault, and is told so when
    /// its packets are looked at; a v3.1.1 client knows of no window.
    pub(crate) fn may_read(&self) -> bool {
        let told = self.version == Version::V5 && self.limits.window_strict;
        let window_open = told || self.acks.unacknowledged() < usize::from(self.limits.window);
        window_open && self.acks.bytes() < self.limits.unacknowledged_bytes_max
    }

    /// Takes a packet. `wanted`: somebody subscribes to something. `now` is asked for what expires.
    pub(crate) fn receive(
        &mut self,
        packet: Packet<'_>,
        wanted: bool,
        now: impl FnOnce() -> Monotonic,
        out: &mut BytesMut,
    ) -> Result<Effect, Close> {
        match packet {
            Packet::Publish(publish) => self.publish(&publish, wanted, now, out),
            Packet::PubAck(packet_id) => Ok(Effect::Delivered(packet_id)),
            Packet::Subscribe(subscribe) => {
                let mut filters = Vec::with_capacity(subscribe.filters.len());
                let looked_at_max = self.limits.subscriptions_max.max(LOOKED_AT_MIN);
                let beyond = || {
                    RefusedFilter::new(SubscriptionCause::Packet, "more filters in one packet than are looked at", "")
                };
                for (at, filter) in subscribe.filters.into_iter().enumerate() {
                    // A packet has room for tens of thousands, and each is looked for among rules and retained topics, while others wait.
                    let within = at < looked_at_max;
                    filters.push(if within { self.wish(filter, subscribe.subscription_id) } else { Err(beyond()) });
                }
                Ok(Effect::Subscribe(SubscribeRequest { packet_id: subscribe.packet_id, filters }))
            }
            Packet::Unsubscribe(unsubscribe) => Ok(Effect::Unsubscribe {
                packet_id: unsubscribe.packet_id,
                filters: unsubscribe.filters.into_iter().map(Box::from).collect(),
            }),
            Packet::PingReq => {
                codec::pingresp(out);
                Ok(Effect::None)
            }
            Packet::Disconnect { reason, session_expiry_s } => {
                Ok(Effect::Leave { with_will: reason != 0, session_expiry_s })
            }
        }
    }

    /// What was offered was taken.
    pub(crate) fn taken(&mut self, commit: Commit, pending: Pending) {
        self.acks.push(commit, pending);
    }

    /// Writes the answers to what is on disk, and hands out what may now go to subscribers. Returns how many PUBACKs.
    pub(crate) fn durable(&mut self, commit: Commit, out: &mut BytesMut, mut publish: impl FnMut(Message)) -> u64 {
        let mut pubacks = 0;
        self.acks.release(commit, |pending| {
            if let Some(packet_id) = pending.packet_id {
                codec::puback(packet_id, pending.reason, out);
                pubacks += u64::from(pending.is_taken());
            }
            out.extend_from_slice(&pending.answer);
            if let Some(message) = pending.message {
                publish(message);
            }
        });
        pubacks
    }

    /// Makes the will of a CONNECT ready to be stored.
    pub(crate) fn last_will(&self, will: &Will<'_>) -> Result<LastWill, Close> {
        let qos = match will.qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => return Err(Close::new(Cause::QosTwo, "a will with QoS 2 is not served: use 0 or 1")),
        };
        let address = address(will.topic, &self.limits)?;
        if !self.permissions.may_publish(&self.device, address.as_str()) {
            return Err(Close::new(Cause::NotAuthorized, format!("a will for {:?} is not allowed", address.as_str())));
        }
        let (bytes, bytes_max) = (address.as_str().len() + will.payload.len(), self.limits.event_bytes_max);
        if bytes > bytes_max {
            // Taken now it would be dropped when it is due, and nobody would be told.
            let detail = format!("a will of {bytes} bytes, an event has at most {bytes_max}");
            return Err(Close::new(Cause::EventTooLarge, detail));
        }
        let payload = Bytes::copy_from_slice(will.payload);
        let message = self.message(&address, &payload, qos, will.retain, &will.properties);
        Ok(LastWill {
            message,
            expiry_s: will.properties.message_expiry_s,
            arrival: Box::new(arrival(self.device.clone(), address, payload, &will.properties)),
            delay_s: will.properties.will_delay_s,
        })
    }

    /// A will of an earlier life. It is stored as an event as it would have been then.
    pub(crate) fn restored_will(message: Message, delay_s: u32, expiry_s: Option<u32>) -> LastWill {
        let properties = PublishProperties::of_will(codec::Reader::new(&message.properties)).unwrap_or_default();
        let arrival = arrival(message.publisher.clone(), message.topic.clone(), message.payload.clone(), &properties);
        LastWill { arrival: Box::new(arrival), expiry_s, delay_s, message }
    }

    fn publish(
        &mut self,
        publish: &Publish<'_>,
        wanted: bool,
        now: impl FnOnce() -> Monotonic,
        out: &mut BytesMut,
    ) -> Result<Effect, Close> {
        if publish.qos == Qos::AtLeastOnce && self.acks.unacknowledged() >= usize::from(self.limits.window) {
            let detail = format!("more than {} publishes without a PUBACK (Receive Maximum)", self.limits.window);
            return Err(Close::new(Cause::Window, detail));
        }
        let address = self.address(publish)?;
        if !self.permissions.may_publish(&self.device, address.as_str()) {
            return self.deny_publish(publish, &address, out);
        }
        // Copied: a slice would keep the whole read buffer in memory for as long as the event waits.
        let payload = Bytes::copy_from_slice(publish.payload);
        let message = (wanted || publish.retain).then(|| Message {
            expires: publish.properties.message_expiry_s.map(|seconds| Message::expires(now(), seconds)),
            ..self.message(&address, &payload, publish.qos, publish.retain, &publish.properties)
        });
        let packet_id = (publish.qos == Qos::AtLeastOnce).then_some(publish.packet_id);
        let arrival = arrival(self.device.clone(), address, payload, &publish.properties);
        Ok(Effect::Offer(Box::new(Offer { arrival, packet_id, message })))
    }

    /// A v5 client is told by the PUBACK, in its turn; what came with QoS 0 is dropped. In v3.1.1 a PUBACK can only mean "on
    /// disk", so the connection ends [MQTT-3.3.5-2].
    fn deny_publish(&mut self, publish: &Publish<'_>, address: &Address, out: &mut BytesMut) -> Result<Effect, Close> {
        self.deny(Action::Publish, address.as_str());
        if self.version == Version::V4 {
            return Err(Close::new(
                Cause::NotAuthorized,
                format!("publishing to {:?} is not allowed", address.as_str()),
            ));
        }
        match publish.qos {
            Qos::AtLeastOnce if self.acks.is_empty() => codec::puback(publish.packet_id, NOT_AUTHORIZED, out),
            Qos::AtLeastOnce => {
                let packet_id = Some(publish.packet_id);
                // It waits for no commit of its own.
                self.acks.push(
                    Commit(0),
                    Pending { packet_id, bytes: 64, answer: Bytes::new(), message: None, reason: NOT_AUTHORIZED },
                );
            }
            Qos::AtMostOnce => {}
        }
        Ok(Effect::None)
    }

    fn deny(&mut self, action: Action, topic: &str) {
        let count = self.denied.take().filter(|denied| denied.action == action).map_or(0, |denied| denied.count) + 1;
        self.denied = Some(Box::new(Denied { action, topic: topic.into(), count }));
    }

    fn address(&mut self, publish: &Publish<'_>) -> Result<Address, Close> {
        let alias = match publish.properties.topic_alias {
            None => None,
            Some(alias) if (1..=self.limits.topic_aliases_max).contains(&alias) => Some(usize::from(alias)),
            Some(alias) => return Err(Close::new(Cause::TopicAlias, format!("topic alias {alias} is out of range"))),
        };
        if publish.topic.is_empty() {
            let known = alias.and_then(|alias| self.aliases.get(alias).cloned().flatten());
            // Both are protocol errors (MQTT 5.0, sections 3.3.2.1 and 3.3.2.3.4); in v3.1.1 there is no other topic name.
            return known.ok_or_else(|| match alias {
                Some(alias) => Close::new(Cause::Protocol, format!("topic alias {alias} was never set")),
                None => Close::new(Cause::Protocol, "a publish without a topic"),
            });
        }
        let address = match &self.last_address {
            Some(last) if last.as_str() == publish.topic => last.clone(),
            _ => address(publish.topic, &self.limits)?,
        };
        if let Some(alias) = alias {
            if self.aliases.len() <= alias {
                self.aliases.resize(alias + 1, None);
            }
            if let Some(entry) = self.aliases.get_mut(alias) {
                *entry = Some(address.clone());
            }
        }
        self.last_address = Some(address.clone());
        Ok(address)
    }

    fn message(
        &self,
        address: &Address,
        payload: &Bytes,
        qos: Qos,
        retain: bool,
        properties: &PublishProperties<'_>,
    ) -> Message {
        Message {
            topic: address.clone(),
            payload: payload.clone(),
            qos,
            retain,
            publisher: self.device.clone(),
            expires: None,
            properties: if properties.forwarded.is_empty() {
                Bytes::new()
            } else {
                properties.forwarded.concat().into()
            },
        }
    }

    fn wish(&mut self, filter: Filter<'_>, subscription_id: Option<u32>) -> Result<Wish, RefusedFilter> {
        let refused = |cause, reason| RefusedFilter::new(cause, reason, filter.path);
        if filter.path.starts_with("$share/") {
            return Err(refused(SubscriptionCause::Shared, "shared subscriptions are not offered"));
        }
        topic::check_filter(filter.path, &self.limits).map_err(|reason| refused(SubscriptionCause::Filter, reason))?;
        if !self.permissions.may_subscribe(&self.device, filter.path) {
            self.deny(Action::Subscribe, filter.path);
            return Err(refused(SubscriptionCause::NotAuthorized, "not allowed by the rules"));
        }
        Ok(Wish {
            filter: filter.path.into(),
            qos: if filter.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
            retain_handling: filter.retain_handling,
            subscription_id,
        })
    }
}

fn arrival(device: DeviceId, address: Address, payload: Bytes, properties: &PublishProperties<'_>) -> Arrival {
    let origin = match properties.sender_id {
        Some(id) if (1..=255).contains(&id.len()) => Origin::Id(id.into()),
        _ => Origin::Unmarked,
    };
    Arrival {
        source: SourceKind::Mqtt,
        device,
        address,
        origin,
        device_time: None,
        content_type: properties.content_type.and_then(|text| ContentType::new(text).ok()),
        payload,
        refused: false,
    }
}

fn address(topic: &str, limits: &Limits) -> Result<Address, Close> {
    topic::check_name(topic, limits).map_err(|reason| Close::new(Cause::TopicName, reason))?;
    Address::new(topic).map_err(|error| Close::new(Cause::TopicName, error.to_string()))
}

#[cfg(test)]
mod tests;
