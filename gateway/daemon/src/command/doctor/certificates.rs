//! Certificates in the files of the configuration: how long they count, by this machine's clock.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::cluster::clusters;
use super::finding::Finding;
use super::machine::Machine;
use crate::config::Config;

/// From then on it is told, days.
const SOON_DAYS: i64 = 30;
const SECONDS_A_DAY: i64 = 86_400;
/// Of one file; a system's list of roots has 150. Those that are past are told, so the others are counted.
const OF_A_FILE_MAX: usize = 1_000;

/// What the certificates in a file are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Together {
    /// Each vouches for the one before: without one of them the others are worth nothing.
    Chain,
    /// Any of them will do.
    Roots,
}

use Together::{Chain, Roots};

/// Whose certificates, and where. What is added to the configuration with a certificate in it is added here.
fn files(config: &Config) -> Vec<(String, PathBuf, Together)> {
    let mut files = Vec::new();
    let listeners = config.mqtt.iter().flat_map(|mqtt| &mqtt.listeners);
    for (listen, tls) in listeners.filter_map(|it| Some((it.listen, it.tls.as_ref()?))) {
        files.push((format!("mqtt on {listen}"), tls.certificate.clone(), Chain));
        let roots = |path: &PathBuf| (format!("clients' roots of mqtt on {listen}"), path.clone(), Roots);
        files.extend(tls.client_ca.iter().map(roots));
    }
    for (name, tls) in config.brokers.iter().filter_map(|it| Some((&it.name, it.tls.as_ref()?))) {
        files.push((format!("roots of the broker {name}"), tls.ca.clone(), Roots));
        files.extend(tls.own.iter().map(|(own, _)| (format!("ours for the broker {name}"), own.clone(), Chain)));
    }
    let secured = clusters(config).into_iter().filter_map(|it| Some((it.whose(), it.kafka.security.tls.as_ref()?)));
    for (whose, tls) in secured {
        files.extend(tls.ca.iter().map(|path| (format!("roots of {whose}"), path.clone(), Roots)));
        files.extend(tls.own.iter().map(|own| (format!("ours for {whose}"), own.certificate.clone(), Chain)));
    }
    let encoding = clusters(config).into_iter().filter_map(|it| Some((it.whose(), it.kafka.encoding.as_ref()?)));
    for (whose, encoding) in encoding {
        let roots = |path: &PathBuf| (format!("roots of the schema registry of {whose}"), path.clone(), Roots);
        files.extend(encoding.registry.ca.iter().map(roots));
    }
    files
}

/// Looks at all of them.
pub(crate) fn look(machine: &Machine, config: &Config, unix_s: i64) -> Vec<Finding> {
    let of = |(whose, path, together): (String, PathBuf, Together)| of_file(machine, &whose, &path, together, unix_s);
    files(config).into_iter().map(of).collect()
}

fn of_file(machine: &Machine, whose: &str, path: &Path, together: Together, unix_s: i64) -> Finding {
    let found = |what: &str| format!("{whose}: {} {what}", path.display());
    let Some(text) = machine.read(path) else {
        let remedy = "is the path right, and may the gateway's user read it? run the doctor as that user or as root";
        return Finding::fail("certificate", found("can't be read"), remedy);
    };
    match terms(&text) {
        Err(error) => Finding::fail("certificate", found(&error), "PEM is expected: -----BEGIN CERTIFICATE-----"),
        Ok(terms) => judge(whose, path, &terms, together, unix_s),
    }
}

/// From when to when a certificate counts, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term {
    from: i64,
    to: i64,
}

/// Those of all certificates in a PEM text (RFC 7468).
fn terms(text: &str) -> Result<Vec<Term>, String> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1).take(OF_A_FILE_MAX);
    let terms: Result<Vec<_>, String> = blocks
        .map(|block| {
            let body = block.split("-----END CERTIFICATE-----").next().unwrap_or_default();
            let plain: String = body.chars().filter(|c| !c.is_whitespace()).collect();
            let der = STANDARD.decode(plain).map_err(|error| format!("holds what is no base64: {error}"))?;
            let read = Certificate::from_der(&der).map_err(|error| format!("holds what is no certificate: {error}"))?;
            let validity = read.tbs_certificate().validity();
            let seconds =
                |time: &x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Ok(Term { from: seconds(&validity.not_before), to: seconds(&validity.not_after) })
        })
        .collect();
    match terms {
        Ok(terms) if terms.is_empty() => Err("holds no certificate".to_owned()),
        other => other,
    }
}

/// Of a chain the first that ends ends it; of a list of roots that is only a part, so a root that is past warns as long as one counts.
fn judge(whose: &str, path: &Path, terms: &[Term], together: Together, unix_s: i64) -> Finding {
    let path = path.display();
    let found = |what: String| format!("{whose}: {path} {what}");
    let past = terms.iter().filter(|term| term.to < unix_s).count();
    if together == Roots && past > 0 && past < terms.len() {
        let what = format!("holds {past} certificates that count no more, of {}", terms.len());
        return Finding::warn("certificate", found(what), "take them out, or renew them");
    }
    if let Some(term) = terms.iter().find(|term| term.to < unix_s) {
        let days = (unix_s - term.to) / SECONDS_A_DAY;
        return Finding::fail("certificate", found(format!("expired {days} days ago")), renewal(whose));
    }
    if let Some(term) = terms.iter().find(|term| term.from > unix_s) {
        let days = (term.from - unix_s) / SECONDS_A_DAY + 1;
        let what = format!("counts only in {days} days, by this machine's clock");
        return Finding::fail("certificate", found(what), "is the clock right? else have it issued anew");
    }
    let days = terms.iter().map(|term| (term.to - unix_s) / SECONDS_A_DAY).min().unwrap_or(0);
    if days < SOON_DAYS {
        return Finding::warn("certificate", found(format!("expires in {days} days")), renewal(whose));
    }
    Finding::ok("certificate", found(format!("counts for {days} days more")))
}

