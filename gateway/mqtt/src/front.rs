//! The listener: what the daemon starts and stops.

use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lamppost_event::{Clock, Intake, Notes, NotesUnreadable};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::budget::Budget;
use crate::connection::{OpenGauge, Shared, serve};
use crate::counters::{Gauge, add};
use crate::door::Porch;
use crate::fanout::Fanout;
use crate::listener::Door;
use crate::login::Login;
use crate::pace::Bucket;
use crate::registry::Registry;
use crate::retained::Retained;
use crate::sessions::{Restored, Sessions};
use crate::transport::Stream;
use crate::waiters::Waiters;
use crate::wills::{DelayedWill, Later};
use crate::{Cause, Clients, Counters, Holdings, Keys, Limits, Listener, Rules, cause::Close, durability};

/// How often what is over is looked for and removed.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);
/// After a failed accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that may wait to be accepted; the system has a bound of its own (net.core.somaxconn).
const QUEUE_MAX: u32 = 65_535;
/// How much longer than the drain timeout connections may take to end.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Why the front can't be started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can't be listened on.
    #[error("can't listen for MQTT on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A limit with which nothing could work.
    #[error("the MQTT limit {limit} can't be 0")]
    Limit {
        /// Its name.
        limit: &'static str,
    },
    /// There is nothing to listen on.
    #[error("the MQTT server has no listener")]
    NoListener,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes to remember logins by")]
    Random,
    /// The router's threads can't be started.
    #[error("the MQTT router does not start: {0}")]
    Router(#[source] std::io::Error),
    /// The sessions and retained messages of an earlier life can't be read. To go on without them would lose them.
    #[error("the MQTT sessions can't be gone on with: {0}")]
    Notes(#[from] NotesUnreadable),
}

/// What the front stands on.
#[derive(Clone)]
pub struct Ground {
    /// Takes events.
    pub intake: Arc<dyn Intake>,
    /// Remembers sessions and retained messages; durable with the intake's commits.
    pub notes: Arc<dyn Notes>,
    /// Tells how long something waited.
    pub clock: Arc<dyn Clock>,
}

/// The MQTT server. A PUBACK from it means: on disk.
pub struct Front {
    listeners: Vec<(TcpListener, Arc<Door>)>,
    local_addrs: Vec<SocketAddr>,
    keys: Keys,
    shared: Arc<Shared>,
    wills: Vec<DelayedWill>,
    stop: watch::Sender<bool>,
    durable: watch::Sender<durability::Durability>,
}

impl Front {
    /// Listens on all `listeners`, reads the sessions and retained messages of an earlier life, and starts the router. Nothing is
    /// accepted before [`Front::run`].
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(
        listeners: Vec<Listener>,
        rules: Rules,
        limits: Limits,
        ground: Ground,
        counters: Arc<Counters>,
    ) -> Result<Self, BindError> {
        check(&limits)?;
        if listeners.is_empty() {
            return Err(BindError::NoListener);
        }
        let mut bound = Vec::new();
        let mut local_addrs = Vec::new();
        for listener in &listeners {
            let listened = |source| BindError::Listen { address: listener.address, source };
            let socket = listen(listener.address).map_err(listened)?;
            local_addrs.push(socket.local_addr().map_err(listened)?);
            bound.push((socket, Arc::new(Door::new(listener))));
        }
        let login = Login::new(limits.verifications_max).ok_or(BindError::Random)?;
        let limits = Arc::new(limits);
        let fanout = Fanout::start(Arc::clone(&limits), Arc::clone(&counters)).map_err(BindError::Router)?;
        let Ground { intake, notes, clock } = ground;
        let (limits_too, counters_too) = (Arc::clone(&limits), Arc::clone(&counters));
        let retained = Retained::restore(limits_too, counters_too, Arc::clone(&notes), Arc::clone(&clock))?;
        let (limits_too, counters_too) = (Arc::clone(&limits), Arc::clone(&counters));
        let Restored { sessions, wills } =
            Sessions::restore(limits_too, counters_too, notes, Arc::clone(&clock), retained.now().0)?;
        let porch = Porch::new(Arc::clone(&limits));
        let (inflight, begun) = (Budget::new(limits.inflight_bytes_max), Budget::new(limits.begun_bytes_max));
        let waiting_wills = Budget::new(limits.wills_bytes_max);
        let (stop, stopping) = watch::channel(false);
        let reached = durability::now(&*intake);
        let (durable, watched) = watch::channel(reached);
        let registry = Arc::new(Registry::default());
        let (changed, watched_rules) = watch::channel(Arc::new(rules));
        let keys = Keys { doors: bound.iter().map(|(_, door)| Arc::clone(door)).collect(), rules: changed };
        let wills = wills.into_iter().map(|will| DelayedWill::restored(will, &sessions, &waiting_wills)).collect();
        let shared = Shared {
            limits,
            counters,
            intake,
            clock,
            fanout,
            sessions,
            retained,
            registry,
            clients: Arc::default(),
            waiters: Arc::new(Waiters::new(reached)),
            durability: watched,
            stopping,
            assigned: AtomicU64::new(0),
            random: RandomState::new(),
            rules: watched_rules,
            login,
            ids_are_users: listeners.iter().any(|listener| listener.entry.client_id_is_user),
            porch,
            inflight,
            begun,
            wills: waiting_wills,
        };
        Ok(Self { listeners: bound, local_addrs, keys, shared: Arc::new(shared), wills, stop, durable })
    }

    /// Where the first listener listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        // `bind` took no empty list.
        self.local_addrs.first().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Where it listens, in the order of the listeners.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// By which certificates, passwords and rules are exchanged.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// Who is connected, and why others are not. Stays good while and after the front runs.
    #[must_use]
    pub fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.shared.clients)
    }

    /// What is held in memory of the clients' bytes.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        Holdings::new(&self.shared)
    }

    /// Serves until `shutdown` completes. Then it accepts no more, gives the acknowledgements that become due within the
    /// drain timeout, says DISCONNECT 0x8B (server shutting down) to v5 clients, and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listeners, keys, shared, wills, stop, durable, .. } = self;
        let follower =
            tokio::spawn(durability::follow(Arc::clone(&shared.intake), durable, Arc::clone(&shared.waiters)));
        let mut connections = JoinSet::new();
        for will in wills {
            let shared = Arc::clone(&shared);
            connections.spawn(async move { Later::Delayed(Box::new(will)).publish(&shared).await });
        }
        let mut tidy = interval(TIDY_INTERVAL);
        let mut rules = shared.rules.clone();
        let mut shutdown = std::pin::pin!(shutdown);
        let per_s = shared.limits.connects_per_s;
        let mut connects = Bucket::new(per_s, per_s, Instant::now());
        loop {
            let full = shared.porch.is_full();
            let pause = if per_s == 0 { None } else { connects.wait(Instant::now()) };
            tokio::select! {
                () = shutdown.as_mut() => break,
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                () = shared.porch.room(), if full => {}
                (accepted, door) = next(&listeners), if pause.is_none() && !full => match accepted {
                    Ok((stream, peer)) => {
                        if accept(stream, peer, door, &shared, &mut connections) {
                            // Who is sent away at once takes nobody's turn.
                            connects.charge(1, Instant::now());
                        }
                    }
                    Err(error) => {
                        if shared.counters.accepts_failed.fetch_add(1, Ordering::Relaxed) == 0 {
                            tracing::warn!(%error, "a connection could not be accepted; further ones are only counted");
                        } else {
                            tracing::debug!(%error, "a connection could not be accepted");
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                _ = tidy.tick() => shared.tidy(),
                Ok(()) = rules.changed() => shared.clients.ring(),
            }
        }
        drop(listeners);
        stop.send_replace(true);
        shared.clients.ring();
        let deadline = Instant::now() + shared.limits.drain_timeout + STOP_GRACE;
        while let Ok(Some(_)) = timeout_at(deadline, connections.join_next()).await {}
        connections.shutdown().await;
        shared.tidy();
        shared.fanout.stop();
        follower.abort();
        drop(keys);
    }
}

/// Listens with a queue as long as the system allows: after a power cut all devices come at once, and whoever finds the queue full tries
/// again a second later at the earliest.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE_MAX)
}

