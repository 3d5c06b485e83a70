//! Why the front refuses or ends a connection: a bounded set, so that each can be a metric label.

use std::borrow::Cow;

/// Why a connection was refused or ended by the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cause {
    /// Bytes that are not MQTT.
    Malformed,
    /// MQTT, but not allowed here or now.
    Protocol,
    /// No CONNECT in time.
    ConnectTimeout,
    /// A protocol version other than 3.1.1 and 5.0.
    Version,
    /// A client id that can't be a device id, or an empty one where it must not be.
    ClientId,
    /// v5 enhanced authentication, which is not offered.
    Authentication,
    /// A user name or password that is wrong or missing.
    Credentials,
    /// A client certificate that is missing or names nobody.
    Certificate,
    /// A client id other than the one that the certificate or user name stands for.
    Identity,
    /// A topic that this client may not publish to.
    NotAuthorized,
    /// A TLS handshake that failed.
    Tls,
    /// More connections than allowed.
    Connections,
    /// More connections of one address than allowed, or of more addresses than are remembered.
    Address,
    /// Connects of one address that come faster than allowed.
    ConnectRate,
    /// Not let in yet, and sent away to make room for later ones.
    Coming,
    /// A packet that was begun and not finished in time.
    PacketTimeout,
    /// No room to remember one more session, or that a subscription of one is gone.
    SessionsFull,
    /// What has to be done before the client can be let in takes too long: its earlier connection to end, its session to be on disk.
    Busy,
    /// A packet above the limit.
    PacketTooLarge,
    /// An event above the journal's limit.
    EventTooLarge,
    /// QoS 2.
    QosTwo,
    /// More unacknowledged QoS 1 publishes than the announced Receive Maximum.
    Window,
    /// A topic that can't be published to.
    TopicName,
    /// A topic alias that is 0 or too high.
    TopicAlias,
    /// Silent for one and a half times the keepalive.
    KeepAlive,
    /// The same client id connected again.
    TakenOver,
    /// The journal has stopped.
    JournalStopped,
    /// The router died; a new one was started.
    RouterDied,
    /// The front is being stopped.
    ShuttingDown,
}

