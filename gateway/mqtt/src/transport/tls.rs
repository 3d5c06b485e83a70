//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446) by rustls: from the bytes of PEM files to what a listener needs.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The contents of the files that a TLS listener is set up with, each PEM.
#[derive(Clone, Copy)]
pub struct TlsFiles<'a> {
    /// The server's certificate, and the intermediate ones up to the root behind it.
    pub certificate: &'a [u8],
    /// Its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: &'a [u8],
    /// Roots of the clients' certificates. With them, nobody comes in without one.
    pub client_ca: Option<&'a [u8]>,
    /// Lists of clients' certificates that count no more.
    pub crl: Option<&'a [u8]>,
}

/// Why a TLS listener can't be set up. None of them tells anything of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Of the server's certificate.
    #[error("the certificate: {0}")]
    Certificate(String),
    /// Of the private key.
    #[error("the key: {0}")]
    Key(String),
    /// They do not belong together.
    #[error("the certificate and the key: {0}")]
    Pair(String),
    /// Of the roots of the clients' certificates.
    #[error("client_ca: {0}")]
    ClientCa(String),
    /// Of the revocation lists.
    #[error("crl: {0}")]
    Crl(String),
}

/// What a TLS listener needs. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    asks_clients: bool,
    expires_unix_s: u64,
}

impl Tls {
    /// Reads the files. Clients' certificates are asked for if there are roots for them.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(files: TlsFiles<'_>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(files.certificate).map_err(TlsError::Certificate)?;
        let expires_unix_s = chain.first().map_or(Ok(0), |own| expiry(own)).map_err(TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(files.key).map_err(|error| TlsError::Key(error.to_string()))?;
        let unversioned = |error: rustls::Error| TlsError::Pair(error.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(unversioned)?;
        let builder = match (files.client_ca, files.crl) {
            (Some(roots), crl) => builder.with_client_cert_verifier(verifier(roots, crl, &provider)?),
            (None, Some(_)) => {
                return Err(TlsError::Crl("there is no client_ca whose certificates it could list".into()));
            }
            (None, None) => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unversioned)?;
        let asks_clients = files.client_ca.is_some();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if !asks_clients {
            // Who comes back soon is spared the costly part of the handshake, and we remember nothing for it. Where clients
            // have certificates it is not done: each handshake looks at them anew.
            config.ticketer = ring::Ticketer::new().map_err(unversioned)?;
            config.send_tls13_tickets = 1;
        }
        Ok(Self { config: Arc::new(config), asks_clients, expires_unix_s })
    }

    /// Whether nobody comes in without a certificate.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// When the server's certificate expires, in seconds since 1970.
    #[must_use]
    pub fn expires_unix_s(&self) -> u64 {
        self.expires_unix_s
    }

    pub(super) fn accept(&self) -> Result<UnbufferedServerConnection, rustls::Error> {
        UnbufferedServerConnection::new(Arc::clone(&self.config))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("asks_clients", &self.asks_clients).finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is none in the file (PEM: -----BEGIN CERTIFICATE-----)".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

fn expiry(der: &CertificateDer<'_>) -> Result<u64, String> {
    let certificate = Certificate::from_der(der).map_err(|error| error.to_string())?;
    Ok(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

fn verifier(
    roots: &[u8],
    crl: Option<&[u8]>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in certificates(roots).map_err(TlsError::ClientCa)? {
        store.add(root).map_err(|error| TlsError::ClientCa(error.to_string()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    if let Some(crl) = crl {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(crl).collect();
        let lists = lists.map_err(|error| TlsError::Crl(error.to_string()))?;
        if lists.is_empty() {
            return Err(TlsError::Crl("there is none in the file (PEM: -----BEGIN X509 CRL-----)".into()));
        }
        // A list speaks for its issuer alone: certificates of another one are not refused for want of a list.
        builder = builder.with_crls(lists).allow_unknown_revocation_status();
    }
    builder.build().map_err(|error| match crl {
        Some(_) => TlsError::Crl(error.to_string()),
        None => TlsError::ClientCa(error.to_string()),
    })
}
