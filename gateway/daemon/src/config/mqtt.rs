//! The MQTT server's listeners: who may come in by which, and what has to be said in so many words.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lamppost_mqtt::{Acl, Entry, IdentityFrom, Limits};
use serde::Deserialize;
use toml::Spanned;

use super::file;
use super::problem::Problem;
use super::value::{Size, Whole};

/// The MQTT server.
#[derive(Debug, Clone)]
pub(crate) struct Mqtt {
    /// At least one.
    pub(crate) listeners: Vec<Listener>,
    pub(crate) passwords: Option<PathBuf>,
    pub(crate) rules: AclFrom,
    pub(crate) connections_max: usize,
    pub(crate) packet_max: Size,
    pub(crate) window: u16,
    /// All other bounds of the front, with what is written in `[mqtt.limits]`.
    pub(crate) limits: Limits,
}

/// Where the rules about topics stand.
#[derive(Debug, Clone)]
pub(crate) enum AclFrom {
    /// In the configuration; empty where there are none.
    Here(Arc<Acl>),
    /// In a file of their own, which may change while the gateway runs.
    File(PathBuf),
}

/// An address that clients come in by.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) listen: SocketAddr,
    pub(crate) entry: Entry,
    pub(crate) tls: Option<TlsPaths>,
}

/// The files of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsPaths {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) crl: Option<PathBuf>,
}

/// What in a client's certificate is its client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Identity {
    Cn,
    Dns,
    Uri,
}

impl From<Identity> for IdentityFrom {
    fn from(identity: Identity) -> Self {
        match identity {
            Identity::Cn => Self::CommonName,
            Identity::Dns => Self::DnsName,
            Identity::Uri => Self::Uri,
        }
    }
}

/// Whether two listeners are in each other's way: on one port at one address, or one of them at all of them. `[::]` takes IPv4 as well, as
/// Linux does unless it is told otherwise (ipv6(7), IPV6_V6ONLY).
pub(super) fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let covers =
        |wide: SocketAddr, narrow: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    let one_address = one.ip() == other.ip() || covers(one, other) || covers(other, one);
    one.port() != 0 && one.port() == other.port() && one_address
}

/// Where the listeners listen.
pub(super) fn addresses(mqtt: &file::Mqtt) -> Vec<SocketAddr> {
    own(mqtt).iter().chain(&mqtt.listener).map(|listener| listener.listen.get_ref().0).collect()
}

/// The listener that `[mqtt]` itself describes: where it has an address, or nothing else is listed.
fn own(mqtt: &file::Mqtt) -> Option<file::MqttListener> {
    let listen = match &mqtt.listen {
        None if !mqtt.listener.is_empty() => return None,
        None => Spanned::new(0..0, super::value::Listen(SocketAddr::from(([127, 0, 0, 1], 1883)))),
        Some(listen) => listen.clone(),
    };
    Some(file::MqttListener { anonymous: mqtt.anonymous.clone(), ..file::MqttListener::new(listen) })
}

