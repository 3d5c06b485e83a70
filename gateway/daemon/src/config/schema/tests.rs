use std::path::Path;

use super::super::{Problems, look_at_files, parse};
use super::*;

const KAFKA: &str = "[kafka]\nbootstrap = [\"kafka-1:9093\"]\n";
const REGISTRY: &str = "[kafka.schema_registry]\nurl = \"https://registry.city:8081\"\n";
const AIR: &str =
    "[[kafka.schema]]\ntopics = [\"air-quality\"]\nformat = \"avro\"\nfile = \"/etc/lamppost/air.avsc\"\n";

fn encoding(text: &str) -> Option<Encoding> {
    let text = format!("{KAFKA}{text}");
    let config = parse(&text).unwrap_or_else(|list| panic!("{}", Problems::new("x".as_ref(), &text, list)));
    config.kafka.unwrap().encoding
}

/// The problems of what stands from line 3 on.
fn problem(text: &str) -> String {
    let text = format!("{KAFKA}{text}");
    let list = parse(&text).expect_err("a mistake that must be found");
    Problems::new("x.toml".as_ref(), &text, list).to_string()
}

#[test]
fn without_the_tables_all_topics_go_as_received() {
    assert_eq!(encoding(""), None);
}

#[test]
fn what_is_written_is_what_the_forwarder_is_told() {
    let text = format!(
        "{REGISTRY}ca = \"/c/ca.pem\"\nuser = \"post-17\"\npassword_file = \"/c/pw\"\n{AIR}[[kafka.schema]]\ntopics = [\"noise\", \"city-*\"]\nformat = \"json-schema\"\nfile = \"/etc/lamppost/noise.json\"\nsubject = \"{{record}}\"\nregister = false\n"
    );
    let said = encoding(&text).unwrap();
    assert_eq!(said.registry.url.to_string(), "https://registry.city:8081");
    assert_eq!(said.registry.ca.as_deref(), Some(Path::new("/c/ca.pem")));
    let login = RegistryLogin { user: "post-17".into(), password: "/c/pw".into() };
    assert_eq!(said.registry.login, Some(login));
    let rule = |topics: &[&str], format, file: &str, subject: &str, register| SchemaRule {
        topics: Interest::new(topics.iter().copied()).unwrap(),
        format,
        file: file.into(),
        subject: subject.parse().unwrap(),
        register,
    };
    let air = rule(&["air-quality"], SchemaFormat::Avro, "/etc/lamppost/air.avsc", "{topic}-value", true);
    let noise = rule(&["noise", "city-*"], SchemaFormat::JsonSchema, "/etc/lamppost/noise.json", "{record}", false);
    assert_eq!(said.rules, [air, noise]);
}

#[test]
fn a_sink_has_its_own() {
    let text = "[[sink]]\nname = \"second\"\n[sink.kafka]\nbootstrap = [\"k:1\"]\n[sink.kafka.schema_registry]\nurl = \"http://r:1\"\n[[sink.kafka.schema]]\ntopics = [\"*\"]\nformat = \"avro\"\nfile = \"/f\"\n";
    let config = parse(&format!("{KAFKA}{text}")).unwrap();
    assert!(config.kafka.unwrap().encoding.is_none());
    let super::super::SinkTo::Kafka(kafka) = &config.sinks[0].to else { panic!("a cluster") };
    assert_eq!(kafka.encoding.as_ref().unwrap().rules.len(), 1);
}

