//! One connection, from its first byte to its last: the session's state machine between socket, journal and router. When it does what is
//! in `conversation`; here is what it does.

mod conversation;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lamppost_event::{Clock, Commit, DeviceId, Intake, NameError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::access::Rules;
use crate::acks::{Pending, SUCCESS};
use crate::admission::still_admitted;
use crate::budget::{Budget, Share};
use crate::cause::Close;
use crate::clients::Presence;
use crate::codec::{self, Packet, Qos, Version, decode};
use crate::counters::{Counters, Gauge, add};
use crate::door::{Porch, Visit};
use crate::durability::Durability;
use crate::ending::end;
use crate::fanout::Fanout;
use crate::handshake::{Client, shake_hands};
use crate::listener::Door;
use crate::login::Login;
use crate::outbound::{Answer, NOT_UNSUBSCRIBED};
use crate::pace::Pace;
use crate::registry::Registry;
use crate::retained::Retained;
use crate::session::{Effect, Offer};
use crate::sessions::Sessions;
use crate::storing::{Done, Patience, Storing};
use crate::transport::Stream;
use crate::waiters::Waiters;
use crate::wire::{Framed, Wire};
use crate::{Cause, Clients, Limits};

/// A full journal is asked again at least this often, should its sign of room be missed.
pub(crate) const ROOM_POLL: Duration = Duration::from_millis(250);

/// A keepalive that tells a half-open connection within this is left alone.
const TOLD_IN_TIME: Duration = Duration::from_secs(600);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) intake: Arc<dyn Intake>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fanout: Fanout,
    pub(crate) sessions: Sessions,
    pub(crate) retained: Retained,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) durability: watch::Receiver<Durability>,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) assigned: AtomicU64,
    pub(crate) random: RandomState,
    pub(crate) rules: watch::Receiver<Arc<Rules>>,
    pub(crate) login: Login,
    /// Some listener binds users to client ids of their names: by no other can they be had.
    pub(crate) ids_are_users: bool,
    pub(crate) porch: Arc<Porch>,
    /// Payload bytes that wait for the disk.
    pub(crate) inflight: Arc<Budget>,
    /// Bytes of packets that are not whole.
    pub(crate) begun: Arc<Budget>,
    /// Bytes of wills that are noted.
    pub(crate) wills: Arc<Budget>,
}

impl Shared {
    /// A client id that nobody has, and nobody guesses.
    pub(crate) fn assign_client_id(&self) -> Result<DeviceId, NameError> {
        let number = self.assigned.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        DeviceId::new(&format!("auto-{:016x}", self.random.hash_one(number)))
    }

    /// Forgets what is over.
    pub(crate) fn tidy(&self) {
        self.registry.tidy();
        self.sessions.tidy();
        self.retained.tidy(self.durable_now());
    }

    /// How far the journal is on disk, as far as is known here.
    pub(crate) fn durable_now(&self) -> Commit {
        match self.waiters.durability() {
            Durability::Reached(commit) => commit,
            Durability::Stopped => Commit(0),
        }
    }

    /// Whether anybody subscribes to anything.
    fn is_anybody_listening(&self) -> bool {
        self.fanout.wanted() || self.sessions.are_any_waiting()
    }
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// By the client's DISCONNECT.
    Left { with_will: bool, session_expiry_s: Option<u32> },
    /// Without a word.
    Lost,
    /// By us.
    Refused(Close),
}

impl From<Close> for Ending {
    fn from(close: Close) -> Self {
        Self::Refused(close)
    }
}

