//! Bytes that all connections together may hold.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A bound that connections have a share in. It closes when it is used up and opens again when a quarter is free.
pub(crate) struct Budget {
    used: AtomicU64,
    bytes_max: u64,
    /// Changed under the lock of `waiting`.
    open: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// Who waits for it to open. Who is gone is not among them: a waker keeps the memory of its task.
#[derive(Default)]
struct Waiting {
    wakers: Vec<Waker>,
    /// How often all of them were woken.
    round: u64,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            bytes_max: bytes_max as u64,
            open: AtomicBool::new(true),
            waiting: Mutex::default(),
        })
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    fn wants_open(&self, open: bool) -> bool {
        let used = self.used();
        if open { used < self.bytes_max } else { used <= self.bytes_max / 4 * 3 }
    }

    fn update(&self) {
        let open = self.is_open();
        if self.wants_open(open) == open {
            return;
        }
        let mut waiting = self.waiting();
        let mut open = self.is_open();
        // Looked at again once it is said: whoever changed `used` before that saw what was said until then, and may have found it right.
        while self.wants_open(open) != open {
            open = !open;
            self.open.store(open, Ordering::SeqCst);
        }
        let woken = if open { waiting.all() } else { Vec::new() };
        drop(waiting);
        woken.into_iter().for_each(Waker::wake);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn all(&mut self) -> Vec<Waker> {
        self.round += 1;
        std::mem::take(&mut self.wakers)
    }

    fn forget(&mut self, (round, waker): &(u64, Waker)) {
        if *round == self.round {
            self.wakers.retain(|waiting| !waiting.will_wake(waker));
        }
    }
}

/// What one connection holds.
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
    /// What was left to be woken by, and in which round.
    left: Option<(u64, Waker)>,
}

impl Share {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0, left: None }
    }

    /// So many are held now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes == self.bytes {
            return;
        }
        if bytes > self.bytes {
            self.budget.used.fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else {
            self.budget.used.fetch_sub(self.bytes - bytes, Ordering::SeqCst);
        }
        self.bytes = bytes;
        self.budget.update();
    }

    /// Whether there is room for more.
    pub(crate) fn is_open(&self) -> bool {
        self.budget.is_open()
    }

    /// Whether there is room again. Else the task is woken when there is.
    pub(crate) fn poll_opened(&mut self, context: &Context<'_>) -> Poll<()> {
        let mut waiting = self.budget.waiting();
        if self.budget.is_open() {
            return Poll::Ready(());
        }
        let is_there = |(round, left): &(u64, Waker)| *round == waiting.round && left.will_wake(context.waker());
        if self.left.as_ref().is_some_and(is_there) {
            return Poll::Pending;
        }
        if let Some(left) = self.left.take() {
            waiting.forget(&left);
        }
        waiting.wakers.push(context.waker().clone());
        self.left = Some((waiting.round, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            self.budget.waiting().forget(&left);
        }
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two threads that meet.
    const ROUNDS: u32 = 2_000;

    #[test]
    fn it_closes_when_used_up_and_opens_when_a_quarter_is_free() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (Share::new(&budget), Share::new(&budget));
        first.set(60);
        assert!(second.is_open());
        second.set(40);
        assert!(!first.is_open() && !second.is_open());
        second.set(16);
        assert!(!first.is_open());
        second.set(15);
        assert!(first.is_open());
        drop(first);
        assert_eq!(budget.used(), 15);
    }

    #[derive(Default)]
    struct Count(AtomicU64);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_waits_is_woken_each_time_that_it_opens_and_who_is_gone_keeps_nothing() {
        let budget = Budget::new(100);
        let (mut full, mut waits, count) = (Share::new(&budget), Share::new(&budget), Arc::<Count>::default());
        let waker = Waker::from(Arc::clone(&count));
        let poll = |share: &mut Share| share.poll_opened(&Context::from_waker(&waker)).is_ready();
        for round in 1..=3 {
            full.set(100);
            assert!(!poll(&mut waits) && !poll(&mut waits));
            assert_eq!(budget.waiting().wakers.len(), 1);
            full.set(0);
            assert!(count.0.load(Ordering::SeqCst) == round && poll(&mut waits));
        }
        full.set(100);
        for _ in 0..10 {
            let task = Waker::from(Arc::<Count>::default());
            assert!(Share::new(&budget).poll_opened(&Context::from_waker(&task)).is_pending());
        }
        assert!(budget.waiting().wakers.is_empty());
    }

    #[test]
    fn however_threads_interleave_it_ends_open_when_nothing_is_held() {
        let budget = Budget::new(50);
        std::thread::scope(|scope| {
            for number in 0..4_usize {
                let mut share = Share::new(&budget);
                scope.spawn(move || (0..20_000).for_each(|round| share.set((round * 7 + number) % 40)));
            }
        });
        assert_eq!(budget.used(), 0);
        assert!(Share::new(&budget).is_open());
    }

    #[test]
    fn one_that_closes_it_while_another_gives_back_does_not_leave_it_closed() {
        let budget = Budget::new(50);
        let (mut first, mut second) = (Share::new(&budget), Share::new(&budget));
        // Together they use it up; the first alone leaves a quarter free.
        let (at, mut closed) = (std::sync::Barrier::new(2), 0);
        std::thread::scope(|scope| {
            let at = &at;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    second.set(25);
                    at.wait();
                    second.set(0);
                    at.wait();
                    at.wait();
                }
            });
            for _ in 0..ROUNDS {
                at.wait();
                first.set(30);
                at.wait();
                closed += u32::from(!first.is_open());
                first.set(0);
                at.wait();
            }
        });
        assert_eq!(closed, 0, "rounds in which it stayed closed, and nobody was left to open it");
    }
}
