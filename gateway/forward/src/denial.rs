//! Why the cluster does not let us in, said once per cause.
//!
//! librdkafka's words differ from try to try by the broker, a duration and a count of what it has kept to itself: those are left out, so
//! that one cause has one text.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rdkafka::types::RDKafkaErrorCode as Code;

/// So many causes are remembered; more at a time are said again.
const CAUSES_MAX: usize = 16;

/// What kind of proof was not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Our own files can't be used.
    Files,
    /// TLS: one side does not trust the other.
    Tls,
    /// Name or password.
    Login,
    /// The user may not do it.
    Rights,
}

impl Denial {
    /// All kinds, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Files, Self::Tls, Self::Login, Self::Rights];

    /// A label for a metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Tls => "tls",
            Self::Login => "login",
            Self::Rights => "rights",
        }
    }

    pub(crate) const fn of(code: Code) -> Self {
        match code {
            Code::SSL => Self::Tls,
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState => Self::Login,
            _ => Self::Rights,
        }
    }
}

/// How often each kind was met.
#[derive(Debug, Default)]
pub struct DenialCounts([AtomicU64; 4]);

impl DenialCounts {
    /// How often since the start.
    #[must_use]
    pub fn of(&self, denial: Denial) -> u64 {
        let [files, tls, login, rights] = &self.0;
        let count = match denial {
            Denial::Files => files,
            Denial::Tls => tls,
            Denial::Login => login,
            Denial::Rights => rights,
        };
        count.load(Relaxed)
    }

    pub(crate) fn add(&self, denial: Denial) {
        for (kind, count) in Denial::ALL.into_iter().zip(&self.0) {
            if kind == denial {
                count.fetch_add(1, Relaxed);
            }
        }
    }
}

/// What keeps us out now, and what has been said of it.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    now: Option<(Denial, String)>,
    said: Vec<String>,
    /// The cause that stands was looked into.
    explored: bool,
}

impl Denied {
    /// Takes a reason in. True: it is said for the first time since it last went well.
    pub(crate) fn set(&mut self, denial: Denial, why: &str) -> bool {
        let words = plain(why);
        let is_new = !self.said.iter().any(|said| said == words);
        if is_new {
            if self.said.len() >= CAUSES_MAX {
                self.said.clear();
            }
            self.said.push(words.to_owned());
        }
        // Of two causes that take turns the first stands.
        if is_new || self.now.is_none() {
            self.explored = false;
            self.now = Some((denial, words.to_owned()));
        }
        is_new
    }

    /// Whether the cause that stands is of that kind and was not looked into; asked once.
    pub(crate) fn explore(&mut self, kind: Denial) -> bool {
        self.kind() == Some(kind) && !std::mem::replace(&mut self.explored, true)
    }

    /// What was found by looking into it stands in its place. True: it was not said before.
    pub(crate) fn refine(&mut self, why: String) -> bool {
        let Some((_, words)) = &mut self.now else { return false };
        words.clone_from(&why);
        let is_new = !self.said.contains(&why);
        if is_new && self.said.len() < CAUSES_MAX {
            self.said.push(why);
        }
        is_new
    }

    /// A broker has let us in. What we may do there is another question.
    pub(crate) fn let_in(&mut self) {
        if self.kind() != Some(Denial::Rights) {
            self.now = None;
        }
    }

    /// Something was delivered.
    pub(crate) fn clear(&mut self) {
        self.now = None;
        self.said.clear();
    }

    pub(crate) const fn is_some(&self) -> bool {
        self.now.is_some()
    }

    pub(crate) fn kind(&self) -> Option<Denial> {
        self.now.as_ref().map(|(denial, _)| *denial)
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.now.as_ref().map(|(_, why)| why.as_str())
    }
}

