//! Who waits for which commit. With thousands of connections most commits concern few of them: whoever waits is woken by the commit that it
//! waits for, once, and by no other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use lamppost_event::Commit;

use crate::durability::Durability;

/// A journal that stopped, in place of the commit that it has reached.
const STOPPED: u64 = u64::MAX;

/// The wakers of all connections, by commit. What is in it goes with its commit or its connection: no more than one for each that is there.
#[derive(Debug)]
pub(crate) struct Waiters {
    /// What connections ask several times for each event: to read it disturbs no other processor.
    reached: AtomicU64,
    /// In rising order of the commits.
    by_commit: Mutex<VecDeque<(Commit, Vec<Waker>)>>,
}

/// One connection's wait; it waits for one commit at a time. Dropping it takes its waker back.
#[derive(Debug)]
pub(crate) struct Wait {
    waiters: Arc<Waiters>,
    /// What its waker was left for.
    left: Option<(Commit, Waker)>,
}

impl Waiters {
    pub(crate) fn new(durability: Durability) -> Self {
        Self { reached: AtomicU64::new(packed(durability)), by_commit: Mutex::default() }
    }

    /// How far the journal is on disk.
    pub(crate) fn durability(&self) -> Durability {
        match self.reached.load(Ordering::SeqCst) {
            STOPPED => Durability::Stopped,
            reached => Durability::Reached(Commit(reached)),
        }
    }

    /// From now on so much is on disk. Wakes who waits for it.
    pub(crate) fn reach(&self, durability: Durability) {
        self.reached.store(packed(durability), Ordering::SeqCst);
        let mut by_commit = self.by_commit.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<(Commit, Vec<Waker>)> = match durability {
            Durability::Reached(durable) => {
                let count = by_commit.partition_point(|(commit, _)| *commit <= durable);
                by_commit.drain(..count).collect()
            }
            // They stay, should the journal be opened again before somebody has looked.
            Durability::Stopped => by_commit.iter().cloned().collect(),
        };
        drop(by_commit);
        due.into_iter().flat_map(|(_, wakers)| wakers).for_each(Waker::wake);
    }

    fn leave(&self, commit: Commit, waker: Waker) {
        let mut by_commit = self.by_commit.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one nearly always: commits are numbered as they are gathered.
        let before = by_commit.iter().rposition(|(at, _)| *at <= commit);
        match before.and_then(|at| by_commit.get_mut(at)) {
            Some((at, wakers)) if *at == commit => wakers.push(waker),
            _ => by_commit.insert(before.map_or(0, |at| at + 1), (commit, vec![waker])),
        }
    }

    /// Takes back what was left for a commit that may not be on disk yet.
    fn take_back(&self, commit: Commit, waker: &Waker) {
        let mut by_commit = self.by_commit.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(at) = by_commit.binary_search_by_key(&commit, |(commit, _)| *commit) else { return };
        let Some((_, wakers)) = by_commit.get_mut(at) else { return };
        if let Some(own) = wakers.iter().position(|other| other.will_wake(waker)) {
            wakers.swap_remove(own);
        }
        if wakers.is_empty() {
            by_commit.remove(at);
        }
    }
}

fn packed(durability: Durability) -> u64 {
    match durability {
        // No journal comes to so many.
        Durability::Reached(commit) => commit.0.min(STOPPED - 1),
        Durability::Stopped => STOPPED,
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.take_back();
    }
}

impl Wait {
    pub(crate) fn new(waiters: Arc<Waiters>) -> Self {
        Self { waiters, left: None }
    }

    fn take_back(&mut self) {
        let Some((commit, waker)) = self.left.take() else { return };
        // Of a commit that is on disk nothing is there any more.
        if !matches!(self.waiters.durability(), Durability::Reached(durable) if commit <= durable) {
            self.waiters.take_back(commit, &waker);
        }
    }

    /// Whether `commit` is on disk or the journal has stopped. Else the task is woken when it is so. Cheap to poll again for the same commit.
    pub(crate) fn poll(&mut self, commit: Commit, context: &Context<'_>) -> Poll<()> {
        if self.is_due(commit) {
            return Poll::Ready(());
        }
        if self.left.as_ref().is_some_and(|(at, waker)| *at == commit && waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        self.take_back();
        self.waiters.leave(commit, context.waker().clone());
        self.left = Some((commit, context.waker().clone()));
        // It may have become durable in between, before the waker was there.
        if self.is_due(commit) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn is_due(&self, commit: Commit) -> bool {
        !matches!(self.waiters.durability(), Durability::Reached(durable) if durable < commit)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Client {
        wait: Wait,
        woken: Arc<Count>,
    }

    impl Client {
        fn new(waiters: &Arc<Waiters>) -> Self {
            Self { wait: Wait::new(Arc::clone(waiters)), woken: Arc::default() }
        }

        fn polled(&mut self, commit: u64) -> bool {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.wait.poll(Commit(commit), &Context::from_waker(&waker)).is_ready()
        }

        fn woken(&self) -> u32 {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn each_is_woken_once_by_its_own_commit_and_all_by_the_end_of_the_journal() {
        let waiters = Arc::new(Waiters::new(Durability::Reached(Commit(3))));
        let (mut late, mut early, mut stuck) = (Client::new(&waiters), Client::new(&waiters), Client::new(&waiters));
        assert!(early.polled(3), "what is on disk is not waited for");
        for _ in 0..3 {
            assert!(!late.polled(6) && !early.polled(4) && !stuck.polled(9));
        }
        waiters.reach(Durability::Reached(Commit(5)));
        assert_eq!((early.woken(), late.woken()), (1, 0));
        assert!(early.polled(4) && !late.polled(6));
        waiters.reach(Durability::Reached(Commit(6)));
        assert_eq!((early.woken(), late.woken(), stuck.woken()), (1, 1, 0));
        // It waits for the next one.
        assert!(!early.polled(7));
        waiters.reach(Durability::Stopped);
        assert_eq!((early.woken(), stuck.woken()), (2, 1));
        waiters.reach(Durability::Reached(Commit(9)));
        assert!(waiters.by_commit.lock().unwrap().is_empty());
    }

    #[test]
    fn who_is_gone_or_waits_for_another_commit_leaves_no_waker_behind() {
        let waiters = Arc::new(Waiters::new(Durability::Reached(Commit(0))));
        let mut stays = Client::new(&waiters);
        assert!(!stays.polled(7));
        // The disk stands still, and clients come and go.
        for _ in 0..1_000 {
            let mut gone = Client::new(&waiters);
            assert!(!gone.polled(7) && !gone.polled(9));
        }
        let left: Vec<_> = waiters.by_commit.lock().unwrap().iter().map(|(at, wakers)| (at.0, wakers.len())).collect();
        assert_eq!(left, [(7, 1)]);
        waiters.reach(Durability::Reached(Commit(7)));
        assert_eq!(stays.woken(), 1);
    }
}
