//! rumqttc for either version, reduced to what a subscriber needs: a speaker, whose words never wait, and a listener. A pair is
//! made for each connection and goes with it, so that nothing said for one is heard on another.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5 as v5bytes;
use rumqttc::{Outgoing, SubscribeFilter, Transport, v5};

use super::line::LineError;
use super::message::Message;
use super::{Broker, BrokerCause, BrokerFilter, BrokerVersion};

/// How long the broker may take from our CONNECT to its CONNACK, s.
const CONNACK_MAX_S: u64 = 20;
/// The largest packet of MQTT 5.0, bytes (sections 2.1.4 and 3.1.2.11.4). Told to the broker as our Maximum Packet Size, since a broker discards
/// without a word what is above that; our own limit is held by the line.
const PACKET_BYTES_MAX: u32 = 268_435_460;
/// What may wait for rumqttc to be said beside acknowledgements.
const WORDS_MAX: usize = 16;

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// The broker has accepted us.
    Accepted {
        session_present: bool,
    },
    /// For each filter of the SUBSCRIBE, in its order.
    Subscribed(Vec<Granted>),
    /// The answer to one UNSUBSCRIBE.
    Unsubscribed,
    Message(Message),
    /// The broker has answered a ping.
    Alive,
    /// Our DISCONNECT is on its way.
    Left,
    /// Nothing that matters here.
    Nothing,
}

/// What became of one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Granted {
    Refused,
    AtMostOnce,
    AtLeastOnce,
}

/// User and password.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// Says things to the broker. Each answers whether rumqttc had room for it.
pub(super) enum Speaker {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// Hears what the broker says; must be listened to for anything to be said.
pub(super) enum Listener {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// A client for one connection, which dials `local_name`.
pub(super) fn client(broker: &Broker, login: Option<Login>, local_name: &str) -> (Speaker, Listener) {
    let capacity = usize::from(broker.window) + broker.filters.len() + WORDS_MAX;
    match broker.version {
        BrokerVersion::V311 => {
            let mut options = rumqttc::MqttOptions::new(&broker.client_id, local_name, 0);
            options
                .set_transport(Transport::unix())
                .set_keep_alive(broker.keep_alive)
                .set_clean_session(false)
                .set_manual_acks(true)
                .set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize)
                .set_inflight(1);
            if let Some(login) = login {
                options.set_credentials(login.user, login.password);
            }
            let (client, mut eventloop) = rumqttc::AsyncClient::new(options, capacity);
            eventloop.network_options.set_connection_timeout(CONNACK_MAX_S);
            (Speaker::V311(client), Listener::V311(Box::new(eventloop)))
        }
        BrokerVersion::V5 => {
            let mut options = v5::MqttOptions::new(&broker.client_id, local_name, 0);
            options
                .set_transport(Transport::unix())
                .set_keep_alive(broker.keep_alive)
                .set_clean_start(false)
                .set_manual_acks(true)
                .set_connection_timeout(CONNACK_MAX_S)
                .set_session_expiry_interval(u32::try_from(broker.session_expiry.as_secs()).ok())
                .set_receive_maximum(Some(broker.window))
                .set_max_packet_size(Some(PACKET_BYTES_MAX))
                // rumqttc hands out a message with an alias before it has looked up its topic.
                .set_topic_alias_max(Some(0))
                .set_outgoing_inflight_upper_limit(1);
            if let Some(login) = login {
                options.set_credentials(login.user, login.password);
            }
            let (client, eventloop) = v5::AsyncClient::new(options, capacity);
            (Speaker::V5(client), Listener::V5(Box::new(eventloop)))
        }
    }
}

impl Speaker {
    pub(super) fn acknowledge(&self, packet_id: u16) -> bool {
        match self {
            Self::V311(client) => {
                let mut publish = rumqttc::Publish::new("", rumqttc::QoS::AtLeastOnce, Vec::new());
                publish.pkid = packet_id;
                client.try_ack(&publish).is_ok()
            }
            Self::V5(client) => {
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                let publish = v5bytes::Publish { qos, pkid: packet_id, ..v5bytes::Publish::default() };
                client.try_ack(&publish).is_ok()
            }
        }
    }

