//! Retained messages: in memory and, by [`Notes`], on the disk. The router keeps none: it would forget them with its life, could not
//! say when one is over, and takes an empty message for a removal.
//!
//! - **Invariant:** nobody is sent a retained message before it is on disk. Until then the one before is sent.
//! - **Invariant:** the same message retained again is not written again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamppost_event::{Address, Clock, Commit, NoteRefusal, Notes, NotesUnreadable};

use crate::counters::{Counters, add};
use crate::message::Message;
use crate::sessions::{decode_message, encode_message, retained_key};
use crate::{Limits, topic};

/// What a topic retains: the last that is on disk, and what is on its way there.
type Versions = VecDeque<Version>;

/// What a topic retains, or retained.
struct Version {
    commit: Commit,
    /// Which of all that was ever retained.
    number: u64,
    /// `None`: removed.
    message: Option<Arc<Message>>,
}

/// Topics that are looked at before others have their turn.
const LOOKED_AT_ONCE: usize = 256;

/// What was retained at one moment. What came later went to who had subscribed by then as it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upto {
    number: u64,
    commit: Commit,
}

impl Upto {
    /// What is on disk with this commit.
    pub(crate) const fn on_disk_with(commit: Commit) -> Self {
        Self { number: u64::MAX, commit }
    }
}

/// What is retained under one topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) message: Arc<Message>,
}

/// What comes next of what is retained under topics that a filter covers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Found(Found),
    /// Nothing, up to this topic.
    Looked(Address),
    /// Nothing any more.
    End,
}

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
    versions: BTreeMap<Address, Versions>,
    /// The number and the commit of the last version.
    last: (u64, Commit),
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
                topics.set(Commit(0), &message.topic.clone(), Some(Arc::new(message)));
            }
        })?;
        add(&counters.retained_now, topics.count as u64);
        Ok(Self { topics: Mutex::new(topics), limits, counters, notes, clock })
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of all that is retained.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Retains a message, or with an empty payload removes what its topic retains [MQTT-3.3.1-6].
    ///
    /// # Errors
    /// [`NoteRefusal`]; nothing is changed.
    pub(crate) fn put(&self, message: &Message, durable: Commit) -> Result<Retention, NoteRefusal> {
        let mut topics = self.lock();
        let name = message.topic.as_str();
        let last = topics.versions.get(&message.topic).and_then(VecDeque::back);
        let kept = last.and_then(|last| last.message.as_ref());
        let removes = message.payload.is_empty();
        let unchanged = if removes { kept.is_none() } else { kept.is_some_and(|kept| says_the_same(kept, message)) };
        if unchanged {
            return Ok(Retention::With(last.map_or(Commit(0), |last| last.commit)));
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
        topics.set(commit, &message.topic, (!removes).then(|| Arc::new(message.clone())));
        topics.settle(&message.topic, durable);
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

    /// What is retained now, and the commit that all of it is on disk with.
    pub(crate) fn now(&self) -> (Upto, Commit) {
        let (number, commit) = self.lock().last;
        (Upto { number, commit: Commit(u64::MAX) }, commit)
    }

    /// Whether there may be something that is retained under the filter, or on its way to be.
    pub(crate) fn has_under(&self, filter: &str) -> bool {
        self.next(filter, None, Upto::on_disk_with(Commit(u64::MAX)), Commit(u64::MAX)) != Step::End
    }

    /// The next that is retained under a topic that the filter covers, behind the topic `after`. Looks at a few hundred topics at the most,
    /// and at none that begins otherwise than the filter does.
    pub(crate) fn next(&self, filter: &str, after: Option<&Address>, upto: Upto, durable: Commit) -> Step {
        let now = self.clock.now().monotonic;
        let topics = self.lock();
        let mut looked = None;
        for (name, versions) in topics.under(filter, after).take(LOOKED_AT_ONCE) {
            looked = Some(name);
            let current = versions.iter().rev().find(|version| version.commit <= durable);
            let current = current.filter(|it| it.number <= upto.number && it.commit <= upto.commit);
            let message = current.and_then(|version| version.message.as_ref());
            if let Some(message) = message.filter(|it| topic::covers(filter, name.as_str()) && !it.is_expired(now)) {
                return Step::Found(Found { message: Arc::clone(message) });
            }
        }
        looked.map_or(Step::End, |name| Step::Looked(name.clone()))
    }

    /// Removes what is over. Nobody waits for more than a few hundred topics.
    pub(crate) fn tidy(&self, durable: Commit) {
        let now = self.clock.now().monotonic;
        let mut after = None;
        loop {
            let mut topics = self.lock();
            let names: Vec<Address> =
                topics.behind(after.as_ref()).take(LOOKED_AT_ONCE).map(|(name, _)| name.clone()).collect();
            for name in &names {
                let last = topics.versions.get(name).and_then(VecDeque::back).and_then(|last| last.message.as_ref());
                if last.is_some_and(|message| message.is_expired(now))
                    && let Ok(commit) = self.notes.put(&retained_key(name.as_str()), None)
                {
                    topics.set(commit, name, None);
                }
                topics.settle(name, durable);
            }
            self.counters.retained_now.store(topics.count as u64, Ordering::Relaxed);
            after = names.into_iter().last();
            if after.is_none() {
                return;
            }
        }
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
    fn set(&mut self, commit: Commit, name: &Address, message: Option<Arc<Message>>) {
        self.last = (self.last.0 + 1, self.last.1.max(commit));
        let versions = self.versions.entry(name.clone()).or_default();
        if let Some(Version { message: Some(before), .. }) = versions.back() {
            self.count -= 1;
            self.bytes -= before.bytes();
        }
        if let Some(message) = &message {
            self.count += 1;
            self.bytes += message.bytes();
        }
        versions.push_back(Version { commit, number: self.last.0, message });
    }

    fn behind(&self, after: Option<&Address>) -> impl Iterator<Item = (&Address, &Versions)> {
        self.versions.range::<Address, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
    }

    /// The topics behind `after` that begin as all do that the filter covers.
    fn under<'a>(
        &'a self,
        filter: &'a str,
        after: Option<&Address>,
    ) -> impl Iterator<Item = (&'a Address, &'a Versions)> {
        let wildcard = filter.find(['+', '#']);
        let beginning = wildcard.and_then(|at| filter.get(..at)).unwrap_or(filter);
        // `a/#` covers `a` as well.
        let parent = if filter.ends_with('#') { beginning.strip_suffix('/') } else { None };
        let first = Address::new(parent.unwrap_or(beginning)).ok();
        let from = match (after, &first) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(first)) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        // Those that begin so stand side by side; between them and their parent are a few others at the most.
        self.versions.range::<Address, _>((from, Bound::Unbounded)).take_while(move |(name, _)| {
            let name = name.as_str();
            if wildcard.is_none() { name == filter } else { name < beginning || name.starts_with(beginning) }
        })
    }

    /// Forgets what has been replaced on the disk.
    fn settle(&mut self, name: &Address, durable: Commit) {
        let Some(versions) = self.versions.get_mut(name) else { return };
        while versions.get(1).is_some_and(|version| version.commit <= durable) {
            versions.pop_front();
        }
        if versions.len() == 1
            && versions.front().is_some_and(|version| version.message.is_none() && version.commit <= durable)
        {
            self.versions.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
