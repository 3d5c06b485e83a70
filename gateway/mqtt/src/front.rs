//! The listener: what the daemon starts and stops.

use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lamppost_event::Intake;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::connection::{OpenGauge, Shared, serve};
use crate::counters::{Gauge, add};
use crate::fanout::Fanout;
use crate::registry::Registry;
use crate::{Cause, Counters, Limits, cause::Close, durability};

/// How often remembered sessions are looked through for those that are over.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);
/// After a failed accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
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
    /// The router's threads can't be started.
    #[error("the MQTT router does not start: {0}")]
    Router(#[source] std::io::Error),
}

/// The MQTT server. A PUBACK from it means: on disk.
pub struct Front {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    durable: watch::Sender<durability::Durability>,
}

impl Front {
    /// Listens on `listen` (port 0: a free one), and starts the router. Nothing is accepted before [`Front::run`].
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(
        listen: SocketAddr,
        limits: Limits,
        intake: Arc<dyn Intake>,
        counters: Arc<Counters>,
    ) -> Result<Self, BindError> {
        check(&limits)?;
        let listened = |source| BindError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(listened)?;
        let local_addr = listener.local_addr().map_err(listened)?;
        let limits = Arc::new(limits);
        let fanout = Fanout::start(Arc::clone(&limits), Arc::clone(&counters)).map_err(BindError::Router)?;
        let (stop, stopping) = watch::channel(false);
        let (durable, watched) = watch::channel(durability::now(&*intake));
        let registry = Arc::new(Registry::new(limits.sessions_max, Arc::clone(&counters)));
        let shared = Shared {
            limits,
            counters,
            intake,
            fanout,
            registry,
            durability: watched,
            stopping,
            assigned: AtomicU64::new(0),
            random: RandomState::new(),
        };
        Ok(Self { listener, local_addr, shared: Arc::new(shared), stop, durable })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` completes. Then it accepts no more, gives the acknowledgements that become due within the
    /// drain timeout, says DISCONNECT 0x8B (server shutting down) to v5 clients, and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, shared, stop, durable, .. } = self;
        let follower = tokio::spawn(durability::follow(Arc::clone(&shared.intake), durable));
        let mut connections = JoinSet::new();
        let mut expiry = interval(EXPIRY_INTERVAL);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = shutdown.as_mut() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => accept(stream, peer, &shared, &mut connections),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                _ = expiry.tick() => shared.registry.expire(Instant::now()),
            }
        }
        drop(listener);
        stop.send_replace(true);
        let deadline = Instant::now() + shared.limits.drain_timeout + STOP_GRACE;
        while let Ok(Some(_)) = timeout_at(deadline, connections.join_next()).await {}
        connections.shutdown().await;
        shared.fanout.stop();
        follower.abort();
    }
}

fn accept(stream: tokio::net::TcpStream, peer: SocketAddr, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    let counters = &shared.counters;
    if counters.connections_now.load(Ordering::Relaxed) >= shared.limits.connections_max as u64 {
        counters.refuse(&Close::new(Cause::Connections, "as many connections as allowed"), &peer.to_string());
        return;
    }
    add(&counters.connections_total, 1);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "without TCP_NODELAY");
    }
    let open: OpenGauge = Gauge::up(Arc::clone(counters), |counters| &counters.connections_now);
    connections.spawn(serve(stream, Arc::clone(shared), open));
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
    ];
    match not_zero.iter().find(|(_, value)| *value == 0) {
        Some((limit, _)) => Err(BindError::Limit { limit }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
