//! What our session at a broker is known to hold, over connections and starts: which filters it may still have, and for which
//! of them retained messages have come already.
//!
//! All filters are subscribed to at each connecting: a broker that was killed may have lost one that it had confirmed. With
//! 5.0 that brings retained messages for new subscriptions only (Retain Handling 1); with 3.1.1 it brings all of them each
//! time, so those of a *settled* filter are repetitions. A filter is settled once a ping was answered, no retained message
//! had come since the one before, and nothing was unacknowledged: until then a connection that broke may have held some back.

use std::collections::VecDeque;

use super::message::Message;
use super::{Broker, BrokerFilter, BrokerVersion};
use crate::topic::covers;

/// A subscription that a session at a broker may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSubscription {
    /// Its filter.
    pub filter: String,
    /// Its retained messages have come.
    pub settled: bool,
}

/// Where the subscriptions of one broker's session are remembered from start to start. What it forgets costs retained messages that
/// are stored once more, and a filter that was taken out of the configuration goes on delivering; it costs no event.
pub trait Subscriptions: Send + Sync + 'static {
    /// What was kept last; nothing, if that can't be told. May block.
    fn load(&self) -> Vec<KeptSubscription>;

    /// Keeps these in place of what was kept. May block.
    fn keep(&self, subscriptions: &[KeptSubscription]);
}

/// The subscriptions of one broker's session.
#[derive(Debug)]
pub(super) struct Book {
    version: BrokerVersion,
    wanted: Vec<BrokerFilter>,
    held: Vec<KeptSubscription>,
    unsaved: bool,
    /// The session of before goes on.
    resumed: bool,
    /// No retained message has come since the last answered ping.
    quiet: bool,
    leaving: VecDeque<String>,
}

impl Book {
    pub(super) fn new(broker: &Broker, held: Vec<KeptSubscription>) -> Self {
        Self {
            version: broker.version,
            wanted: broker.filters.clone(),
            held,
            unsaved: false,
            resumed: false,
            quiet: false,
            leaving: VecDeque::new(),
        }
    }

    /// The broker has accepted us. Returns what to unsubscribe from; all wanted filters are to be subscribed to after that.
    pub(super) fn accepted(&mut self, session_present: bool) -> Vec<String> {
        (self.resumed, self.quiet) = (session_present, false);
        if !session_present && !self.held.is_empty() {
            self.held.clear();
            self.unsaved = true;
        }
        let wanted = |held: &&KeptSubscription| self.wanted.iter().any(|wanted| wanted.as_str() == held.filter);
        self.leaving = self.held.iter().filter(|held| !wanted(held)).map(|held| held.filter.clone()).collect();
        self.leaving.iter().cloned().collect()
    }

    /// The broker has answered one UNSUBSCRIBE, in the order in which they went.
    pub(super) fn unsubscribed(&mut self) {
        if let Some(left) = self.leaving.pop_front() {
            self.held.retain(|held| held.filter != left);
            self.unsaved = true;
        }
    }

    /// The broker has answered the SUBSCRIBE: which of the wanted filters the session holds now.
    pub(super) fn subscribed(&mut self, holds: &[bool]) {
        for (wanted, _) in self.wanted.iter().zip(holds).filter(|(_, holds)| **holds) {
            if !self.held.iter().any(|held| held.filter == wanted.as_str()) {
                self.held.push(KeptSubscription { filter: wanted.as_str().to_owned(), settled: false });
                self.unsaved = true;
            }
        }
    }

    /// Whether a message is a retained one that has come before and comes for our subscribing alone. Delivered again (DUP) it is so as well:
    /// what a settled filter had brought before is acknowledged.
    pub(super) fn is_repetition(&mut self, message: &Message) -> bool {
        if !message.retained {
            return false;
        }
        self.quiet = false;
        let settled =
            |filter: &BrokerFilter| self.held.iter().any(|held| held.settled && held.filter == filter.as_str());
        self.version == BrokerVersion::V311
            && self.resumed
            && !self.wanted.iter().any(|filter| !settled(filter) && covers(filter.as_str(), &message.topic))
    }

    /// A ping was answered, and all that came before is acknowledged.
    pub(super) fn answered(&mut self) {
        if self.quiet {
            for held in self.held.iter_mut().filter(|held| !held.settled) {
                held.settled = true;
                self.unsaved = true;
            }
        }
        self.quiet = true;
    }

    /// What is to be kept, if that has changed since the last call.
    pub(super) fn unsaved(&mut self) -> Option<Vec<KeptSubscription>> {
        std::mem::take(&mut self.unsaved).then(|| self.held.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{broker, message};
    use super::*;

    fn book(version: BrokerVersion, filters: &[&str], held: &[(&str, bool)]) -> Book {
        let filters = filters.iter().map(|filter| BrokerFilter::at_least_once(filter).unwrap()).collect();
        let held =
            held.iter().map(|(filter, settled)| KeptSubscription { filter: (*filter).into(), settled: *settled });
        Book::new(&Broker { version, filters, ..broker() }, held.collect())
    }

    fn retained(topic: &str) -> Message {
        Message { retained: true, ..message(1, topic) }
    }

    #[test]
    fn what_is_no_longer_wanted_is_unsubscribed_from_and_forgotten_once_that_is_answered() {
        let mut book = book(BrokerVersion::V311, &["a"], &[("a", true), ("old", true)]);
        assert_eq!(book.accepted(true), ["old"]);
        assert_eq!(book.unsaved(), None);
        book.unsubscribed();
        assert_eq!(book.unsaved(), Some(vec![KeptSubscription { filter: "a".into(), settled: true }]));
        assert!(book.accepted(true).is_empty());
    }

    #[test]
    fn a_new_session_holds_nothing_and_refused_filters_are_not_kept() {
        let mut book = book(BrokerVersion::V311, &["a", "b"], &[("a", true), ("old", true)]);
        assert!(book.accepted(false).is_empty());
        book.subscribed(&[true, false]);
        assert_eq!(book.unsaved(), Some(vec![KeptSubscription { filter: "a".into(), settled: false }]));
    }

    #[test]
    fn retained_messages_repeat_once_their_filter_is_settled_and_never_before() {
        let mut book = book(BrokerVersion::V311, &["a/#"], &[]);
        book.accepted(false);
        book.subscribed(&[true]);
        assert!(!book.is_repetition(&retained("a/1")));
        book.answered();
        // The connection breaks before a whole ping went by without one.
        book.accepted(true);
        assert!(!book.is_repetition(&retained("a/1")));
        book.answered();
        book.answered();
        book.accepted(true);
        assert!(book.is_repetition(&retained("a/1")));
        assert!(!book.is_repetition(&message(1, "a/1")), "it was published now");
        book.accepted(false);
        assert!(!book.is_repetition(&retained("a/1")), "a session that was lost may have missed it");
    }

    #[test]
    fn a_filter_that_is_new_in_a_session_of_before_brings_its_retained_messages() {
        let mut book = book(BrokerVersion::V311, &["a/#", "b/#"], &[("a/#", true)]);
        book.accepted(true);
        assert!(book.is_repetition(&retained("a/1")));
        assert!(!book.is_repetition(&retained("b/1")));
    }

    #[test]
    fn with_5_0_the_broker_sends_none_again() {
        let mut book = book(BrokerVersion::V5, &["a/#"], &[("a/#", true)]);
        book.accepted(true);
        assert!(!book.is_repetition(&retained("a/1")));
    }
}
