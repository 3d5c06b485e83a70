//! What goes to one client: its subscriptions, its link to the router, and the QoS 1 deliveries that it has not
//! acknowledged. It outlives the connection where the session does.
//!
//! The router delivers once for each subscription; overlapping ones deliver more than once, as the standard allows
//! (section 3.3.4).

use std::collections::VecDeque;

use bytes::BytesMut;
use lamppost_event::DeviceId;

use crate::codec::{self, Outgoing, Qos, Version};
use crate::fanout::{Delivery, Fanout, Link, LinkEnded};
use crate::session::{SubscribeRequest, Wish};
use crate::topic;

struct Subscription {
    /// The link's number of it, not 0.
    number: usize,
    wish: Wish,
}

/// A delivery without its PUBACK.
struct Inflight {
    packet_id: u16,
    retain: bool,
    subscription_id: Option<u32>,
    delivery: Delivery,
}

/// How the client of this connection wants to be sent messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reception {
    pub(crate) version: Version,
    /// Unacknowledged QoS 1 deliveries.
    pub(crate) window: usize,
    pub(crate) packet_bytes_max: usize,
}

/// A client's way out.
#[derive(Default)]
pub(crate) struct Outbound {
    link: Option<Link>,
    subscriptions: Vec<Subscription>,
    numbers: usize,
    inflight: VecDeque<Inflight>,
    /// Unacknowledged on an earlier connection, and not sent again yet; before all that is new.
    again: VecDeque<Inflight>,
    last_packet_id: u16,
}

impl Outbound {
    /// Whether the session that this belongs to can go on: its router lives.
    pub(crate) async fn resumable(&self) -> bool {
        match &self.link {
            Some(link) => link.alive().await,
            None => true,
        }
    }

