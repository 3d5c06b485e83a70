//! Passwords are verified here: off the runtime's threads, few at a time, and once for who comes often.
//!
//! **Invariant:** no more than `verifications_max` verifications run, each with the memory that the password file's bounds
//! allow; all others wait, for no longer than their connection may take to come in.
//! **Invariant:** one network has no more verifications under way or next in turn than all permits but one (with one permit: one). However many it guesses, who
//! comes from elsewhere waits for a few of them, not for all.
//! **Invariant:** after a restart 10,000 devices cost one verification for each user, not for each connection: who waited while the same
//! login was verified does not verify it again, and what was verified for a connection that gave up is remembered for its next one.
//! **Invariant:** a login is remembered under a keyed hash of user, password *and* the user's entry in the file, with a key
//! that lives in this process alone: another password, or another entry, is another login.
//!
//! Why a fast hash will do for what is remembered: it is never written anywhere, and without the key, which is random and as long as the
//! hash, nobody can try passwords against it. Who can read this process's memory has the key, and the passwords of all who connect as well.
//! A wrong password is not remembered: each guess costs a verification, and only [`Limits::verifications_max`](crate::Limits) go on at once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::Cause;
use crate::access::{Memory, Passwords};
use crate::cause::Close;
use crate::codec::Secret;
use crate::door::Network;

/// Logins that are remembered. 32 bytes each, twice.
const REMEMBERED_MAX: usize = 16_384;

type Mark = [u8; 32];

/// Verifies, and remembers.
pub(crate) struct Login {
    key: hmac::Key,
    permits: Arc<Semaphore>,
    turns: Arc<Turns>,
    /// Of verifications that have ended: no more than there are permits.
    memories: Arc<Mutex<Vec<Memory>>>,
    remembered: Arc<Mutex<Remembered>>,
    /// Verifications that were begun.
    #[cfg(test)]
    begun: std::sync::atomic::AtomicU64,
}

/// How many of one network may be next in turn. Those of networks that have something to be verified now.
struct Turns {
    each: usize,
    of: Mutex<HashMap<Network, Queue>>,
}

/// Those of one network.
struct Queue {
    permits: Arc<Semaphore>,
    /// How many have or wait for one.
    count: usize,
}

/// A network's turn, or the wait for it. Dropping it makes room for the network's next.
struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    network: Network,
    turns: Arc<Turns>,
}

impl Turns {
    /// Waits until all but a few of those that came from `network` before are done.
    async fn take(self: &Arc<Self>, network: Network) -> Option<Turn> {
        let new = || Queue { permits: Arc::new(Semaphore::new(self.each)), count: 0 };
        let permits = {
            let mut of = lock(&self.of);
            let queue = of.entry(network).or_insert_with(new);
            queue.count += 1;
            Arc::clone(&queue.permits)
        };
        // From here on it is counted out again, also if it is given up.
        let mut turn = Turn { permit: None, network, turns: Arc::clone(self) };
        turn.permit = Some(permits.acquire_owned().await.ok()?);
        Some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut of = lock(&self.turns.of);
        if let Some(queue) = of.get_mut(&self.network) {
            queue.count -= 1;
            if queue.count == 0 {
                of.remove(&self.network);
            }
        }
    }
}

#[derive(Default)]
struct Remembered {
    marks: HashSet<Mark>,
    order: VecDeque<Mark>,
}

