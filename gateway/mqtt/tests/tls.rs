//! TLS 1.2 and 1.3, and clients that are known by their certificates.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use lamppost_mqtt::{Cause, Entry, IdentityFrom, Limits, Listener, Rules, Tls, TlsError, TlsFiles};
use support::certificates::{Authority, Pair, Term, client, dial, server};
use support::raw::{Raw, SOON, connect_as, connect_v5, publish_v4};
use support::{ANY_PORT, HandIntake, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};

const BOTH: &[&tokio_rustls::rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];
const BY_CERTIFICATE: Entry = Entry { anonymous: false, identity: Some(IdentityFrom::CommonName), ..Entry::OPEN };

async fn front(tls: Tls, entry: Entry, limits: Limits) -> Running {
    let listeners = vec![Listener { address: ANY_PORT, tls: Some(tls), entry }, Listener::open(ANY_PORT)];
    Running::start_with(listeners, Rules::default(), HandIntake::automatic(), limits).await
}

async fn open(address: SocketAddr, connector: &TlsConnector) -> Raw {
    Raw::over(dial(connector, address).await.unwrap())
}

/// The certificate is looked at by the server after a TLS 1.3 client believes that all is well: the refusal comes when it reads.
async fn is_refused(connector: &TlsConnector, address: SocketAddr) -> bool {
    let Ok(mut stream) = dial(connector, address).await else { return true };
    let sent = stream.write_all(&connect_v5("", true, &[])).await;
    let read = timeout(SOON, stream.read(&mut [0; 16])).await.expect("neither let in nor refused");
    sent.is_err() || matches!(read, Err(_) | Ok(0))
}

#[tokio::test]
async fn both_versions_of_tls_carry_events_of_any_size() {
    let authority = Authority::new();
    let tls = server(&authority.issue("gateway", 1, Term::Now), None, None).unwrap();
    let front = front(tls, Entry::OPEN, Limits::default()).await;
    for (version, id) in [(&TLS13, "d13"), (&TLS12, "d12")] {
        let mut raw = open(front.address, &client(&authority, None, &[version])).await;
        raw.send(&connect_as(4, id, None, None, None)).await;
        assert_eq!(raw.receive().await, [0x20, 2, 0, 0]);
        for size in [0, 1, 5_000, 16_000] {
            raw.send(&publish_v4("a", 1, &vec![b'x'; size])).await;
            assert_eq!(raw.receive().await, [0x40, 2, 0, 1]);
        }
        raw.send(&[0xC0, 0]).await;
        assert_eq!(raw.receive().await, [0xD0, 0]);
    }
    let sizes: Vec<_> = front.intake.arrivals().iter().map(|it| it.payload.len()).collect();
    assert_eq!(sizes, [0, 1, 5_000, 16_000, 0, 1, 5_000, 16_000]);
    // The plain listener stands beside it.
    drop(Raw::v4(front.addresses[1], "plain").await);
}

#[tokio::test]
async fn a_connect_that_comes_with_the_end_of_the_handshake_is_heard() {
    let authority = Authority::new();
    let tls = server(&authority.issue("gateway", 1, Term::Now), None, None).unwrap();
    let front = front(tls, Entry::OPEN, Limits::default()).await;
    for version in [&TLS13, &TLS12] {
        let connector = client(&authority, None, &[version]);
        let tcp = TcpStream::connect(front.address).await.unwrap();
        let connect = connect_as(4, "eager", None, None, None);
        let early = |tls: &mut tokio_rustls::rustls::ClientConnection| tls.writer().write_all(&connect).unwrap();
        let stream =
            connector.connect_with(ServerName::IpAddress(front.address.ip().into()), tcp, early).await.unwrap();
        assert_eq!(Raw::over(stream).receive().await, [0x20, 2, 0, 0], "{version:?}");
    }
}

#[tokio::test]
async fn a_subscriber_over_tls_that_does_not_read_for_a_while_gets_everything() {
    let authority = Authority::new();
    let tls = server(&authority.issue("gateway", 1, Term::Now), None, None).unwrap();
    let front = front(tls, Entry::OPEN, Limits::default()).await;
    let mut subscriber = open(front.address, &client(&authority, None, BOTH)).await;
    subscriber.send(&connect_as(4, "s", None, None, None)).await;
    subscriber.receive().await;
    subscriber.send(&support::raw::subscribe_v4(1, "a", 0)).await;
    subscriber.receive().await;
    let mut publisher = Raw::v4(front.addresses[1], "p").await;
    for number in 0..60_u8 {
        publisher.send(&publish_v4("a", 1, &[number; 16_000])).await;
        publisher.receive().await;
    }
    for number in 0..60_u8 {
        let delivery = subscriber.receive().await;
        assert_eq!((delivery.last(), delivery.len()), (Some(&number), 16_006));
    }
}

