//! Retained messages: in memory and, by [`Notes`], on the disk. The router keeps none: it would forget them with its life, could not
//! say when one is over, and takes an empty message for a removal.
//!
//! - **Invariant:** nobody is sent a retained message before it is on disk. Until then the one before is sent.
//! - **Invariant:** the same message retained again is not written again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamppost_event::{Clock, Commit, NoteRefusal, Notes, NotesUnreadable};

use crate::counters::{Counters, add};
use crate::message::Message;
use crate::sessions::{decode_message, encode_message, retained_key};
use crate::{Limits, topic};

/// What a topic retains: the last that is on disk, and what is on its way there. `None`: removed.
type Versions = VecDeque<(Commit, Option<Arc<Message>>)>;

/// What became of a message that was to be retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retention {
    /// It is (or what it removes is gone), on disk with this commit.
    With(Commit),
    /// It is not, for want of room: counted.
    NoRoom,
}

#[derive(Default)]
struct Topics {
    versions: BTreeMap<Box<str>, Versions>,
    /// Of each topic's last version.
    count: usize,
    bytes: usize,
}

/// See the module.
pub(crate) struct Retained {
    topics: Mutex<Topics>,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
    notes: Arc<dyn Notes>,
    clock: Arc<dyn Clock>,
}

impl Retained {
    /// Reads what was retained in an earlier life.
    ///
    /// # Errors
    /// [`NotesUnreadable`].
    pub(crate) fn restore(
        limits: Arc<Limits>,
        counters: Arc<Counters>,
        notes: Arc<dyn Notes>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NotesUnreadable> {
        let mut topics = Topics::default();
        let now = clock.now();
        notes.visit(b"r", &mut |_, value| {
            if let Some(message) = decode_message(value, now) {
                topics.set(Commit(0), message.topic.as_str().into(), Some(Arc::new(message)));
            }
        })?;
        add(&counters.retained_now, topics.count as u64);
        Ok(Self { topics: Mutex::new(topics), limits, counters, notes, clock })
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Retains a message, or with an empty payload removes what its topic retains [MQTT-3.3.1-6].
    ///
    /// # Errors
    /// [`NoteRefusal`]; nothing is changed.
    pub(crate) fn put(&self, message: &Message, durable: Commit) -> Result<Retention, NoteRefusal> {
        let mut topics = self.lock();
        let name = message.topic.as_str();
        let last = topics.versions.get(name).and_then(VecDeque::back);
        let kept = last.and_then(|(_, message)| message.as_ref());
        let removes = message.payload.is_empty();
        let unchanged = if removes { kept.is_none() } else { kept.is_some_and(|kept| says_the_same(kept, message)) };
        if unchanged {
            return Ok(Retention::With(last.map_or(Commit(0), |(commit, _)| *commit)));
        }
        let bytes = topics.bytes - kept.map_or(0, |kept| kept.bytes()) + message.bytes();
        if !removes && bytes > self.limits.retained_bytes_max {
            return Ok(self.refuse(message, "all retained messages together would have more bytes than allowed"));
        }
        let value = (!removes).then(|| encode_message(message, self.clock.now()));
        let commit = match self.notes.put(&retained_key(name), value) {
            Err(NoteRefusal::TooLarge { .. }) => return Ok(self.refuse(message, "it is larger than a note may be")),
            put => put?,
        };
        topics.set(commit, name.into(), (!removes).then(|| Arc::new(message.clone())));
        topics.settle(name, durable);
        self.counters.retained_now.store(topics.count as u64, Ordering::Relaxed);
        Ok(Retention::With(commit))
    }

    /// What the topic retained before stays.
    fn refuse(&self, message: &Message, why: &str) -> Retention {
        if self.counters.retained_refused.fetch_add(1, Ordering::Relaxed) == 0 {
            let (client, topic) = (message.publisher.as_str(), message.topic.as_str());
            tracing::warn!(client, topic, why, "a message is stored, but not retained; further ones are only counted");
        }
        Retention::NoRoom
    }

    /// What is retained under topics that the filter covers with the commit `upto` at the latest, by topic, and with which it is.
    pub(crate) fn covered(&self, filter: &str, upto: Commit) -> Vec<(Commit, Arc<Message>)> {
        let now = self.clock.now().monotonic;
        let topics = self.lock();
        let current = |versions: &Versions| {
            let (commit, message) = versions.iter().rev().find(|(commit, _)| *commit <= upto)?;
            message.clone().filter(|message| !message.is_expired(now)).map(|message| (*commit, message))
        };
        if !filter.contains(['+', '#']) {
            return topics.versions.get(filter).and_then(current).into_iter().collect();
        }
        let covered = topics.versions.iter().filter(|(name, _)| topic::covers(filter, name));
        covered.filter_map(|(_, versions)| current(versions)).collect()
    }

    /// Removes what is over.
    pub(crate) fn tidy(&self, durable: Commit) {
        let now = self.clock.now().monotonic;
        let mut topics = self.lock();
        let over = |versions: &Versions| {
            versions.back().and_then(|(_, message)| message.as_ref()).is_some_and(|message| message.is_expired(now))
        };
        let names: Vec<Box<str>> =
            topics.versions.iter().filter(|(_, versions)| over(versions)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Ok(commit) = self.notes.put(&retained_key(&name), None) else { break };
            topics.set(commit, name, None);
        }
        let all: Vec<Box<str>> = topics.versions.keys().cloned().collect();
        all.iter().for_each(|name| topics.settle(name, durable));
        self.counters.retained_now.store(topics.count as u64, Ordering::Relaxed);
    }
}

/// One that expires begins its time anew, and so is another.
fn says_the_same(one: &Message, other: &Message) -> bool {
    one.expires.is_none()
        && other.expires.is_none()
        && (one.qos, &one.payload, &one.properties, &one.publisher)
            == (other.qos, &other.payload, &other.properties, &other.publisher)
}

impl Topics {
    fn set(&mut self, commit: Commit, name: Box<str>, message: Option<Arc<Message>>) {
        let versions = self.versions.entry(name).or_default();
        if let Some((_, Some(before))) = versions.back() {
            self.count -= 1;
            self.bytes -= before.bytes();
        }
        if let Some(message) = &message {
            self.count += 1;
            self.bytes += message.bytes();
        }
        versions.push_back((commit, message));
    }

    /// Forgets what has been replaced on the disk.
    fn settle(&mut self, name: &str, durable: Commit) {
        let Some(versions) = self.versions.get_mut(name) else { return };
        while versions.get(1).is_some_and(|(commit, _)| *commit <= durable) {
            versions.pop_front();
        }
        if versions.len() == 1
            && versions.front().is_some_and(|(commit, message)| message.is_none() && *commit <= durable)
        {
            self.versions.remove(name);
        }
    }
}
