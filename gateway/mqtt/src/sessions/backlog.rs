//! What is retained under the filters of new subscriptions, and is still to be sent: a place in the order of the topics, never a copy. The
//! content is looked up when there is room for it, one message at a time.
//!
//! - **Invariant:** a subscription costs one place, however much is retained; a client has no more places than subscriptions.
//! - **Invariant:** it takes no room from live messages, and none of those that came after the subscription overtakes it.
//! - **Invariant:** of each topic at most one message comes: what was retained when the client subscribed. What was retained anew since then
//!   went to it as a live message, and is not sent again behind newer ones.

use std::collections::VecDeque;

use lamppost_event::{Address, Commit};
use tokio::time::Instant;

use super::queue::Entry;
use super::subscriber::Way;
use super::{Kept, Subscriber};
use crate::codec::Qos;
use crate::connection::{ROOM_POLL, Shared};
use crate::counters::add;
use crate::fanout::Link;
use crate::retained::{Found, Step, Upto};
use crate::session::Wish;

/// What is to be sent for one subscription.
#[derive(Debug, Clone)]
pub(crate) struct Backlog {
    /// Of the subscription.
    pub(crate) number: usize,
    /// Not to be begun before this is on disk.
    pub(crate) not_before: Commit,
    /// What was retained when it was subscribed to.
    pub(crate) upto: Upto,
    /// The last topic that is done with.
    after: Option<Address>,
    /// Messages that waited before it, and are sent before it.
    ahead: usize,
    /// There was something: a restart must not forget it.
    owed: bool,
}

/// Why the first one does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Halt {
    #[default]
    None,
    /// The client has as much unacknowledged as it takes.
    Window,
    /// All clients together have. It is looked at again then.
    Room(Instant),
}

fn no_room() -> Halt {
    Halt::Room(Instant::now() + ROOM_POLL)
}

/// So often it is asked for room for a message by a client that holds nothing itself, four times a second. Then it is left out, and counted,
/// since what is live waits behind it.
const ROOM_TRIES_MAX: u32 = 12;

/// Those of one session, in the order of its subscribing.
#[derive(Debug, Default)]
pub(crate) struct Backlogs {
    waiting: VecDeque<Backlog>,
    halt: Halt,
    /// How often there was no room.
    tries: u32,
}

impl Backlogs {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn owe(&self, number: usize) -> bool {
        self.waiting.iter().any(|backlog| backlog.number == number && backlog.owed)
    }

    pub(super) fn first(&self) -> Option<&Backlog> {
        self.waiting.front()
    }

    /// A subscription brings what is retained; one that it brought before and is not sent yet begins anew.
    fn begin(&mut self, backlog: Backlog) {
        self.waiting.retain(|before| before.number != backlog.number);
        self.waiting.push_back(backlog);
    }

    /// Whether what is retained is sent before what waits next.
    pub(super) fn come_before(&self, next: Option<&Entry>) -> bool {
        let Some(first) = self.waiting.front() else { return false };
        // What was begun comes to its end first.
        next.is_none_or(|next| !next.begun && first.ahead == 0)
    }

    pub(super) fn may_go_on(&self, durable: Commit, window: bool) -> bool {
        let ready = self.waiting.front().is_some_and(|first| first.not_before <= durable);
        ready
            && match self.halt {
                Halt::None => true,
                Halt::Window => window,
                Halt::Room(_) => false,
            }
    }

    /// One that waited was sent.
    pub(super) fn one_was_sent(&mut self) {
        self.waiting.iter_mut().for_each(|backlog| backlog.ahead = backlog.ahead.saturating_sub(1));
    }

    /// There may be room now.
    pub(crate) fn try_again(&mut self) {
        self.halt = Halt::None;
    }

    /// When the first one, which waits for room among all clients, is looked at again. Whatever else happens to its client until then
    /// changes nothing about that.
    pub(crate) fn wants_room(&self) -> Option<Instant> {
        match self.halt {
            Halt::Room(then) if !self.is_empty() => Some(then),
            _ => None,
        }
    }

    fn done_with(&mut self, topic: Address) {
        (self.halt, self.tries) = (Halt::None, 0);
        if let Some(first) = self.waiting.front_mut() {
            first.after = Some(topic);
        }
    }

    /// The first one is over; what it was.
    fn end_first(&mut self) -> Option<Backlog> {
        let first = self.waiting.pop_front();
        self.first_is_another();
        first
    }

    /// These are no longer subscribed to.
    fn end_of(&mut self, numbers: &[usize]) {
        let first = self.waiting.front().map(|first| first.number);
        self.waiting.retain(|backlog| !numbers.contains(&backlog.number));
        if self.waiting.front().map(|first| first.number) != first {
            self.first_is_another();
        }
    }

