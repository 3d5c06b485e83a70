//! One session's subscriptions and what waits for it, and how that is written to its client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use lamppost_event::{Address, Commit, DeviceId, Monotonic};

use super::backlog::Backlogs;
use super::queue::{Entry, Queue};
use crate::bell::Bell;
use crate::codec::{self, Outgoing, Qos, Version};
use crate::fanout::{Delivery, Held};
use crate::message::Message;
use crate::outbound::Reception;
use crate::session::Wish;
use crate::{Limits, topic};

/// A subscription.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    /// The router's link's number of it, not 0.
    pub(crate) number: usize,
    pub(crate) wish: Wish,
    /// As it is noted: what is retained under its filter is still to come, or to be acknowledged.
    pub(crate) owed: bool,
}

/// A session, shared between its connection and those who have something for it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) device: DeviceId,
    /// It outlives its connection.
    pub(crate) durable: bool,
    /// Something was queued.
    pub(crate) wake: Bell,
    subscriber: Mutex<Subscriber>,
}

#[derive(Debug)]
pub(crate) struct Subscriber {
    device: DeviceId,
    durable: bool,
    pub(crate) subscriptions: Vec<Subscription>,
    numbers: usize,
    pub(crate) queue: Queue,
    pub(crate) backlogs: Backlogs,
    /// That the subscriptions say of what is owed is what the session's note says, or is to say with the commit of its last change.
    pub(super) owing_is_noted: bool,
}

impl Kept {
    pub(crate) fn new(device: DeviceId, durable: bool) -> Arc<Self> {
        let subscriber = Subscriber {
            device: device.clone(),
            durable,
            subscriptions: Vec::new(),
            numbers: 0,
            queue: Queue::default(),
            backlogs: Backlogs::default(),
            owing_is_noted: true,
        };
        Arc::new(Self { device, durable, wake: Bell::default(), subscriber: Mutex::new(subscriber) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Subscriber> {
        self.subscriber.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The topics that a connection has aliases for, towards its client [MQTT-3.1.2-26], [MQTT-3.1.2-27].
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    of: HashMap<Address, u16>,
    max: u16,
}

impl Aliases {
    /// As many as the client takes, and no more than `ours`.
    pub(crate) fn new(clients: u16, ours: u16) -> Self {
        Self { of: HashMap::new(), max: clients.min(ours) }
    }

    /// The alias of a topic and whether the client knows it already.
    fn of(&self, topic: &Address) -> Option<(u16, bool)> {
        match self.of.get(topic) {
            Some(alias) => Some((*alias, true)),
            None => u16::try_from(self.of.len()).ok().filter(|used| *used < self.max).map(|used| (used + 1, false)),
        }
    }
}

/// The way to the client of a connection.
pub(crate) struct Way<'a> {
    pub(crate) reception: Reception,
    pub(crate) aliases: &'a mut Aliases,
    pub(crate) out: &'a mut BytesMut,
    /// Nothing is written behind more than this.
    pub(crate) out_bytes_max: usize,
    pub(crate) now: Monotonic,
}

/// How one message is delivered.
struct Manner<'a> {
    qos: Qos,
    packet_id: u16,
    duplicate: bool,
    retain: bool,
    subscription_ids: &'a [u32],
}

impl Way<'_> {
    pub(super) fn is_clear(&self) -> bool {
        self.out.len() < self.out_bytes_max
    }

    /// `false`: it is larger than the client takes.
    fn write(&mut self, message: &Message, manner: &Manner<'_>) -> bool {
        let Reception { version, packet_bytes_max, .. } = self.reception;
        let alias = if version == Version::V5 { self.aliases.of(&message.topic) } else { None };
        let write = |alias: Option<(u16, bool)>, out: &mut BytesMut| {
            let outgoing = Outgoing {
                duplicate: manner.duplicate,
                qos: manner.qos,
                retain: manner.retain,
                topic: if matches!(alias, Some((_, true))) { b"" } else { message.topic.as_str().as_bytes() },
                packet_id: manner.packet_id,
                topic_alias: alias.map(|(alias, _)| alias),
                message_expiry_s: message.expiry_left_s(self.now),
                subscription_ids: manner.subscription_ids,
                properties: &message.properties,
                payload: &message.payload,
            };
            codec::publish(version, &outgoing, packet_bytes_max, out)
        };
        if !write(alias, self.out) {
            // It may be its alias that makes it too large.
            return alias.is_some() && write(None, self.out);
        }
        if let Some((alias, false)) = alias {
            self.aliases.of.insert(message.topic.clone(), alias);
        }
        true
    }
}

impl Subscriber {
    pub(crate) fn wishes(&self) -> impl Iterator<Item = &Wish> {
        self.subscriptions.iter().map(|subscription| &subscription.wish)
    }

