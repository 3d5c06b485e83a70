use std::path::Path;

use lamppost_forward::{ClientTls, Login, Mechanism, OwnCertificate, Security};

use super::super::{Problems, look_at_files, parse};

const KAFKA: &str = "[kafka]\nbootstrap = [\"kafka-1:9093\"]\n";

fn kafka(text: &str) -> super::super::Kafka {
    let text = format!("{KAFKA}{text}");
    let config = parse(&text).unwrap_or_else(|list| panic!("{}", Problems::new("x".as_ref(), &text, list)));
    config.kafka.unwrap()
}

/// The problems of what stands from line 3 on.
fn problem(text: &str) -> String {
    let text = format!("{KAFKA}{text}");
    let list = parse(&text).expect_err("a mistake that must be found");
    Problems::new("x.toml".as_ref(), &text, list).to_string()
}

#[test]
fn without_the_sections_it_is_spoken_in_the_clear() {
    assert_eq!(kafka("").security, Security::default());
}

#[test]
fn what_is_written_is_what_the_forwarder_is_told() {
    let kafka = kafka(
        "[kafka.tls]\nca = \"/c/ca.pem\"\ncertificate = \"/c/own.pem\"\nkey = \"/c/own.key\"\nkey_password_file = \"/c/pw\"\nverify_host_name = false\n[kafka.sasl]\nmechanism = \"SCRAM-SHA-256\"\nuser = \"post-17\"\npassword_file = \"/c/password\"\n[kafka.properties]\n\"socket.timeout.ms\" = 5000\n\"ssl.cipher.suites\" = \"ECDHE-ECDSA-AES128-GCM-SHA256\"\n",
    );
    let own = OwnCertificate {
        certificate: "/c/own.pem".into(),
        key: "/c/own.key".into(),
        key_password: Some("/c/pw".into()),
    };
    let tls = ClientTls { ca: Some("/c/ca.pem".into()), own: Some(own), verify_host_name: false };
    let sasl = Login { mechanism: Mechanism::ScramSha256, user: "post-17".into(), password: "/c/password".into() };
    assert_eq!(kafka.security, Security { tls: Some(tls), sasl: Some(sasl) });
    assert_eq!(kafka.properties["socket.timeout.ms"], "5000");
}

#[test]
fn a_password_in_the_clear_has_to_be_asked_for() {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let sasl = format!("[kafka.sasl]\nmechanism = \"{mechanism}\"\nuser = \"u\"\npassword_file = \"/p\"\n");
        let shown = problem(&sasl);
        assert!(shown.contains("x.toml:4:13: without TLS") && shown.contains("`insecure = true`"), "{shown}");
        assert!(kafka(&format!("{sasl}insecure = true\n")).security.sasl.is_some());
        assert!(kafka(&format!("[kafka.tls]\n{sasl}")).security.tls.is_some());
    }
}

#[test]
fn a_password_does_not_stand_in_the_configuration() {
    let shown = problem("[kafka.tls]\n[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\npassword = \"s3cr3t\"\n");
    assert!(shown.contains("unknown key `password`") && shown.contains("`password_file`"), "{shown}");
    let shown = problem("[kafka.properties]\n\"sasl.password\" = \"s3cr3t\"\n");
    assert!(shown.contains("x.toml:4:1: ") && shown.contains("`password_file`"), "{shown}");
}

#[test]
fn half_of_something_is_no_configuration() {
    for (text, wanted) in [
        ("[kafka.tls]\ncertificate = \"/c\"\n", "without its key"),
        ("[kafka.tls]\nkey = \"/k\"\n", "without its certificate"),
        ("[kafka.tls]\nkey_password_file = \"/p\"\n", "a password of no key"),
        ("[kafka.tls]\nca = \"ca.pem\"\n", "depends on where the program is started"),
        ("[kafka.tls]\n[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\n", "without a password"),
        (
            "[kafka.tls]\n[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\npassword_file = \"/p\"\ncredential = \"c\"\n",
            "two places",
        ),
        ("[kafka.tls]\n[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\ncredential = \"../c\"\n", "not the name"),
        ("[kafka.tls]\n[kafka.sasl]\nmechanism = \"GSSAPI\"\nuser = \"u\"\npassword_file = \"/p\"\n", "`GSSAPI`"),
    ] {
        let shown = problem(text);
        assert!(shown.contains(wanted), "{text}: {shown}");
    }
}

#[test]
fn a_property_that_contradicts_is_refused_with_what_to_write_instead() {
    for (property, wanted) in [
        ("\"security.protocol\" = \"ssl\"", "[kafka.tls]"),
        ("\"ssl.ca.location\" = \"/ca\"", "write `ca` in [kafka.tls]"),
        ("\"enable.ssl.certificate.verification\" = false", "always asked who it is"),
        ("\"acks\" = 1", "order and delivery rest on it"),
        ("\"no.such.thing\" = 1", "librdkafka does not take it"),
        ("\"socket.timeout.ms\" = \"soon\"", "librdkafka does not take it"),
    ] {
        let shown = problem(&format!("[kafka.properties]\n{property}\n"));
        assert!(shown.contains("x.toml:4:1: ") && shown.contains(wanted), "{property}: {shown}");
    }
}

#[test]
fn a_credential_of_the_unit_lies_where_systemd_puts_it() {
    let kafka =
        kafka("[kafka.tls]\n[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\ncredential = \"kafka-password\"\n");
    let password = &kafka.security.sasl.as_ref().unwrap().password;
    assert_eq!(password, Path::new("/run/credentials/lamppost.service/kafka-password"));
    assert_eq!(kafka.security_in_sight().sasl, None, "and can't be read by who is not the unit");
}

#[test]
fn a_file_that_can_not_be_used_is_pointed_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lamppost.toml");
    let text = format!("{KAFKA}[kafka.tls]\nca = {:?}\n", dir.path().join("ca.pem"));
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
    write(&path, &text);
    let shown = look_at_files(&path, None).unwrap_err().to_string();
    assert!(shown.contains("lamppost.toml:4:6: ") && shown.contains("ca.pem: can't be read"), "{shown}");
    write(&dir.path().join("ca.pem"), "nothing");
    let shown = look_at_files(&path, None).unwrap_err().to_string();
    assert!(shown.contains("has no certificate in it"), "{shown}");
}
