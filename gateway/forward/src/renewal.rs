//! Being kept out, and being let in again: what is said, how long it is waited, and when other credentials are taken up.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::denial::{Denial, plain};
use crate::engine::Engine;
use crate::handshake;
use crate::lane::Lane;

/// How often the files are looked at: while we are kept out, and else.
const LOOK_DENIED: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(10);

/// Who delivers is in, whatever one of the brokers says: for so long after the last delivery report.
const DELIVERED_LATELY: Duration = Duration::from_secs(10);
/// For so long that one of them kept us out is the likely reason when nothing gets on. librdkafka repeats itself after 30 s.
const KEPT_OUT_LATELY: Duration = Duration::from_secs(60);

impl Engine {
    /// The cluster, or our own files, keep us out: shouts, once per cause.
    pub(crate) fn deny(&mut self, denial: Denial, why: &str) {
        self.counters.denials.add(denial);
        self.counters.connected.store(false, Relaxed);
        let ended = self.config.keyring.expires().is_some_and(|at| at < self.clock.now().wall);
        let why = match denial {
            Denial::Tls if ended => format!("{}; our own certificate has expired", plain(why)),
            _ => plain(why).to_owned(),
        };
        if self.denied.set(denial, &why) {
            shout(denial, &why);
        }
    }

    /// Of TLS librdkafka says only that it failed. Waits for seconds.
    async fn look_into_it(&mut self) {
        if !self.denied.explore(Denial::Tls) {
            return;
        }
        let config = Arc::clone(&self.config);
        let look =
            move || config.keyring.security().tls.as_ref().and_then(|tls| handshake::fault(&config.bootstrap, tls));
        if let Ok(Some(why)) = spawn_blocking(look).await
            && self.denied.refine(why.clone())
        {
            shout(Denial::Tls, &why);
            self.show();
        }
    }

    /// That we are kept out, once nothing gets on any more. Where others of the brokers let us in, librdkafka goes on trying: nothing is
    /// torn down.
    pub(crate) fn take_denial(&mut self) -> Option<(Code, String)> {
        let (at, ..) = self.kept_out.as_ref()?;
        let at = *at;
        if self.delivered_at.is_some_and(|delivered| delivered.elapsed() < DELIVERED_LATELY) {
            return None;
        }
        let (_, code, why) = self.kept_out.take()?;
        // That long ago it may have been set right, and something else keep us.
        (at.elapsed() < KEPT_OUT_LATELY).then_some((code, why))
    }

    /// The delay after a denial: a broker is not asked in vain more often than it has to be.
    pub(crate) fn delay_denied(&mut self) -> Duration {
        self.backoff_denied.next()
    }

    /// Reads the files for the next producer, if they have changed. False: without them there is none.
    pub(crate) fn has_credentials(&mut self) -> bool {
        self.looked_at = Instant::now();
        let before = self.config.keyring.generation();
        // The files are small, and read only when they look other than before.
        match self.config.keyring.refresh() {
            Ok(_) => self.files_refused = None,
            Err(error) => self.refuse_files(&error.to_string()),
        }
        if before > 0 && self.config.keyring.generation() != before {
            self.begin_anew();
        }
        self.show_expiry();
        !self.config.keyring.is_empty()
    }

    /// Looks at the files, if it is time. True: other credentials are held now, and the next producer uses them.
    pub(crate) fn has_new_credentials(&mut self) -> bool {
        if self.counters.connected.load(Relaxed) {
            self.denied.let_in();
        }
        let every = if self.denied.is_some() || self.has_refused_lane() { LOOK_DENIED } else { LOOK };
        if self.looked_at.elapsed() < every {
            return false;
        }
        let before = self.config.keyring.generation();
        self.has_credentials();
        self.config.keyring.generation() != before
    }

    /// With other credentials everything is worth a try at once.
    fn begin_anew(&mut self) {
        tracing::info!("new credentials were read: the connections to the cluster are made anew");
        self.backoff.reset();
        self.backoff_denied.reset();
        self.hold_until = None;
        for lane in self.lanes.values_mut() {
            lane.backoff.reset();
            lane.retry_at = Instant::now();
        }
    }

    /// Waits, or until there are new credentials.
    pub(crate) async fn pause(&mut self, delay: Duration) {
        let until = Instant::now() + delay;
        self.look_into_it().await;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            sleep(rest.min(LOOK_DENIED)).await;
            if rest <= LOOK_DENIED || self.has_new_credentials() {
                return;
            }
        }
    }

    fn has_refused_lane(&self) -> bool {
        self.lanes.values().any(|Lane { cause, .. }| cause.paused().is_some())
    }

    fn refuse_files(&mut self, why: &str) {
        if self.config.keyring.is_empty() {
            self.deny(Denial::Files, why);
        } else if self.files_refused.as_deref() != Some(why) {
            self.counters.denials.add(Denial::Files);
            tracing::error!(why, "new credentials can't be used: the old ones go on");
            self.files_refused = Some(why.to_owned());
        }
    }

    fn show_expiry(&self) {
        let expires = self.config.keyring.expires().map_or(0, |at| u64::try_from(at.0 / 1000).unwrap_or(1));
        self.counters.certificate_expires_s.store(expires, Relaxed);
    }
}

fn shout(denial: Denial, why: &str) {
    tracing::error!(
        cause = denial.as_str(),
        why,
        "the cluster does not let us in: nothing is dropped; it is tried again, and at once when a file of [kafka] changes"
    );
}