    /// It outlives its connection.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable
    }

    pub(crate) fn next_number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    /// Nothing would be lost with it.
    pub(super) fn is_blank(&self) -> bool {
        self.subscriptions.is_empty() && self.queue.len() == 0
    }

    pub(super) fn has_room(&self, bytes: usize, limits: &Limits) -> bool {
        let (messages, waiting) = self.queue.live();
        messages < limits.queue_messages_max && waiting + bytes <= limits.queue_bytes_max
    }

    /// Whether it is the turn of what is retained: behind what waited before its subscription, and before all else.
    pub(super) fn is_backlogs_turn(&self) -> bool {
        self.backlogs.come_before(self.queue.next())
    }

    /// The commit that what is to be sent next goes with, if the disk has not got it yet.
    pub(crate) fn waits_for(&self, durable: Commit) -> Option<Commit> {
        let first = if self.is_backlogs_turn() {
            self.backlogs.first().map(|backlog| backlog.not_before)
        } else {
            self.queue.next().map(|entry| entry.commit)
        };
        first.filter(|commit| *commit > durable)
    }

    /// Whether the next message may be sent, or looked for.
    pub(crate) fn can_send(&self, durable: Commit, window: usize) -> bool {
        let in_flight = self.queue.in_flight();
        if self.is_backlogs_turn() {
            return self.backlogs.may_go_on(durable, in_flight < window);
        }
        let may =
            |entry: &Entry| entry.commit <= durable && (entry.message.qos == Qos::AtMostOnce || in_flight < window);
        self.queue.next().is_some_and(may)
    }

    /// Whether a message of the router's may be sent before anything that waits here. With QoS 0 it overtakes what waits with QoS 1 for a
    /// remembered session, but nothing that is retained.
    pub(crate) fn is_free(&self, window: usize, limits: &Limits) -> bool {
        if !self.backlogs.is_empty() {
            return false;
        }
        let room = self.queue.bytes() < limits.queue_bytes_max;
        self.durable || (self.queue.next().is_none() && self.queue.in_flight() < window && room)
    }

    /// Writes what waits, as far as it is on disk and the client takes it. Returns how many were delivered, and adds the numbers of
    /// those that are done with to `done`.
    pub(crate) fn send(&mut self, durable: Commit, way: &mut Way<'_>, done: &mut Vec<u64>) -> u64 {
        let mut delivered = 0;
        while way.is_clear() && !self.is_backlogs_turn() {
            let Some(entry) = self.queue.next().filter(|entry| entry.commit <= durable) else { break };
            let at_least_once = entry.message.qos == Qos::AtLeastOnce;
            if at_least_once && self.queue.in_flight() >= way.reception.window {
                break;
            }
            // What was begun is brought to its end (MQTT 5.0, section 3.3.2.3.3).
            let over = entry.message.is_expired(way.now) && !entry.begun;
            let written = !over && self.write(entry, way);
            if !entry.begun {
                self.backlogs.one_was_sent();
            }
            delivered += u64::from(written);
            if written && at_least_once {
                self.queue.mark_sent();
            } else {
                done.extend(self.queue.drop_next().and_then(|entry| entry.number));
            }
        }
        delivered
    }

