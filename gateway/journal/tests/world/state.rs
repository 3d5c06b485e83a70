//! What a history has the journal keep: a number that rises, and in some histories enough beside it that a checkpoint is laid over
//! another rather than written whole.

use std::collections::BTreeSet;

use lamppost_journal::{Journal, SplitMix64};

use super::model::{Outcome, ensure, must, patient};

/// Values that never change, by the number in their key.
const BALLAST: u64 = 60;

/// What was put, and of that what is on the disk.
#[derive(Default)]
pub struct State {
    asked: Put,
    durable: Put,
    /// There are such values.
    heavy: bool,
}

#[derive(Default, Clone)]
struct Put {
    number: u64,
    ballast: BTreeSet<u64>,
}

fn key(number: u64) -> Vec<u8> {
    format!("ballast/{number}").into_bytes()
}

fn value(number: u64) -> String {
    format!("{number} ").repeat(100)
}

impl State {
    pub fn new(heavy: bool) -> Self {
        Self { heavy, ..Self::default() }
    }

    pub fn put(&mut self, journal: &Journal, random: &mut SplitMix64) {
        let next = self.asked.number + 1;
        if journal.put_state(b"state", Some(next.to_string().into())).is_ok() {
            self.asked.number = next;
        }
        if self.heavy && self.asked.ballast.len() < BALLAST as usize {
            let number = random.below(BALLAST);
            if journal.put_state(&key(number), Some(value(number).into())).is_ok() {
                self.asked.ballast.insert(number);
            }
        }
    }

    /// All that was put has become durable.
    pub fn settle(&mut self) {
        self.durable = self.asked.clone();
    }

    /// What a recovery has found is between the two. From here on it counts as durable.
    pub fn check(&mut self, journal: &Journal, damaged: bool) -> Outcome {
        let mut found = Put::default();
        let read = |key: &[u8]| -> Outcome<_> {
            let value = patient(|| journal.state_get(key));
            if damaged { Ok(value.unwrap_or_default()) } else { must(value) }
        };
        if let Some(number) = read(b"state")? {
            found.number = String::from_utf8(number.to_vec()).unwrap().parse().unwrap();
        }
        let expected = self.durable.number..=self.asked.number;
        ensure!(damaged || expected.contains(&found.number), "state {} is not one of {expected:?}", found.number);
        for number in 0..BALLAST {
            let Some(read) = read(&key(number))? else { continue };
            ensure!(read == value(number), "ballast {number} is {read:?}");
            found.ballast.insert(number);
        }
        let between = self.durable.ballast.is_subset(&found.ballast) && found.ballast.is_subset(&self.asked.ballast);
        ensure!(damaged || between, "ballast {:?}: lost, or never put", found.ballast);
        self.durable = found;
        self.asked = self.durable.clone();
        Ok(())
    }
}