impl Login {
    /// `None`: the system gives no random bytes.
    pub(crate) fn new(verifications_max: usize) -> Option<Self> {
        let permits = verifications_max.clamp(1, Semaphore::MAX_PERMITS);
        Some(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?,
            permits: Arc::new(Semaphore::new(permits)),
            turns: Arc::new(Turns { each: (permits - 1).max(1), of: Mutex::default() }),
            memories: Arc::default(),
            remembered: Arc::default(),
            #[cfg(test)]
            begun: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// Whether the password is the user's, as somebody says who comes `from` there. The same words whether there is such a user or not.
    pub(crate) async fn verify(
        &self,
        (user, secret): (&str, Secret<'_>),
        passwords: &Arc<Passwords>,
        from: Network,
    ) -> Result<(), Close> {
        let wrong = || Close::new(Cause::Credentials, format!("wrong user name or password, of the user {user:?}"));
        if secret.0.len() > crate::access::PASSWORD_BYTES_MAX {
            return Err(wrong());
        }
        let mark = self.mark(user, secret, passwords);
        if self.remembered().marks.contains(&mark) {
            return Ok(());
        }
        let busy = |()| Close::new(Cause::Credentials, "passwords can't be verified now");
        let turn = self.turns.take(from).await.ok_or_else(|| busy(()))?;
        if self.remembered().marks.contains(&mark) {
            return Ok(());
        }
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
            let _until_done = (permit, turn);
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

    fn from(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[tokio::test]
    async fn however_many_guesses_one_network_makes_who_comes_from_another_is_next() {
        for permits in [1, 4] {
            let (login, passwords) = (Arc::new(Login::new(permits).unwrap()), passwords());
            // Nothing is verified before all have come.
            let all = login.permits.clone().acquire_many_owned(u32::try_from(permits).unwrap()).await.unwrap();
            let order: Arc<Mutex<Vec<&str>>> = Arc::default();
            let ask = |user: &'static str, password: String, address: &'static str| {
                let (login, passwords, order) = (login.clone(), passwords.clone(), order.clone());
                tokio::spawn(async move {
                    let verified = login.verify((user, Secret(password.as_bytes())), &passwords, from(address)).await;
                    lock(&order).push(user);
                    verified.is_ok()
                })
            };
            // One host of IPv6 has as many addresses as it likes.
            let guess = |n: usize| ask("eve", format!("guess {n}"), ["2001:db8::1", "2001:db8::2"][n % 2]);
            let guesses: Vec<_> = (0..20).map(guess).collect();
            tokio::task::yield_now().await;
            let anna = ask("anna", "secret".into(), "2001:db8:0:1::1");
            tokio::task::yield_now().await;
            drop(all);
            assert!(anna.await.unwrap());
            let before = lock(&order).len() - 1;
            assert!(before <= 2 * permits, "{before} guesses came first, of 20, with {permits} at a time");
            for guess in guesses {
                assert!(!guess.await.unwrap());
            }
            assert!(lock(&login.turns.of).is_empty(), "what nobody waits for is forgotten");
        }
    }

    #[tokio::test]
    async fn who_gives_up_waiting_for_its_turn_leaves_nothing_behind() {
        let (login, passwords) = (Login::new(1).unwrap(), passwords());
        let all = login.permits.clone().acquire_owned().await.unwrap();
        let soon = std::time::Duration::from_millis(5);
        let ask = || login.verify(("anna", Secret(b"secret")), &passwords, from("192.0.2.1"));
        let (one, other) = tokio::join!(tokio::time::timeout(soon, ask()), tokio::time::timeout(soon, ask()));
        assert!(one.is_err() && other.is_err());
        assert!(lock(&login.turns.of).is_empty());
        drop(all);
        ask().await.unwrap();
    }

    #[tokio::test]
    async fn a_verified_login_is_remembered_until_its_entry_is_another() {
        let login = Login::new(1).unwrap();
        let first = passwords();
        login.verify(("anna", Secret(b"secret")), &first, from("192.0.2.1")).await.unwrap();
        // With no permit left, only what is remembered is answered.
        let all = login.permits.clone().acquire_owned().await.unwrap();
        login.verify(("anna", Secret(b"secret")), &first, from("192.0.2.1")).await.unwrap();
        let soon = std::time::Duration::from_millis(50);
        for (user, password, passwords) in
            [("anna", &b"Secret"[..], &first), ("bert", b"secret", &first), ("anna", b"secret", &passwords())]
        {
            let verified =
                tokio::time::timeout(soon, login.verify((user, Secret(password)), passwords, from("192.0.2.1"))).await;
            assert!(verified.is_err(), "{user} {verified:?}");
        }
        drop(all);
        for (user, password) in [("anna", &b"Secret"[..]), ("bert", b"secret"), ("anna", &[b'x'; 2000])] {
            let close = login.verify((user, Secret(password)), &first, from("192.0.2.1")).await.unwrap_err();
            assert_eq!(close.cause, Cause::Credentials);
            assert!(!close.detail.contains("ecret"), "{}", close.detail);
        }
    }

    #[tokio::test]
    async fn what_was_verified_for_who_gave_up_is_remembered() {
        let (login, passwords) = (Login::new(1).unwrap(), passwords());
        let soon = std::time::Duration::from_millis(1);
        let gave_up =
            tokio::time::timeout(soon, login.verify(("anna", Secret(b"secret")), &passwords, from("192.0.2.1"))).await;
        assert!(gave_up.is_err(), "it was verified within a millisecond");
        // Until that is done; then there is no permit for another.
        let _all = login.permits.clone().acquire_owned().await.unwrap();
        let again =
            tokio::time::timeout(soon, login.verify(("anna", Secret(b"secret")), &passwords, from("192.0.2.1"))).await;
        assert!(matches!(again, Ok(Ok(()))), "{again:?}");
    }

    #[tokio::test]
    async fn a_storm_of_one_user_costs_one_verification() {
        let (login, passwords) = (Arc::new(Login::new(2).unwrap()), passwords());
        let storm: Vec<_> = (0..100)
            .map(|_| {
                let (login, passwords) = (Arc::clone(&login), Arc::clone(&passwords));
                tokio::spawn(
                    async move { login.verify(("anna", Secret(b"secret")), &passwords, from("192.0.2.1")).await },
                )
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
