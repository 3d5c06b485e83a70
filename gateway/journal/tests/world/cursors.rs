//! Groups, and where each may go on in a partition after the power has failed.

use lamppost_event::Group;

use super::PARTITIONS;

/// A group of consumers.
#[derive(Debug, Clone)]
pub struct Follower {
    pub group: Group,
    /// Nothing that it has not passed may be recycled.
    pub required: bool,
    pub cursors: [Ways; PARTITIONS as usize],
}

impl Follower {
    pub fn new(group: Group, required: bool) -> Self {
        Self { group, required, cursors: <[Ways; PARTITIONS as usize]>::default() }
    }
}

/// Between two settings by hand a cursor only goes forward: from the place it was set to, to the one that was asked for last. What it
/// was when it last became durable begins the first of these ways, and what was asked since may be there or not.
#[derive(Debug, Clone)]
pub struct Ways(Vec<(u64, u64)>);

impl Default for Ways {
    fn default() -> Self {
        Self(vec![(0, 0)])
    }
}

impl Ways {
    pub fn go(&mut self, next: u64) {
        let last = self.0.last_mut().unwrap();
        last.1 = last.1.max(next);
    }

    /// To another place, by hand.
    pub fn set(&mut self, next: u64) {
        self.0.push((next, next));
    }

    /// As it is now it is on the disk: earlier ways are not gone again.
    pub fn settle(&mut self) {
        let next = self.0.last().unwrap().1;
        self.found(next);
    }

    /// It is known where it is.
    pub fn found(&mut self, next: u64) {
        self.0 = vec![(next, next)];
    }

    pub fn may_be(&self, next: u64) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&next))
    }

    /// The furthest that it may be.
    pub fn most(&self) -> u64 {
        self.0.iter().map(|way| way.1).max().unwrap()
    }
}