fn renewal(whose: &str) -> String {
    let when = if whose.contains(" the broker ") { "at the next connecting" } else { "within 10 s" };
    format!("put a renewed one in its place: it is read {when}, without a restart")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::machine::model::Modelled;
    use super::*;

    /// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -not_before … -not_after …`: made for this test, its key thrown
    /// away. Counts from 2026-01-01 to 2027-01-01.
    const PEM: &str = include_str!("certificates/year-2026.pem");
    const BEGIN: i64 = 1_767_225_600;
    const END: i64 = 1_798_761_600;

    fn level(text: &str, unix_s: i64) -> (Level, String) {
        let modelled = Modelled::new(&[("/etc/server.crt", text)]);
        let path = Path::new("/etc/server.crt");
        let finding = of_file(&modelled.machine(), "mqtt on 1.2.3.4:8883", path, Chain, unix_s);
        (finding.level, finding.found)
    }

    #[test]
    fn a_certificates_term_is_read_of_its_bytes() {
        assert_eq!(terms(PEM), Ok(vec![Term { from: BEGIN, to: END }]));
        assert_eq!(terms(&format!("a comment\n{PEM}{PEM}")).map(|terms| terms.len()), Ok(2));
    }

    #[test]
    fn it_counts_only_within_its_term_and_its_end_is_told_before() {
        assert_eq!(level(PEM, BEGIN + 1).0, Level::Ok);
        assert_eq!(level(PEM, BEGIN - 1).0, Level::Fail);
        assert_eq!(level(PEM, END - 31 * SECONDS_A_DAY).0, Level::Ok);
        let soon = level(PEM, END - 29 * SECONDS_A_DAY);
        assert!(soon.0 == Level::Warn && soon.1.contains("expires in 29 days"), "{soon:?}");
        let past = level(PEM, END + 3 * SECONDS_A_DAY);
        assert!(past.0 == Level::Fail && past.1.contains("expired 3 days ago"), "{past:?}");
    }

    #[test]
    fn what_is_no_certificate_fails_and_says_so() {
        for text in
            ["", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nAAAA\n"]
        {
            let (level, found) = level(text, BEGIN);
            assert!(level == Level::Fail && found.contains("holds"), "{found}");
        }
        let absent = of_file(&Modelled::new(&[]).machine(), "x", Path::new("/none"), Chain, BEGIN);
        assert!(absent.found.contains("can't be read"), "{absent:?}");
    }

    #[test]
    fn one_root_of_several_that_is_past_only_warns_and_one_link_of_a_chain_ends_it() {
        let terms = [Term { from: 0, to: 10 }, Term { from: 0, to: i64::MAX }];
        let level = |whose: &str, together| judge(whose, Path::new("/x"), &terms, together, 20).level;
        assert_eq!(level("roots of the broker x", Roots), Level::Warn);
        assert_eq!(level("mqtt on 1.2.3.4:8883", Chain), Level::Fail);
    }

    #[test]
    fn every_file_of_listeners_brokers_and_clusters_is_looked_at() {
        let config = crate::config::parse(
            "[[mqtt.listener]]\nlisten = \"127.0.0.1:8883\"\ncertificate = \"/a\"\nkey = \"/b\"\nclient_ca = \"/c\"\n\
             [[broker]]\nname = \"plant\"\nurl = \"mqtts://h\"\nsubscribe = [\"#\"]\nca_file = \"/d\"\ncertificate_file = \"/e\"\nkey_file = \"/f\"\n\
             [kafka]\nbootstrap = [\"h:1\"]\n[kafka.tls]\nca = \"/g\"\ncertificate = \"/h\"\nkey = \"/i\"\n\
             [[sink]]\nname = \"second\"\n[sink.kafka]\nbootstrap = [\"h:2\"]\n[sink.kafka.tls]\nca = \"/j\"\n\
             [sink.kafka.schema_registry]\nurl = \"https://h\"\nca = \"/k\"\n\
             [[sink.kafka.schema]]\ntopics = [\"*\"]\nformat = \"avro\"\nfile = \"/l\"\n",
        )
        .unwrap();
        let files = files(&config);
        let paths: Vec<_> = files.iter().map(|(_, path, _)| path.display().to_string()).collect();
        assert_eq!(paths, ["/a", "/c", "/d", "/e", "/g", "/h", "/j", "/k"]);
        let together: Vec<_> = files.iter().map(|(_, _, together)| *together).collect();
        assert_eq!(together, [Chain, Roots, Roots, Chain, Roots, Chain, Roots, Roots]);
        let last: Vec<_> = files.iter().rev().take(2).map(|(whose, ..)| whose.as_str()).collect();
        let second = "the cluster of the sink second";
        assert_eq!(last, [format!("roots of the schema registry of {second}"), format!("roots of {second}")]);
    }
}
