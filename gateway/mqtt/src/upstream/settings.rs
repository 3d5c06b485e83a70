//! What a broker elsewhere is configured with.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lamppost_event::DeviceId;

use crate::Limits;
use crate::topic::check_filter;

/// A broker and how it is read.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Its name in logs and metrics, and the device of what routes name no device for.
    pub name: DeviceId,
    /// Its host name or IP address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// TLS; without, what is said can be read on the way.
    pub tls: Option<BrokerTls>,
    /// The version of MQTT to speak.
    pub version: BrokerVersion,
    /// The name of the session: the same at each start, and nobody else's at that broker.
    pub client_id: String,
    /// Who we are to the broker.
    pub login: Option<BrokerLogin>,
    /// What is subscribed to.
    pub filters: Vec<BrokerFilter>,
    /// Stands before each topic in the event's address.
    pub prefix: String,
    /// How often a silent broker is asked whether it is there: 5 s to 65,535 s.
    pub keep_alive: Duration,
    /// How long the broker keeps the session while we are away (5.0 only; before, the broker's configuration says).
    pub session_expiry: Duration,
    /// The most messages that wait for the journal; told to the broker as Receive Maximum (5.0 only).
    pub window: u16,
    /// The most payload and topic bytes that wait for the journal. Beyond, nothing is read.
    pub window_bytes_max: usize,
    /// The largest packet that is kept whole, bytes. Of a larger message only the beginning is, as a dead letter.
    pub packet_bytes_max: usize,
}

/// The files of a TLS connection, read at each connecting. All PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerTls {
    /// Roots that the broker's certificate must lead to.
    pub ca: PathBuf,
    /// Our own certificate (with intermediate ones) and its private key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerVersion {
    /// MQTT 3.1.1 (protocol level 4).
    V311,
    /// MQTT 5.0.
    V5,
}

/// A user and where the password lies. The password itself is read at each connecting and kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerLogin {
    /// The user name.
    pub user: String,
    /// A file with the password; a line end after it does not count.
    pub password: Option<PathBuf>,
}

/// A topic filter that can be subscribed to, with its QoS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerFilter {
    filter: Box<str>,
    at_least_once: bool,
}

/// Why a text is not a filter to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerFilterError {
    /// Section 4.7 of both standards.
    #[error("{filter:?} is not a topic filter: {reason}")]
    Filter {
        /// The text.
        filter: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `$share/…`.
    #[error(
        "{0:?} is a shared subscription: its readers would take one publisher's messages in turns, without an order"
    )]
    Shared(String),
}

impl BrokerFilter {
    /// With QoS 1: the broker keeps messages until they are on disk here.
    ///
    /// # Errors
    /// [`BrokerFilterError`].
    pub fn at_least_once(filter: &str) -> Result<Self, BrokerFilterError> {
        if filter.starts_with("$share/") {
            return Err(BrokerFilterError::Shared(filter.to_owned()));
        }
        check_filter(filter, &Limits::default())
            .map_err(|reason| BrokerFilterError::Filter { filter: filter.to_owned(), reason })?;
        Ok(Self { filter: filter.into(), at_least_once: true })
    }

    /// The same filter with QoS 0: what is under way when a connection ends is lost.
    #[must_use]
    pub fn at_most_once(self) -> Self {
        Self { at_least_once: false, ..self }
    }

    /// The filter's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.filter
    }

    /// Whether it is asked for with QoS 1.
    #[must_use]
    pub fn is_at_least_once(&self) -> bool {
        self.at_least_once
    }
}

impl FromStr for BrokerFilter {
    type Err = BrokerFilterError;

    fn from_str(text: &str) -> Result<Self, BrokerFilterError> {
        Self::at_least_once(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_the_standard_without_shared_ones() {
        for good in ["#", "a/+/b", "$SYS/broker/uptime"] {
            assert_eq!(BrokerFilter::at_least_once(good).unwrap().as_str(), good);
        }
        assert!(matches!("a/#/b".parse::<BrokerFilter>(), Err(BrokerFilterError::Filter { .. })));
        assert!(matches!("$share/g/a".parse::<BrokerFilter>(), Err(BrokerFilterError::Shared(_))));
    }
}
