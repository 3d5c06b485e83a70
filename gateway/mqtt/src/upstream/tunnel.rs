//! A TLS connection to an MQTT server for a client of rumqttc that lives only for a while.

use std::sync::Arc;

use super::line::{self, Line, Oversized};
use super::{BrokerStatus, BrokerTls};

/// A TLS connection, at the end of a local socket that rumqttc dials (`Transport::unix`). Dropping it ends it.
pub struct TlsTunnel {
    line: Line,
}

/// Why there is no TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsTunnelError(String);

impl TlsTunnel {
    /// Connects to `host`, whose certificate has to bear this name and lead to a root of `tls`. Packets towards us have at most
    /// `packet_bytes_max` bytes.
    ///
    /// # Errors
    /// [`TlsTunnelError`]: files that can't be used, a name or address that leads nowhere, a handshake that failed.
    pub async fn open(host: &str, port: u16, tls: &BrokerTls, packet_bytes_max: usize) -> Result<Self, TlsTunnelError> {
        let status = Arc::new(BrokerStatus::default());
        let bounds = (packet_bytes_max, Oversized::Ends);
        let opened = line::open_to(host, port, Some(tls), bounds, status).await;
        Ok(Self { line: opened.map_err(|error| TlsTunnelError(error.what))? })
    }

    /// What rumqttc is to dial, once.
    #[must_use]
    pub fn local_name(&self) -> &str {
        &self.line.local_name
    }
}
