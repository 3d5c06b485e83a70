//! `[[broker]]`: MQTT brokers that stand elsewhere and are read.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lamppost_event::{Address, DeviceId, GatewayId};
use lamppost_mqtt::{Broker, BrokerFilter, BrokerLogin, BrokerTls, BrokerVersion};
use serde::Deserialize;
use toml::Spanned;

use super::file::File;
use super::problem::Problem;
use super::value::{Size, Span, Text, Whole};

/// The longest client id, bytes: beyond 23 a broker may refuse one (section 3.1.3.1 of MQTT 3.1.1), most do not.
const CLIENT_ID_BYTES_MAX: usize = 256;
/// The most filters of one broker.
const FILTERS_MAX: usize = 64;

/// The table, as serde reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) name: Spanned<Text<DeviceId>>,
    url: Spanned<Text<Url>>,
    #[serde(default)]
    version: Version,
    client_id: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    subscribe: Spanned<Vec<Spanned<Text<BrokerFilter>>>>,
    #[serde(default = "qos")]
    qos: Whole<0, 1>,
    #[serde(default)]
    prefix: Option<Spanned<String>>,
    #[serde(default = "keep_alive")]
    keep_alive: Spanned<Span>,
    #[serde(default = "session_expiry")]
    session_expiry: Spanned<Span>,
    #[serde(default = "window")]
    window: Whole<1, 10_000>,
    #[serde(default = "window_bytes")]
    window_bytes: Spanned<Size>,
    #[serde(default = "packet_max")]
    packet_max: Spanned<Size>,
    ca_file: Option<Spanned<PathBuf>>,
    certificate_file: Option<Spanned<PathBuf>>,
    key_file: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Version {
    #[serde(rename = "3.1.1")]
    V311,
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// A broker's place: `mqtt://host`, `mqtts://host:port`, `mqtt://[::1]:1883`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    tls: bool,
    host: String,
    port: u16,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right =
            || format!("{text:?} is not a broker's place; write mqtt://host:port, or mqtts://host:port for TLS");
        let (scheme, place) = text.split_once("://").ok_or_else(right)?;
        let (tls, usual) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(right()),
        };
        if place.contains('@') {
            return Err(format!("{scheme}://… has a user in it; write `user` and `password_file`"));
        }
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(right)?,
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(right)?,
            None if port.is_empty() => usual,
            None => return Err(right()),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_host = if place.starts_with('[') {
            host.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty() && host.chars().all(plain)
        };
        if !is_host {
            return Err(right());
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn qos() -> Whole<0, 1> {
    Whole(1)
}

fn keep_alive() -> Spanned<Span> {
    unplaced(Span(Duration::from_secs(30)))
}

fn session_expiry() -> Spanned<Span> {
    unplaced(Span(Duration::from_secs(7 * 86_400)))
}

fn window() -> Whole<1, 10_000> {
    Whole(64)
}

fn window_bytes() -> Spanned<Size> {
    unplaced(Size(4 << 20))
}

fn packet_max() -> Spanned<Size> {
    unplaced(Size(1 << 20))
}

/// What concerns single brokers, and two of them.
pub(super) fn check(file: &File, problems: &mut Vec<Problem>) {
    let gateway = super::gateway_id(file);
    let mut sessions = BTreeMap::new();
    for broker in &file.broker {
        broker.check(problems);
        let url = &broker.url.get_ref().0;
        let session = (url.host.to_ascii_lowercase(), url.port, broker.client_id(&gateway));
        if let Some(first) = sessions.insert(session, broker.name.get_ref().0.clone()) {
            let span = broker.client_id.as_ref().map_or_else(|| broker.url.span(), Spanned::span);
            let what = format!("the same client id at the same broker as {first:?}: each would throw the other out");
            problems.push(Problem::at(span, what, "give one of them another `client_id`, or make them one"));
        }
    }
}

impl Written {
    fn check(&self, problems: &mut Vec<Problem>) {
        let mut problem = |span, what: &str, remedy: &str| problems.push(Problem::at(span, what, remedy));
        let filters = self.subscribe.get_ref();
        if filters.is_empty() || filters.len() > FILTERS_MAX {
            problem(self.subscribe.span(), "no filter, or too many", "name 1 to 64, as in [\"city/#\"]");
        }
        if let Some(id) = &self.client_id
            && (id.get_ref().is_empty() || id.get_ref().len() > CLIENT_ID_BYTES_MAX || id.get_ref().contains('\0'))
        {
            problem(id.span(), "not a client id", "1 to 256 bytes");
        }
        if let (Some(password), None) = (&self.password_file, &self.user) {
            problem(password.span(), "a password without a user", "add `user`");
        }
        if let Some(prefix) = &self.prefix
            && (Address::new(prefix.get_ref()).is_err() || prefix.get_ref().contains(['+', '#']))
        {
            problem(prefix.span(), "not the beginning of an address", "as in \"plant/\", without wildcards");
        }
        let keep_alive = self.keep_alive.get_ref().0;
        if !(Duration::from_secs(5)..=Duration::from_secs(65_535)).contains(&keep_alive) {
            problem(self.keep_alive.span(), "pinged too often or too seldom", "from 5s to 18h");
        }
        let expiry = self.session_expiry.get_ref().0;
        if !(Duration::from_secs(60)..=Duration::from_secs(u64::from(u32::MAX))).contains(&expiry) {
            problem(self.session_expiry.span(), "a session that ends too soon or too late", "from 1min to 49710d");
        }
        if !(Size(1 << 10)..=Size(1 << 30)).contains(self.window_bytes.get_ref()) {
            problem(self.window_bytes.span(), "too few or too many bytes", "from 1KiB to 1GiB");
        }
        if !(Size(256)..=Size(256 << 20)).contains(self.packet_max.get_ref()) {
            problem(self.packet_max.span(), "packets too small or too large", "from 256B to 256MiB");
        }
        let tls = self.url.get_ref().0.tls;
        if tls && self.ca_file.is_none() {
            let remedy = "add `ca_file`; the system's own is often /etc/ssl/certs/ca-certificates.crt";
            problem(self.url.span(), "TLS without anybody to trust", remedy);
        }
        if let (Some(certificate), None) = (&self.certificate_file, &self.key_file) {
            problem(certificate.span(), "a certificate without its key", "add `key_file`");
        }
        if let (None, Some(key)) = (&self.certificate_file, &self.key_file) {
            problem(key.span(), "a key without its certificate", "add `certificate_file`");
        }
        for path in self.files() {
            if !path.get_ref().is_absolute() {
                let what = format!("{:?} depends on where the program is started", path.get_ref());
                problem(path.span(), &what, "write a path that begins with /");
            }
        }
        for path in [&self.ca_file, &self.certificate_file].into_iter().flatten().filter(|_| !tls) {
            problem(path.span(), "a file of TLS, and a broker without", "write mqtts:// in `url`, or remove this line");
        }
    }

    fn files(&self) -> impl Iterator<Item = &Spanned<PathBuf>> {
        [&self.password_file, &self.ca_file, &self.certificate_file, &self.key_file].into_iter().flatten()
    }

    /// Whether what it names can be read by who asks.
    pub(super) fn look_at_files(&self, problems: &mut Vec<Problem>) {
        for path in self.files() {
            #[expect(clippy::disallowed_methods, reason = "a look at a file of the configuration; no journal data")]
            let read = std::fs::File::open(path.get_ref()).and_then(|mut file| file.read(&mut [0; 1]));
            if let Err(error) = read {
                let what = format!("{} can't be read: {error}", path.get_ref().display());
                let remedy = "the broker is not connected before it can; run `check` as the gateway's user";
                problems.push(Problem::at(path.span(), what, remedy));
            }
        }
    }

    fn client_id(&self, gateway: &GatewayId) -> String {
        let usual = || format!("lamppost-{gateway}-{}", self.name.get_ref().0);
        self.client_id.as_ref().map_or_else(usual, |id| id.get_ref().clone())
    }

    /// What was checked, as the source wants it.
    pub(super) fn convert(self, gateway: &GatewayId) -> Broker {
        let client_id = self.client_id(gateway);
        let path = |path: Option<Spanned<PathBuf>>| path.map(Spanned::into_inner);
        let (password, at_least_once) = (path(self.password_file), self.qos.0 == 1);
        let url = self.url.into_inner().0;
        let own = path(self.certificate_file).zip(path(self.key_file));
        let filters = self.subscribe.into_inner().into_iter().map(|filter| filter.into_inner().0);
        let filters = filters.map(|filter| if at_least_once { filter } else { filter.at_most_once() });
        Broker {
            name: self.name.into_inner().0,
            host: url.host,
            port: url.port,
            tls: path(self.ca_file).filter(|_| url.tls).map(|ca| BrokerTls { ca, own }),
            version: match self.version {
                Version::V311 => BrokerVersion::V311,
                Version::V5 => BrokerVersion::V5,
            },
            client_id,
            login: self.user.map(|user| BrokerLogin { user: user.into_inner(), password }),
            filters: filters.collect(),
            prefix: self.prefix.map(Spanned::into_inner).unwrap_or_default(),
            keep_alive: self.keep_alive.into_inner().0,
            session_expiry: self.session_expiry.into_inner().0,
            window: self.window.to(),
            window_bytes_max: usize::try_from(self.window_bytes.get_ref().0).unwrap_or(usize::MAX),
            packet_bytes_max: usize::try_from(self.packet_max.get_ref().0).unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests;