    pub(super) fn subscribe(&self, filters: &[BrokerFilter]) -> bool {
        match self {
            Self::V311(client) => {
                let qos = |filter: &BrokerFilter| match filter.is_at_least_once() {
                    true => rumqttc::QoS::AtLeastOnce,
                    false => rumqttc::QoS::AtMostOnce,
                };
                let filters = filters.iter().map(|it| SubscribeFilter::new(it.as_str().to_owned(), qos(it)));
                client.try_subscribe_many(filters).is_ok()
            }
            Self::V5(client) => {
                let filters = filters.iter().map(|filter| v5bytes::Filter {
                    path: filter.as_str().to_owned(),
                    qos: match filter.is_at_least_once() {
                        true => v5::mqttbytes::QoS::AtLeastOnce,
                        false => v5::mqttbytes::QoS::AtMostOnce,
                    },
                    nolocal: false,
                    preserve_retain: false,
                    retain_forward_rule: v5bytes::RetainForwardRule::OnNewSubscribe,
                });
                client.try_subscribe_many(filters).is_ok()
            }
        }
    }

    pub(super) fn unsubscribe(&self, filter: &str) -> bool {
        match self {
            Self::V311(client) => client.try_unsubscribe(filter).is_ok(),
            Self::V5(client) => client.try_unsubscribe(filter).is_ok(),
        }
    }

