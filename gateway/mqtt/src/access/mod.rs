//! Who may come in, and what they may do: pure functions of the configuration, the CONNECT and the certificate.
//!
//! ```text
//! CONNECT ──► Entry::look ──► In(guest)                 by certificate, or anonymous
//!                       ├───► Prove { user, password }   then `login` checks the password ──► In(guest)
//!                       └───► Close                      0x86 or 0x87; v3.1.1 return code 4 or 5
//! guest ──► Permissions ──► may_publish(topic), may_subscribe(filter)
//! ```
//!
//! **Invariant:** no text that a client sends is ever read as a pattern: the value of `%c` or `%u` is compared, never parsed.

mod acl;
mod identity;
mod passwords;

use std::sync::Arc;

use lamppost_event::DeviceId;

pub use acl::{Acl, AclError};
pub use identity::{IdentityError, IdentityFrom};
pub use passwords::{EntryError, Passwords, PasswordsError};

pub(crate) use acl::{Action, Guest};
pub(crate) use identity::identity;
pub(crate) use passwords::{Memory, PASSWORD_BYTES_MAX};

use crate::Cause;
use crate::cause::Close;
use crate::codec::{Connect, Secret};

/// What is set for the server as a whole, and may be exchanged while it runs.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Who can prove to be whom by a password. `None`: nobody is asked.
    pub passwords: Option<Arc<Passwords>>,
    /// Who may publish and subscribe to what. Empty: everything.
    pub acl: Arc<Acl>,
}

/// Who may come in by a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Who gives no user name comes in without one. Who gives one has to prove it all the same, where there are passwords.
    pub anonymous: bool,
    /// A user name and the password to it are asked for.
    pub password: bool,
    /// What in a client's certificate names it. The client id has to be the same, or empty. `None`: certificates are not
    /// asked for.
    pub identity: Option<IdentityFrom>,
    /// The client id has to be the user name, or empty: nobody can take over another user's session, by this listener or any other.
    pub client_id_is_user: bool,
}

impl Entry {
    /// Whoever reaches it comes in.
    pub const OPEN: Self = Self { anonymous: true, password: false, identity: None, client_id_is_user: false };

    /// Looks at who wants to come in. `certified`: the name in the client's certificate, which was verified.
    pub(crate) fn look<'a>(
        self,
        connect: &Connect<'a>,
        certified: Option<&DeviceId>,
        rules: &Rules,
    ) -> Result<Look<'a>, Close> {
        if self.identity.is_some() && certified.is_none() {
            return Err(Close::new(Cause::Certificate, "this listener lets nobody in without a certificate"));
        }
        let proof = match (connect.user, connect.password, rules.passwords.as_ref()) {
            // Without passwords to compare with, a user name says nothing, and is not looked at.
            (_, _, None) if self.password => {
                return Err(Close::new(Cause::Credentials, "no password file was read: nobody comes in by password"));
            }
            (_, _, None) => None,
            (Some(user), Some(password), Some(_)) => Some((user, password)),
            (Some(_), None, Some(_)) => return Err(Close::new(Cause::Credentials, "a user name without a password")),
            (None, _, Some(_)) if self.password && !self.anonymous => {
                return Err(Close::new(Cause::Credentials, "a user name and a password are asked for"));
            }
            (None, _, Some(_)) => None,
        };
        let named = proof.map(|(user, _)| user).or(certified.map(DeviceId::as_str));
        if proof.is_none() && certified.is_none() && !self.anonymous {
            return Err(Close::new(Cause::Credentials, "this listener lets nobody in without a proof of who they are"));
        }
        let client_id = self.client_id(connect.client_id, certified, named)?;
        let user = named.map(Box::from);
        Ok(Look { user, client_id, proof })
    }

    /// The client id that the proof stands for: the client's own has to be the same, or empty.
    fn client_id(
        self,
        asked: &str,
        certified: Option<&DeviceId>,
        user: Option<&str>,
    ) -> Result<Option<DeviceId>, Close> {
        let bound = match (certified, user) {
            (Some(certified), _) if self.identity.is_some() => Some((certified.clone(), "certificate")),
            (_, Some(user)) if self.client_id_is_user => {
                let id = DeviceId::new(user).map_err(|error| Close::new(Cause::ClientId, error.to_string()))?;
                Some((id, "user name"))
            }
            _ => None,
        };
        match bound {
            Some((bound, by)) if !asked.is_empty() && bound.as_str() != asked => {
                let detail = format!("the client id {asked:?} is not {:?}, as its {by} says", bound.as_str());
                Err(Close::new(Cause::Identity, detail))
            }
            bound => Ok(bound.map(|(bound, _)| bound)),
        }
    }
}

/// What was seen of who wants to come in.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    /// The name that the proof stands for.
    pub(crate) user: Option<Box<str>>,
    /// The client id that the proof stands for.
    pub(crate) client_id: Option<DeviceId>,
    /// Has to be verified before anything of this is believed.
    pub(crate) proof: Option<(&'a str, Secret<'a>)>,
}

/// What a client tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) action: Action,
    /// The topic or filter; of several the last.
    pub(crate) topic: Box<str>,
    pub(crate) count: u64,
}

/// What a client that was let in may do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Permissions {
    acl: Arc<Acl>,
    user: Option<Box<str>>,
}

impl Permissions {
    pub(crate) fn new(acl: Arc<Acl>, user: Option<Box<str>>) -> Self {
        Self { acl, user }
    }

    /// The same client under other rules.
    pub(crate) fn renew(&mut self, acl: Arc<Acl>) {
        self.acl = acl;
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// `topic` has no wildcards.
    pub(crate) fn may_publish(&self, device: &DeviceId, topic: &str) -> bool {
        self.acl.allows(Action::Publish, self.guest(device), topic)
    }

    /// `filter` is well-formed. Of a shared subscription the filter behind the group's name counts.
    pub(crate) fn may_subscribe(&self, device: &DeviceId, filter: &str) -> bool {
        let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
        self.acl.allows(Action::Subscribe, self.guest(device), shared.map_or(filter, |(_, filter)| filter))
    }

    fn guest<'a>(&'a self, device: &'a DeviceId) -> Guest<'a> {
        Guest { client: device.as_str(), user: self.user.as_deref() }
    }
}

#[cfg(test)]
mod tests;
