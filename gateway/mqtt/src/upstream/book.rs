//! What our session at a broker is known to hold, over connections and starts: which filters it may still have, for which of
//! them retained messages have come already, and what those said.
//!
//! All filters are subscribed to at each connecting: a broker that was killed may have lost one that it had confirmed. With
//! 5.0 that brings retained messages for new subscriptions only (Retain Handling 1); with 3.1.1 it brings all of them each
//! time. Of a *settled* filter those that say what was stored last from their topic are repetitions; one that says something else was
//! published while we were away. A filter is settled once a ping was answered, no retained message had come since the one before,
//! and nothing was unacknowledged: until then a connection that broke may have held some back.
//!
//! What retained messages said is kept when it has settled, as hashes; a topic that says something else since then is taken out at once.
//! So after a start it may be stored once more: rather twice than never.

use std::collections::{HashMap, HashSet, VecDeque};

use ring::digest::{SHA256, digest};

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

/// What a retained message said that is stored, as hashes that mean the same at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptContent {
    /// Of its topic.
    pub topic: u64,
    /// Of its payload.
    pub payload: u64,
}

impl KeptContent {
    fn of(message: &Message) -> Self {
        let hash = |bytes: &[u8]| {
            // SHA-256 has 32 bytes.
            digest(&SHA256, bytes).as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        Self { topic: hash(message.topic.as_bytes()), payload: hash(&message.payload) }
    }
}

/// What is remembered of a session at a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptSession {
    /// Its subscriptions.
    pub subscriptions: Vec<KeptSubscription>,
    /// What its retained messages said, of 4,096 topics at most.
    pub contents: Vec<KeptContent>,
}

/// Where one broker's session is remembered from start to start. What it forgets costs retained messages that
/// are stored once more, and a filter that was taken out of the configuration goes on delivering; it costs no event.
pub trait Subscriptions: Send + Sync + 'static {
    /// What was kept last; nothing, if that can't be told. May block.
    fn load(&self) -> KeptSession;

    /// Keeps this in place of what was kept. May block.
    fn keep(&self, session: &KeptSession);
}

/// Topics whose last content is known, and of those the ones that are kept. Beyond, a retained message is stored at each connecting.
const TOPICS_MAX: usize = 16_384;
const TOPICS_KEPT_MAX: usize = 4_096;

/// One broker's session.
#[derive(Debug)]
pub(super) struct Book {
    version: BrokerVersion,
    wanted: Vec<BrokerFilter>,
    held: Vec<KeptSubscription>,
    /// Of each topic what was stored last, both as hashes.
    stored: HashMap<u64, u64>,
    /// The topics of those whose retained message was stored.
    retained: HashSet<u64>,
    /// What they said has changed.
    contents_changed: bool,
    unsaved: bool,
    /// The session of before goes on.
    resumed: bool,
    /// No retained message has come since the last answered ping.
    quiet: bool,
    leaving: VecDeque<String>,
}