#[tokio::test]
async fn what_is_not_tls_1_2_or_1_3_is_refused() {
    let authority = Authority::new();
    let tls = server(&authority.issue("gateway", 1, Term::Now), None, None).unwrap();
    let front = front(tls, Entry::OPEN, Limits::default()).await;
    // A ClientHello of TLS 1.1 (RFC 4346, section 7.4.1.2) with one suite of its time and a signature algorithm of ours; and
    // MQTT without TLS.
    let hello = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]].concat();
    let handshake = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
    let record = [&[22, 3, 1, 0, handshake.len() as u8][..], &handshake].concat();
    for bytes in [record, connect_v5("d", true, &[])] {
        let mut socket = TcpStream::connect(front.address).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        timeout(SOON, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        // A fatal alert: 70 is "protocol version".
        assert_eq!(answer.first(), Some(&21), "{answer:02x?}");
        assert!(bytes[0] != 22 || answer.ends_with(&[2, 70]), "{answer:02x?}");
    }
    assert_eq!(front.counters.refusals(Cause::Tls), 2);
}

#[tokio::test]
async fn the_certificate_has_to_be_the_right_authoritys_in_its_term_and_not_revoked() {
    let (authority, other) = (Authority::new(), Authority::new());
    let crl = authority.revoke(66);
    let tls = server(&authority.issue("gateway", 1, Term::Now), Some(&authority), Some(&crl)).unwrap();
    let front = front(tls, BY_CERTIFICATE, Limits::default()).await;
    let good = authority.issue("lamp-7", 2, Term::Now);
    let with = |own: Option<&Pair>| client(&authority, own, BOTH);
    let mut raw = open(front.address, &with(Some(&good))).await;
    raw.send(&connect_as(5, "lamp-7", None, None, None)).await;
    assert_eq!(raw.receive().await[3], 0);
    for bad in [
        None,
        Some(other.issue("lamp-7", 2, Term::Now)),
        Some(authority.issue("lamp-7", 3, Term::Past)),
        Some(authority.issue("lamp-7", 66, Term::Now)),
    ] {
        assert!(is_refused(&with(bad.as_ref()), front.address).await);
    }
    assert_eq!(front.counters.refusals(Cause::Tls), 4);
    raw.send(&[0xC0, 0]).await;
    assert_eq!(raw.receive().await, [0xD0, 0]);
}

#[tokio::test]
async fn the_client_id_is_the_certificates_name() {
    let authority = Authority::new();
    let tls = server(&authority.issue("gateway", 1, Term::Now), Some(&authority), None).unwrap();
    let front = front(tls, BY_CERTIFICATE, Limits::default()).await;
    let connector = client(&authority, Some(&authority.issue("lamp-7", 2, Term::Now)), BOTH);
    for (version, client_id, code) in [(5, "lamp-8", 0x87), (4, "lamp-8", 5), (4, "lamp-7", 0), (5, "", 0)] {
        let mut raw = open(front.address, &connector).await;
        raw.send(&connect_as(version, client_id, None, None, None)).await;
        assert_eq!(raw.receive().await[3], code, "{version} {client_id}");
        if code == 0 {
            raw.send(&publish_v4("a", 0, b"x")[..]).await;
        }
    }
    let nameless = client(&authority, Some(&authority.issue("", 3, Term::Now)), BOTH);
    let mut raw = open(front.address, &nameless).await;
    raw.send(&connect_as(5, "lamp-7", None, None, None)).await;
    assert_eq!(raw.receive().await[3], 0x87);
    assert!(front.intake.arrivals().iter().all(|arrival| arrival.device.as_str() == "lamp-7"));
    assert_eq!((front.counters.refusals(Cause::Identity), front.counters.refusals(Cause::Certificate)), (2, 1));
}