/// What an error means. That a broker does not take our certificate comes as a broken connection, since TLS 1.3 says so behind its handshake
/// (RFC 8446, section 4.4.2.4).
pub(crate) fn meant(code: Code, why: &str) -> Code {
    if code == Code::BrokerTransportFailure && why.contains("SSL alert number") { Code::SSL } else { code }
}

/// librdkafka's words without what differs from try to try: `sasl_ssl://host:port/1: ` before and ` (after 5ms in state …)` behind.
pub(crate) fn plain(why: &str) -> &str {
    let words = why.split_once("://").and_then(|(_, rest)| rest.split_once(": ")).map_or(why, |(_, words)| words);
    words.find(" (after ").and_then(|at| words.get(..at)).unwrap_or(words).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: &str = "SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256";

    #[test]
    fn one_cause_is_said_once_however_often_librdkafka_counts() {
        let mut denied = Denied::default();
        let first = format!("sasl_ssl://127.0.0.1:20001/bootstrap: {WRONG} (after 301ms in state AUTH_REQ)");
        let again = format!(
            "sasl_ssl://127.0.0.1:20002/2: {WRONG} (after 5ms in state AUTH_REQ, 4 identical error(s) suppressed)"
        );
        assert!(denied.set(Denial::Login, &first));
        assert_eq!(denied.reason(), Some(WRONG));
        assert!(!denied.set(Denial::Login, &again));
        assert!(denied.set(Denial::Rights, "Broker: Cluster authorization failed"));
        assert!(!denied.set(Denial::Login, &again));
        assert_eq!(denied.kind(), Some(Denial::Rights), "two that take turns do not flicker");
        denied.clear();
        assert!(!denied.is_some() && denied.set(Denial::Login, &first), "later it is news again");
    }

    #[test]
    fn an_alert_about_our_certificate_is_tls_and_another_broken_connection_is_not() {
        let alert = "ssl://127.0.0.1:2/bootstrap: Receive failed: error:0A000416:SSL routines::ssl/tls alert certificate unknown: SSL alert number 46 (after 0ms in state APIVERSION_QUERY)";
        assert_eq!(meant(Code::BrokerTransportFailure, alert), Code::SSL);
        assert_eq!(meant(Code::BrokerTransportFailure, "Disconnected"), Code::BrokerTransportFailure);
        assert_eq!(meant(Code::AllBrokersDown, alert), Code::AllBrokersDown);
    }

    #[test]
    fn a_cause_is_looked_into_once_and_what_was_found_stands() {
        let mut denied = Denied::default();
        assert!(denied.set(Denial::Tls, "verify failed"));
        assert!(!denied.explore(Denial::Login) && denied.explore(Denial::Tls) && !denied.explore(Denial::Tls));
        assert!(denied.refine("it has expired".to_owned()));
        assert!(!denied.set(Denial::Tls, "verify failed") && !denied.refine("it has expired".to_owned()));
        assert_eq!(denied.reason(), Some("it has expired"));
    }

    #[test]
    fn who_is_let_in_may_still_lack_rights_and_is_not_shouted_at_again_before_something_was_delivered() {
        let mut denied = Denied::default();
        denied.set(Denial::Rights, "no rights");
        denied.let_in();
        assert_eq!(denied.reason(), Some("no rights"));
        denied.clear();
        denied.set(Denial::Login, "no such user");
        denied.let_in();
        assert!(!denied.is_some() && !denied.set(Denial::Login, "no such user") && denied.is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut denied = Denied::default();
        for n in 0..1000 {
            denied.set(Denial::Tls, &format!("another cause each time: {n}"));
        }
        assert!(denied.said.len() <= CAUSES_MAX);
    }

    #[test]
    fn each_kind_is_counted_for_itself() {
        let counts = DenialCounts::default();
        counts.add(Denial::Tls);
        counts.add(Denial::Tls);
        counts.add(Denial::of(Code::SaslAuthenticationFailed));
        assert_eq!(Denial::ALL.map(|denial| counts.of(denial)), [0, 2, 1, 0]);
    }
}
