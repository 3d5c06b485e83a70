//! How the cluster is spoken to: in the clear or by TLS, with which proof of who we are. Parsed, not read: the files are read by
//! [`Keyring`](crate::Keyring).

use std::path::PathBuf;

/// How a client of the cluster is let in. The default: in the clear, and without a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// TLS 1.2 or 1.3; `None`: in the clear.
    pub tls: Option<ClientTls>,
    /// Who we are by SASL; `None`: nobody, or who our certificate says.
    pub sasl: Option<Login>,
}

/// TLS towards the brokers. The files are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Roots that the brokers' certificates must come from; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for clusters that ask for one.
    pub own: Option<OwnCertificate>,
    /// Whether a broker's certificate must name the host that we connected to (RFC 6125).
    pub verify_host_name: bool,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The certificate, and the intermediate ones behind it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// A file with the key's password, if it is encrypted.
    pub key_password: Option<PathBuf>,
}

/// A user of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// The user's name.
    pub user: String,
    /// A file with the password; a line break at its end does not count.
    pub password: PathBuf,
}

/// How a password is proved to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum Mechanism {
    /// The broker learns it (RFC 4616).
    #[serde(rename = "PLAIN")]
    Plain,
    /// The broker does not learn it; who listens can guess at it (RFC 5802, RFC 7677).
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    /// The name that brokers know it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Security {
    /// librdkafka's `security.protocol`.
    pub(crate) const fn protocol(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        }
    }

    /// All files that it names, in one order.
    #[must_use]
    pub fn files(&self) -> Vec<&PathBuf> {
        let tls = self.tls.iter();
        let of_tls = tls.flat_map(|tls| {
            let own = tls.own.iter().flat_map(|own| {
                [Some(&own.certificate), Some(&own.key), own.key_password.as_ref()].into_iter().flatten()
            });
            tls.ca.iter().chain(own)
        });
        of_tls.chain(self.sasl.iter().map(|login| &login.password)).collect()
    }
}

/// The properties of librdkafka that a [`Security`] takes the place of, and what says the same. Beginnings, where they end in a dot.
const OWNED: &[(&str, &str)] = &[
    ("batch.size", "write \"message.max.bytes\": a batch is as large as the largest record"),
    ("queue.buffering.max.kbytes", "write `in_flight` in [kafka]"),
    ("queue.buffering.max.messages", "write `in_flight` in [kafka]"),
    ("security.protocol", "write [kafka.tls] for TLS, [kafka.sasl] for a user and a password"),
    ("sasl.mechanism", "write `mechanism` in [kafka.sasl]"),
    ("sasl.mechanisms", "write `mechanism` in [kafka.sasl]"),
    ("sasl.username", "write `user` in [kafka.sasl]"),
    (
        "sasl.password",
        "write `password_file` or `credential` in [kafka.sasl]: a password does not belong into a configuration",
    ),
    ("sasl.", "PLAIN and SCRAM are what there is: [kafka.sasl]"),
    ("ssl.ca.", "write `ca` in [kafka.tls]"),
    ("ssl.certificate.", "write `certificate` in [kafka.tls]"),
    ("ssl.key.password", "write `key_password_file` in [kafka.tls]"),
    ("ssl.key.", "write `key` in [kafka.tls]"),
    ("ssl.keystore.", "write `certificate` and `key` in [kafka.tls], as PEM"),
    ("ssl.endpoint.identification.algorithm", "write `verify_host_name` in [kafka.tls]"),
    ("enable.ssl.certificate.verification", "a broker is always asked who it is: write `ca` in [kafka.tls]"),
];

/// What says the same as a property that has to be said otherwise; `None`: the property may be set.
#[must_use]
pub fn said_otherwise(property: &str) -> Option<&'static str> {
    let is = |owned: &str| if owned.ends_with('.') { property.starts_with(owned) } else { property == owned };
    OWNED.iter().find(|(owned, _)| is(owned)).map(|(_, remedy)| *remedy)
}

/// Whether a property's value is nobody's business.
pub(crate) fn is_secret(property: &str) -> bool {
    ["password", "secret", "pem", "token", "jwt"].iter().any(|word| property.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sections_say_can_not_be_said_by_a_property() {
        for property in ["security.protocol", "sasl.username", "ssl.ca.location", "ssl.key.pem", "sasl.kerberos.keytab"]
        {
            assert!(said_otherwise(property).is_some(), "{property}");
        }
        for property in ["linger.ms", "ssl.cipher.suites", "ssl.crl.location", "ssl.curves.list", "socket.timeout.ms"] {
            assert_eq!(said_otherwise(property), None, "{property}");
        }
        assert!(said_otherwise("sasl.password").is_some_and(|remedy| remedy.contains("password_file")));
    }

    #[test]
    fn a_password_without_tls_is_never_taken_for_tls() {
        let login = Login { mechanism: Mechanism::Plain, user: "u".into(), password: "/p".into() };
        let security = Security { tls: None, sasl: Some(login) };
        assert_eq!(security.protocol(), "sasl_plaintext");
        assert_eq!(security.files(), [&PathBuf::from("/p")]);
        assert_eq!(Security::default().protocol(), "plaintext");
    }
}
