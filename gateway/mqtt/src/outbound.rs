//! What goes to one client over one connection: its session's queue, and the router's messages through a link. The queue outlives the
//! connection where the session does; the link does not.
//!
//! What comes through the router is delivered once for each subscription; overlapping ones deliver more than once, as the standard allows
//! (section 3.3.4). What a remembered session has queued goes out once.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use lamppost_event::{Commit, DeviceId, Monotonic, NoteRefusal};
use tokio::time::Instant;

use crate::cause::RefusedFilter;
use crate::codec::Version;
use crate::connection::Shared;
use crate::counters::{Counters, add};
use crate::fanout::{Delivery, Fanout, Link, LinkEnded};
use crate::filters::filter_bytes;
use crate::retained::Upto;
use crate::session::{SubscribeRequest, Wish};
use crate::sessions::{Aliases, HandOut, Kept, Subscriber, Subscription, Way};
use crate::{Limits, SubscriptionCause};

/// How the client of this connection wants to be sent messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reception {
    pub(crate) version: Version,
    /// Unacknowledged QoS 1 deliveries.
    pub(crate) window: usize,
    pub(crate) packet_bytes_max: usize,
}

/// Retained messages that are sent, or looked for in vain some hundreds at a time, before others have their turn.
const AT_ONCE_MAX: usize = 32;

/// The subscription stays: implementation specific error (MQTT 5.0, section 3.11.3).
pub(crate) const NOT_UNSUBSCRIBED: u8 = 0x83;

/// A subscription is refused (MQTT 3.1.1, section 3.9.3).
const REFUSED_V4: u8 = 0x80;

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
        kept.lock().backlogs.try_again();
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

    /// Subscribes at the router to what the session has subscriptions for. It is not asked whether there is room: what a session has
    /// subscribed to holds for as long as it is remembered, and all that remembered sessions have is bounded as what all clients have is.
    pub(crate) fn link_again(&mut self, fanout: &Fanout) {
        self.link = None;
        let subscriber = self.kept.lock();
        for Subscription { number, wish, .. } in &subscriber.subscriptions {
            self.link.get_or_insert_with(|| fanout.open()).subscribe(&wish.filter, *number);
        }
    }

    /// Subscribes.
    pub(crate) fn subscribe(&mut self, request: &SubscribeRequest, shared: &Shared) -> Answer {
        let mut news = News::default();
        let changed = shared.sessions.change(&self.kept, |subscriber| {
            let granted = request.filters.iter().map(|asked| match asked {
                Ok(wish) => news.add(subscriber, wish, shared),
                Err(refused) => Err(refused.clone()),
            });
            granted.collect::<Vec<Granted>>()
        });
        let (granted, commit) = match changed {
            Ok(changed) => changed,
            Err(refusal) => {
                add(&shared.counters.subscriptions_unnoted, 1);
                return Answer { codes: self.codes(none_noted(request, &refusal), &shared.counters), commit: None };
            }
        };
        for (filter, number) in news.fresh {
            self.link.get_or_insert_with(|| shared.fanout.open()).subscribe(&filter, number);
        }
        self.begin_backlogs(&news.retained, commit, shared);
        Answer { codes: self.codes(granted, &shared.counters), commit }
    }

    /// The codes of a SUBACK. What is refused is counted, and told.
    fn codes(&self, granted: Vec<Granted>, counters: &Counters) -> Vec<u8> {
        let code = |refused: RefusedFilter| {
            counters.refuse_filter(&refused, self.device().as_str());
            if self.reception.version == Version::V5 { refused.cause.reason() } else { REFUSED_V4 }
        };
        granted.into_iter().map(|granted| granted.unwrap_or_else(code)).collect()
    }

    /// What is retained is sent behind the SUBACK.
    fn begin_backlogs(&self, numbers: &[(usize, bool)], commit: Option<Commit>, shared: &Shared) {
        if numbers.is_empty() {
            return;
        }
        let answered = commit.unwrap_or(Commit(0));
        // A remembered session is not given the router's copy of what is on its way to the disk: it waits for the newest there.
        let (upto, last) = if self.kept.durable {
            shared.retained.now()
        } else {
            (Upto::on_disk_with(shared.durable_now()), Commit(0))
        };
        let mut subscriber = self.kept.lock();
        numbers.iter().for_each(|(number, owed)| subscriber.begin_backlog(*number, answered.max(last), upto, *owed));
    }

    /// Unsubscribes.
    pub(crate) fn unsubscribe(&mut self, filters: &[Box<str>], shared: &Shared) -> Answer {
        let mut ended = Vec::new();
        let changed = shared.sessions.change(&self.kept, |subscriber| {
            let codes = filters.iter().map(|filter| {
                let known = subscriber.subscriptions.iter().position(|it| it.wish.filter == *filter);
                known.map_or(0x11, |at| {
                    ended.push(subscriber.subscriptions.remove(at).number);
                    0x00
                })
            });
            codes.collect::<Vec<u8>>()
        });
        // Without room for the note the subscription stays.
        let (codes, commit) = changed.unwrap_or_else(|_| {
            ended.clear();
            (vec![NOT_UNSUBSCRIBED; filters.len()], None)
        });
        self.kept.lock().end_backlogs_of(&ended);
        if let Some(link) = &mut self.link {
            let left = filters.iter().zip(&codes).filter(|(_, code)| **code == 0);
            left.for_each(|(filter, _)| link.unsubscribe(filter));
        }
        if self.kept.lock().subscriptions.is_empty() {
            self.link = None;
        }
        Answer { codes, commit }
    }

    /// Whether a message of the router's would be taken.
    pub(crate) fn may_deliver(&self, limits: &Limits) -> bool {
        self.link.is_some() && self.kept.lock().is_free(self.reception.window, limits)
    }

    /// The next message from the router, or the task is woken when there may be one.
    pub(crate) fn poll_next(&self, context: &Context<'_>) -> Poll<Result<Delivery, LinkEnded>> {
        self.link.as_ref().map_or(Poll::Pending, |link| link.poll_next(context))
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
        let Self { kept, reception, aliases, link } = self;
        let out_bytes_max = shared.limits.outgoing_bytes_max;
        let mut way = Way { reception: *reception, aliases, out, out_bytes_max, now };
        let hand_out = HandOut { kept, link: link.as_ref(), shared, durable };
        for _ in 0..AT_ONCE_MAX {
            let mut done = Vec::new();
            let delivered = kept.lock().send(durable, &mut way, &mut done);
            shared.sessions.done(kept, &done);
            let (more, retained) = hand_out.one(&mut way);
            add(&shared.counters.delivered, delivered + retained);
            if !more {
                break;
            }
        }
    }

    /// When what is retained, and waits for room among all clients, is looked at again.
    pub(crate) fn wants_room(&self) -> Option<Instant> {
        self.kept.lock().backlogs.wants_room()
    }

    /// Looks at it again, if it is time.
    pub(crate) fn try_again(&self, now: Instant) {
        let backlogs = &mut self.kept.lock().backlogs;
        if backlogs.wants_room().is_some_and(|then| then <= now) {
            backlogs.try_again();
        }
    }

    /// The commit that what is to be sent next goes with, if that is not on disk yet.
    pub(crate) fn waits_for(&self, durable: Commit) -> Option<Commit> {
        if self.kept.durable { self.kept.lock().waits_for(durable) } else { None }
    }

    /// The client has it. An unknown packet id is let pass: it may belong to an earlier connection.
    pub(crate) fn delivered(&self, packet_id: u16, shared: &Shared) {
        let acknowledged = {
            let mut subscriber = self.kept.lock();
            let acknowledged = subscriber.queue.acknowledge(packet_id);
            if acknowledged.is_some() {
                subscriber.backlogs.try_again();
            }
            acknowledged
        };
        if let Some(number) = acknowledged.and_then(|entry| entry.number) {
            shared.sessions.done(&self.kept, &[number]);
        }
    }
}

