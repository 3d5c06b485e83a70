//! What goes to one client over one connection: its session's queue, and the router's messages through a link. The queue outlives the
//! connection where the session does; the link does not.
//!
//! The router delivers once for each subscription; overlapping ones deliver more than once, as the standard allows
//! (section 3.3.4). What a remembered session has queued goes out once.

use std::sync::Arc;

use bytes::BytesMut;
use lamppost_event::{Commit, DeviceId, Monotonic, NoteRefusal};

use crate::codec::Version;
use crate::connection::Shared;
use crate::counters::add;
use crate::fanout::{Delivery, Fanout, Link, LinkEnded};
use crate::session::{SubscribeRequest, Wish};
use crate::sessions::{Aliases, Kept, Subscriber, Subscription, Way};

/// How the client of this connection wants to be sent messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reception {
    pub(crate) version: Version,
    /// Unacknowledged QoS 1 deliveries.
    pub(crate) window: usize,
    pub(crate) packet_bytes_max: usize,
}

/// The answer to a SUBSCRIBE or UNSUBSCRIBE: a code for each filter, and what has to be on disk before it is given.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) codes: Vec<u8>,
    pub(crate) commit: Option<Commit>,
}

/// A client's way out.
pub(crate) struct Outbound {
    pub(crate) kept: Arc<Kept>,
    reception: Reception,
    aliases: Aliases,
    link: Option<Link>,
}

impl Outbound {
    pub(crate) fn new(kept: Arc<Kept>, reception: Reception, aliases: Aliases) -> Self {
        Self { kept, reception, aliases, link: None }
    }

    /// What is subscribed to.
    pub(crate) fn filters(&self) -> Vec<Box<str>> {
        self.kept.lock().wishes().map(|wish| wish.filter.clone()).collect()
    }

    /// The largest packet that the client takes.
    pub(crate) fn packet_bytes_max(&self) -> usize {
        self.reception.packet_bytes_max
    }

    pub(crate) fn device(&self) -> &DeviceId {
        &self.kept.device
    }

    /// Subscribes at the router to what the session has subscriptions for.
    pub(crate) async fn link_again(&mut self, fanout: &Fanout) -> Result<(), LinkEnded> {
        self.link = None;
        let filters: Vec<(Box<str>, usize)> = {
            let subscriber = self.kept.lock();
            subscriber.subscriptions.iter().map(|it| (it.wish.filter.clone(), it.number)).collect()
        };
        if filters.is_empty() {
            return Ok(());
        }
        // With as many subscribers as allowed, what is queued comes all the same.
        let Ok(link) = fanout.open().await else { return Ok(()) };
        for (filter, number) in filters {
            if fanout.admits(&filter) {
                link.subscribe(&filter, number)?;
            }
        }
        self.link = Some(link);
        Ok(())
    }

    /// Subscribes.
    pub(crate) async fn subscribe(&mut self, request: SubscribeRequest, shared: &Shared) -> Result<Answer, LinkEnded> {
        if self.link.is_none() && request.filters.iter().any(Result::is_ok) {
            self.link = shared.fanout.open().await.ok();
        }
        let refused = if self.reception.version == Version::V5 { 0x97 } else { 0x80 };
        let Some(link) = &self.link else {
            let codes = request.filters.into_iter().map(|wish| wish.err().unwrap_or(refused)).collect();
            return Ok(Answer { codes, commit: None });
        };
        let (limits, mut retained, mut fresh) = (&shared.limits, Vec::new(), Vec::new());
        let changed = shared.sessions.change(&self.kept, |subscriber| {
            let codes = request.filters.iter().map(|wish| match wish {
                // Its own bound comes first: what it can't have takes no place among all clients' filters.
                Ok(wish)
                    if may_add(subscriber, wish, limits.subscriptions_max) && shared.fanout.admits(&wish.filter) =>
                {
                    let before = subscriber.subscriptions.len();
                    let Some(number) = add_to(subscriber, wish, limits.subscriptions_max) else { return refused };
                    let new = subscriber.subscriptions.len() > before;
                    if new {
                        fresh.push((wish.filter.clone(), number));
                    }
                    if wish.retain_handling == 0 || (wish.retain_handling == 1 && new) {
                        retained.push(wish.clone());
                    }
                    wish.qos as u8
                }
                Ok(_) => refused,
                Err(code) => *code,
            });
            codes.collect::<Vec<u8>>()
        });
        let (codes, commit) = match changed {
            Ok(changed) => changed,
            Err(refusal) => return Ok(self.refuse(&request, &refusal, refused)),
        };
        for (filter, number) in fresh {
            link.subscribe(&filter, number)?;
        }
        self.push_retained(&retained, commit, shared);
        Ok(Answer { codes, commit })
    }

    fn refuse(&self, request: &SubscribeRequest, refusal: &NoteRefusal, refused: u8) -> Answer {
        tracing::warn!(client = self.device().as_str(), %refusal, "a subscription of its session can't be remembered");
        let codes = request.filters.iter().map(|wish| wish.as_ref().err().copied().unwrap_or(refused)).collect();
        Answer { codes, commit: None }
    }