    /// Writes a retained message for a subscription, where it is to be acknowledged under this number. `false`: the client takes none
    /// of this size.
    pub(super) fn send_retained(
        &mut self,
        wish: &Wish,
        message: Arc<Message>,
        (number, held): (Option<u64>, Option<Held>),
        way: &mut Way<'_>,
    ) -> bool {
        let qos = message.qos.min(wish.qos);
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { self.queue.free_packet_id() };
        let subscription_ids = wish.subscription_id.as_slice();
        let written = way.write(&message, &Manner { qos, packet_id, duplicate: false, retain: true, subscription_ids });
        if written && qos == Qos::AtLeastOnce {
            let retained_for = Some(wish.subscription_id);
            let commit = Commit(0);
            self.queue.push_next(Entry {
                number,
                packet_id,
                commit,
                duplicate: false,
                begun: false,
                retained_for,
                held,
                message,
            });
            self.queue.mark_sent();
        }
        written
    }

    fn write(&self, entry: &Entry, way: &mut Way<'_>) -> bool {
        let message = &*entry.message;
        let (retain, subscription_ids) = match entry.retained_for {
            Some(id) => (true, id.into_iter().collect()),
            None => self.all_that_cover(message),
        };
        let (qos, packet_id, duplicate) = (message.qos, entry.packet_id, entry.duplicate);
        way.write(message, &Manner { qos, packet_id, duplicate, retain, subscription_ids: &subscription_ids })
    }

    /// One copy stands for all subscriptions that cover the topic [MQTT-3.3.4-4]: whether it has the retain flag, and their ids.
    fn all_that_cover(&self, message: &Message) -> (bool, Vec<u32>) {
        let covering = self.wishes().filter(|wish| self.is_for(wish, message));
        let (mut retain, mut ids) = (false, Vec::new());
        for wish in covering {
            retain |= wish.retain_as_published && message.retain;
            ids.extend(wish.subscription_id);
        }
        (retain, ids)
    }

    fn is_for(&self, wish: &Wish, message: &Message) -> bool {
        topic::covers(&wish.filter, message.topic.as_str()) && !(wish.no_local && message.publisher == self.device)
    }

    /// Writes a message of the router's, if it is for this client and not queued for it. Returns whether it was.
    pub(crate) fn deliver(&mut self, delivery: Delivery, way: &mut Way<'_>) -> bool {
        let Delivery { message, subscription, held } = delivery;
        if message.is_expired(way.now) || self.is_queued(&message) {
            return false;
        }
        let wish = self.subscriptions.iter().find(|it| it.number == subscription).map(|it| &it.wish);
        let Some(wish) = wish.filter(|wish| !(wish.no_local && message.publisher == self.device)) else { return false };
        let (qos, retain) = (wish.qos.min(message.qos), wish.retain_as_published && message.retain);
        let ids = wish.subscription_id;
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { self.queue.free_packet_id() };
        let manner = Manner { qos, packet_id, duplicate: false, retain, subscription_ids: ids.as_slice() };
        let written = way.write(&message, &manner);
        if written && qos == Qos::AtLeastOnce {
            let commit = Commit(0);
            self.queue.push_next(Entry {
                number: None,
                packet_id,
                commit,
                duplicate: false,
                begun: false,
                retained_for: None,
                held: Some(held),
                message,
            });
            self.queue.mark_sent();
        }
        written
    }

    /// Whether the message was queued for this session when it was published: then the router's copy is one too many.
    fn is_queued(&self, message: &Message) -> bool {
        let queued = |wish: &Wish| wish.qos == Qos::AtLeastOnce && self.is_for(wish, message);
        self.durable && message.qos == Qos::AtLeastOnce && self.wishes().any(queued)
    }
}
