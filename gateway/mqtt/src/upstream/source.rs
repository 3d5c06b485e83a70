//! The source of one broker: connected, read, and connected again after a pause that grows.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Commit, Intake, JournalStopped};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::time::{Instant, sleep};

use super::book::{Book, Subscriptions};
use super::conversation::{Conversation, Ended};
use super::line::LineError;
use super::{Broker, BrokerStatus};

/// How long a broker is left alone after a connection failed or ended.
#[derive(Debug, Clone, Copy)]
pub struct BrokerPauses {
    /// After the first failure. 500 ms.
    pub min: Duration,
    /// The longest: each failure doubles the pause. 1 min.
    pub max: Duration,
    /// A connection that stood for so long was a good one: the pause begins small again. 10 s.
    pub good_after: Duration,
    /// Where random numbers come from: of each pause, half or more is waited, so that many gateways do not come at once. The kernel.
    pub draw: fn() -> u32,
}

impl Default for BrokerPauses {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(500),
            max: Duration::from_secs(60),
            good_after: Duration::from_secs(10),
            draw: kernel_random,
        }
    }
}

impl BrokerPauses {
    fn next(&self, pause: Duration) -> Duration {
        pause.saturating_mul(2).min(self.max)
    }

    /// From half of the pause to all of it.
    fn with_jitter(&self, pause: Duration) -> Duration {
        let share = 0.5 + f64::from((self.draw)()) / f64::from(u32::MAX) / 2.0;
        pause.mul_f64(share)
    }
}

/// A broker that stands elsewhere and is read.
pub struct BrokerSource {
    broker: Broker,
    pauses: BrokerPauses,
    subscriptions: Arc<dyn Subscriptions>,
    intake: Arc<dyn Intake>,
    status: Arc<BrokerStatus>,
}

impl BrokerSource {
    /// A source that reads `broker`. Nothing is connected before [`BrokerSource::run`].
    #[must_use]
    pub fn new(
        broker: Broker,
        pauses: BrokerPauses,
        subscriptions: Arc<dyn Subscriptions>,
        intake: Arc<dyn Intake>,
    ) -> Self {
        Self { broker, pauses, subscriptions, intake, status: Arc::default() }
    }

    /// What it has seen and done.
    #[must_use]
    pub fn status(&self) -> Arc<BrokerStatus> {
        Arc::clone(&self.status)
    }

    /// Reads the broker until `shutdown` completes, then acknowledges what is on disk and leaves; the session stays. A broker
    /// that is absent, refuses or goes is tried again with pauses that grow.
    ///
    /// # Errors
    /// [`JournalStopped`]: nothing can be stored any more, so nothing is read.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), JournalStopped> {
        let mut shutdown = pin!(shutdown);
        let mut pause = self.pauses.min;
        let (mut book, mut offered) = (self.book().await, Commit(0));
        loop {
            let mut accepted_at = None;
            let conversation = Conversation {
                broker: &self.broker,
                intake: &*self.intake,
                status: &self.status,
                subscriptions: &self.subscriptions,
                book: &mut book,
                offered: &mut offered,
                accepted_at: &mut accepted_at,
                good_after: self.pauses.good_after,
            };
            let error = match conversation.run(shutdown.as_mut()).await {
                Ok(()) => return Ok(()),
                Err(Ended::Journal(stopped)) => return Err(stopped),
                Err(Ended::Line(error)) => error,
            };
            let stood = accepted_at.is_some_and(|at: Instant| at.elapsed() >= self.pauses.good_after);
            pause = if stood { self.pauses.min } else { pause };
            self.tell(&error, accepted_at.is_some());
            tokio::select! {
                () = sleep(self.pauses.with_jitter(pause)) => {}
                () = &mut shutdown => return Ok(()),
            }
            pause = self.pauses.next(pause);
        }
    }

    async fn book(&self) -> Book {
        let subscriptions = Arc::clone(&self.subscriptions);
        let held = tokio::task::spawn_blocking(move || subscriptions.load()).await.unwrap_or_default();
        Book::new(&self.broker, held)
    }

    /// Says a cause once, until another comes or a connection stood in between.
    fn tell(&self, error: &LineError, was_connected: bool) {
        let (broker, cause) = (&self.broker.name, error.cause.as_str());
        if self.status.failed(error.cause, &error.what) || was_connected {
            tracing::warn!(%broker, cause, %error, "not connected; it is tried again, and this is not said again");
        } else {
            tracing::debug!(%broker, cause, %error, "not connected");
        }
    }
}

/// 32 bits from the kernel's generator; should it fail, which it does not after boot, 0: then pauses have no jitter.
fn kernel_random() -> u32 {
    let mut bytes = [0; 4];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(_) => u32::from_le_bytes(bytes),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_each_is_left_to_chance() {
        let pauses = BrokerPauses { draw: || 0, ..BrokerPauses::default() };
        let mut pause = pauses.min;
        for _ in 0..10 {
            pause = pauses.next(pause);
        }
        assert_eq!((pauses.next(pauses.min), pause), (Duration::from_secs(1), pauses.max));
        assert_eq!(pauses.with_jitter(pause), Duration::from_secs(30));
        assert_eq!(BrokerPauses { draw: || u32::MAX, ..pauses }.with_jitter(pause), pause);
    }
}