    /// What is subscribed to.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.iter().map(|subscription| &*subscription.wish.filter)
    }

    /// Subscribes, and returns a code for each filter.
    pub(crate) async fn subscribe(
        &mut self,
        request: SubscribeRequest,
        version: Version,
        subscriptions_max: usize,
        fanout: &Fanout,
    ) -> Result<Vec<u8>, LinkEnded> {
        let refused = |v5| if version == Version::V5 { v5 } else { 0x80 };
        let mut codes = Vec::with_capacity(request.filters.len());
        for wish in request.filters {
            let code = match wish {
                Err(code) => code,
                Ok(wish) => {
                    if self.link.is_none() {
                        self.link = fanout.open().await.ok();
                    }
                    match &self.link {
                        Some(link) if fanout.admits(&wish.filter) => {
                            let known = self.subscriptions.iter().position(|it| it.wish.filter == wish.filter);
                            if known.is_none() && self.subscriptions.len() >= subscriptions_max {
                                refused(0x97)
                            } else {
                                self.numbers += 1;
                                let number = self.numbers;
                                resubscribe(link, &mut self.subscriptions, known, number, wish)?
                            }
                        }
                        _ => refused(0x97),
                    }
                }
            };
            codes.push(code);
        }
        Ok(codes)
    }

    /// Unsubscribes, and returns a code for each filter.
    pub(crate) fn unsubscribe(&mut self, filters: &[Box<str>]) -> Result<Vec<u8>, LinkEnded> {
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            let known = self.subscriptions.iter().position(|it| it.wish.filter == *filter);
            codes.push(if known.is_some() { 0x00 } else { 0x11 });
            if let (Some(known), Some(link)) = (known, &self.link) {
                self.subscriptions.swap_remove(known);
                link.unsubscribe(filter)?;
            }
        }
        if self.subscriptions.is_empty() {
            self.link = None;
        }
        Ok(codes)
    }

    /// Whether a message would be taken.
    pub(crate) fn may_deliver(&self, reception: Reception) -> bool {
        self.link.is_some() && self.again.is_empty() && self.inflight.len() < reception.window
    }

    /// The next message from the router. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Delivery, LinkEnded> {
        match &mut self.link {
            Some(link) => link.next().await,
            None => std::future::pending().await,
        }
    }

    /// Writes a message, if it is for this client. Returns whether it was.
    pub(crate) fn deliver(
        &mut self,
        delivery: Delivery,
        device: &DeviceId,
        reception: Reception,
        out: &mut BytesMut,
    ) -> bool {
        let Some(wish) = self.subscription_of(&delivery) else { return false };
        if (wish.no_local && delivery.publisher == device.as_str().as_bytes())
            || (delivery.retained && wish.retain_handling == 2)
        {
            return false;
        }
        let qos = wish.qos.min(delivery.qos);
        let retain = delivery.retained || (wish.retain_as_published && delivery.retain);
        let subscription_id = wish.subscription_id;
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { self.free_packet_id() };
        let mut inflight = Inflight { packet_id, retain, subscription_id, delivery };
        inflight.delivery.qos = qos;
        let written = inflight.write(false, reception, out);
        if written && qos == Qos::AtLeastOnce {
            self.inflight.push_back(inflight);
        }
        written
    }

    /// The client has it. An unknown packet id is let pass: it may belong to an earlier connection.
    pub(crate) fn delivered(&mut self, packet_id: u16, reception: Reception, out: &mut BytesMut) {
        if let Some(at) = self.inflight.iter().position(|inflight| inflight.packet_id == packet_id) {
            self.inflight.remove(at);
        }
        self.send_again(reception, out);
    }

    /// A session goes on: what the client has not acknowledged is sent again, in order [MQTT-4.4.0-1].
    pub(crate) fn resume(&mut self, reception: Reception, out: &mut BytesMut) {
        self.inflight.append(&mut self.again);
        std::mem::swap(&mut self.inflight, &mut self.again);
        self.send_again(reception, out);
    }

    /// No more at a time than the client takes on this connection.
    fn send_again(&mut self, reception: Reception, out: &mut BytesMut) {
        while self.inflight.len() < reception.window {
            let Some(inflight) = self.again.pop_front() else { return };
            if inflight.write(true, reception, out) {
                self.inflight.push_back(inflight);
            }
        }
    }

    fn subscription_of(&self, delivery: &Delivery) -> Option<&Wish> {
        match delivery.subscription {
            Some(number) => self.subscriptions.iter().find(|it| it.number == number).map(|it| &it.wish),
            None => {
                let name = std::str::from_utf8(&delivery.topic).ok()?;
                self.subscriptions.iter().map(|it| &it.wish).find(|wish| topic::covers(&wish.filter, name))
            }
        }
    }

    fn free_packet_id(&mut self) -> u16 {
        // The window is smaller than the space of ids, so there is a free one.
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if self.inflight.iter().all(|inflight| inflight.packet_id != self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

/// A new subscription, or other options for a known one: then retained messages come again only where the client wants them
/// (v3.1.1 always does, [MQTT-3.8.4-3]), and the router sends them only to a subscription that is new to it.
fn resubscribe(
    link: &Link,
    subscriptions: &mut Vec<Subscription>,
    known: Option<usize>,
    number: usize,
    wish: Wish,
) -> Result<u8, LinkEnded> {
    let granted = u8::from(wish.qos == Qos::AtLeastOnce);
    match known.and_then(|at| subscriptions.get_mut(at)) {
        Some(subscription) if wish.retain_handling == 0 => {
            link.unsubscribe(&wish.filter)?;
            link.subscribe(&wish.filter, number)?;
            *subscription = Subscription { number, wish };
        }
        Some(subscription) => subscription.wish = wish,
        None => {
            link.subscribe(&wish.filter, number)?;
            subscriptions.push(Subscription { number, wish });
        }
    }
    Ok(granted)
}

impl Inflight {
    fn write(&self, duplicate: bool, reception: Reception, out: &mut BytesMut) -> bool {
        let message = Outgoing {
            duplicate,
            qos: self.delivery.qos,
            retain: self.retain,
            topic: &self.delivery.topic,
            packet_id: self.packet_id,
            message_expiry_s: self.delivery.message_expiry_s,
            subscription_id: self.subscription_id,
            properties: &self.delivery.properties,
            payload: &self.delivery.payload,
        };
        codec::publish(reception.version, &message, reception.packet_bytes_max, out)
    }
}
