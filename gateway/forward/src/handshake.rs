//! A TLS handshake of our own with the brokers, after one of librdkafka's has failed: it says *that* a certificate could not be verified, and
//! this says which and why. Nothing but the handshake is sent, and nothing of us is shown.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509StoreContextRef;

use crate::security::ClientTls;

/// How long one broker is waited for, at each step.
const STEP_MAX: Duration = Duration::from_secs(3);
/// So many brokers are tried.
const BROKERS_MAX: usize = 3;
/// Where Debian has the system's roots.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is wrong with the certificate of the first of the brokers that has something wrong; `None`: nothing was found. Blocks for seconds.
pub(crate) fn fault(bootstrap: &str, tls: &ClientTls) -> Option<String> {
    bootstrap.split(',').take(BROKERS_MAX).find_map(|broker| {
        let broker = broker.trim();
        let why = fault_of(broker, tls)?;
        Some(format!("{broker}: {why}"))
    })
}

fn fault_of(broker: &str, tls: &ClientTls) -> Option<String> {
    let (host, _) = broker.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found: Arc<Mutex<Option<String>>> = Arc::default();
    let mut connector = SslConnector::builder(SslMethod::tls_client()).ok()?;
    connector.set_ca_file(tls.ca.as_deref().unwrap_or(Path::new(SYSTEM_ROOTS))).ok()?;
    let keep = Arc::clone(&found);
    connector.set_verify_callback(SslVerifyMode::PEER, move |right, chain| {
        if !right {
            keep.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| words(chain));
        }
        right
    });
    let ssl = connector.build().configure().ok()?.verify_hostname(tls.verify_host_name).into_ssl(host).ok()?;
    let address = broker.to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, STEP_MAX).ok()?;
    stream.set_read_timeout(Some(STEP_MAX)).ok()?;
    stream.set_write_timeout(Some(STEP_MAX)).ok()?;
    // That it failed is known; why, the callback has heard.
    drop(ssl.connect(stream));
    found.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn words(chain: &X509StoreContextRef) -> String {
    let what = chain.error().error_string();
    let Some(certificate) = chain.current_cert() else { return what.to_owned() };
    let name = |name: &openssl::x509::X509NameRef| {
        let parts = name.entries().filter_map(|entry| entry.data().to_string().ok());
        parts.collect::<Vec<_>>().join(", ")
    };
    let (subject, issuer) = (name(certificate.subject_name()), name(certificate.issuer_name()));
    format!("{what} (certificate of {subject:?} by {issuer:?}, until {})", certificate.not_after())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_broker_that_is_not_there_or_does_not_speak_tls_has_no_fault_to_tell() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answering = std::thread::spawn(move || drop(listener.accept()));
        let tls = ClientTls { ca: None, own: None, verify_host_name: true };
        assert_eq!(fault(&address.to_string(), &tls), None);
        answering.join().unwrap();
        assert_eq!(fault("127.0.0.1:1,nonsense", &tls), None);
    }
}
