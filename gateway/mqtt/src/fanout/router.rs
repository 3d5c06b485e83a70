//! One life of rumqttd's router: one link into it, one out of it, one topic.

use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Filter, Packet, Publish, QoS, RetainForwardRule, Subscribe};
use rumqttd::{Router, RouterConfig};

/// What all messages go by.
const TOPIC: &str = "t";
/// The router keeps its log in this many pieces, and drops the oldest for a new one whether it was read or not.
const SEGMENTS: usize = 4;
/// How long links are waited for: rumqttd's way to open one waits for ever where the router dies with the request in its queue.
const START_PATIENCE: Duration = Duration::from_secs(5);

type Ends = (LinkTx, LinkRx);

/// The router died: it takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dead;

/// A running router.
pub(super) struct Living {
    feed: LinkTx,
    /// Its answers are not needed, but it must not be gone.
    _feed_answers: LinkRx,
    /// The way into the link that everything comes out by.
    _out: LinkTx,
    #[cfg(test)]
    connect: Box<dyn Fn() -> Result<Ends, Dead> + Send>,
}

impl Living {
    /// How many bytes may be inside at once: of what it keeps at most, three pieces are always whole.
    pub(super) const fn holds_bytes(fanout_bytes_max: usize) -> usize {
        2 * Self::segment_bytes(fanout_bytes_max)
    }

    const fn segment_bytes(fanout_bytes_max: usize) -> usize {
        let bytes = fanout_bytes_max / (2 * SEGMENTS);
        if bytes < 2048 { 2048 } else { bytes }
    }

    /// Also gives the link that everything comes out by.
    pub(super) fn start(fanout_bytes_max: usize) -> Result<(Self, LinkRx), Dead> {
        let config = RouterConfig {
            max_connections: 4,
            max_outgoing_packet_count: 100,
            max_segment_size: Self::segment_bytes(fanout_bytes_max),
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        let router = Router::new(0, config).spawn();
        let (answer, opened) = mpsc::channel();
        let of_it = router.clone();
        let open_links = move || {
            let open = |name| -> Result<Ends, Dead> {
                let built = LinkBuilder::new(name, of_it.clone()).build();
                built.map(|(link, answers, _)| (link, answers)).map_err(|_| Dead)
            };
            // Who gave up waiting needs no answer.
            drop(answer.send(open("feed").and_then(|feed| Ok((feed, open("out")?)))));
        };
        std::thread::Builder::new().name("mqtt-connector".into()).spawn(open_links).map_err(|_| Dead)?;
        let opened = opened.recv_timeout(START_PATIENCE).map_err(|_| Dead)?;
        let ((feed, answers), (mut out, link)): (Ends, Ends) = opened?;
        send(&mut out, Packet::Subscribe(everything(), None))?;
        let living = Self {
            feed,
            _feed_answers: answers,
            _out: out,
            #[cfg(test)]
            connect: Box::new(move || {
                let built = LinkBuilder::new("doomed", router.clone()).build();
                built.map(|(link, answers, _)| (link, answers)).map_err(|_| Dead)
            }),
        };
        Ok((living, link))
    }

    /// Never empty: the router takes that for the removal of a retained message.
    pub(super) fn publish(&mut self, sealed: Bytes) -> Result<(), Dead> {
        send(&mut self.feed, Packet::Publish(Publish::new(Bytes::from_static(TOPIC.as_bytes()), sealed, false), None))
    }

    /// The last word. The router's own thread stays.
    pub(super) fn end(mut self) {
        // One that died has nobody to tell.
        self.publish(Bytes::from_static(b"-")).unwrap_or(());
    }

    /// Wakes a link that is gone, which the router does not survive.
    #[cfg(test)]
    pub(super) fn panic(&mut self) {
        use rumqttd::protocol::{Disconnect, DisconnectReasonCode};
        let (mut link, answers) = (self.connect)().unwrap();
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        send(&mut link, Packet::Disconnect(Disconnect { reason_code }, None)).unwrap();
        answers.ready().unwrap();
    }
}

fn everything() -> Subscribe {
    let filter = Filter {
        path: TOPIC.to_owned(),
        qos: QoS::AtMostOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::Never,
    };
    Subscribe { pkid: 1, filters: vec![filter] }
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
