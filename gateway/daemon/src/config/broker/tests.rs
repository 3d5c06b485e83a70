use super::super::{Config, Problems, look_at_files, parse};
use super::*;

const LEAST: &str =
    "[gateway]\nid = \"post-17\"\n[[broker]]\nname = \"plant\"\nurl = \"mqtt://10.0.0.7\"\nsubscribe = [\"city/#\"]\n";

fn brokers(text: &str) -> Vec<Broker> {
    let config: Config = parse(text).unwrap_or_else(|list| panic!("{}", Problems::new("x".as_ref(), text, list)));
    config.brokers
}

fn problem(text: &str) -> String {
    let list = parse(text).expect_err("a mistake that must be found");
    Problems::new("x.toml".as_ref(), text, list).to_string()
}

#[test]
fn the_least_is_a_name_a_place_and_a_filter() {
    let broker = &brokers(LEAST)[0];
    assert_eq!((broker.host.as_str(), broker.port, broker.version), ("10.0.0.7", 1883, BrokerVersion::V5));
    assert_eq!(broker.client_id, "lamppost-post-17-plant");
    assert!(broker.filters[0].is_at_least_once() && broker.tls.is_none() && broker.login.is_none());
}

#[test]
fn every_key_is_read() {
    let text = format!(
        "{}version = \"3.1.1\"\nclient_id = \"post\"\nuser = \"u\"\npassword_file = \"/p\"\nqos = 0\nprefix = \"plant/\"\n\
         keep_alive = \"10s\"\nsession_expiry = \"1d\"\nwindow = 7\nwindow_bytes = \"1MiB\"\npacket_max = \"64KiB\"\n\
         ca_file = \"/a\"\ncertificate_file = \"/c\"\nkey_file = \"/k\"\n",
        LEAST.replace("mqtt://", "mqtts://")
    );
    let broker = &brokers(&text)[0];
    assert_eq!((broker.port, broker.version, broker.client_id.as_str()), (8883, BrokerVersion::V311, "post"));
    assert_eq!(broker.login, Some(BrokerLogin { user: "u".into(), password: Some("/p".into()) }));
    assert!(!broker.filters[0].is_at_least_once());
    assert_eq!((broker.prefix.as_str(), broker.keep_alive), ("plant/", Duration::from_secs(10)));
    assert_eq!((broker.session_expiry, broker.window), (Duration::from_secs(86_400), 7));
    assert_eq!((broker.window_bytes_max, broker.packet_bytes_max), (1 << 20, 64 << 10));
    assert_eq!(broker.tls, Some(BrokerTls { ca: "/a".into(), own: Some(("/c".into(), "/k".into())) }));
}

#[test]
fn places_are_read_with_and_without_a_port() {
    for (text, tls, host, port) in [
        ("mqtt://plant", false, "plant", 1883),
        ("mqtts://plant.example:8884", true, "plant.example", 8884),
        ("mqtt://[::1]:1884", false, "::1", 1884),
        ("mqtt://[fe80::1]", false, "fe80::1", 1883),
    ] {
        assert_eq!(text.parse(), Ok(Url { tls, host: host.into(), port }), "{text}");
    }
    for text in
        ["plant:1883", "http://plant", "mqtt://", "mqtt://a/b", "mqtt://a:0", "mqtt://a:x", "mqtt://[::1", "mqtt://::1"]
    {
        assert!(text.parse::<Url>().is_err(), "{text}");
    }
    let error = "mqtt://u:geheim@plant".parse::<Url>().unwrap_err();
    assert!(error.contains("password_file") && !error.contains("geheim"), "{error}");
}

#[test]
fn each_mistake_is_shown_where_it_stands_with_what_would_be_right() {
    let tls = LEAST.replace("mqtt://", "mqtts://");
    for (text, place, remedy) in [
        (LEAST.replace("mqtt://10.0.0.7", "10.0.0.7"), ":5:7: ", "mqtt://host:port"),
        (LEAST.replace("city/#", "city/#/x"), ":6:14: ", "last level"),
        (LEAST.replace("\"city/#\"", ""), ":6:13: ", "1 to 64"),
        (LEAST.replace("city/#", "$share/g/a"), ":6:14: ", "order"),
        (format!("{LEAST}version = \"3\"\n"), ":7:11: ", "`3.1.1`"),
        (format!("{LEAST}qos = 2\n"), ":7:7: ", "from 0 to 1"),
        (format!("{LEAST}client_id = \"\"\n"), ":7:13: ", "1 to 256"),
        (format!("{LEAST}password_file = \"/p\"\n"), ":7:17: ", "`user`"),
        (format!("{LEAST}user = \"u\"\npassword_file = \"p\"\n"), ":8:17: ", "begins with /"),
        (format!("{LEAST}prefix = \"a/#\"\n"), ":7:10: ", "without wildcards"),
        (format!("{LEAST}keep_alive = \"1s\"\n"), ":7:14: ", "from 5s"),
        (format!("{LEAST}session_expiry = \"1s\"\n"), ":7:18: ", "from 1min"),
        (format!("{LEAST}window_bytes = \"1B\"\n"), ":7:16: ", "from 1KiB"),
        (format!("{LEAST}packet_max = \"1B\"\n"), ":7:14: ", "from 256B"),
        (format!("{LEAST}ca_file = \"/a\"\n"), ":7:11: ", "mqtts://"),
        (tls.clone(), ":5:7: ", "`ca_file`"),
        (format!("{tls}ca_file = \"/a\"\nkey_file = \"/k\"\n"), ":8:12: ", "`certificate_file`"),
        (format!("{tls}ca_file = \"/a\"\ncertificate_file = \"/c\"\n"), ":8:20: ", "`key_file`"),
        (format!("{LEAST}pasword_file = \"/p\"\n"), ":7:1: ", "did you mean `password_file`?"),
    ] {
        let shown = problem(&text);
        assert!(shown.contains(&format!("x.toml{place}")), "{text}\n{shown}");
        assert!(shown.contains(remedy), "{text}\n{shown}");
    }
}

#[test]
fn two_brokers_can_t_share_a_session() {
    let table = |name: &str, url: &str| {
        format!("[[broker]]\nname = \"{name}\"\nurl = \"mqtt://{url}\"\nsubscribe = [\"#\"]\nclient_id = \"post\"\n")
    };
    let shown = problem(&format!("{}{}", table("a", "plant"), table("b", "PLANT:1883")));
    assert!(shown.contains("x.toml:10:13: ") && shown.contains("throw the other out"), "{shown}");
    assert_eq!(brokers(&format!("{}{}", table("a", "plant"), table("b", "plant:1884"))).len(), 2);
    assert!(
        problem(&format!("{}{}", table("a", "plant"), table("a", "other"))).contains(":7:8: a second source named")
    );
}

#[test]
fn files_that_can_t_be_read_are_shown_by_a_look_and_do_not_keep_the_gateway_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lamppost.toml");
    let password = folder.path().join("password");
    let text = format!("{LEAST}user = \"u\"\npassword_file = \"{}\"\n", password.display());
    let mut file = tempfile::NamedTempFile::new_in(&folder).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    file.persist(&path).unwrap();
    assert_eq!(brokers(&text).len(), 1);
    let shown = look_at_files(&path, None).unwrap_err().to_string();
    assert!(shown.contains("lamppost.toml:8:17: ") && shown.contains("can't be read: No such file"), "{shown}");
    tempfile::NamedTempFile::new_in(&folder).unwrap().persist(&password).unwrap();
    look_at_files(&path, None).unwrap();
}