#[tokio::test]
async fn new_certificates_count_for_new_connections_and_the_old_ones_go_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = server(&old.issue("gateway", 1, Term::Now), None, None).unwrap();
    let front = front(tls, Entry::OPEN, Limits::default()).await;
    let (by_old, by_new) = (client(&old, None, BOTH), client(&new, None, BOTH));
    let mut before = open(front.address, &by_old).await;
    before.send(&connect_as(4, "before", None, None, None)).await;
    before.receive().await;
    assert!(dial(&by_new, front.address).await.is_err());

    assert!(front.keys.set_tls(0, server(&new.issue("gateway", 1, Term::Now), None, None).unwrap()));
    assert!(!front.keys.set_tls(1, server(&new.issue("gateway", 1, Term::Now), None, None).unwrap()));
    let mut after = open(front.address, &by_new).await;
    after.send(&connect_as(4, "after", None, None, None)).await;
    assert_eq!(after.receive().await, [0x20, 2, 0, 0]);
    assert!(dial(&client(&old, None, BOTH), front.address).await.is_err());
    before.send(&publish_v4("a", 1, b"x")).await;
    assert_eq!(before.receive().await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn a_handshake_that_is_not_done_in_time_is_let_go() {
    let authority = Authority::new();
    let tls = server(&authority.issue("gateway", 1, Term::Now), None, None).unwrap();
    let limits = Limits { handshake_timeout: Duration::from_millis(200), ..Limits::default() };
    let front = front(tls, Entry::OPEN, limits).await;
    let mut silent = TcpStream::connect(front.address).await.unwrap();
    let mut trickling = TcpStream::connect(front.address).await.unwrap();
    let trickle = async {
        // The head of a ClientHello, a byte at a time.
        for byte in [22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3].into_iter().chain(std::iter::repeat(7)) {
            if trickling.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = async {
        let mut last_words = Vec::new();
        silent.read_to_end(&mut last_words).await.unwrap();
    };
    timeout(SOON, async { tokio::join!(trickle, ended) }).await.expect("they were not let go");
    assert_eq!(front.counters.refusals(Cause::ConnectTimeout), 2);
}

#[tokio::test]
async fn files_that_do_not_fit_are_refused_with_the_reason_and_no_key_is_told() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (pair, stranger) = (authority.issue("gateway", 1, Term::Now), other.issue("gateway", 1, Term::Now));
    let files = TlsFiles {
        certificate: pair.certificate.as_bytes(),
        key: pair.key.as_bytes(),
        client_ca: Some(authority.pem.as_bytes()),
        crl: None,
    };
    assert!(Tls::new(files).is_ok());
    let crl = authority.revoke(66);
    let cut = &pair.key.as_bytes()[..60];
    type Expected = fn(&TlsError) -> bool;
    let cases: [(TlsFiles<'_>, Expected); 7] = [
        (TlsFiles { certificate: b"", ..files }, |error| matches!(error, TlsError::Certificate(_))),
        (TlsFiles { certificate: pair.key.as_bytes(), ..files }, |error| matches!(error, TlsError::Certificate(_))),
        (TlsFiles { key: cut, ..files }, |error| matches!(error, TlsError::Key(_))),
        (TlsFiles { key: stranger.key.as_bytes(), ..files }, |error| matches!(error, TlsError::Pair(_))),
        (TlsFiles { client_ca: Some(b"nothing"), ..files }, |error| matches!(error, TlsError::ClientCa(_))),
        (TlsFiles { crl: Some(b"nothing"), ..files }, |error| matches!(error, TlsError::Crl(_))),
        (TlsFiles { client_ca: None, crl: Some(crl.as_bytes()), ..files }, |error| matches!(error, TlsError::Crl(_))),
    ];
    for (number, (files, expected)) in cases.into_iter().enumerate() {
        let error = Tls::new(files).unwrap_err();
        assert!(expected(&error), "{number}: {error:?}");
        let secret = pair.key.lines().nth(1).unwrap();
        assert!(!error.to_string().contains(secret) && !format!("{error:?}").contains(secret), "{error:?}");
    }
}

#[tokio::test]
async fn a_record_that_is_begun_and_not_finished_ends_its_connection_and_one_that_is_does_not() {
    let authority = Authority::new();
    let tls = server(&authority.issue("gateway", 1, Term::Now), None, None).unwrap();
    let limits = Limits { packet_timeout: Duration::from_millis(300), ..Limits::default() };
    let front = front(tls, Entry::OPEN, limits).await;
    for finished in [true, false] {
        let mut stream = dial(&client(&authority, None, &[&TLS13]), front.address).await.unwrap();
        stream.write_all(&connect_as(4, "d", None, None, None)).await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        // A record without anything of a packet's in it: new keys.
        let mut record = Vec::new();
        let (tcp, tls) = stream.get_mut();
        tls.refresh_traffic_keys().unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut record).unwrap();
        }
        let (half, rest) = record.split_at(10);
        tcp.write_all(half).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if finished {
            tcp.write_all(rest).await.unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
            stream.write_all(&[0xC0, 0]).await.unwrap();
            stream.read_exact(&mut answer[..2]).await.unwrap();
            assert_eq!(answer[..2], [0xD0, 0]);
        } else {
            let ended = timeout(SOON, stream.read(&mut answer)).await.expect("it is borne for ever");
            assert!(!matches!(ended, Ok(1..)), "{answer:?}");
        }
        assert_eq!(front.counters.refusals(Cause::PacketTimeout), u64::from(!finished));
    }
}