impl Cause {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 29] = [
        Self::Malformed,
        Self::Protocol,
        Self::ConnectTimeout,
        Self::Version,
        Self::ClientId,
        Self::Authentication,
        Self::Credentials,
        Self::Certificate,
        Self::Identity,
        Self::NotAuthorized,
        Self::Tls,
        Self::Connections,
        Self::Address,
        Self::ConnectRate,
        Self::Coming,
        Self::PacketTimeout,
        Self::SessionsFull,
        Self::Busy,
        Self::PacketTooLarge,
        Self::EventTooLarge,
        Self::QosTwo,
        Self::Window,
        Self::TopicName,
        Self::TopicAlias,
        Self::KeepAlive,
        Self::TakenOver,
        Self::JournalStopped,
        Self::RouterDied,
        Self::ShuttingDown,
    ];

    /// The word used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Protocol => "protocol",
            Self::ConnectTimeout => "connect_timeout",
            Self::Version => "version",
            Self::ClientId => "client_id",
            Self::Authentication => "authentication",
            Self::Credentials => "credentials",
            Self::Certificate => "certificate",
            Self::Identity => "identity",
            Self::NotAuthorized => "not_authorized",
            Self::Tls => "tls",
            Self::Connections => "connections",
            Self::Address => "address",
            Self::ConnectRate => "connect_rate",
            Self::Coming => "coming",
            Self::PacketTimeout => "packet_timeout",
            Self::SessionsFull => "sessions_full",
            Self::Busy => "busy",
            Self::PacketTooLarge => "packet_too_large",
            Self::EventTooLarge => "event_too_large",
            Self::QosTwo => "qos_2",
            Self::Window => "window",
            Self::TopicName => "topic_name",
            Self::TopicAlias => "topic_alias",
            Self::KeepAlive => "keep_alive",
            Self::TakenOver => "taken_over",
            Self::JournalStopped => "journal_stopped",
            Self::RouterDied => "router_died",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// The v5 reason code (MQTT 5.0, sections 3.2.2.2 and 3.14.2.1), of a DISCONNECT by [`Cause::disconnect_reason`].
    #[must_use]
    pub const fn reason(self) -> u8 {
        match self {
            Self::Malformed => 0x81,
            Self::Protocol | Self::ConnectTimeout | Self::Tls | Self::PacketTimeout => 0x82,
            Self::Version => 0x84,
            Self::ClientId => 0x85,
            Self::Authentication => 0x8C,
            Self::Credentials => 0x86,
            Self::Certificate | Self::Identity | Self::NotAuthorized => 0x87,
            Self::Connections | Self::Address | Self::Coming | Self::Busy | Self::RouterDied => 0x89,
            Self::ConnectRate => 0x9F,
            Self::PacketTooLarge | Self::EventTooLarge => 0x95,
            Self::QosTwo => 0x9B,
            Self::Window => 0x93,
            Self::TopicName => 0x90,
            Self::TopicAlias => 0x94,
            Self::KeepAlive => 0x8D,
            Self::TakenOver => 0x8E,
            // Quota exceeded, not "server unavailable": that one is for CONNACK only.
            Self::JournalStopped | Self::SessionsFull => 0x97,
            Self::ShuttingDown => 0x8B,
        }
    }

    /// That of a DISCONNECT, which does not know "bad user name or password" [MQTT-3.14.2-1].
    #[must_use]
    pub const fn disconnect_reason(self) -> u8 {
        match self {
            Self::Credentials => 0x87,
            other => other.reason(),
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Why a filter of a SUBSCRIBE was refused: a bounded set, so that each can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SubscriptionCause {
    /// A shared subscription, which is not offered.
    Shared,
    /// A filter that can't be subscribed to.
    Filter,
    /// The rules do not allow it.
    NotAuthorized,
    /// More filters in one packet than are looked at.
    Packet,
    /// More subscriptions than a client may have.
    Subscriptions,
    /// No room among the filters of all clients.
    Filters,
    /// No room to remember it with its session.
    Unnoted,
}

impl SubscriptionCause {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Shared,
        Self::Filter,
        Self::NotAuthorized,
        Self::Packet,
        Self::Subscriptions,
        Self::Filters,
        Self::Unnoted,
    ];

    /// The word used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Filter => "filter",
            Self::NotAuthorized => "not_authorized",
            Self::Packet => "packet",
            Self::Subscriptions => "subscriptions",
            Self::Filters => "filters",
            Self::Unnoted => "unnoted",
        }
    }

    /// The v5 reason code (MQTT 5.0, section 3.9.3).
    #[must_use]
    pub const fn reason(self) -> u8 {
        match self {
            Self::Shared => 0x9E,
            Self::Filter => 0x8F,
            Self::NotAuthorized => 0x87,
            Self::Packet | Self::Subscriptions | Self::Filters | Self::Unnoted => 0x97,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// A filter that is refused, and why, in words for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedFilter {
    pub(crate) cause: SubscriptionCause,
    pub(crate) reason: Cow<'static, str>,
    /// Cut; empty of one that was not looked at.
    pub(crate) filter: Box<str>,
}

impl RefusedFilter {
    pub(crate) fn new(cause: SubscriptionCause, reason: impl Into<Cow<'static, str>>, filter: &str) -> Self {
        Self { cause, reason: reason.into(), filter: cut(filter).into() }
    }
}

/// What is kept of words that a client has a part in, bytes.
const WORDS_BYTES_MAX: usize = 200;

/// The first [`WORDS_BYTES_MAX`] of it, or a little less where that would split a character.
pub(crate) fn cut(text: &str) -> &str {
    let end = (0..=WORDS_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// A connection is to be ended, and why, in words for the log and the v5 reason string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", cause.as_str())]
pub(crate) struct Close {
    pub(crate) cause: Cause,
    pub(crate) detail: String,
}

impl Close {
    pub(crate) fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_numbered_in_order_and_have_a_word_of_their_own() {
        let mut words = std::collections::BTreeSet::new();
        for (number, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(cause.index(), number);
            assert!(words.insert(cause.as_str()), "{cause:?}");
        }
        words.clear();
        for (number, cause) in SubscriptionCause::ALL.iter().enumerate() {
            assert_eq!(cause.index(), number);
            assert!(words.insert(cause.as_str()), "{cause:?}");
        }
    }

    #[test]
    fn words_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(201)), "x".repeat(200));
        // 200 is within the hundredth of them.
        assert_eq!(cut(&format!("x{}", "ä".repeat(200))), format!("x{}", "ä".repeat(99)));
    }
}
