//! What librdkafka says beside its answers: why a broker does not let us in. A request that failed for it says only that it failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::audit::AuditError;

/// The words of librdkafka's that mean it.
const WORDS: [&str; 4] =
    ["SASL authentication error", "SSL handshake failed", "SASL mechanism handshake failed", "SSL alert number"];

/// Listens to a client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Option<String>>>);

impl Heard {
    fn denial(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a broker has refused us.
    pub(crate) fn is_denied(&self) -> bool {
        self.denial().is_some()
    }

    /// A failed request as an error, with the reason if there is one.
    pub(crate) fn failed(&self, what: &str, source: KafkaError) -> AuditError {
        let what = what.to_owned();
        let of_rights = source
            .rdkafka_error_code()
            .filter(|code| matches!(code, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed));
        match (self.denial().clone(), of_rights) {
            (Some(why), _) => AuditError::Denied { what, why },
            (None, Some(code)) => {
                let why = format!("{code}; to audit takes the rights Describe and Read on the topics");
                AuditError::Denied { what, why }
            }
            (None, None) => AuditError::Cluster { what, source },
        }
    }

    fn hear(&self, message: &str) {
        if WORDS.iter().any(|words| message.contains(words)) {
            *self.denial() = Some(plain(message).to_owned());
        }
    }
}

impl ClientContext for Heard {
    fn error(&self, _error: KafkaError, reason: &str) {
        self.hear(reason);
    }
}

impl ConsumerContext for Heard {}

/// Without the duration behind.
fn plain(message: &str) -> &str {
    message.find(" (after ").and_then(|at| message.get(..at)).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_we_are_kept_out_is_in_the_error_and_a_passing_failure_is_not() {
        let heard = Heard::default();
        let failed = || heard.failed("metadata", KafkaError::MetadataFetch(Code::BrokerTransportFailure));
        let broken = KafkaError::Global(Code::BrokerTransportFailure);
        heard.error(broken.clone(), "a:9/1: Connect to ipv4#127.0.0.1:9 failed: refused");
        assert!(matches!(failed(), AuditError::Cluster { .. }) && !heard.is_denied());
        let told = "sasl_ssl://a:9/bootstrap: SASL authentication error: no such user (after 5ms in state AUTH_REQ)";
        heard.error(broken, told);
        let said = failed().to_string();
        let wanted = "metadata: the cluster does not let us in: sasl_ssl://a:9/bootstrap: SASL authentication error: no such user";
        assert_eq!(said, wanted);
    }

    #[test]
    fn missing_rights_are_told_with_those_that_it_takes() {
        let failed = Heard::default().failed("air", KafkaError::MessageConsumption(Code::TopicAuthorizationFailed));
        assert!(failed.to_string().contains("Describe and Read"), "{failed}");
    }
}