    fn first_is_another(&mut self) {
        (self.halt, self.tries) = (Halt::None, 0);
        if self.waiting.is_empty() {
            // Nearly all clients have none.
            self.waiting = VecDeque::new();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Subscriber {
    /// A subscription brings what is retained. `owed`: there is something.
    pub(crate) fn begin_backlog(&mut self, number: usize, not_before: Commit, upto: Upto, owed: bool) {
        let ahead = self.queue.unsent();
        self.backlogs.begin(Backlog { number, not_before, upto, after: None, ahead, owed });
    }

    /// Subscriptions with these numbers have ended.
    pub(crate) fn end_backlogs_of(&mut self, numbers: &[usize]) {
        self.backlogs.end_of(numbers);
    }

    /// The first one is over: all of it was sent.
    fn end_backlog(&mut self) {
        let Some(ended) = self.backlogs.end_first() else { return };
        // A session that was noted to be owed nothing, since it had subscribed so before, is owed what it does not acknowledge.
        if self.is_durable() && ended.owed && self.queue.has_retained() {
            let subscription = self.subscriptions.iter_mut().find(|it| it.number == ended.number);
            if let Some(subscription) = subscription.filter(|it| !it.owed) {
                subscription.owed = true;
                self.owing_is_noted = false;
            }
        }
    }

    /// Looks at which subscriptions still owe what is retained. Returns whether that has to be noted.
    pub(super) fn look_at_what_is_owed(&mut self) -> bool {
        let Self { subscriptions, backlogs, queue, owing_is_noted, .. } = self;
        if backlogs.is_empty() && *owing_is_noted && subscriptions.iter().all(|it| !it.owed) {
            return false;
        }
        let unacknowledged = queue.has_retained();
        for subscription in subscriptions {
            // Which one an unacknowledged message came for is not known: the note of each waits for it.
            let owed = backlogs.owe(subscription.number) || (subscription.owed && unacknowledged);
            *owing_is_noted &= std::mem::replace(&mut subscription.owed, owed) == owed;
        }
        !*owing_is_noted
    }

    /// The backlog whose turn it is, and what is subscribed to.
    fn turn(&mut self, durable: Commit, window: usize) -> Option<(Backlog, Wish)> {
        while self.is_backlogs_turn() && self.can_send(durable, window) {
            let backlog = self.backlogs.first()?.clone();
            match self.subscriptions.iter().find(|it| it.number == backlog.number) {
                Some(subscription) => return Some((backlog, subscription.wish.clone())),
                // The session has ended.
                None => drop(self.backlogs.end_first()),
            }
        }
        None
    }
}

/// The way of one message that is retained to one client.
pub(crate) struct HandOut<'a> {
    pub(crate) kept: &'a Kept,
    pub(crate) link: Option<&'a Link>,
    pub(crate) shared: &'a Shared,
    pub(crate) durable: Commit,
}

impl HandOut<'_> {
    /// Writes the next message that is retained, or looks at the next topics. Returns whether it has got on, and how many it has written.
    pub(crate) fn one(&self, way: &mut Way<'_>) -> (bool, u64) {
        if !way.is_clear() {
            return (false, 0);
        }
        let Some((backlog, wish)) = self.kept.lock().turn(self.durable, way.reception.window) else {
            return (false, 0);
        };
        match self.shared.retained.next(&wish.filter, backlog.after.as_ref(), backlog.upto, self.durable) {
            Step::End => self.kept.lock().end_backlog(),
            Step::Looked(topic) => self.kept.lock().backlogs.done_with(topic),
            Step::Found(found) => return self.hand_out(found, &wish, way),
        }
        (true, 0)
    }

    fn hand_out(&self, Found { message }: Found, wish: &Wish, way: &mut Way<'_>) -> (bool, u64) {
        let topic = message.topic.clone();
        let mut subscriber = self.kept.lock();
        if wish.no_local && message.publisher == self.kept.device {
            subscriber.backlogs.done_with(topic);
            return (true, 0);
        }
        let mut counted = (None, None);
        if message.qos.min(wish.qos) == Qos::AtLeastOnce {
            let window = subscriber.queue.in_flight() < way.reception.window;
            if !window || !subscriber.queue.has_packet_ids() {
                subscriber.backlogs.halt = if window { no_room() } else { Halt::Window };
                return (false, 0);
            }
            // The book is locked before a session, never behind it.
            drop(subscriber);
            counted = self.count(message.bytes());
            subscriber = self.kept.lock();
            if counted.0.is_none() && counted.1.is_none() {
                subscriber.backlogs.halt = no_room();
                if subscriber.queue.in_flight() == 0 {
                    subscriber.backlogs.tries += 1;
                }
                if subscriber.backlogs.tries > ROOM_TRIES_MAX {
                    subscriber.backlogs.done_with(topic);
                    add(&self.shared.counters.queue_shed, 1);
                    return (true, 0);
                }
                return (false, 0);
            }
        }
        let number = counted.0;
        let written = subscriber.send_retained(wish, message, counted, way);
        subscriber.backlogs.done_with(topic);
        drop(subscriber);
        if !written {
            self.shared.sessions.done(self.kept, number.as_slice());
        }
        (true, u64::from(written))
    }

    /// Counts what waits for an acknowledgement: of a remembered session as what waits for it, else as what is on its way.
    fn count(&self, bytes: usize) -> (Option<u64>, Option<crate::fanout::Held>) {
        if self.kept.durable {
            (self.shared.sessions.put_retained(self.kept, bytes), None)
        } else {
            (None, self.link.and_then(|link| link.hold(bytes)))
        }
    }
}