pub(super) fn check(mqtt: &file::Mqtt, problems: &mut Vec<Problem>) {
    if !(Size(256)..=Size(256 << 20)).contains(mqtt.packet_max.get_ref()) {
        let what = format!("packets of {}", mqtt.packet_max.get_ref());
        problems.push(Problem::at(mqtt.packet_max.span(), what, "from 256B to 256MiB"));
    }
    if let Some(anonymous) = &mqtt.anonymous
        && own(mqtt).is_none()
    {
        let remedy = "write it into the [[mqtt.listener]] that it is for, or give [mqtt] a `listen`";
        problems.push(Problem::at(anonymous.span(), "`anonymous` without a `listen` beside it", remedy));
    }
    if let (Some(_), Some(second)) = (&mqtt.acl, &mqtt.acl_file) {
        problems.push(Problem::at(second.span(), "rules here and in a file", "keep one of `acl` and `acl_file`"));
    }
    for path in [&mqtt.passwords, &mqtt.acl_file].into_iter().flatten() {
        check_path(path, problems);
    }
    for line in mqtt.acl.iter().flatten() {
        if let Err(error) = one_rule(line.get_ref()) {
            problems.push(Problem::at(line.span(), error, "as in \"allow * publish city/%c/#\""));
        }
    }
    for size in [&mqtt.limits.inflight, &mqtt.limits.begun, &mqtt.limits.fanout].into_iter().flatten() {
        // Less than the largest packet could bring everything to a stand.
        let (bytes, packet_max) = (*size.get_ref(), *mqtt.packet_max.get_ref());
        if bytes < packet_max {
            let what = format!("{bytes} for all connections do not hold one packet of {packet_max}");
            problems.push(Problem::at(size.span(), what, "raise it, or lower `packet_max`"));
        }
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for listener in own(mqtt).iter().chain(&mqtt.listener) {
        let (address, span) = (listener.listen.get_ref().0, listener.listen.span());
        if let Some(other) = addresses.iter().find(|other| meet(**other, address)) {
            let what = if *other == address {
                format!("a second listener on {address}")
            } else {
                format!("a listener on {address}, which the one on {other} is in the way of")
            };
            problems.push(Problem::at(span, what, "give it another port"));
        }
        addresses.push(address);
        check_listener(listener, mqtt.passwords.is_some(), problems);
    }
}

fn check_path(path: &Spanned<PathBuf>, problems: &mut Vec<Problem>) {
    if !path.get_ref().is_absolute() {
        let what = format!("{:?} depends on where the program is started", path.get_ref());
        problems.push(Problem::at(path.span(), what, "write a path that begins with /"));
    }
}

fn check_listener(listener: &file::MqttListener, passwords: bool, problems: &mut Vec<Problem>) {
    let mut problem = |span, what: &str, remedy: &str| problems.push(Problem::at(span, what, remedy));
    let tls = listener.certificate.is_some();
    match (&listener.certificate, &listener.key) {
        (Some(certificate), None) => problem(certificate.span(), "a certificate without its key", "add `key`"),
        (None, Some(key)) => problem(key.span(), "a key without its certificate", "add `certificate`"),
        _ => {}
    }
    if let Some(client_ca) = listener.client_ca.as_ref().filter(|_| !tls) {
        problem(client_ca.span(), "client_ca without TLS", "add `certificate` and `key`");
    }
    let beside_client_ca = [
        (listener.crl.as_ref().map(Spanned::span), "crl"),
        (listener.identity.as_ref().map(Spanned::span), "identity"),
        (listener.password.as_ref().map(Spanned::span), "password"),
    ];
    for (span, key) in beside_client_ca {
        if let Some(span) = span.filter(|_| listener.client_ca.is_none()) {
            problem(span, &format!("{key} without client_ca"), "add `client_ca`, or remove this line");
        }
    }
    if let Some(password) = listener.password.as_ref().filter(|password| *password.get_ref() && !passwords) {
        problem(password.span(), "no passwords to compare with", "set `passwords` in [mqtt]");
    }
    let anonymous = listener.anonymous.as_ref().is_some_and(|anonymous| *anonymous.get_ref());
    if let (Some(written), true) = (&listener.anonymous, anonymous && listener.client_ca.is_some()) {
        problem(written.span(), "with client_ca nobody is anonymous", "remove one of the two");
    }
    if let Some(bound) = &listener.client_id_is_user
        && *bound.get_ref()
        && !passwords
    {
        problem(bound.span(), "no users whose names could be client ids", "set `passwords` in [mqtt]");
    }
    if let (Some(written), true, Some(true)) =
        (&listener.anonymous, anonymous, listener.client_id_is_user.as_ref().map(|bound| *bound.get_ref()))
    {
        let what = "who gives no user name is bound to none, and could take the client id of a user";
        problem(written.span(), what, "remove `anonymous` or `client_id_is_user`, or give each a listener of its own");
    }
    let address = listener.listen.get_ref().0;
    if !address.ip().is_loopback() && !passwords && listener.client_ca.is_none() && !anonymous {
        let what = format!("mqtt on {address} would let in whoever reaches it");
        let remedy = "set `passwords` in [mqtt], or `client_ca` in a [[mqtt.listener]]; or write `anonymous = true` here, if that is what you want";
        problem(listener.listen.span(), &what, remedy);
    }
    for path in [&listener.certificate, &listener.key, &listener.client_ca, &listener.crl].into_iter().flatten() {
        check_path(path, problems);
    }
}

fn one_rule(line: &str) -> Result<Acl, String> {
    let read = Acl::parse(line).map_err(|error| error.what)?;
    if read.len() == 1 { Ok(read) } else { Err("not one rule".to_owned()) }
}

/// What was checked, as the gateway wants it.
pub(super) fn convert(mqtt: file::Mqtt, event_max: Size) -> Mqtt {
    let passwords = mqtt.passwords.as_ref().map(|path| path.get_ref().clone());
    let listeners = own(&mqtt).iter().chain(&mqtt.listener).map(|it| listener(it, passwords.is_some())).collect();
    let here = mqtt.acl.iter().flatten().map(|line| line.get_ref().as_str()).collect::<Vec<_>>().join("\n");
    let rules = match mqtt.acl_file {
        Some(path) => AclFrom::File(path.into_inner()),
        None => AclFrom::Here(Arc::new(Acl::parse(&here).unwrap_or_default())),
    };
    Mqtt {
        listeners,
        passwords,
        rules,
        connections_max: mqtt.connections_max.to(),
        packet_max: mqtt.packet_max.into_inner(),
        window: mqtt.window.to(),
        limits: Limits {
            event_bytes_max: usize::try_from(event_max.0).unwrap_or(usize::MAX),
            ..limits(&mqtt.limits, mqtt.connections_max.to())
        },
    }
}

fn limits(written: &file::MqttLimits, connections_max: usize) -> Limits {
    let size = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    let bytes = |spanned: &Spanned<Size>| size(*spanned.get_ref());
    let usual = Limits::default();
    Limits {
        window_strict: written.window_strict.unwrap_or(usual.window_strict),
        publishes_per_s: written.publishes_per_s.map_or(usual.publishes_per_s, Whole::to),
        bytes_per_s: written.bytes_per_s.map_or(usual.bytes_per_s, |size| size.0),
        connections_per_address_max: written
            .connections_per_address
            .map_or(usual.connections_per_address_max, Whole::to),
        connects_per_s: written.connects_per_s.map_or(usual.connects_per_s, Whole::to),
        connects_per_s_per_address: written
            .connects_per_s_per_address
            .map_or(usual.connects_per_s_per_address, Whole::to),
        coming_max: written.coming.map_or(usual.coming_max, Whole::to),
        coming_per_address_max: written.coming_per_address.map_or(usual.coming_per_address_max, Whole::to),
        handshake_timeout: written.handshake.map_or(usual.handshake_timeout, |span| span.0),
        connect_timeout: written.connect.map_or(usual.connect_timeout, |span| span.0),
        packet_timeout: written.packet.map_or(usual.packet_timeout, |span| span.0),
        inflight_bytes_max: written.inflight.as_ref().map_or(usual.inflight_bytes_max, bytes),
        begun_bytes_max: written.begun.as_ref().map_or(usual.begun_bytes_max, bytes),
        verifications_max: written.verifications.map_or(usual.verifications_max, Whole::to),
        subscriptions_max: written.subscriptions.map_or(usual.subscriptions_max, Whole::to),
        subscribes_per_s: written.subscribes_per_s.map_or(usual.subscribes_per_s, Whole::to),
        // Who is connected has a session, and who has been replaced may be missed for a while.
        sessions_max: written.sessions.map_or(usual.sessions_max.max(connections_max * 2), Whole::to),
        sessions_bytes_max: written.session_records.map_or(usual.sessions_bytes_max, size),
        queues_bytes_max: written.queues.map_or(usual.queues_bytes_max, size),
        filters_bytes_max: written.filters.map_or(usual.filters_bytes_max, size),
        fanout_bytes_max: written.fanout.as_ref().map_or(usual.fanout_bytes_max, bytes),
        retained_bytes_max: written.retained.map_or(usual.retained_bytes_max, size),
        wills_bytes_max: written.wills.map_or(usual.wills_bytes_max, size),
        ..usual
    }
}

fn listener(written: &file::MqttListener, passwords: bool) -> Listener {
    let yes = |key: &Option<Spanned<bool>>| key.as_ref().is_some_and(|key| *key.get_ref());
    let path = |key: &Option<Spanned<PathBuf>>| key.as_ref().map(|key| key.get_ref().clone());
    let by_certificate = written.client_ca.is_some();
    let listen = written.listen.get_ref().0;
    let entry = Entry {
        // On loopback, where nothing else is set, it need not be written.
        anonymous: yes(&written.anonymous) || (listen.ip().is_loopback() && !passwords && !by_certificate),
        password: if by_certificate { yes(&written.password) } else { passwords },
        identity: by_certificate.then(|| written.identity.as_ref().map_or(Identity::Cn, |it| *it.get_ref()).into()),
        client_id_is_user: yes(&written.client_id_is_user),
    };
    let tls = path(&written.certificate).zip(path(&written.key)).map(|(certificate, key)| TlsPaths {
        certificate,
        key,
        client_ca: path(&written.client_ca),
        crl: path(&written.crl),
    });
    Listener { listen, entry, tls }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Config, Problems, parse};
    use super::*;

    fn listeners(text: &str) -> Vec<Listener> {
        let config: Config = parse(text).unwrap_or_else(|list| panic!("{}", Problems::new("x".as_ref(), text, list)));
        config.mqtt.unwrap().listeners
    }

    fn problem(text: &str) -> String {
        let list = parse(text).expect_err("a mistake that must be found");
        Problems::new("x.toml".as_ref(), text, list).to_string()
    }

    const TLS: &str = "certificate = \"/c\"\nkey = \"/k\"\n";

    #[test]
    fn an_open_listener_beyond_loopback_has_to_be_asked_for() {
        for address in ["0.0.0.0:1883", "192.168.1.2:1883", "[::]:1883"] {
            let text = format!("[mqtt]\nlisten = \"{address}\"\n");
            let shown = problem(&text);
            assert!(shown.contains("x.toml:2:10: ") && shown.contains("`anonymous = true`"), "{shown}");
            let encrypted = format!("[mqtt]\n[[mqtt.listener]]\n{TLS}listen = \"{address}\"\n");
            assert!(problem(&encrypted).contains("x.toml:5:10: "), "TLS says who we are, not who they are");
            assert!(problem(&format!("{text}anonymous = false\n")).contains(":2:10: "));
            assert!(listeners(&format!("{text}anonymous = true\n"))[0].entry.anonymous);
        }
        for address in ["127.0.0.1:1883", "127.8.8.8:1", "[::1]:1883"] {
            assert_eq!(listeners(&format!("[mqtt]\nlisten = \"{address}\"\n"))[0].entry, Entry::OPEN);
        }
    }

    #[test]
    fn with_passwords_everybody_is_asked_also_on_loopback() {
        let asks = Entry { anonymous: false, password: true, ..Entry::OPEN };
        for address in ["127.0.0.1:1883", "0.0.0.0:1883"] {
            let text = format!("[mqtt]\nlisten = \"{address}\"\npasswords = \"/p\"\n");
            assert_eq!(listeners(&text)[0].entry, asks);
            assert_eq!(listeners(&format!("{text}anonymous = true\n"))[0].entry, Entry { anonymous: true, ..asks });
        }
    }

    #[test]
    fn certificates_take_the_place_of_passwords_or_come_on_top() {
        let text = format!(
            "[mqtt]\npasswords = \"/p\"\n[[mqtt.listener]]\nlisten = \"0.0.0.0:8883\"\n{TLS}client_ca = \"/a\"\n"
        );
        let by_certificate = Entry { anonymous: false, identity: Some(IdentityFrom::CommonName), ..Entry::OPEN };
        assert_eq!(listeners(&text)[0].entry, by_certificate);
        let both = listeners(&format!("{text}password = true\nidentity = \"dns\"\ncrl = \"/r\"\n"));
        assert_eq!(both[0].entry, Entry { password: true, identity: Some(IdentityFrom::DnsName), ..by_certificate });
        let paths = TlsPaths {
            certificate: "/c".into(),
            key: "/k".into(),
            client_ca: Some("/a".into()),
            crl: Some("/r".into()),
        };
        assert_eq!(both[0].tls, Some(paths));
    }

    #[test]
    fn a_listener_of_its_own_takes_the_place_of_the_usual_one_or_stands_beside_it() {
        let one = format!("[[mqtt.listener]]\nlisten = \"127.0.0.1:8883\"\n{TLS}");
        let ports = |text: &str| listeners(text).iter().map(|it| it.listen.port()).collect::<Vec<_>>();
        assert_eq!(ports("[mqtt]\n"), [1883]);
        assert_eq!(ports(&one), [8883]);
        assert_eq!(ports(&format!("[mqtt]\nlisten = \"127.0.0.1:1884\"\n{one}")), [1884, 8883]);
        assert_eq!(ports(&format!("[mqtt]\nlisten = \"[::1]:8883\"\n{one}")), [8883, 8883]);
    }

    #[test]
    fn every_limit_is_read_and_what_is_not_written_is_the_fronts_own() {
        let text = "[mqtt.limits]\npublishes_per_s = 1\nbytes_per_s = \"2B\"\nconnections_per_address = 3\nconnects_per_s = 4\n\
                    connects_per_s_per_address = 5\ncoming = 6\ncoming_per_address = 7\nhandshake = \"8s\"\nconnect = \"9s\"\n\
                    packet = \"10s\"\ninflight = \"11MiB\"\nbegun = \"12MiB\"\nverifications = 13\n\
                    subscriptions = 14\nsubscribes_per_s = 15\nsessions = 16\nsession_records = \"17B\"\nqueues = \"18B\"\nfilters = \"19B\"\n\
                    fanout = \"20MiB\"\nretained = \"21B\"\nwills = \"22B\"\nwindow_strict = true\n";
        let usual = || Limits { event_bytes_max: 256 << 10, ..Limits::default() };
        let expected = Limits {
            publishes_per_s: 1,
            bytes_per_s: 2,
            connections_per_address_max: 3,
            connects_per_s: 4,
            connects_per_s_per_address: 5,
            coming_max: 6,
            coming_per_address_max: 7,
            handshake_timeout: Duration::from_secs(8),
            connect_timeout: Duration::from_secs(9),
            packet_timeout: Duration::from_secs(10),
            inflight_bytes_max: 11 << 20,
            begun_bytes_max: 12 << 20,
            verifications_max: 13,
            subscriptions_max: 14,
            subscribes_per_s: 15,
            sessions_max: 16,
            sessions_bytes_max: 17,
            queues_bytes_max: 18,
            filters_bytes_max: 19,
            fanout_bytes_max: 20 << 20,
            retained_bytes_max: 21,
            wills_bytes_max: 22,
            window_strict: true,
            ..usual()
        };
        assert_eq!(parse(text).unwrap().mqtt.unwrap().limits, expected);
        assert_eq!(parse("[mqtt]\n").unwrap().mqtt.unwrap().limits, usual());
        let many = parse("[mqtt]\nconnections_max = 20000\n").unwrap().mqtt.unwrap().limits;
        assert_eq!(many, Limits { sessions_max: 40_000, ..usual() });
        let small = parse("[mqtt]\n[journal]\nevent_max = \"64KiB\"\n").unwrap().mqtt.unwrap().limits;
        assert_eq!(small.event_bytes_max, 64 << 10);
    }

    #[test]
    fn what_does_not_fit_together_is_shown_where_it_stands() {
        let on = "[[mqtt.listener]]\nlisten = \"127.0.0.1:8883\"\n";
        for (text, place, remedy) in [
            (format!("{on}certificate = \"/c\"\n"), ":3:15: ", "`key`"),
            (format!("{on}key = \"/k\"\n"), ":3:7: ", "`certificate`"),
            (format!("{on}client_ca = \"/a\"\n"), ":3:13: ", "`certificate` and `key`"),
            (format!("{on}{TLS}crl = \"/r\"\n"), ":5:7: ", "`client_ca`"),
            (format!("{on}{TLS}identity = \"cn\"\n"), ":5:12: ", "`client_ca`"),
            (format!("{on}{TLS}identity = \"name\"\n"), ":5:12: ", "`cn`"),
            (format!("{on}password = true\n"), ":3:12: ", "`client_ca`"),
            (format!("{on}{TLS}client_ca = \"/a\"\npassword = true\n"), ":6:12: ", "`passwords`"),
            (format!("{on}{TLS}client_ca = \"/a\"\nanonymous = true\n"), ":6:13: ", "remove one"),
            (format!("{on}client_id_is_user = true\n"), ":3:21: ", "`passwords`"),
            (
                format!("[mqtt]\npasswords = \"/p\"\n{on}client_id_is_user = true\nanonymous = true\n"),
                ":6:13: ",
                "a listener of its own",
            ),
            (format!("{on}{on}"), ":4:10: ", "another port"),
            (format!("{on}{}anonymous = true\n", on.replace("127.0.0.1", "0.0.0.0")), ":4:10: ", "another port"),
            (format!("{on}{}anonymous = true\n", on.replace("127.0.0.1", "[::]")), ":4:10: ", "another port"),
            (format!("{on}certificate = \"c\"\nkey = \"/k\"\n"), ":3:15: ", "begins with /"),
            ("[mqtt]\npasswords = \"p\"\n".into(), ":2:13: ", "begins with /"),
            (format!("[mqtt]\nanonymous = true\n{on}"), ":2:13: ", "[[mqtt.listener]]"),
            ("[mqtt.limits]\nfanout = \"1KiB\"\n".into(), ":2:10: ", "packet_max"),
            ("[mqtt.limits]\ninflight = \"1KiB\"\n".into(), ":2:12: ", "packet_max"),
            ("[mqtt.limits]\npublishes_per_s = -1\n".into(), ":2:19: ", "from 0 to"),
            ("[mqtt]\nacl = [\"allow all\"]\n".into(), ":2:8: ", "allow * publish"),
            ("[mqtt]\nacl = [\"\"]\n".into(), ":2:8: ", "allow * publish"),
            ("[mqtt]\nacl = []\nacl_file = \"/a\"\n".into(), ":3:12: ", "keep one"),
        ] {
            let shown = problem(&text);
            assert!(shown.contains(&format!("x.toml{place}")) && shown.contains(remedy), "{text}\n{shown}");
        }
    }
}