/// The QoS of a subscription, or why it is refused.
type Granted = Result<u8, RefusedFilter>;

/// None of what was asked for can be had: the session that it belongs to can't be noted.
fn none_noted(request: &SubscribeRequest, refusal: &NoteRefusal) -> Vec<Granted> {
    let refused = |asked: &Result<Wish, RefusedFilter>| match asked {
        Ok(wish) => RefusedFilter::new(SubscriptionCause::Unnoted, refusal.to_string(), &wish.filter),
        Err(refused) => refused.clone(),
    };
    request.filters.iter().map(|asked| Err(refused(asked))).collect()
}

/// What a SUBSCRIBE brings beside its answer.
#[derive(Default)]
struct News {
    /// Filters that were not subscribed to before, with their numbers.
    fresh: Vec<(Box<str>, usize)>,
    fresh_bytes: usize,
    /// The subscriptions that what is retained is to be sent for, and whether a remembered session is owed some.
    retained: Vec<(usize, bool)>,
}

impl News {
    /// A new subscription, or other options for a known one [MQTT-3.8.4-3]. Gives its code.
    fn add(&mut self, subscriber: &mut Subscriber, wish: &Wish, shared: &Shared) -> Granted {
        let durable = subscriber.is_durable();
        let known = subscriber.subscriptions.iter_mut().find(|it| it.wish.filter == wish.filter);
        let new = known.is_none();
        let brings = wish.retain_handling == 0 || (wish.retain_handling == 1 && new);
        let owes = brings && durable && shared.retained.has_under(&wish.filter);
        let number = if let Some(known) = known {
            // Of one that is as it was nothing is written at once: should it take long, it is noted then.
            known.owed |= owes && known.wish != *wish;
            known.wish = wish.clone();
            known.number
        } else {
            // Its own bound comes first: what it can't have takes no place among all clients' filters.
            let refused = |cause, reason| Err(RefusedFilter::new(cause, reason, &wish.filter));
            if subscriber.subscriptions.len() >= shared.limits.subscriptions_max {
                return refused(SubscriptionCause::Subscriptions, "more subscriptions than a client may have");
            }
            if !shared.fanout.admits(&wish.filter, self.fresh_bytes) {
                return refused(SubscriptionCause::Filters, "no room among the filters of all clients");
            }
            let number = subscriber.next_number();
            subscriber.subscriptions.push(Subscription { number, wish: wish.clone(), owed: owes });
            self.fresh_bytes += filter_bytes(&wish.filter);
            self.fresh.push((wish.filter.clone(), number));
            number
        };
        if brings {
            self.retained.push((number, owes));
        }
        Ok(wish.qos as u8)
    }
}
