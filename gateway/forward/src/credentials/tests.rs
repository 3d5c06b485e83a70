use openssl::asn1::Asn1Integer;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::symm::Cipher;
use openssl::x509::{X509, X509NameBuilder};
use tempfile::TempDir;

use super::*;
use crate::security::{Login, Mechanism};

const NOW: WallTime = WallTime(1_800_000_000_000);
const DAY_S: i64 = 86_400;

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A certificate of `key`, from so many days before to so many after `NOW`.
fn certificate(key: &PKey<Private>, from_days: i64, to_days: i64) -> Vec<u8> {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "post-17").unwrap();
    let name = name.build();
    let mut made = X509::builder().unwrap();
    let at = |days: i64| Asn1Time::from_unix(NOW.0 / 1000 + days * DAY_S).unwrap();
    made.set_version(2).unwrap();
    made.set_serial_number(&Asn1Integer::from_bn(&BigNum::from_u32(7).unwrap()).unwrap()).unwrap();
    made.set_subject_name(&name).unwrap();
    made.set_issuer_name(&name).unwrap();
    made.set_not_before(&at(from_days)).unwrap();
    made.set_not_after(&at(to_days)).unwrap();
    made.set_pubkey(key).unwrap();
    made.sign(key, MessageDigest::sha256()).unwrap();
    made.build().to_pem().unwrap()
}

struct Files {
    dir: TempDir,
    tls: ClientTls,
}

impl Files {
    /// A right pair that runs for a year, and itself as the root.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let own = OwnCertificate { certificate: path("own.crt"), key: path("own.key"), key_password: None };
        let tls = ClientTls { ca: Some(path("ca.crt")), own: Some(own), verify_host_name: true };
        let files = Self { dir, tls };
        let key = key();
        files.write("ca.crt", &certificate(&key, -1, 365));
        files.write("own.crt", &certificate(&key, -1, 365));
        files.write("own.key", &key.private_key_to_pem_pkcs8().unwrap());
        files
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        #[expect(clippy::disallowed_methods, reason = "a test's file")]
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn security(&self) -> Security {
        Security { tls: Some(self.tls.clone()), sasl: None }
    }

    fn read(&self) -> Result<Credentials, CredentialError> {
        Credentials::read(&self.security())
    }

    fn faults(&self) -> Vec<String> {
        examine(&self.security(), Some(NOW)).faults.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_right_pair_is_taken_and_its_end_is_known() {
    let files = Files::new();
    assert_eq!(files.read().unwrap().expires, Some(WallTime(NOW.0 + 365 * DAY_S * 1000)));
    assert_eq!(examine(&files.security(), Some(NOW)), Examination { faults: Vec::new(), warnings: Vec::new() });
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    let files = Files::new();
    files.write("own.crt", &certificate(&key(), -1, 365));
    let why = files.read().unwrap_err().to_string();
    assert!(why.contains("own.crt: is not the certificate of the key in") && why.contains("own.key"), "{why}");
}

#[test]
fn what_is_missing_empty_or_something_else_is_named() {
    let files = Files::new();
    for (name, bytes, wanted) in [
        ("ca.crt", &b"nothing"[..], "ca.crt: has no certificate in it"),
        ("own.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "own.crt: has something in it"),
        ("own.key", b"", "own.key: has no private key in it"),
    ] {
        let files = Files::new();
        files.write(name, bytes);
        let why = files.read().unwrap_err().to_string();
        assert!(why.contains(wanted), "{why}");
    }
    std::fs::remove_file(files.dir.path().join("own.key")).unwrap();
    assert!(files.faults()[0].contains("own.key: can't be read: No such file"), "{:?}", files.faults());
}

#[test]
fn an_encrypted_key_is_opened_by_its_password_file_alone() {
    let mut files = Files::new();
    let key = key();
    files.write("own.crt", &certificate(&key, -1, 365));
    files.write("own.key", &key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"tulip mania").unwrap());
    assert!(files.read().unwrap_err().why.contains("is encrypted, and there is no `key_password_file`"));
    if let Some(own) = &mut files.tls.own {
        own.key_password = Some(files.dir.path().join("password"));
    }
    files.write("password", b"wrong\n");
    let why = files.read().unwrap_err().to_string();
    assert!(why.contains("does not open it") && !why.contains("wrong\n"), "{why}");
    files.write("password", b"tulip mania\r\n");
    assert_eq!(files.read().unwrap().key_password.unwrap().as_str(), "tulip mania");
}

#[test]
fn an_expired_certificate_is_a_fault_and_one_that_soon_will_be_a_warning() {
    let files = Files::new();
    for (from, to, faults, warnings) in [(-9, -1, 1, 0), (1, 9, 1, 0), (-9, 5, 0, 1), (-9, 20, 0, 0)] {
        let key = key();
        files.write("own.crt", &certificate(&key, from, to));
        files.write("own.key", &key.private_key_to_pem_pkcs8().unwrap());
        let found = examine(&files.security(), Some(NOW));
        assert_eq!((found.faults.len(), found.warnings.len()), (faults, warnings), "{from} {to}: {found:?}");
        assert!(examine(&files.security(), None).faults.is_empty(), "without a clock nobody can say");
    }
}

#[test]
fn of_several_roots_one_may_have_expired_and_not_all() {
    let files = Files::new();
    let (old, new) = (certificate(&key(), -9, -1), certificate(&key(), -9, 90));
    files.write("ca.crt", &[old.clone(), new].concat());
    assert_eq!(files.faults(), Vec::<String>::new());
    files.write("ca.crt", &old);
    assert!(files.faults()[0].contains("ca.crt: expired on"), "{:?}", files.faults());
}

#[test]
fn a_secret_that_everybody_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new();
    let path = files.dir.path().join("own.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let found = examine(&files.security(), Some(NOW));
    assert!(found.faults.is_empty() && found.warnings[0].why.contains("everybody"), "{found:?}");
}

#[test]
fn a_password_is_one_line_and_is_never_shown() {
    let files = Files::new();
    let path = files.dir.path().join("password");
    let login = Login { mechanism: Mechanism::ScramSha512, user: "post".into(), password: path };
    let security = Security { tls: None, sasl: Some(login) };
    for (text, wanted) in
        [("s3cr3t\n", None), ("s3cr3t", None), ("", Some("is empty")), ("s3cr3t\nb\n", Some("more than one line"))]
    {
        files.write("password", text.as_bytes());
        let read = Credentials::read(&security);
        assert!(!format!("{read:?}").contains("s3cr3t"), "{read:?}");
        assert_eq!(read.as_ref().err().is_some(), wanted.is_some(), "{text:?}");
        match (read, wanted) {
            (Err(error), Some(wanted)) => assert!(error.why.contains(wanted), "{error}"),
            (read, _) => assert_eq!(read.unwrap().password.unwrap().as_str(), "s3cr3t"),
        }
    }
}
