//! How a command reaches the cluster: by the gateway's own configuration, or by what is said on the command line.

use std::path::PathBuf;

use clap::Args;

/// The connection, as written.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// A broker of the cluster, host:port; several with commas.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "config")]
    pub(crate) bootstrap: Option<String>,
    /// Take brokers, TLS, user and properties from the `[kafka]` section of a gateway's configuration.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["tls", "ca", "cert", "user"])]
    pub(crate) config: Option<PathBuf>,
    /// Use TLS, and trust the system's roots. Not needed where --ca or --cert says so.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Use TLS, and trust these roots, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Our certificate for mutual TLS, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// A file with the key's password, if it is encrypted.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) key_password_file: Option<PathBuf>,
    /// Take a broker's certificate for any host.
    #[arg(long)]
    pub(crate) any_host_name: bool,
    /// The user, by SASL.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub(crate) user: Option<String>,
    /// A file with the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// How the password is proved: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    #[arg(long, value_name = "NAME", default_value = "SCRAM-SHA-512", value_parser = mechanism)]
    pub(crate) mechanism: lamppost_forward::Mechanism,
    /// Prove the password without TLS.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Any property of librdkafka, as in --property socket.timeout.ms=5000; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = property)]
    pub(crate) property: Vec<(String, String)>,
}

fn mechanism(name: &str) -> Result<lamppost_forward::Mechanism, String> {
    use lamppost_forward::Mechanism::{Plain, ScramSha256, ScramSha512};
    let known = [Plain, ScramSha256, ScramSha512].into_iter().find(|known| known.as_str() == name);
    known.ok_or_else(|| "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512".to_owned())
}

fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
