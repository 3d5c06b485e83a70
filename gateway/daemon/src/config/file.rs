//! The configuration file's shape, as serde reads it: names and single values. What concerns several values is checked in
//! [`super::parse`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use lamppost_event::{DeviceId, GatewayId};
use lamppost_route::{Decode, Filter, Template};
use serde::Deserialize;
use toml::Spanned;

use super::value::{Listen, Size, Span, Text, Whole};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) gateway: Gateway,
    #[serde(default)]
    pub(super) journal: Journal,
    pub(super) mqtt: Option<Mqtt>,
    #[serde(default)]
    pub(super) serial: Vec<Serial>,
    #[serde(default)]
    pub(super) i2c: Vec<I2c>,
    #[serde(default)]
    pub(super) route: Vec<Route>,
    #[serde(default)]
    pub(super) topics: BTreeMap<Spanned<String>, Topic>,
    pub(super) kafka: Option<Kafka>,
    #[serde(default)]
    pub(super) http: Http,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) id: Option<Text<GatewayId>>,
    pub(super) state_dir: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Journal {
    pub(super) quota: Spanned<Size>,
    pub(super) segment: Spanned<Size>,
    pub(super) linger: Span,
    pub(super) linger_bytes: Size,
    pub(super) event_max: Spanned<Size>,
    pub(super) compression: super::Packing,
    pub(super) read_patience: Span,
}

fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            quota: unplaced(Size(256 << 20)),
            segment: unplaced(Size(16 << 20)),
            linger: Span(std::time::Duration::from_millis(50)),
            linger_bytes: Size(64 << 10),
            event_max: unplaced(Size(256 << 10)),
            compression: super::Packing::default(),
            read_patience: Span(lamppost_journal::Options::default().read_patience),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mqtt {
    pub(super) listen: Listen,
    pub(super) connections_max: Whole<1, 100_000>,
    pub(super) packet_max: Spanned<Size>,
    pub(super) window: Whole<1, 65_535>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            listen: Listen(SocketAddr::from(([127, 0, 0, 1], 1883))),
            connections_max: Whole(1000),
            packet_max: unplaced(Size(256 << 10)),
            window: Whole(64),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Serial {
    pub(super) name: Spanned<Text<DeviceId>>,
    pub(super) port: Spanned<PathBuf>,
    #[serde(default = "baud")]
    pub(super) baud: Whole<300, 4_000_000>,
    /// Only one for now: accepting it by name keeps files valid when more come.
    #[serde(default)]
    #[expect(dead_code, reason = "parsed so that a wrong name is an error; there is one protocol")]
    pub(super) protocol: Protocol,
}

fn baud() -> Whole<300, 4_000_000> {
    Whole(115_200)
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    #[default]
    Link,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct I2c {
    pub(super) name: Spanned<Text<DeviceId>>,
    pub(super) bus: PathBuf,
    pub(super) chip: super::Chip,
    /// 7 bits, without the reserved ones (I2C specification UM10204, section 3.1.12).
    pub(super) address: Spanned<Whole<0x08, 0x77>>,
    #[serde(default = "every")]
    pub(super) every: Spanned<Span>,
    pub(super) device: Option<Text<DeviceId>>,
}

fn every() -> Spanned<Span> {
    unplaced(Span(std::time::Duration::from_secs(10)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) from: Spanned<Text<Filter>>,
    pub(super) topic: Spanned<Text<Template>>,
    pub(super) key: Option<Spanned<Text<Template>>>,
    pub(super) device: Option<Spanned<Text<Template>>>,
    pub(super) decode: Option<Text<Decode>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topic {
    pub(super) partitions: Option<Whole<1, 1024>>,
    pub(super) linger: Option<Span>,
    pub(super) priority: Option<Spanned<super::Priority>>,
    pub(super) when_full: Option<super::WhenFull>,
    pub(super) keep_for: Option<Spanned<Span>>,
    pub(super) keep_bytes: Option<Spanned<Size>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kafka {
    pub(super) bootstrap: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) compression: lamppost_forward::Compression,
    #[serde(default = "replication")]
    pub(super) replication: Whole<1, 32>,
    #[serde(default = "yes")]
    pub(super) create_topics: bool,
    #[serde(default = "in_flight")]
    pub(super) in_flight: Size,
    #[serde(default = "clock_wait")]
    pub(super) clock_wait: Span,
}

fn replication() -> Whole<1, 32> {
    Whole(3)
}

fn yes() -> bool {
    true
}

fn in_flight() -> Size {
    Size(8 << 20)
}

fn clock_wait() -> Span {
    Span(std::time::Duration::from_secs(600))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub(super) listen: Spanned<Listen>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: unplaced(Listen(SocketAddr::from(([127, 0, 0, 1], 9464)))) }
    }
}
