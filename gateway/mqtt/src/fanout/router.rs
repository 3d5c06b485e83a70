//! One life of rumqttd's router, and the links into it.

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use rumqttd::local::{LinkRx, LinkTx};
use rumqttd::protocol::{
    Disconnect, DisconnectReasonCode, Filter, Packet, Publish, QoS, RetainForwardRule, Subscribe, SubscribeProperties,
    Unsubscribe,
};
use rumqttd::{Router, RouterConfig, local::LinkBuilder};

use super::envelope;
use crate::Limits;
use crate::message::Message;

/// In front of every topic and filter.
pub(super) const PREFIX: &str = "t/";
/// A topic that no filter covers.
const NOBODY: &str = "n";
/// The router keeps a log of each filter in this many pieces.
const SEGMENTS: usize = 4;

/// How long a link is waited for before the router is asked whether it lives.
const CONNECT_PATIENCE: Duration = Duration::from_millis(20);

type Ends = (LinkTx, LinkRx);

/// A thread that opens links: rumqttd's way to open one waits for ever where the router dies with the request in its queue.
struct Connector {
    names: mpsc::Sender<String>,
    opened: mpsc::Receiver<Result<Ends, Dead>>,
}

/// The router died: it takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dead;

/// A running router.
pub(super) struct Living {
    connector: Connector,
    feed: LinkTx,
    /// Its answers are not needed, but it must not be gone.
    _feed_answers: LinkRx,
    links: HashMap<usize, LinkTx>,
}

impl Living {
    pub(super) fn start(limits: &Limits) -> Result<Self, Dead> {
        let config = RouterConfig {
            max_connections: limits.subscribers_max.saturating_add(2),
            max_outgoing_packet_count: 100,
            max_segment_size: (limits.fanout_bytes_per_filter / SEGMENTS).max(2048),
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        let router = Router::new(0, config).spawn();
        let (names, wanted) = mpsc::channel::<String>();
        let (answer, opened) = mpsc::channel();
        let open_links = move || {
            for name in wanted {
                let built = LinkBuilder::new(&name, router.clone()).build();
                let ends = built.map(|(link, answers, _)| (link, answers)).map_err(|_| Dead);
                if answer.send(ends).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("mqtt-connector".into()).spawn(open_links).map_err(|_| Dead)?;
        let connector = Connector { names, opened };
        connector.names.send("feed".into()).map_err(|_| Dead)?;
        let (feed, feed_answers) = connector.opened.recv().map_err(|_| Dead)??;
        Ok(Self { connector, feed, _feed_answers: feed_answers, links: HashMap::new() })
    }

    fn connect(&mut self, name: &str) -> Result<Ends, Dead> {
        self.connector.names.send(name.into()).map_err(|_| Dead)?;
        loop {
            match self.connector.opened.recv_timeout(CONNECT_PATIENCE) {
                Ok(ends) => return ends,
                // A router that is busy takes this; of one that died it is refused, and the connector is left waiting.
                Err(RecvTimeoutError::Timeout) => self.poke()?,
                Err(RecvTimeoutError::Disconnected) => return Err(Dead),
            }
        }
    }

    pub(super) fn open(&mut self, slot: usize) -> Result<LinkRx, Dead> {
        let (link, answers) = self.connect(&format!("s{slot}"))?;
        self.links.insert(slot, link);
        Ok(answers)
    }

    /// The receiver of the link must be gone by now.
    pub(super) fn close(&mut self, slot: usize) -> Result<(), Dead> {
        let Some(mut link) = self.links.remove(&slot) else { return Ok(()) };
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        send(&mut link, Packet::Disconnect(Disconnect { reason_code }, None))?;
        // The router stops working off its ready links when it meets a gone one, until something else happens.
        self.poke()
    }

    /// Gives the router something to do that has no effect.
    pub(super) fn poke(&mut self) -> Result<(), Dead> {
        send(&mut self.feed, Packet::Publish(Publish::new(NOBODY, "-", false), None))
    }

    pub(super) fn subscribe(&mut self, slot: usize, filter: &str, id: usize) -> Result<(), Dead> {
        let filter = Filter {
            path: format!("{PREFIX}{filter}"),
            qos: QoS::AtMostOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::Never,
        };
        let properties = SubscribeProperties { id: Some(id), user_properties: Vec::new() };
        let packet = Packet::Subscribe(Subscribe { pkid: 1, filters: vec![filter] }, Some(properties));
        self.links.get_mut(&slot).map_or(Ok(()), |link| send(link, packet))
    }

    pub(super) fn unsubscribe(&mut self, slot: usize, filter: &str) -> Result<(), Dead> {
        let packet = Packet::Unsubscribe(Unsubscribe { pkid: 1, filters: vec![format!("{PREFIX}{filter}")] }, None);
        self.links.get_mut(&slot).map_or(Ok(()), |link| send(link, packet))
    }

    pub(super) fn publish(&mut self, message: &Message) -> Result<(), Dead> {
        let topic = Bytes::from(format!("{PREFIX}{}", message.topic));
        send(&mut self.feed, Packet::Publish(Publish::new(topic, envelope::seal(message), false), None))
    }

    /// Replaces the feeding link: the router counts each topic of a link, and never forgets one.
    pub(super) fn renew_feed(&mut self) -> Result<(), Dead> {
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        send(&mut self.feed, Packet::Disconnect(Disconnect { reason_code }, None))?;
        (self.feed, self._feed_answers) = self.connect("feed")?;
        Ok(())
    }

    /// Wakes a link that is gone, which the router does not survive.
    #[cfg(test)]
    pub(super) fn panic(&mut self) {
        let (mut link, answers) = self.connect("doomed").unwrap();
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        send(&mut link, Packet::Disconnect(Disconnect { reason_code }, None)).unwrap();
        answers.ready().unwrap();
    }
}

/// Blocks while the router is busy.
fn send(link: &mut LinkTx, packet: Packet) -> Result<(), Dead> {
    // `send` is an async function that never waits asynchronously: one poll finishes it.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(link.send(packet)).as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok(_)) => Ok(()),
        std::task::Poll::Ready(Err(_)) | std::task::Poll::Pending => Err(Dead),
    }
}
