//! Reading a broker elsewhere over TLS: by whom it is trusted, whom it asks for a certificate, and what is said where that fails.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lamppost_mqtt::{Broker, BrokerCause, BrokerTls, BrokerVersion};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use support::HandIntake;
use support::broker::{Peer, Reading, listen, settings};
use tokio_rustls::TlsAcceptor;

/// A root with what it issued, in files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    async fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        tokio::fs::write(folder.path().join("ca"), certificate.pem()).await.unwrap();
        Self { folder, issuer: Issuer::new(params, key), root: certificate.der().clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `name.certificate` and `name.key`.
    async fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (self.path(&format!("{name}.certificate")), self.path(&format!("{name}.key")));
        tokio::fs::write(&paths.0, certificate.pem()).await.unwrap();
        tokio::fs::write(&paths.1, key.serialize_pem()).await.unwrap();
        paths
    }

    /// A broker's end that asks for a certificate of this authority.
    async fn acceptor(&self) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let (certificate, key) = self.issue("server").await;
        let read = |path: &Path| std::fs::read(path).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(&read(&certificate)).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(&read(&key)).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn over_tls(address: std::net::SocketAddr, ca: PathBuf, own: Option<(PathBuf, PathBuf)>) -> Broker {
    Broker { tls: Some(BrokerTls { ca, own }), ..settings(address, BrokerVersion::V5) }
}

async fn until(what: impl Fn() -> bool) {
    let waited = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waited).await.expect("it did not happen");
}

#[tokio::test]
async fn a_broker_with_tls_that_asks_for_a_certificate_is_read() {
    let authority = Authority::new().await;
    let ((listener, address), intake) = (listen().await, HandIntake::by_hand());
    let own = authority.issue("own").await;
    let reading = Reading::start(over_tls(address, authority.path("ca"), Some(own)), intake.clone());
    let acceptor = authority.acceptor().await;
    let (tcp, _) = listener.accept().await.unwrap();
    let mut peer = Peer::new(acceptor.accept(tcp).await.unwrap(), BrokerVersion::V5);
    peer.accept(false).await;
    peer.publish(0x02, 4, "city/air", &[7; 40_000]).await;
    assert_eq!(intake.arrived(1).await[0].payload.len(), 40_000);
    peer.hears_no_puback().await;
    intake.release(1);
    assert_eq!(peer.pubacks(1).await, [4]);
    reading.end().await.unwrap();
}

#[tokio::test]
async fn a_broker_that_our_roots_do_not_vouch_for_hears_nothing_of_us() {
    let (authority, other) = (Authority::new().await, Authority::new().await);
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let own = authority.issue("own").await;
    let reading = Reading::start(over_tls(address, other.path("ca"), Some(own)), intake);
    let acceptor = authority.acceptor().await;
    let (tcp, _) = listener.accept().await.unwrap();
    assert!(acceptor.accept(tcp).await.is_err());
    until(|| reading.status.failures(BrokerCause::Tls) > 0).await;
    assert!(
        reading.status.last_error().unwrap().contains("invalid peer certificate"),
        "{:?}",
        reading.status.last_error()
    );
    reading.end().await.unwrap();
}

#[tokio::test]
async fn without_the_certificate_that_a_broker_asks_for_the_reason_is_told() {
    let authority = Authority::new().await;
    let ((listener, address), intake) = (listen().await, HandIntake::automatic());
    let reading = Reading::start(over_tls(address, authority.path("ca"), None), intake);
    let acceptor = authority.acceptor().await;
    let serving = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            drop(acceptor.accept(tcp).await);
        }
    });
    // With TLS 1.3 the refusal comes after the client's handshake is done.
    until(|| reading.status.last_error().is_some_and(|error| error.contains("CertificateRequired"))).await;
    serving.abort();
    reading.end().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_named() {
    let authority = Authority::new().await;
    let ((_listener, address), intake) = (listen().await, HandIntake::automatic());
    let (_, key) = authority.issue("own").await;
    let reading = Reading::start(over_tls(address, key.clone(), None), intake);
    until(|| reading.status.failures(BrokerCause::Files) > 0).await;
    let error = reading.status.last_error().unwrap();
    assert!(error.contains(&key.display().to_string()) && error.contains("no certificate"), "{error}");
    reading.end().await.unwrap();
}
