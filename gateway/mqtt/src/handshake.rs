//! From a fresh socket to a client that is let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lamppost_event::{Commit, DeviceId, NoteRefusal};
use tokio::time::{Instant, timeout, timeout_at};

use crate::admission::{Admitted, Proven, admit, certified};
use crate::cause::Close;
use crate::clients::Introduced;
use crate::codec::{self, Accepted, Connect, DecodeError, Version, decode_connect};
use crate::connection::Shared;
use crate::door::{Network, Visit};
use crate::durability::Durability;
use crate::listener::Door;
use crate::outbound::{Outbound, Reception};
use crate::registry::Claim;
use crate::session::{LastWill, Session};
use crate::sessions::{Aliases, Opened, Owner};
use crate::wills::{NotedWill, Noting};
use crate::wire::{Framed, Wire};
use crate::{Cause, Limits};

/// The smallest Maximum Packet Size of a client with which it is told reasons in words.
const EXPLAIN_BYTES_MIN: u32 = 512;

/// How long a new session waits for room in the journal before it is refused.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// A client that was let in.
pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) outbound: Outbound,
    pub(crate) claim: Claim,
    pub(crate) will: Option<LastWill>,
    pub(crate) noted: Option<NotedWill>,
    /// `None`: the client may be silent for ever.
    pub(crate) silence_max: Option<Duration>,
    pub(crate) session_expiry: Duration,
    pub(crate) session_present: bool,
    /// The client may be told reasons in words.
    pub(crate) explain: bool,
    pub(crate) login: Option<Proven>,
}

impl Client {
    /// What an operator is told of it.
    pub(crate) fn introduced(&self, peer: SocketAddr) -> Introduced {
        Introduced {
            device: self.session.device.clone(),
            user: self.session.permissions.user().map(Arc::from),
            peer: Some(peer),
            v5: self.session.version == Version::V5,
            session_present: self.session_present,
            session_expiry: self.session_expiry,
        }
    }
}

/// What a CONNECT asks for, checked.
struct Introduction {
    session: Session,
    assigned: bool,
    clean: bool,
    will: Option<LastWill>,
    reception: Reception,
    aliases: Aliases,
    /// What the server sets in place of the client's.
    keep_alive_s: Option<u16>,
    silence_max: Option<Duration>,
    session_expiry: Duration,
    /// The expiry is another than the client asked for.
    expiry_changed: bool,
    explain: bool,
    login: Option<Proven>,
}

/// Sees TLS up, reads CONNECT and answers it. A negative answer is left in the wire's output.
/// `said` is what it said its client id was, once it has.
pub(crate) async fn shake_hands(
    wire: &mut Wire,
    door: &Door,
    visit: &Visit,
    shared: &Shared,
    said: &mut Option<DeviceId>,
) -> Result<Client, Close> {
    timeout(shared.limits.handshake_timeout, wire.secure())
        .await
        .map_err(|_| Close::new(Cause::ConnectTimeout, "no TLS handshake in time"))?
        .map_err(|error| Close::new(Cause::Tls, format!("the TLS handshake failed: {error}")))?;
    let deadline = Instant::now() + shared.limits.connect_timeout;
    let (frame, body) = timeout_at(deadline, first_packet(wire, shared))
        .await
        .map_err(|_| Close::new(Cause::ConnectTimeout, "no CONNECT in time"))??;
    let connect = match decode_connect(frame, &body) {
        Ok(connect) => connect,
        Err(error) => {
            refuse_undecoded(error, wire);
            return Err(error.into());
        }
    };
    *said = DeviceId::new(connect.client_id).ok();
    visit.heard();
    let admitted = async {
        let certified = certified(wire, door.entry)?;
        admit(&connect, certified.as_ref(), (door.entry, visit.from()), shared).await
    };
    let too_late = |_| Err(Close::new(Cause::ConnectTimeout, "the password could not be verified in time"));
    let admitted = timeout_at(deadline, admitted).await.unwrap_or_else(too_late);
    let introduced = match admitted.and_then(|admitted| introduce(&connect, admitted, shared)) {
        Ok(introduction) => let_in(introduction, visit.from(), wire, shared).await,
        Err(close) => Err(close),
    };
    introduced.inspect_err(|close| refuse(&connect, close, wire))
}

async fn first_packet(wire: &mut Wire, shared: &Shared) -> Result<(codec::Frame, Bytes), Close> {
    loop {
        // What speaks another protocol is not waited for.
        if wire.peek().is_some_and(|header| header != 0x10) {
            return Err(Close::new(Cause::Malformed, "the first byte is not that of a CONNECT"));
        }
        let bytes_max = shared.limits.packet_bytes_max.min(shared.limits.connect_bytes_max);
        if let Some(Framed { frame, body, .. }) = wire.frame(bytes_max)? {
            let body = Bytes::copy_from_slice(body);
            wire.pass(frame);
            return Ok((frame, body));
        }
        let gone = || Close::new(Cause::Protocol, "gone before its CONNECT was whole");
        wire.readable().await.map_err(|_| gone())?;
        if !wire.fill().map_err(|_| gone())? {
            return Err(gone());
        }
    }
}

