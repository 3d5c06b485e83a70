//! The name in a client's certificate (RFC 5280). Only certificates that were verified are looked at.

use lamppost_event::{DeviceId, NameError};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// Common name (RFC 5280, appendix A.1: id-at-commonName).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What in a certificate is the client's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityFrom {
    /// The subject's common name.
    CommonName,
    /// The subject alternative name of the kind DNS.
    DnsName,
    /// The subject alternative name of the kind URI.
    Uri,
}

/// Why a certificate names no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not DER, or not as RFC 5280 wants it.
    #[error("the certificate can't be read: {0}")]
    Certificate(String),
    /// There is none.
    #[error("the certificate has no {0}")]
    None(&'static str),
    /// It is not clear which counts.
    #[error("the certificate has more than one {0}")]
    Several(&'static str),
    /// It can't be a client id.
    #[error("the certificate's name: {0}")]
    Name(#[from] NameError),
}

/// The one name of the kind that a certificate (DER) has.
pub(crate) fn identity(der: &[u8], from: IdentityFrom) -> Result<DeviceId, IdentityError> {
    let unreadable = |error: x509_cert::der::Error| IdentityError::Certificate(error.to_string());
    let certificate = Certificate::from_der(der).map_err(unreadable)?;
    let names = match from {
        IdentityFrom::CommonName => common_names(&certificate),
        IdentityFrom::DnsName | IdentityFrom::Uri => alternative_names(&certificate, from),
    };
    let mut names = names.map_err(unreadable)?.into_iter();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(DeviceId::new(&name)?),
        (None, _) => Err(IdentityError::None(from.kind())),
        (Some(_), Some(_)) => Err(IdentityError::Several(from.kind())),
    }
}

fn common_names(certificate: &Certificate) -> Result<Vec<String>, x509_cert::der::Error> {
    let subject = certificate.tbs_certificate().subject();
    let named = subject.iter().filter(|attribute| attribute.oid == COMMON_NAME);
    named
        .map(|attribute| {
            Ok(match attribute.value.decode_as::<DirectoryString>()? {
                DirectoryString::Utf8String(name) => name,
                DirectoryString::PrintableString(name) => name.to_string(),
                // Out of use for twenty years, and read in more than one way.
                DirectoryString::TeletexString(_) | DirectoryString::BmpString(_) => String::new(),
            })
        })
        .collect()
}

fn alternative_names(certificate: &Certificate, from: IdentityFrom) -> Result<Vec<String>, x509_cert::der::Error> {
    let Some((_, SubjectAltName(names))) = certificate.tbs_certificate().get_extension()? else {
        return Ok(Vec::new());
    };
    let wanted = names.into_iter().filter_map(|name| match (name, from) {
        (GeneralName::DnsName(name), IdentityFrom::DnsName)
        | (GeneralName::UniformResourceIdentifier(name), IdentityFrom::Uri) => Some(name.to_string()),
        _ => None,
    });
    Ok(wanted.collect())
}

impl IdentityFrom {
    const fn kind(self) -> &'static str {
        match self {
            Self::CommonName => "common name",
            Self::DnsName => "DNS name",
            Self::Uri => "URI",
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate(common_names: &[&str], alternative: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (number, name) in common_names.iter().enumerate() {
            // rcgen keeps one name of each kind: the second is written by its number.
            let kind = if number == 0 { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) };
            params.distinguished_name.push(kind, DnValue::Utf8String((*name).to_owned()));
        }
        params.subject_alt_names = alternative;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    #[test]
    fn the_name_is_taken_from_where_the_configuration_says() {
        let der = certificate(&["lamp-7"], vec![dns("seven.example"), uri("urn:lamp:7")]);
        for (from, name) in [
            (IdentityFrom::CommonName, "lamp-7"),
            (IdentityFrom::DnsName, "seven.example"),
            (IdentityFrom::Uri, "urn:lamp:7"),
        ] {
            assert_eq!(identity(&der, from).unwrap().as_str(), name);
        }
    }

    #[test]
    fn no_name_and_several_names_name_nobody() {
        let none = certificate(&[], vec![]);
        let several = certificate(&["a", "b"], vec![dns("a"), dns("b"), uri("a:a"), uri("a:b")]);
        for from in [IdentityFrom::CommonName, IdentityFrom::DnsName, IdentityFrom::Uri] {
            assert_eq!(identity(&none, from), Err(IdentityError::None(from.kind())));
            assert_eq!(identity(&several, from), Err(IdentityError::Several(from.kind())));
        }
    }

    #[test]
    fn a_name_that_can_not_be_a_client_id_names_nobody() {
        for name in ["", "lamp\0-7", &"x".repeat(129)] {
            let der = certificate(&[name], vec![]);
            assert!(matches!(identity(&der, IdentityFrom::CommonName), Err(IdentityError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn what_is_cut_short_or_changed_is_an_error_and_no_panic() {
        let der = certificate(&["lamp-7"], vec![dns("seven.example")]);
        for end in 0..der.len() {
            assert!(identity(&der[..end], IdentityFrom::DnsName).is_err(), "{end}");
            for from in [IdentityFrom::CommonName, IdentityFrom::DnsName] {
                let mut changed = der.clone();
                changed[end] ^= 0x81;
                drop(identity(&changed, from));
            }
        }
    }
}
