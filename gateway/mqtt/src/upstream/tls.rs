//! TLS 1.2 and 1.3 towards a broker, by rustls: from the files to a connector.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

use super::line::LineError;
use super::{BrokerCause, BrokerTls};

/// The largest file that is read, bytes: a system's roots are below half of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the files, anew at each connecting: what is renewed counts from the next connection on.
pub(super) async fn connector(tls: &BrokerTls) -> Result<TlsConnector, LineError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&tls.ca).await? {
        roots.add(root).map_err(|error| unfit(&tls.ca, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| unfit(&tls.ca, &error))?
        .with_root_certificates(roots);
    let config = match &tls.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key_file)) => {
            let chain = certificates(certificate).await?;
            let key = read(key_file).await?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| unfit(key_file, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unfit(certificate, &error))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LineError> {
    let pem = read(path).await?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let read = read.map_err(|error| unfit(path, &error))?;
    if read.is_empty() { Err(unfit(path, &"there is no certificate in it")) } else { Ok(read) }
}

fn unfit(path: &Path, error: &dyn std::fmt::Display) -> LineError {
    LineError::new(BrokerCause::Files, format!("{}: {error}", path.display()))
}

/// The bytes of a small file.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, LineError> {
    let file = tokio::fs::File::open(path).await.map_err(|error| unfit(path, &error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(|error| unfit(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(unfit(path, &"larger than 1 MiB")) } else { Ok(bytes) }
}
