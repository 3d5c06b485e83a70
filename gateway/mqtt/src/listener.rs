//! Where clients come in, and by which rule.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::access::{Entry, Rules};
use crate::transport::Tls;

/// An address that clients come in by.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Port 0: a free one.
    pub address: SocketAddr,
    /// `None`: plain TCP.
    pub tls: Option<Tls>,
    /// Who comes in.
    pub entry: Entry,
}

impl Listener {
    /// Plain TCP, and whoever reaches it comes in.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        Self { address, tls: None, entry: Entry::OPEN }
    }
}

/// A listener's rule, as its connections see it.
pub(crate) struct Door {
    pub(crate) entry: Entry,
    tls: RwLock<Option<Tls>>,
}

impl Door {
    pub(crate) fn new(listener: &Listener) -> Self {
        Self { entry: listener.entry, tls: RwLock::new(listener.tls.clone()) }
    }

    /// What the next handshake is made with.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Exchanges certificates, passwords and rules while the front runs.
#[derive(Clone)]
pub struct Keys {
    pub(crate) doors: Vec<Arc<Door>>,
    pub(crate) rules: watch::Sender<Arc<Rules>>,
}

impl Keys {
    /// From now on handshakes of the listener with this number (in the order of [`crate::Front::bind`]) are made with other
    /// files. Connections that stand go on. Returns whether there is such a listener, with TLS.
    #[must_use]
    pub fn set_tls(&self, number: usize, tls: Tls) -> bool {
        let Some(door) = self.doors.get(number) else { return false };
        let mut held = door.tls.write().unwrap_or_else(PoisonError::into_inner);
        let had = held.is_some();
        if had {
            *held = Some(tls);
        }
        had
    }

    /// Of each listener, when the certificate that it uses now expires, in seconds since 1970. `None`: it uses none.
    #[must_use]
    pub fn certificates_expire_unix_s(&self) -> Vec<Option<u64>> {
        self.doors.iter().map(|door| door.tls().map(|tls| tls.expires_unix_s())).collect()
    }

    /// What counts now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.borrow().clone()
    }

    /// From now on these passwords and rules count. A connection whose login or subscriptions they do not allow ends.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.send_replace(Arc::new(rules));
    }
}
