//! Models of what shuttle lacks or leaves out: time-outs, and a cell that is set once.
//!
//! A time-out does not depend on real time. A wait of [`LOOK_AGAIN`] or longer is there only to be safe: it never ends by itself,
//! so a wake-up that is lost leaves a thread asleep for ever, and the test sees a deadlock. A shorter one is for something that
//! falls due: it ends whenever the scheduler likes.

use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread::yield_now;

const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

/// Knows its mutex, to lock it again.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: shuttle::sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.guarded(self.0.lock())
    }

    fn guarded<'a>(&'a self, held: LockResult<shuttle::sync::MutexGuard<'a, T>>) -> LockResult<MutexGuard<'a, T>> {
        match held {
            Ok(held) => Ok(MutexGuard { mutex: self, held }),
            Err(poisoned) => Err(PoisonError::new(MutexGuard { mutex: self, held: poisoned.into_inner() })),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held
    }
}

/// Whether the time was up.
type Waited<'a, T> = LockResult<(MutexGuard<'a, T>, bool)>;

#[derive(Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, most: Duration) -> Waited<'a, T> {
        let MutexGuard { mutex, held } = guard;
        let timed = most < LOOK_AGAIN;
        let locked = if timed {
            drop(held);
            yield_now();
            mutex.lock()
        } else {
            mutex.guarded(self.0.wait(held))
        };
        match locked {
            Ok(guard) => Ok((guard, timed)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), timed))),
        }
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        most: Duration,
        mut wanted: impl FnMut(&mut T) -> bool,
    ) -> Waited<'a, T> {
        let mut timed = false;
        while wanted(&mut guard) && !timed {
            (guard, timed) = self.wait_timeout(guard, most)?;
        }
        Ok((guard, timed))
    }
}

/// Each look at it is a point at which the scheduler may go on elsewhere.
#[derive(Default)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    looks: AtomicU64,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { value: std::sync::OnceLock::new(), looks: AtomicU64::new(0) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.looks.load(Ordering::SeqCst);
        self.value.get()
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.looks.store(1, Ordering::SeqCst);
        self.value.get_or_init(make)
    }
}

/// Lets the others go on; for how long is the scheduler's affair.
pub(crate) fn sleep(_most: Duration) {
    yield_now();
}