#[test]
fn a_mistake_is_shown_where_it_stands_and_what_to_write() {
    let of_registry = |more: &str| format!("{REGISTRY}{more}{AIR}");
    let http = |more: &str| format!("[kafka.schema_registry]\nurl = \"http://registry.city\"\n{more}{AIR}");
    let of_schema = |from: &str, to: &str| format!("{REGISTRY}{}", AIR.replace(from, to));
    for (text, place, wanted) in [
        (REGISTRY.to_owned(), ":4:7: ", "add [[kafka.schema]]"),
        (AIR.to_owned(), ":4:10: ", "add [kafka.schema_registry]"),
        (of_registry("ca = \"ca.pem\"\n"), ":5:6: ", "depends on where the program is started"),
        (of_registry("user = \"u\"\n"), ":5:8: ", "a user without a password"),
        (of_registry("password_file = \"/p\"\n"), ":5:17: ", "add `user`"),
        (of_registry("user = \"a:b\"\npassword_file = \"/p\"\n"), ":5:8: ", "without ':'"),
        (of_registry("user = \"u\"\npassword_file = \"/p\"\ncredential = \"c\"\n"), ":7:14: ", "two places"),
        (of_registry("user = \"u\"\ncredential = \"../c\"\n"), ":6:14: ", "not the name of a credential"),
        (of_registry("password = \"s3cr3t\"\n"), ":5:1: ", "unknown key `password`"),
        (http("ca = \"/ca\"\n"), ":5:6: ", "a registry without"),
        (http("user = \"u\"\npassword_file = \"/p\"\n"), ":4:7: ", "`insecure = true`"),
        (
            format!("[kafka.schema_registry]\nurl = \"registry.city\"\n{AIR}"),
            ":4:7: ",
            "begins with https:// or http://",
        ),
        (format!("[kafka.schema_registry]\nurl = \"https://u:s3cr3t@r\"\n{AIR}"), ": ", "password in the address"),
        (format!("[kafka.schema_registry]\nurl = \"https://u:s3cr3t#1@r\"\n{AIR}"), ": ", "password in the address"),
        (of_schema("\"avro\"", "\"protobuf\""), ":7:10: ", "unknown value `protobuf`"),
        (of_schema("\"/etc", "\"etc"), ":8:8: ", "depends on where the program is started"),
        (of_schema("[\"air-quality\"]", "[]"), ":6:10: ", "no topic"),
        (of_schema("\"air-quality\"", "\"a b\""), ":6:10: ", "patterns"),
        (of_schema("\"air-quality\"", "\"air\", \"dead-letters\""), ":6:18: ", "dead-letters always goes as it is"),
        (of_schema("\"air-quality\"", "\"audit-trail\""), ":6:11: ", "audit-trail always goes as it is"),
        (format!("{REGISTRY}{AIR}subject = \"{{topik}}\"\n"), ":9:11: ", "{topik} stands for nothing"),
        (
            format!("{REGISTRY}{AIR}{}", AIR.replace("-quality", "-*")),
            ":10:11: ",
            "may take a topic that \"air-quality\"",
        ),
        (format!("{REGISTRY}{AIR}registr = true\n"), ":9:1: ", "did you mean `register`?"),
    ] {
        let shown = problem(&text);
        assert!(shown.contains(&format!("x.toml{place}")) && shown.contains(wanted), "{text}\n{shown}");
        assert!(!shown.contains("s3cr3t") || shown.contains("unknown key"), "{shown}");
    }
}

#[test]
fn a_password_in_the_clear_can_be_asked_for() {
    let text = format!(
        "[kafka.schema_registry]\nurl = \"http://r\"\nuser = \"u\"\ncredential = \"pw\"\ninsecure = true\n{AIR}"
    );
    let login = encoding(&text).unwrap().registry.login.unwrap();
    assert_eq!(login.password, Path::new("/run/credentials/lamppost.service/pw"));
}

#[test]
fn patterns_that_could_fit_one_name_overlap() {
    for (one, other, expected) in [
        ("air", "air", true),
        ("air", "noise", false),
        ("air-*", "air-quality", true),
        ("air-*", "noise-*", false),
        ("*", "x", true),
        ("*-a", "b-*", true),
        ("a*b", "b*a", false),
        ("a*", "*b", true),
        ("a*c", "ab*d", false),
        ("**", "", true),
        ("a", "aa", false),
        ("*a", "ab*", true),
    ] {
        assert_eq!(overlap(one, other), expected, "{one} {other}");
        assert_eq!(overlap(other, one), expected, "{other} {one}");
    }
}

#[test]
fn a_schema_that_is_none_is_pointed_at() {
    let dir = tempfile::tempdir().unwrap();
    let (config, schema) = (dir.path().join("lamppost.toml"), dir.path().join("air.avsc"));
    let text = format!("{KAFKA}{REGISTRY}[[kafka.schema]]\ntopics = [\"air\"]\nformat = \"avro\"\nfile = {schema:?}\n");
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
    write(&config, &text);
    let shown = || look_at_files(&config, None).unwrap_err().to_string();
    assert!(shown().contains("lamppost.toml:8:8: ") && shown().contains("air.avsc: can't be read"), "{}", shown());
    write(&schema, "{\n  \"type\": \"record\"\n  \"name\": \"Air\"\n}");
    assert!(shown().contains("is not JSON: expected `,` or `}` at line 3 column 3"), "{}", shown());
    write(&schema, "{\"type\": \"record\", \"name\": \"Air\", \"fields\": [{\"name\": \"pm10\", \"type\": \"flot\"}]}");
    assert!(shown().contains("field \"pm10\" of Air: unknown type \"flot\""), "{}", shown());
    write(&schema, "\"double\"");
    assert!(look_at_files(&config, None).is_ok());
}

#[test]
fn a_file_of_the_registry_that_can_not_be_used_is_pointed_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    let schema = format!("[[kafka.schema]]\ntopics = [\"air\"]\nformat = \"avro\"\nfile = {:?}\n", path("air.avsc"));
    let with = |more: &str| write("lamppost.toml", &format!("{KAFKA}{REGISTRY}{more}{schema}"));
    write("air.avsc", "\"double\"");
    with(&format!("ca = {:?}\n", path("ca.pem")));
    write("ca.pem", "nothing");
    write("password", "two\nlines\n");
    let shown = || look_at_files(&path("lamppost.toml"), None).unwrap_err().to_string();
    assert!(shown().contains("lamppost.toml:5:6: ") && shown().contains("has no certificate in it"), "{}", shown());
    with(&format!("user = \"u\"\npassword_file = {:?}\n", path("password")));
    assert!(shown().contains("lamppost.toml:6:17: ") && shown().contains("has more than one line"), "{}", shown());
    write("password", "one\n");
    assert!(look_at_files(&path("lamppost.toml"), None).is_ok());
}