impl From<io::Error> for Ending {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl From<crate::fanout::LinkEnded> for Ending {
    fn from(ended: crate::fanout::LinkEnded) -> Self {
        Self::Refused(Close::new(Cause::RouterDied, ended.to_string()))
    }
}

/// Counts an open connection.
pub(crate) type OpenGauge = Gauge<fn(&Counters) -> &AtomicU64>;

/// Serves one connection until it ends.
pub(crate) async fn serve(
    stream: Stream,
    peer: SocketAddr,
    door: Arc<Door>,
    mut visit: Visit,
    shared: Arc<Shared>,
    open: OpenGauge,
) {
    let mut wire = Wire::new(stream, Arc::clone(&shared.counters));
    let mut said = None;
    let handshake = async {
        let mut stopping = shared.stopping.clone();
        tokio::select! {
            client = shake_hands(&mut wire, &door, &visit, &shared, &mut said) => client,
            close = visit.sent_away() => Err(close),
            // Nobody waits for who may never say anything.
            _ = stopping.wait_for(|stopping| *stopping) => {
                Err(Close::new(Cause::ShuttingDown, "the gateway is being stopped"))
            }
        }
    };
    let client = match handshake.await {
        Ok(client) => client,
        Err(close) => {
            let said = said.as_ref().map_or("", DeviceId::as_str);
            shared.counters.refuse(&close, &format!("{said}@{peer}"));
            shared.clients.ended(said, Some(peer), &close);
            return wire.finish().await;
        }
    };
    add(&shared.counters.clients_total, 1);
    tracing::debug!(client = client.session.device.as_str(), %peer, "connected");
    if is_asked_by_the_system(client.silence_max)
        && let Err(error) = wire.keep_asking()
    {
        tracing::debug!(%peer, %error, "without a keepalive of TCP's own");
    }
    drop(door);
    visit.let_in();
    let presence = shared.clients.enter(client.introduced(peer));
    let (inflight, begun) = (Share::new(&shared.inflight), Share::new(&shared.begun));
    let pace = Pace::new(&shared.limits, Instant::now());
    let mut connection =
        Connection { shared, wire, client, stalled: None, inflight, begun, pace, presence, full_at: 0 };
    let ending = connection.converse().await.err().unwrap_or(Ending::Lost);
    let Connection { shared, wire, client, stalled, inflight, begun, presence, .. } = connection;
    // A will may wait for a day; what this connection used of all is others' from now on.
    drop((stalled, begun));
    if let Ending::Refused(close) = &ending {
        shared.clients.ended(client.session.device.as_str(), Some(peer), close);
    }
    drop(presence);
    let delayed_will = end(ending, wire, client, &shared).await.close().await;
    drop((open, visit, inflight));
    if let Some(delayed) = delayed_will {
        delayed.publish(&shared).await;
    }
}

/// Whether the system is to find out that a client is gone: its own keepalive tells late or never, and until then it holds a place.
fn is_asked_by_the_system(silence_max: Option<Duration>) -> bool {
    silence_max.is_none_or(|silence| silence > TOLD_IN_TIME)
}

/// A publish that the journal had no room for.
struct Stalled {
    storing: Storing,
    packet_id: Option<u16>,
    bytes: usize,
    patience: Patience,
    /// It is not tried again before.
    not_before: Instant,
    _gauge: Gauge<fn(&Counters) -> &AtomicU64>,
}

struct Connection {
    shared: Arc<Shared>,
    wire: Wire,
    client: Client,
    stalled: Option<Stalled>,
    inflight: Share,
    begun: Share,
    pace: Option<Box<Pace>>,
    presence: Presence,
    /// How much was on its way to the client when that became too much for deliveries; 0: it is not.
    full_at: usize,
}

impl Connection {
    /// Takes as many packets as are there and may be taken. Returns whether more may be there that only its pace, or what all clients have on
    /// their way to the disk, keeps from being taken.
    fn work(&mut self) -> Result<bool, Ending> {
        while self.stalled.is_none() && self.client.session.may_read() {
            if !self.inflight.is_open() || self.pace.as_mut().is_some_and(|pace| pace.wait(Instant::now()).is_some()) {
                return Ok(true);
            }
            let Self { shared, wire, client, pace, .. } = self;
            let framed = wire.frame(shared.limits.packet_bytes_max).map_err(Close::from)?;
            let Some(Framed { frame, body, output }) = framed else { return Ok(false) };
            let packet = decode(client.session.version, frame, body).map_err(Close::from)?;
            charge(pace, &packet, body.len(), &shared.limits);
            let now = || shared.clock.now().monotonic;
            let effect = client.session.receive(packet, shared.is_anybody_listening(), now, output);
            wire.pass(frame);
            if let Some(denied) = self.client.session.take_denied() {
                self.shared.counters.deny(&denied, self.client.session.device.as_str());
            }
            let effect = effect?;
            self.act(effect)?;
        }
        Ok(false)
    }