impl Book {
    pub(super) fn new(broker: &Broker, kept: KeptSession) -> Self {
        let contents = kept.contents.iter().take(TOPICS_KEPT_MAX);
        Self {
            version: broker.version,
            wanted: broker.filters.clone(),
            held: kept.subscriptions,
            retained: contents.clone().map(|content| content.topic).collect(),
            stored: contents.map(|content| (content.topic, content.payload)).collect(),
            contents_changed: false,
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

    /// What is to be unsubscribed from next, or is being.
    pub(super) fn next_to_leave(&self) -> Option<&str> {
        self.leaving.front().map(String::as_str)
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
            && self.says_what_was_stored(message)
    }

    fn says_what_was_stored(&self, message: &Message) -> bool {
        let KeptContent { topic, payload } = KeptContent::of(message);
        self.stored.get(&topic) == Some(&payload)
    }

    /// What is to be remembered of a message once it is with the journal. `None`: nothing. Where it says something new, what was stored last
    /// from its topic is forgotten now, and from the disk before it is acknowledged: whenever this ends, what comes retained from there
    /// is news.
    pub(super) fn content(&mut self, message: &Message) -> Option<(KeptContent, bool)> {
        if self.version != BrokerVersion::V311 {
            return None;
        }
        let content = KeptContent::of(message);
        if self.stored.get(&content.topic).is_some_and(|payload| *payload != content.payload) {
            self.stored.remove(&content.topic);
            self.unsaved |= self.retained.remove(&content.topic);
        }
        Some((content, message.retained))
    }

    /// It is with the journal.
    pub(super) fn stored(&mut self, content: Option<(KeptContent, bool)>) {
        let Some((KeptContent { topic, payload }, retained)) = content else { return };
        if self.stored.len() < TOPICS_MAX || self.stored.contains_key(&topic) {
            self.stored.insert(topic, payload);
            if retained && (self.retained.len() < TOPICS_KEPT_MAX || self.retained.contains(&topic)) {
                self.retained.insert(topic);
                self.contents_changed = true;
            }
        }
    }

    /// A ping was answered, and all that came before is acknowledged.
    pub(super) fn answered(&mut self) {
        if self.quiet {
            for held in self.held.iter_mut().filter(|held| !held.settled) {
                held.settled = true;
                self.unsaved = true;
            }
            self.unsaved |= std::mem::take(&mut self.contents_changed);
        }
        self.quiet = true;
    }

    /// What is to be kept, if that has changed since the last call.
    pub(super) fn unsaved(&mut self) -> Option<KeptSession> {
        std::mem::take(&mut self.unsaved).then(|| self.kept())
    }

    fn kept(&self) -> KeptSession {
        let content = |topic: &u64| Some(KeptContent { topic: *topic, payload: *self.stored.get(topic)? });
        let mut contents: Vec<KeptContent> = self.retained.iter().filter_map(content).collect();
        contents.sort_unstable_by_key(|content| content.topic);
        KeptSession { subscriptions: self.held.clone(), contents }
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
        Book::new(
            &Broker { version, filters, ..broker() },
            KeptSession { subscriptions: held.collect(), ..KeptSession::default() },
        )
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
        assert_eq!(subscriptions(&mut book), [KeptSubscription { filter: "a".into(), settled: true }]);
        assert!(book.accepted(true).is_empty());
    }

    #[test]
    fn a_new_session_holds_nothing_and_refused_filters_are_not_kept() {
        let mut book = book(BrokerVersion::V311, &["a", "b"], &[("a", true), ("old", true)]);
        assert!(book.accepted(false).is_empty());
        book.subscribed(&[true, false]);
        assert_eq!(subscriptions(&mut book), [KeptSubscription { filter: "a".into(), settled: false }]);
    }

    fn subscriptions(book: &mut Book) -> Vec<KeptSubscription> {
        book.unsaved().expect("nothing has changed").subscriptions
    }

    fn store(book: &mut Book, message: &Message) {
        let content = book.content(message);
        book.stored(content);
    }

    #[test]
    fn what_is_retained_is_news_after_something_else_came_live_stored_or_not() {
        let mut book = book(BrokerVersion::V311, &["a/#"], &[("a/#", true)]);
        book.accepted(true);
        store(&mut book, &retained("a/1"));
        (0..2).for_each(|_| book.answered());
        assert_eq!(book.unsaved().expect("nothing has changed").contents.len(), 1);
        assert!(book.is_repetition(&retained("a/1")));
        // It waits for room, and is never stored.
        assert!(book.content(&Message { payload: b"other".as_slice().into(), ..message(2, "a/1") }).is_some());
        assert_eq!(book.unsaved().expect("the file says what is not so any more").contents, []);
        book.accepted(true);
        assert!(!book.is_repetition(&retained("a/1")));
    }

    #[test]
    fn retained_messages_repeat_once_their_filter_is_settled_and_never_before() {
        let mut book = book(BrokerVersion::V311, &["a/#"], &[]);
        book.accepted(false);
        book.subscribed(&[true]);
        assert!(!book.is_repetition(&retained("a/1")));
        store(&mut book, &retained("a/1"));
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
    fn a_retained_message_that_says_something_new_was_published_while_we_were_away() {
        let mut book = book(BrokerVersion::V311, &["a/#"], &[("a/#", true)]);
        book.accepted(true);
        assert!(!book.is_repetition(&retained("a/1")), "what was stored is not known");
        store(&mut book, &retained("a/1"));
        book.answered();
        book.answered();
        // Kept, and known at the next start.
        let kept = book.unsaved().unwrap();
        assert_eq!(kept.contents.len(), 1);
        let settings = Broker { version: BrokerVersion::V311, filters: book.wanted.clone(), ..broker() };
        book = Book::new(&settings, kept);
        book.accepted(true);
        assert!(book.is_repetition(&retained("a/1")));
        let news = Message { payload: b"changed"[..].into(), ..retained("a/1") };
        assert!(!book.is_repetition(&news));
        // It came, and was not stored: it comes again.
        book.accepted(true);
        assert!(!book.is_repetition(&news));
        store(&mut book, &news);
        assert!(book.is_repetition(&news) && !book.is_repetition(&retained("a/1")));
    }

    #[test]
    fn a_filter_that_is_new_in_a_session_of_before_brings_its_retained_messages() {
        let mut book = book(BrokerVersion::V311, &["a/#", "b/#"], &[("a/#", true)]);
        book.accepted(true);
        for topic in ["a/1", "b/1"] {
            store(&mut book, &retained(topic));
        }
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