    pub(super) fn leave(&self) -> bool {
        match self {
            Self::V311(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Listener {
    /// Hears the next thing. Must not be dropped before it has completed, unless the connection is given up: what it was about
    /// to write would be lost. `deaf`: nothing of the broker is let through now, so an answer to a ping can't come and is not missed.
    pub(super) async fn hear(&mut self, deaf: bool) -> Result<Heard, LineError> {
        match self {
            Self::V311(eventloop) => {
                if deaf {
                    eventloop.state.await_pingresp = false;
                }
                caught(eventloop.poll()).await?.map_err(v311_error).and_then(v311_heard)
            }
            Self::V5(eventloop) => {
                if deaf {
                    eventloop.state.await_pingresp = false;
                }
                let event = caught(eventloop.poll()).await?.map_err(v5_error)?;
                if eventloop.options.keep_alive().is_zero() {
                    // Server Keep Alive 0: none is wanted. rumqttc would ping without a pause.
                    eventloop.options.set_keep_alive(std::time::Duration::from_secs(u64::from(u16::MAX)));
                }
                v5_heard(event)
            }
        }
    }
}

/// A panic of rumqttc ends the connection and nothing else: all that it held goes with it.
async fn caught<T>(poll: impl Future<Output = T>) -> Result<T, LineError> {
    let mut poll = pin!(poll);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| poll.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(LineError::new(BrokerCause::Client, "rumqttc panicked over what the broker sent"))),
    })
    .await
}

fn second_quality() -> LineError {
    LineError::new(BrokerCause::Protocol, "a message with QoS 2, which was not subscribed to")
}

fn v311_heard(event: rumqttc::Event) -> Result<Heard, LineError> {
    use rumqttc::{Packet, QoS, SubscribeReasonCode};
    Ok(match event {
        rumqttc::Event::Outgoing(Outgoing::Disconnect) => Heard::Left,
        rumqttc::Event::Outgoing(_) => Heard::Nothing,
        rumqttc::Event::Incoming(packet) => match packet {
            Packet::ConnAck(connack) => Heard::Accepted { session_present: connack.session_present },
            Packet::SubAck(suback) => {
                let granted = |code: &SubscribeReasonCode| match code {
                    SubscribeReasonCode::Success(QoS::AtMostOnce) => Granted::AtMostOnce,
                    SubscribeReasonCode::Success(_) => Granted::AtLeastOnce,
                    SubscribeReasonCode::Failure => Granted::Refused,
                };
                Heard::Subscribed(suback.return_codes.iter().map(granted).collect())
            }
            Packet::UnsubAck(_) => Heard::Unsubscribed,
            Packet::PingResp => Heard::Alive,
            Packet::Publish(publish) => Heard::Message(Message {
                packet_id: match publish.qos {
                    QoS::AtMostOnce => None,
                    QoS::AtLeastOnce => Some(publish.pkid),
                    QoS::ExactlyOnce => return Err(second_quality()),
                },
                duplicate: publish.dup,
                retained: publish.retain,
                topic: publish.topic,
                payload: publish.payload,
                content_type: None,
                sender_id: None,
            }),
            _ => Heard::Nothing,
        },
    })
}

fn v5_heard(event: v5::Event) -> Result<Heard, LineError> {
    use v5bytes::{Packet, SubscribeReasonCode};
    Ok(match event {
        v5::Event::Outgoing(Outgoing::Disconnect) => Heard::Left,
        v5::Event::Outgoing(_) => Heard::Nothing,
        v5::Event::Incoming(packet) => match packet {
            Packet::ConnAck(connack) => Heard::Accepted { session_present: connack.session_present },
            Packet::SubAck(suback) => {
                let granted = |code: &SubscribeReasonCode| match code {
                    SubscribeReasonCode::Success(v5::mqttbytes::QoS::AtMostOnce) => Granted::AtMostOnce,
                    SubscribeReasonCode::Success(_) => Granted::AtLeastOnce,
                    _ => Granted::Refused,
                };
                Heard::Subscribed(suback.return_codes.iter().map(granted).collect())
            }
            Packet::UnsubAck(_) => Heard::Unsubscribed,
            Packet::PingResp(_) => Heard::Alive,
            Packet::Publish(publish) => Heard::Message(v5_message(publish)?),
            _ => Heard::Nothing,
        },
    })
}

fn v5_message(publish: v5bytes::Publish) -> Result<Message, LineError> {
    use v5::mqttbytes::QoS;
    let unreadable = |what: &str| LineError::new(BrokerCause::Protocol, format!("a message {what}"));
    let properties = publish.properties.unwrap_or_default();
    Ok(Message {
        packet_id: match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(publish.pkid),
            QoS::ExactlyOnce => return Err(second_quality()),
        },
        duplicate: publish.dup,
        retained: publish.retain,
        topic: topic(publish.topic).ok_or_else(|| unreadable("whose topic is empty or not UTF-8"))?,
        payload: publish.payload,
        content_type: properties.content_type,
        sender_id: properties.user_properties.into_iter().find(|(name, _)| name == "id").map(|(_, id)| id),
    })
}

fn topic(bytes: Bytes) -> Option<String> {
    String::from_utf8(bytes.into()).ok().filter(|topic| !topic.is_empty())
}

fn v311_error(error: rumqttc::ConnectionError) -> LineError {
    use rumqttc::{ConnectionError, StateError};
    let cause = match &error {
        ConnectionError::ConnectionRefused(code) => {
            return LineError::new(BrokerCause::Refused, format!("the broker refuses us: {code:?}"));
        }
        ConnectionError::NetworkTimeout
        | ConnectionError::FlushTimeout
        | ConnectionError::MqttState(StateError::AwaitPingResp) => BrokerCause::Silent,
        ConnectionError::Io(_) | ConnectionError::MqttState(StateError::Io(_) | StateError::ConnectionAborted) => {
            BrokerCause::Closed
        }
        _ => BrokerCause::Protocol,
    };
    LineError::new(cause, error.to_string())
}

fn v5_error(error: v5::ConnectionError) -> LineError {
    use v5::{ConnectionError, StateError};
    let cause = match &error {
        ConnectionError::ConnectionRefused(code) => {
            return LineError::new(BrokerCause::Refused, format!("the broker refuses us: {code:?}"));
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            return LineError::new(BrokerCause::Closed, format!("the broker disconnects us: {reason_code:?}"));
        }
        ConnectionError::Timeout(_) | ConnectionError::MqttState(StateError::AwaitPingResp) => BrokerCause::Silent,
        ConnectionError::Io(_) | ConnectionError::MqttState(StateError::Io(_) | StateError::ConnectionAborted) => {
            BrokerCause::Closed
        }
        _ => BrokerCause::Protocol,
    };
    LineError::new(cause, error.to_string())
}