    fn act(&mut self, effect: Effect) -> Result<(), Ending> {
        let Self { client, shared, .. } = self;
        let version = client.session.version;
        match effect {
            Effect::None => {}
            Effect::Offer(offer) => {
                let Offer { arrival, packet_id, message } = *offer;
                let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
                let storing = Storing::new(arrival, qos, message);
                let bytes = storing.bytes();
                self.store(storing, packet_id, bytes)?;
            }
            Effect::Delivered(packet_id) => client.outbound.delivered(packet_id, shared),
            Effect::Subscribe(request) => {
                let packet_id = request.packet_id;
                let Answer { codes, commit } = client.outbound.subscribe(&request, shared);
                let mut answer = BytesMut::new();
                codec::suback(version, packet_id, &codes, &mut answer);
                self.answer(answer, commit)?;
            }
            Effect::Unsubscribe { packet_id, filters } => {
                let Answer { codes, commit } = client.outbound.unsubscribe(&filters, shared);
                if version == Version::V4 && codes.contains(&NOT_UNSUBSCRIBED) {
                    // Its UNSUBACK has no codes: it would say that the subscription is gone.
                    let detail = "that a subscription is gone can't be noted now";
                    return Err(Close::new(Cause::SessionsFull, detail).into());
                }
                let mut answer = BytesMut::new();
                codec::unsuback(version, packet_id, &codes, &mut answer);
                self.answer(answer, commit)?;
            }
            // MQTT 5.0, section 3.14.2.2.2: it is no DISCONNECT, so the will stays.
            Effect::Leave { session_expiry_s: Some(1..), .. } if client.session_expiry.is_zero() => {
                return Err(
                    Close::new(Cause::Protocol, "DISCONNECT with a session expiry where CONNECT had none").into()
                );
            }
            Effect::Leave { with_will, session_expiry_s } => {
                return Err(Ending::Left { with_will, session_expiry_s });
            }
        }
        Ok(())
    }

    fn store(&mut self, mut storing: Storing, packet_id: Option<u16>, bytes: usize) -> Result<(), Ending> {
        if !self.try_to_store(&mut storing, packet_id, bytes)? {
            add(&self.shared.counters.stalls, 1);
            let which: fn(&Counters) -> &AtomicU64 = |counters| &counters.stalled_now;
            let gauge = Gauge::up(Arc::clone(&self.shared.counters), which);
            let (patience, not_before) = (Patience::default(), Instant::now());
            self.stalled = Some(Stalled { storing, packet_id, bytes, patience, not_before, _gauge: gauge });
        }
        Ok(())
    }

    fn store_again(&mut self) -> Result<(), Ending> {
        let Some(mut stalled) = self.stalled.take() else { return Ok(()) };
        if !self.try_to_store(&mut stalled.storing, stalled.packet_id, stalled.bytes)? {
            stalled.not_before = Instant::now() + stalled.patience.pause();
            self.stalled = Some(stalled);
        }
        Ok(())
    }