/// A client that takes less than a CONNACK without words [MQTT-3.1.2-24] is closed without one.
fn refuse(connect: &Connect<'_>, close: &Close, wire: &mut Wire) {
    let mut answer = BytesMut::new();
    let detail = takes_words(connect).then_some(close.detail.as_str());
    codec::connack_refused(connect.version, connack_code(connect.version, close.cause), detail, &mut answer);
    if connect.packet_bytes_max.is_none_or(|bytes| answer.len() <= bytes as usize) {
        wire.output.extend_from_slice(&answer);
    }
}

/// A reason in words must not make a packet larger than the client takes [MQTT-3.2.2-19], [MQTT-3.14.2-3].
fn takes_words(connect: &Connect<'_>) -> bool {
    connect.problem_information && connect.packet_bytes_max.is_none_or(|bytes| bytes >= EXPLAIN_BYTES_MIN)
}

/// Only a wrong version has an answer that a client of any version can read [MQTT-3.1.2-2].
fn refuse_undecoded(error: DecodeError, wire: &mut Wire) {
    if let DecodeError::Version { level, .. } = error {
        if level > 5 {
            codec::connack_refused(Version::V5, 0x84, Some("versions 3.1.1 and 5.0 are served"), &mut wire.output);
        } else {
            codec::connack_refused(Version::V4, 0x01, None, &mut wire.output);
        }
    }
}

/// A code that a CONNACK may have (table 3-1 of the standard; section 3.2.2.3 of 3.1.1).
fn connack_code(version: Version, cause: Cause) -> u8 {
    match (version, cause) {
        (Version::V5, Cause::JournalStopped | Cause::ShuttingDown) => 0x88,
        // "Session taken over" is for DISCONNECT only, and that is for who was let in [MQTT-3.14.0-1].
        (Version::V5, Cause::TakenOver) => 0x89,
        (Version::V5, cause) => cause.reason(),
        (Version::V4, Cause::Version) => 0x01,
        (Version::V4, Cause::ClientId) => 0x02,
        (Version::V4, Cause::Credentials) => 0x04,
        (Version::V4, Cause::Certificate | Cause::Identity | Cause::NotAuthorized) => 0x05,
        (Version::V4, _) => 0x03,
    }
}

fn introduce(connect: &Connect<'_>, admitted: Admitted, shared: &Shared) -> Result<Introduction, Close> {
    if *shared.durability.borrow() == Durability::Stopped {
        return Err(Close::new(Cause::JournalStopped, "nothing can be stored now"));
    }
    if let Some(method) = connect.authentication_method {
        return Err(Close::new(Cause::Authentication, format!("authentication method {method:?} is not offered")));
    }
    let assigned = connect.client_id.is_empty();
    if assigned && connect.version == Version::V4 && !connect.clean {
        return Err(Close::new(Cause::ClientId, "an empty client id needs a clean session"));
    }
    let device = match admitted.client_id {
        Some(client_id) => Ok(client_id),
        None if assigned => shared.assign_client_id(),
        None => DeviceId::new(connect.client_id),
    };
    let device = device.map_err(|error| Close::new(Cause::ClientId, error.to_string()))?;
    let mut session = Session::new(connect.version, device, shared.limits.clone());
    session.permissions = admitted.permissions;
    let will = connect.will.as_ref().map(|will| session.last_will(will)).transpose()?;
    let asked = asked_expiry(connect);
    let keep_alive_s = server_keep_alive_s(connect, &shared.limits);
    let silence_s = keep_alive_s.unwrap_or(connect.keep_alive_s);
    let session_expiry = asked.min(shared.limits.session_expiry_max);
    Ok(Introduction {
        session,
        assigned,
        clean: connect.clean,
        will,
        reception: reception(connect, &shared.limits),
        aliases: Aliases::new(connect.topic_alias_maximum, shared.limits.topic_aliases_max),
        keep_alive_s,
        silence_max: (silence_s > 0).then(|| Duration::from_millis(u64::from(silence_s) * 1_500)),
        session_expiry,
        expiry_changed: session_expiry != asked,
        explain: takes_words(connect),
        login: admitted.login,
    })
}

/// A v5 client that would never be missed is told to say something from time to time [MQTT-3.1.2-21]; a v3.1.1 client can't be told.
fn server_keep_alive_s(connect: &Connect<'_>, limits: &Limits) -> Option<u16> {
    let max_s = u16::try_from(limits.keep_alive_max.as_secs()).unwrap_or(u16::MAX);
    let too_long = connect.keep_alive_s == 0 || connect.keep_alive_s > max_s;
    (connect.version == Version::V5 && max_s > 0 && too_long).then_some(max_s)
}

/// A v3.1.1 client that does not ask for a clean session means: for ever.
fn asked_expiry(connect: &Connect<'_>) -> Duration {
    match (connect.version, connect.clean) {
        (Version::V4, true) => Duration::ZERO,
        (Version::V4, false) => Duration::MAX,
        (Version::V5, _) if connect.session_expiry_s == u32::MAX => Duration::MAX,
        (Version::V5, _) => Duration::from_secs(u64::from(connect.session_expiry_s)),
    }
}