/// The next connection of any listener. Safe to cancel.
async fn next(listeners: &[(TcpListener, Arc<Door>)]) -> (std::io::Result<(TcpStream, SocketAddr)>, &Arc<Door>) {
    // Where to begin changes, so that a busy listener does not starve the others.
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    std::future::poll_fn(|context| {
        for number in 0..listeners.len() {
            let Some((listener, door)) = listeners.get((turn.wrapping_add(number)) % listeners.len()) else { continue };
            if let std::task::Poll::Ready(accepted) = listener.poll_accept(context) {
                return std::task::Poll::Ready((accepted, door));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Returns whether it may come in.
fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    door: &Arc<Door>,
    shared: &Arc<Shared>,
    connections: &mut JoinSet<()>,
) -> bool {
    let counters = &shared.counters;
    if counters.connections_now.load(Ordering::Relaxed) >= shared.limits.connections_max as u64 {
        let close = Close::new(Cause::Connections, "as many connections as allowed");
        counters.refuse(&close, &peer.to_string());
        shared.clients.ended("", Some(peer), &close);
        return false;
    }
    let visit = match shared.porch.knock(peer, Instant::now()) {
        Ok(visit) => visit,
        Err(close) => {
            counters.refuse(&close, &peer.to_string());
            shared.clients.ended("", Some(peer), &close);
            return false;
        }
    };
    add(&counters.connections_total, 1);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "without TCP_NODELAY");
    }
    let stream = match Stream::new(stream, door.tls().as_ref()) {
        Ok(stream) => stream,
        Err(error) => {
            counters.refuse(&Close::new(Cause::Tls, error.to_string()), &peer.to_string());
            return true;
        }
    };
    let open: OpenGauge = Gauge::up(Arc::clone(counters), |counters| &counters.connections_now);
    connections.spawn(serve(stream, peer, Arc::clone(door), visit, Arc::clone(shared), open));
    true
}

fn check(limits: &Limits) -> Result<(), BindError> {
    let not_zero = [
        ("connections_max", limits.connections_max),
        ("packet_bytes_max", limits.packet_bytes_max),
        ("window", usize::from(limits.window)),
        ("unacknowledged_bytes_max", limits.unacknowledged_bytes_max),
        ("outgoing_bytes_max", limits.outgoing_bytes_max),
        ("topic_bytes_max", limits.topic_bytes_max),
        ("topic_levels_max", limits.topic_levels_max),
        ("verifications_max", limits.verifications_max),
        ("connections_per_address_max", limits.connections_per_address_max),
        ("coming_max", limits.coming_max),
        ("coming_per_address_max", limits.coming_per_address_max),
        ("connect_bytes_max", limits.connect_bytes_max),
        ("inflight_bytes_max", limits.inflight_bytes_max),
        ("begun_bytes_max", limits.begun_bytes_max),
        ("wills_bytes_max", limits.wills_bytes_max),
    ];
    match not_zero.iter().find(|(_, value)| *value == 0) {
        Some((limit, _)) => Err(BindError::Limit { limit }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
