//! Passwords are verified here: off the runtime's threads, few at a time, and once for who comes often.
//!
//! **Invariant:** no more than `verifications_max` verifications run, each with the memory that the password file's bounds
//! allow; all others wait, for no longer than their connection may take to come in.
//! **Invariant:** after a restart 10,000 devices cost one verification for each user, not for each connection: who waited while the same
//! login was verified does not verify it again, and what was verified for a connection that gave up is remembered for its next one.
//! **Invariant:** a login is remembered under a keyed hash of user, password *and* the user's entry in the file, with a key
//! that lives in this process alone: another password, or another entry, is another login.
//!
//! Why a fast hash will do for what is remembered: it is never written anywhere, and without the key, which is random and as long as the
//! hash, nobody can try passwords against it. Who can read this process's memory has the key, and the passwords of all who connect as well.
//! A wrong password is not remembered: each guess costs a verification, and only [`Limits::verifications_max`](crate::Limits) go on at once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::Cause;
use crate::access::{Memory, Passwords};
use crate::cause::Close;
use crate::codec::Secret;

/// Logins that are remembered. 32 bytes each, twice.
const REMEMBERED_MAX: usize = 16_384;

type Mark = [u8; 32];

/// Verifies, and remembers.
pub(crate) struct Login {
    key: hmac::Key,
    permits: Arc<Semaphore>,
    /// Of verifications that have ended: no more than there are permits.
    memories: Arc<Mutex<Vec<Memory>>>,
    remembered: Arc<Mutex<Remembered>>,
    /// Verifications that were begun.
    #[cfg(test)]
    begun: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct Remembered {
    marks: HashSet<Mark>,
    order: VecDeque<Mark>,
}

impl Login {
    /// `None`: the system gives no random bytes.
    pub(crate) fn new(verifications_max: usize) -> Option<Self> {
        Some(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?,
            permits: Arc::new(Semaphore::new(verifications_max.clamp(1, Semaphore::MAX_PERMITS))),
            memories: Arc::default(),
            remembered: Arc::default(),
            #[cfg(test)]
            begun: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// Whether the password is the user's. The same words whether there is such a user or not.
    pub(crate) async fn verify(&self, user: &str, secret: Secret<'_>, passwords: &Arc<Passwords>) -> Result<(), Close> {
        let wrong = || Close::new(Cause::Credentials, format!("wrong user name or password, of the user {user:?}"));
        if secret.0.len() > crate::access::PASSWORD_BYTES_MAX {
            return Err(wrong());
        }
        let mark = self.mark(user, secret, passwords);
        if self.remembered().marks.contains(&mark) {
            return Ok(());
        }
        let busy = |_| Close::new(Cause::Credentials, "passwords can't be verified now");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| busy(()))?;
        if self.remembered().marks.contains(&mark) {
            // Another connection has had it verified while this one waited.
            return Ok(());
        }
        #[cfg(test)]
        self.begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let number = self.number(user);
        let remembered = Arc::clone(&self.remembered);
        let (user_too, password, passwords) = (user.to_owned(), secret.0.to_vec(), Arc::clone(passwords));
        let memories = Arc::clone(&self.memories);
        let verified = spawn_blocking(move || {
            // Held until the work is done: a connection that gives up does not make room for the next.
            let _until_done = permit;
            let mut memory = lock(&memories).pop().unwrap_or_default();
            let verified = passwords.verify(&user_too, &password, number, &mut memory);
            lock(&memories).push(memory);
            if verified {
                // Here, and before there is a permit for the next: whoever asked may be gone.
                lock(&remembered).add(mark);
            }
            verified
        });
        if !verified.await.map_err(|_| busy(()))? {
            return Err(wrong());
        }
        Ok(())
    }

    /// Stands for this user with this password and this entry. Made for who is not there as well, so that it takes as long.
    fn mark(&self, user: &str, secret: Secret<'_>, passwords: &Passwords) -> Mark {
        let hash = passwords.hash(user).unwrap_or_default();
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), secret.0, hash.as_bytes()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut mark = Mark::default();
        // HMAC-SHA256 has 32 bytes.
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }

    /// The same for the same text, and not to be foretold.
    pub(crate) fn number(&self, user: &str) -> u64 {
        let tag = hmac::sign(&self.key, user.as_bytes());
        tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        lock(&self.remembered)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remembered {
    fn add(&mut self, mark: Mark) {
        if self.marks.insert(mark) {
            self.order.push_back(mark);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.marks.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Arc<Passwords> {
        Arc::new(Passwords::parse(&Passwords::entry("anna", b"secret").unwrap()).unwrap())
    }

    #[tokio::test]
    async fn a_verified_login_is_remembered_until_its_entry_is_another() {
        let login = Login::new(1).unwrap();
        let first = passwords();
        login.verify("anna", Secret(b"secret"), &first).await.unwrap();
        // With no permit left, only what is remembered is answered.
        let all = login.permits.clone().acquire_owned().await.unwrap();
        login.verify("anna", Secret(b"secret"), &first).await.unwrap();
        let soon = std::time::Duration::from_millis(50);
        for (user, password, passwords) in
            [("anna", &b"Secret"[..], &first), ("bert", b"secret", &first), ("anna", b"secret", &passwords())]
        {
            let verified = tokio::time::timeout(soon, login.verify(user, Secret(password), passwords)).await;
            assert!(verified.is_err(), "{user} {verified:?}");
        }
        drop(all);
        for (user, password) in [("anna", &b"Secret"[..]), ("bert", b"secret"), ("anna", &[b'x'; 2000])] {
            let close = login.verify(user, Secret(password), &first).await.unwrap_err();
            assert_eq!(close.cause, Cause::Credentials);
            assert!(!close.detail.contains("ecret"), "{}", close.detail);
        }
    }

    #[tokio::test]
    async fn what_was_verified_for_who_gave_up_is_remembered() {
        let (login, passwords) = (Login::new(1).unwrap(), passwords());
        let soon = std::time::Duration::from_millis(1);
        let gave_up = tokio::time::timeout(soon, login.verify("anna", Secret(b"secret"), &passwords)).await;
        assert!(gave_up.is_err(), "it was verified within a millisecond");
        // Until that is done; then there is no permit for another.
        let _all = login.permits.clone().acquire_owned().await.unwrap();
        let again = tokio::time::timeout(soon, login.verify("anna", Secret(b"secret"), &passwords)).await;
        assert!(matches!(again, Ok(Ok(()))), "{again:?}");
    }

    #[tokio::test]
    async fn a_storm_of_one_user_costs_one_verification() {
        let (login, passwords) = (Arc::new(Login::new(2).unwrap()), passwords());
        let storm: Vec<_> = (0..100)
            .map(|_| {
                let (login, passwords) = (Arc::clone(&login), Arc::clone(&passwords));
                tokio::spawn(async move { login.verify("anna", Secret(b"secret"), &passwords).await })
            })
            .collect();
        for login in storm {
            login.await.unwrap().unwrap();
        }
        // With two permits, those that come first may be verified both.
        assert!(login.begun.load(std::sync::atomic::Ordering::Relaxed) <= 2);
    }

    #[test]
    fn no_more_logins_are_remembered_than_allowed() {
        let mut remembered = Remembered::default();
        for number in 0..REMEMBERED_MAX as u64 + 10 {
            let mut mark = [0; 32];
            mark[..8].copy_from_slice(&number.to_le_bytes());
            remembered.add(mark);
            remembered.add(mark);
        }
        assert_eq!((remembered.marks.len(), remembered.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }
}