    /// Queues retained messages behind the SUBACK.
    fn push_retained(&self, wishes: &[Wish], commit: Option<Commit>, shared: &Shared) {
        // What a remembered session is to get is queued, and waits for the disk there: the newest. The router's copy of one that is on its way
        // would not be given to it any more.
        let upto = if self.kept.durable { Commit(u64::MAX) } else { shared.durable_now() };
        let answered = commit.unwrap_or(Commit(0));
        for wish in wishes {
            for (commit, message) in shared.retained.covered(&wish.filter, upto) {
                let commit = commit.max(answered);
                if wish.no_local && message.publisher == self.kept.device {
                    continue;
                }
                if !self.kept.lock().push_retained(wish, message, commit, &shared.limits) {
                    add(&shared.counters.queue_shed, 1);
                }
            }
        }
    }

    /// Unsubscribes.
    pub(crate) fn unsubscribe(&mut self, filters: &[Box<str>], shared: &Shared) -> Result<Answer, LinkEnded> {
        let changed = shared.sessions.change(&self.kept, |subscriber| {
            let codes = filters.iter().map(|filter| {
                let known = subscriber.subscriptions.iter().position(|it| it.wish.filter == *filter);
                known.map_or(0x11, |at| {
                    subscriber.subscriptions.remove(at);
                    0x00
                })
            });
            codes.collect::<Vec<u8>>()
        });
        // Without room for the note the subscription stays: 0x83, implementation specific error (section 3.11.3).
        let (codes, commit) = changed.unwrap_or_else(|_| (vec![0x83; filters.len()], None));
        if let Some(link) = &self.link {
            for (filter, _) in filters.iter().zip(&codes).filter(|(_, code)| **code == 0) {
                link.unsubscribe(filter)?;
            }
        }
        if self.kept.lock().subscriptions.is_empty() {
            self.link = None;
        }
        Ok(Answer { codes, commit })
    }

    /// Whether a message of the router's would be taken.
    pub(crate) fn may_deliver(&self) -> bool {
        self.link.is_some() && (self.kept.durable || self.kept.lock().is_free(self.reception.window))
    }

    /// The next message from the router. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Delivery, LinkEnded> {
        match &mut self.link {
            Some(link) => link.next().await,
            None => std::future::pending().await,
        }
    }

    /// Whether something waits that may be written.
    pub(crate) fn can_send(&self, durable: Commit) -> bool {
        self.kept.lock().can_send(durable, self.reception.window)
    }

    /// Writes a message of the router's, if it is for this client.
    pub(crate) fn deliver(&mut self, delivery: Delivery, now: Monotonic, shared: &Shared, out: &mut BytesMut) {
        let Self { kept, reception, aliases, .. } = self;
        let mut way = Way { reception: *reception, aliases, out, out_bytes_max: usize::MAX, now };
        if kept.lock().deliver(delivery, &mut way) {
            add(&shared.counters.delivered, 1);
        }
    }

    /// Writes what waits for the client, as far as it is on disk and there is room.
    pub(crate) fn send(&mut self, durable: Commit, now: Monotonic, shared: &Shared, out: &mut BytesMut) {
        let Self { kept, reception, aliases, .. } = self;
        let out_bytes_max = shared.limits.outgoing_bytes_max;
        let mut way = Way { reception: *reception, aliases, out, out_bytes_max, now };
        let mut done = Vec::new();
        let delivered = kept.lock().send(durable, &mut way, &mut done);
        add(&shared.counters.delivered, delivered);
        shared.sessions.done(kept, &done);
    }

    /// The commit that what is to be sent next goes with, if that is not on disk yet.
    pub(crate) fn waits_for(&self, durable: Commit) -> Option<Commit> {
        if self.kept.durable { self.kept.lock().waits_for(durable) } else { None }
    }

    /// The client has it. An unknown packet id is let pass: it may belong to an earlier connection.
    pub(crate) fn delivered(&self, packet_id: u16, shared: &Shared) {
        let acknowledged = self.kept.lock().queue.acknowledge(packet_id);
        if let Some(number) = acknowledged.and_then(|entry| entry.number) {
            shared.sessions.done(&self.kept, &[number]);
        }
    }
}

fn may_add(subscriber: &Subscriber, wish: &Wish, subscriptions_max: usize) -> bool {
    let subscriptions = &subscriber.subscriptions;
    subscriptions.len() < subscriptions_max || subscriptions.iter().any(|it| it.wish.filter == wish.filter)
}

/// A new subscription, or other options for a known one [MQTT-3.8.4-3]. Returns its number; `None`: there are as many as allowed.
fn add_to(subscriber: &mut Subscriber, wish: &Wish, subscriptions_max: usize) -> Option<usize> {
    if let Some(known) = subscriber.subscriptions.iter_mut().find(|it| it.wish.filter == wish.filter) {
        known.wish = wish.clone();
        return Some(known.number);
    }
    if subscriber.subscriptions.len() >= subscriptions_max {
        return None;
    }
    let number = subscriber.next_number();
    subscriber.subscriptions.push(Subscription { number, wish: wish.clone() });
    Some(number)
}
