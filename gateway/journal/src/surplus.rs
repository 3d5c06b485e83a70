//! What a topic has beyond its bound in bytes (`keep_bytes`): which segments its older events lie in, and what they take there.
//!
//! All topics share one log, so there is no file of a topic to be cut short. Counted from the newest segment back, what lies in segments
//! behind which the topic has its bytes already is surplus: at least `keep_bytes` stay, and what goes, goes with its segment's
//! part of the topic. Surplus goes where keeping it would cost something: it is left out when a hot segment is rewritten, and of a cold one,
//! which is rewritten for that; an oldest segment of nothing else is recycled. A hot segment alone is not rewritten for it while a
//! required group keeps hot files coming back: they are there anyway, and no cold byte is written for what will be delivered soon.
//!
//! **What is counted** are batches as they lie in sealed segments, compressed or not, without frames' heads and padding. No footer tells it:
//! each sealed segment is read for it once, after it was sealed, made or found at opening, and only where a topic has a bound.

use std::collections::{BTreeMap, BTreeSet};

use lamppost_event::Topic;

use crate::book::{Book, Segment};
use crate::read::{Stretch, internal, whole};
use crate::shared::Shared;
use crate::waiting::hold;

/// A segment's number and salt: one that is written anew has another salt.
type Key = (u64, u64);

/// What each topic's batches take in sealed segments, as far as it is known, in bytes.
#[derive(Default)]
pub(crate) struct Weights(BTreeMap<Key, BTreeMap<Topic, u64>>);

/// Of one look at the book.
pub(crate) struct Surplus {
    /// By segment, the oldest first: the topics that are surplus there.
    pub(crate) beyond: Vec<(u64, Vec<Topic>)>,
    /// The newest segment that has to be weighed before more can be said.
    unweighed: Option<Stretch>,
}

fn key(segment: &Segment) -> Key {
    (segment.lease.head.number, segment.lease.head.salt)
}

impl Shared {
    pub(crate) fn has_bounds(&self) -> bool {
        self.options.policies.values().any(|policy| policy.keep_bytes.is_some())
    }

    /// What is surplus, as far as segments are weighed: beyond one that is not, nothing is.
    pub(crate) fn surplus(&self, book: &Book) -> Surplus {
        let mut weights = hold(&self.weights);
        let there: BTreeSet<Key> = book.segments.iter().map(key).collect();
        weights.0.retain(|known, _| there.contains(known));
        let bound = |topic: &Topic| self.options.policy(topic).keep_bytes;
        let mut newer: BTreeMap<Topic, u64> = BTreeMap::new();
        let mut surplus = Surplus { beyond: Vec::new(), unweighed: None };
        for segment in book.segments.iter().rev().skip(1) {
            let topics = segment.ranges.keys().filter(|at| !internal(at)).map(|at| &at.topic);
            let mut bounded: Vec<&Topic> = topics.filter(|topic| bound(topic).is_some()).collect();
            bounded.dedup();
            let is_beyond =
                |topic: &&Topic| bound(topic).is_some_and(|most| newer.get(*topic).copied().unwrap_or(0) >= most);
            let (beyond, within): (Vec<&Topic>, Vec<&Topic>) = bounded.into_iter().partition(is_beyond);
            if !beyond.is_empty() {
                surplus.beyond.push((segment.lease.head.number, beyond.into_iter().cloned().collect()));
            }
            if within.is_empty() {
                continue;
            }
            let Some(weight) = weights.0.get(&key(segment)) else {
                surplus.unweighed = Some(whole(book, segment));
                break;
            };
            for topic in within {
                *newer.entry(topic.clone()).or_default() += weight.get(topic).copied().unwrap_or(0);
            }
        }
        surplus.beyond.reverse();
        surplus
    }

    /// Reads the next segment that is not weighed yet. False if there is none.
    pub(crate) fn weigh(&self) -> bool {
        let Some((stretch, key)) = ({
            let book = hold(&self.book);
            let unweighed = self.surplus(&book).unweighed;
            unweighed.map(|stretch| {
                let head = stretch.head();
                let key = (head.number, head.salt);
                (stretch, key)
            })
        }) else {
            return false;
        };
        let mut weight: BTreeMap<Topic, u64> = BTreeMap::new();
        self.read_stretch(&stretch, &mut |frame, _| {
            for entry in frame.iter().flat_map(|frame| &frame.batches).filter(|entry| !internal(&entry.at)) {
                *weight.entry(entry.at.topic.clone()).or_default() += entry.bytes().len() as u64;
            }
            true
        });
        hold(&self.weights).0.insert(key, weight);
        true
    }
}
