//! Between CONNECT and the session: is the client who it says, and may it come in?

use std::sync::Arc;

use lamppost_event::DeviceId;

use crate::Cause;
use crate::access::{Entry, Permissions, Rules, identity};
use crate::cause::Close;
use crate::codec::Connect;
use crate::connection::Shared;
use crate::door::Network;
use crate::outbound::Outbound;
use crate::wire::Wire;

/// Who was let in.
pub(crate) struct Admitted {
    pub(crate) permissions: Permissions,
    /// The client id that the proof stands for. The CONNECT's is the same, or empty.
    pub(crate) client_id: Option<DeviceId>,
    pub(crate) login: Option<Proven>,
}

/// A login by password, as a number that the same entry of the password file has again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proven(u64);

/// The name in the client's certificate, where the listener asks for one.
pub(crate) fn certified(wire: &Wire, entry: Entry) -> Result<Option<DeviceId>, Close> {
    let Some(from) = entry.identity else { return Ok(None) };
    let named = wire.certificate().map(|der| identity(der, from)).transpose();
    named.map_err(|error| Close::new(Cause::Certificate, error.to_string()))
}

/// Verifies what the client says of itself.
pub(crate) async fn admit(
    connect: &Connect<'_>,
    certified: Option<&DeviceId>,
    (entry, from): (Entry, Network),
    shared: &Shared,
) -> Result<Admitted, Close> {
    let rules = shared.rules.borrow().clone();
    let look = entry.look(connect, certified, &rules)?;
    if look.client_id.is_none() && shared.ids_are_users && is_a_user(connect.client_id, &rules) {
        let detail =
            format!("the client id {:?} is that of a user, who comes in by another listener", connect.client_id);
        return Err(Close::new(Cause::Identity, detail));
    }
    let mut login = None;
    if let (Some((user, password)), Some(passwords)) = (look.proof, &rules.passwords) {
        shared.login.verify((user, password), passwords, from).await?;
        login = proven(user, &rules, shared);
    }
    Ok(Admitted { permissions: Permissions::new(Arc::clone(&rules.acl), look.user), client_id: look.client_id, login })
}

fn is_a_user(client_id: &str, rules: &Rules) -> bool {
    rules.passwords.as_ref().is_some_and(|passwords| passwords.hash(client_id).is_some())
}

fn proven(user: &str, rules: &Rules, shared: &Shared) -> Option<Proven> {
    rules.passwords.as_ref()?.hash(user).map(|hash| Proven(shared.login.number(hash)))
}

/// Whether a client that was let in by password could come in by it now.
pub(crate) fn is_still_proven(
    permissions: &Permissions,
    login: Option<Proven>,
    rules: &Rules,
    shared: &Shared,
) -> bool {
    login.is_none() || permissions.user().and_then(|user| proven(user, rules, shared)) == login
}

/// Looks at a client anew after the rules have changed.
pub(crate) fn still_admitted(
    permissions: &mut Permissions,
    login: Option<Proven>,
    device: &DeviceId,
    outbound: &Outbound,
    shared: &Shared,
) -> Result<(), Close> {
    let rules = shared.rules.borrow().clone();
    if !is_still_proven(permissions, login, &rules, shared) {
        return Err(Close::new(Cause::Credentials, "the user's password has been changed or taken away"));
    }
    permissions.renew(Arc::clone(&rules.acl));
    match outbound.filters().iter().find(|filter| !permissions.may_subscribe(device, filter)) {
        Some(filter) => {
            Err(Close::new(Cause::NotAuthorized, format!("the subscription to {filter:?} is allowed no more")))
        }
        None => Ok(()),
    }
}