fn reception(connect: &Connect<'_>, limits: &Limits) -> Reception {
    Reception {
        version: connect.version,
        window: usize::from(connect.receive_maximum.min(limits.window)),
        packet_bytes_max: connect.packet_bytes_max.map_or(limits.packet_bytes_max.max(1 << 20), |bytes| bytes as usize),
    }
}

async fn let_in(introduction: Introduction, from: Network, wire: &mut Wire, shared: &Shared) -> Result<Client, Close> {
    let Introduction { session, assigned, clean, will, reception, aliases, silence_max, session_expiry, .. } =
        introduction;
    let deadline = Instant::now() + shared.limits.connect_timeout;
    let claim = shared.registry.claim(&session.device, deadline).await?;
    // Who comes by another proof, or under other rules, does not get what was subscribed to before.
    let may_have = |filter: &str| session.permissions.may_subscribe(&session.device, filter);
    let owner = Owner::of(session.permissions.user(), from);
    let open = || shared.sessions.open((&session.device, owner), clean, session_expiry, &may_have);
    let mut opened = open();
    if matches!(opened, Err(NoteRefusal::Full)) {
        // Right after a start, or while the disk is behind, there is room in a moment.
        drop(timeout(ROOM_PATIENCE, shared.intake.room()).await);
        opened = open();
    }
    let opened = opened.map_err(|refusal| match refusal {
        NoteRefusal::Stopped(stopped) => Close::new(Cause::JournalStopped, stopped.to_string()),
        refusal => Close::new(Cause::SessionsFull, format!("its session can't be remembered: {refusal}")),
    })?;
    let (kept, session_present, commit) = (Arc::clone(&opened.kept), opened.present, opened.commit);
    let taken = Taken { shared, opened: Some(opened) };
    let device = session.device.clone();
    let stays = (silence_max, session_expiry);
    let noting = will.as_ref().and_then(|will| Noting::begin(will, stays, (&device, &session.permissions), shared));
    let promised = noting.as_ref().map(|noting| noting.commit).max(commit);
    if let Some(commit) = promised {
        let late = |_| Err(Close::new(Cause::Busy, "what is promised with CONNACK is not on disk in time"));
        timeout_at(deadline, until_durable(commit, shared)).await.unwrap_or_else(late)?;
    }
    let accepted = Accepted {
        session_present,
        session_expiry_s: introduction
            .expiry_changed
            .then(|| u32::try_from(session_expiry.as_secs()).unwrap_or(u32::MAX)),
        receive_maximum: shared.limits.window,
        packet_bytes_max: shared.limits.told_packet_bytes_max(),
        topic_alias_maximum: shared.limits.topic_aliases_max,
        assigned_client_id: assigned.then(|| session.device.as_str()),
        keep_alive_s: introduction.keep_alive_s,
    };
    let mut answer = BytesMut::new();
    codec::connack(session.version, &accepted, &mut answer);
    if answer.len() > reception.packet_bytes_max {
        let detail = format!("a CONNACK of {} bytes is more than the client takes", answer.len());
        return Err(Close::new(Cause::PacketTooLarge, detail));
    }
    wire.output.extend_from_slice(&answer);
    taken.keep();
    let mut outbound = Outbound::new(kept, reception, aliases);
    if session_present {
        outbound.link_again(&shared.fanout);
    }
    let Introduction { explain, login, .. } = introduction;
    let noted = noting.and_then(Noting::keep);
    Ok(Client { session, outbound, claim, will, noted, silence_max, session_expiry, session_present, explain, login })
}

/// A session whose client is not let in yet. Who is sent away meanwhile leaves what was as it was.
struct Taken<'a> {
    shared: &'a Shared,
    opened: Option<Opened>,
}

impl Taken<'_> {
    /// The client is in.
    fn keep(mut self) {
        if let Some(opened) = self.opened.take() {
            self.shared.sessions.confirm(opened);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.take() {
            self.shared.sessions.undo(opened);
        }
    }
}

/// What a CONNACK says of the session must still be so after a crash.
async fn until_durable(commit: Commit, shared: &Shared) -> Result<(), Close> {
    let mut durability = shared.durability.clone();
    let settled = |durability: &Durability| !matches!(durability, Durability::Reached(at) if *at < commit);
    match durability.wait_for(settled).await.as_deref() {
        Ok(Durability::Reached(_)) => Ok(()),
        Ok(Durability::Stopped) | Err(_) => Err(Close::new(Cause::JournalStopped, "nothing can be stored now")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connack_has_a_code_that_a_connack_may_have() {
        const ALLOWED: [u8; 21] = [
            0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
            0x9C, 0x9D, 0x9F,
        ];
        // Of who was let in.
        let later = [Cause::KeepAlive, Cause::Window, Cause::TopicAlias];
        for cause in Cause::ALL.into_iter().filter(|cause| !later.contains(cause)) {
            let code = connack_code(Version::V5, cause);
            assert!(ALLOWED.contains(&code), "{cause:?}: {code:#x}");
            assert!((1..=5).contains(&connack_code(Version::V4, cause)), "{cause:?}");
        }
    }
}
