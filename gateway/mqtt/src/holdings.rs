//! What the front holds in memory of its clients' bytes, for an operator who asks.

use std::sync::Arc;

use crate::connection::Shared;

/// What is held now. Stays good while and after the front runs.
#[derive(Clone)]
pub struct Holdings {
    shared: Arc<Shared>,
}

/// What one limit bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The limit, as its key in `[mqtt.limits]` is called: `inflight`, what was read and is not acknowledged yet; `begun`, packets that
    /// are not whole; `fanout`, on its way to subscribers; `queues`, what waits for remembered sessions; `retained`; `wills`.
    pub limit: &'static str,
    /// Held of it.
    pub bytes: u64,
    /// The limit itself. `inflight` and `begun` may go beyond it by what one packet brings.
    pub bytes_max: u64,
}

impl Holdings {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// By limit, always the same ones.
    #[must_use]
    pub fn now(&self) -> [Holding; 6] {
        let Shared { limits, inflight, begun, fanout, sessions, retained, wills, .. } = &*self.shared;
        let holding = |limit, bytes, bytes_max: usize| Holding { limit, bytes, bytes_max: bytes_max as u64 };
        [
            holding("inflight", inflight.used(), limits.inflight_bytes_max),
            holding("begun", begun.used(), limits.begun_bytes_max),
            holding("fanout", fanout.held_bytes() as u64, limits.fanout_bytes_max),
            holding("queues", sessions.queued_bytes() as u64, limits.queues_bytes_max),
            holding("retained", retained.bytes() as u64, limits.retained_bytes_max),
            holding("wills", wills.used(), limits.wills_bytes_max),
        ]
    }
}