    /// `false`: there is no room for all of it.
    fn try_to_store(&mut self, storing: &mut Storing, packet_id: Option<u16>, bytes: usize) -> Result<bool, Ending> {
        let Some(Done { commit, message, reason }) = storing.attempt(&self.shared)? else { return Ok(false) };
        // A PUBACK of v3.1.1 has no reason: it says that the event is on disk, which it is.
        let reason = if self.client.session.version == Version::V5 { reason } else { SUCCESS };
        let answer = Bytes::new();
        self.client.session.taken(commit, Pending { packet_id, bytes, answer, message, reason });
        Ok(true)
    }

    /// The passwords or rules were changed.
    fn look_again(&mut self) -> Result<(), Close> {
        let Client { session, outbound, login, .. } = &mut self.client;
        still_admitted(&mut session.permissions, *login, &session.device, outbound, &self.shared)
    }

    /// Gives an answer, at once or when what it promises is on disk.
    fn answer(&mut self, answer: BytesMut, commit: Option<Commit>) -> Result<(), Close> {
        if answer.len() > self.client.outbound.packet_bytes_max() {
            // Nor would silence do: the client waits for it.
            return Err(Close::new(Cause::PacketTooLarge, "the answer is larger than the client takes"));
        }
        match commit {
            None => self.wire.output.extend_from_slice(&answer),
            Some(commit) => {
                let (bytes, answer) = (answer.len() + 64, answer.freeze());
                self.client
                    .session
                    .taken(commit, Pending { packet_id: None, bytes, answer, message: None, reason: SUCCESS });
            }
        }
        Ok(())
    }

    /// Acknowledges what is on disk, and lets it go to subscribers. Returns whether there was any.
    fn on_disk(&mut self) -> Result<bool, Close> {
        acknowledge(self.shared.waiters.durability(), &mut self.client, &self.shared, &mut self.wire.output)
    }

    /// Sends what is queued for the session.
    fn send(&mut self, durable: Commit) {
        let now = &self.shared.clock;
        if self.client.outbound.can_send(durable) {
            self.client.outbound.send(durable, now.now().monotonic, &self.shared, &mut self.wire.output);
        }
    }

    fn deliver(&mut self, delivery: crate::fanout::Delivery) {
        let now = self.shared.clock.now().monotonic;
        self.client.outbound.deliver(delivery, now, &self.shared, &mut self.wire.output);
    }

    /// The router died. A remembered session goes on with the next one: nothing that it was promised went through it.
    fn link_again(&mut self, ended: crate::fanout::LinkEnded) -> Result<(), Ending> {
        if !self.client.outbound.kept.durable {
            return Err(ended.into());
        }
        self.client.outbound.link_again(&self.shared.fanout);
        Ok(())
    }
}

fn charge(pace: &mut Option<Box<Pace>>, packet: &Packet<'_>, bytes: usize, limits: &Limits) {
    let filters = match packet {
        Packet::Publish(_) => return pace.iter_mut().for_each(|pace| pace.charge(bytes, Instant::now())),
        Packet::Subscribe(subscribe) => subscribe.filters.len(),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.len(),
        _ => return,
    };
    Pace::charge_filters(pace, filters, limits, Instant::now());
}

/// Writes the PUBACKs of what is on disk, and lets it go to subscribers. Returns whether there was any.
pub(crate) fn acknowledge(
    durability: Durability,
    client: &mut Client,
    shared: &Shared,
    out: &mut BytesMut,
) -> Result<bool, Close> {
    match durability {
        Durability::Reached(commit) => {
            let bytes_before = client.session.acks.bytes();
            let pubacks = client.session.durable(commit, out, |message| shared.fanout.publish(message));
            add(&shared.counters.pubacks, pubacks);
            Ok(pubacks > 0 || client.session.acks.bytes() < bytes_before)
        }
        Durability::Stopped => Err(Close::new(Cause::JournalStopped, "nothing can be stored now")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_its_own_keepalive_would_miss_for_long_the_system_asks() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert!(!is_asked_by_the_system(minutes(1)) && !is_asked_by_the_system(minutes(10)));
        assert!(is_asked_by_the_system(minutes(11)) && is_asked_by_the_system(None));
    }
}
