//! Bytes that all connections together may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// A bound that connections have a share in. It closes when it is used up and opens again when a quarter is free.
pub(crate) struct Budget {
    used: AtomicU64,
    bytes_max: u64,
    open: watch::Sender<bool>,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), bytes_max: bytes_max as u64, open: watch::Sender::new(true) })
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    fn wants_open(&self, open: bool) -> bool {
        let used = self.used();
        if open { used < self.bytes_max } else { used <= self.bytes_max / 4 * 3 }
    }

    fn update(&self) {
        let open = *self.open.borrow();
        if self.wants_open(open) != open {
            // Looked at again under the lock, so that the last to change `used` is the last to decide.
            self.open.send_if_modified(|open| {
                let wanted = self.wants_open(*open);
                std::mem::replace(open, wanted) != wanted
            });
        }
    }
}

/// What one connection holds.
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
    open: watch::Receiver<bool>,
}

impl Share {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0, open: budget.open.subscribe() }
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
        *self.open.borrow()
    }

    /// Completes when there is room again. Safe to cancel.
    pub(crate) async fn opened(&mut self) {
        if self.open.wait_for(|open| *open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
