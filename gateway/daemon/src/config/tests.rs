use super::*;

/// The first problem's shown form.
fn problem(text: &str) -> String {
    let list = parse(text).expect_err("a mistake that must be found");
    Problems::new(Path::new("x.toml"), text, list).to_string()
}

const KAFKA: &str = "[kafka]\nbootstrap = [\"k:9092\"]\n";

#[test]
fn an_empty_file_is_a_gateway_with_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.journal.quota, Size(256 << 20));
    assert!(config.mqtt.is_none() && config.kafka.is_none());
    assert_eq!(config.http.port(), 9464);
}

#[test]
fn every_key_is_read() {
    let text = r#"
        [gateway]
        id = "post-17"
        state_dir = "/var/lib/lamppost"
        [journal]
        quota = "128MiB"
        segment = "4MiB"
        linger = "2s"
        linger_bytes = "32KiB"
        event_max = "64KiB"
        compression = "zstd"
        read_patience = "3s"
        marks_max = "5MiB"
        [mqtt]
        listen = "0.0.0.0:1884"
        anonymous = true
        passwords = "/etc/lamppost/passwords"
        acl = ["allow user:anna both #", "allow * publish city/%c/#"]
        connections_max = 10
        packet_max = "64KiB"
        window = 7
        [[mqtt.listener]]
        listen = "0.0.0.0:8883"
        anonymous = false
        certificate = "/etc/lamppost/server.crt"
        key = "/etc/lamppost/server.key"
        client_ca = "/etc/lamppost/clients.crt"
        crl = "/etc/lamppost/clients.crl"
        identity = "uri"
        password = true
        client_id_is_user = false
        [[serial]]
        name = "node"
        port = "/dev/ttyAMA0"
        baud = 57600
        protocol = "link"
        [[i2c]]
        name = "air"
        bus = "/dev/i2c-1"
        chip = "bme280"
        address = 0x76
        every = "5s"
        device = "post-17-air"
        [[route]]
        from = "city/{district}/air/{device}/#"
        topic = "air-quality"
        key = "{district}"
        device = "{device}"
        decode = "json"
        [topics.air-quality]
        partitions = 6
        linger = "0ms"
        priority = "bulk"
        when_full = "give-up-oldest"
        keep_for = "7d"
        keep_bytes = "48MiB"
        [kafka]
        bootstrap = ["kafka-1:9092", "[::1]:9093"]
        compression = "lz4"
        replication = 2
        create_topics = false
        bandwidth_max = "2 Mbit/s"
        in_flight = "2MiB"
        clock_wait = "1min"
        [http]
        listen = "127.0.0.1:9999"
    "#;
    let config = parse(text).unwrap();
    assert_eq!(config.gateway.as_str(), "post-17");
    assert_eq!((config.journal.quota, config.journal.linger), (Size(128 << 20), Duration::from_secs(2)));
    assert_eq!(
        config.mqtt.as_ref().map(|mqtt| (mqtt.listeners[0].listen.port(), mqtt.window, mqtt.listeners.len())),
        Some((1884, 7, 2))
    );
    assert_eq!(
        (config.serial[0].port.baud, config.i2c[0].address, config.i2c[0].chip),
        (57_600, 0x76, lamppost_i2c::Chip::Bme280)
    );
    assert_eq!(config.i2c[0].device.as_str(), "post-17-air");
    assert_eq!((config.routes.len(), config.routes[0].decode), (1, lamppost_route::Decode::Json));
    assert_eq!(config.journal.marks_max, Some(Size(5 << 20)));
    assert_eq!((config.journal.compression, config.journal.read_patience), (Packing::Zstd, Duration::from_secs(3)));
    let policy = lamppost_journal::Policy {
        priority: lamppost_journal::Priority::Bulk,
        when_full: lamppost_journal::WhenFull::GiveUpOldest,
        keep_for: Some(Duration::from_secs(7 * 86_400)),
        keep_bytes: Some(48 << 20),
    };
    let settings = TopicSettings { partitions: Some(6), linger: Some(Duration::ZERO), policy };
    assert_eq!(config.topics.get(&Topic::new("air-quality").unwrap()), Some(&settings));
    let kafka = config.kafka.unwrap();
    assert_eq!((kafka.compression, kafka.replication, kafka.create_topics), (Compression::Lz4, 2, false));
    assert_eq!(kafka.bandwidth_max.map(NonZeroU64::get), Some(250_000));
}

#[test]
fn an_ina226_is_told_its_shunt() {
    let text = "[[i2c]]\nname = \"b\"\nbus = \"/dev/i2c-1\"\nchip = \"ina226\"\naddress = 0x40\nshunt_uohm = 2000\n";
    let config = parse(text).unwrap();
    assert_eq!(config.i2c[0].chip, lamppost_i2c::Chip::Ina226 { shunt_uohm: 2_000 });
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
    let shown = problem("[journal]\nqouta = \"1GiB\"\n");
    assert!(shown.starts_with("x.toml:2:1: unknown key `qouta`"), "{shown}");
    assert!(shown.contains("did you mean `quota`?"), "{shown}");
}

#[test]
fn each_mistake_is_shown_where_it_stands_with_what_would_be_right() {
    let route = "[[route]]\nfrom = \"city/{d}/#\"\ntopic = \"t\"\n";
    let serial = "[[serial]]\nname = \"a\"\nport = \"/dev/ttyS0\"\n";
    let i2c = "[[i2c]]\nname = \"b\"\nbus = \"/dev/i2c-1\"\nchip = \"tmp105\"\naddress = 0x48\n";
    let alarm = "[topics.a]\npriority = \"alarm\"\n";
    let cases: Vec<(String, &str, &str)> = vec![
        ("[journal]\nquota = 7\n".into(), ":2:9: ", "text in double quotes"),
        ("[journal]\nquota = \"7 parsecs\"\n".into(), ":2:9: ", "KiB"),
        ("[journal]\nlinger = \"soon\"\n".into(), ":2:10: ", "ms, s, min, h or d"),
        ("[journal]\nquota = \"64MiB\"\n".into(), ":2:9: ", "raise `quota`"),
        ("[journal]\nsegment = \"5000B\"\n".into(), ":2:11: ", "multiple of 4KiB"),
        ("[journal]\nevent_max = \"8MiB\"\n".into(), ":2:13: ", "lower `event_max`"),
        ("[mqtt]\nlisten = \"localhost\"\n".into(), ":2:10: ", "as in \"127.0.0.1:1883\""),
        ("[mqtt]\nwindow = 1\nwindow = 2\n".into(), ":3:1: ", "remove one"),
        ("[mqtt]\nwindow = 0\n".into(), ":2:10: ", "from 1 to 65535"),
        ("[mqtt]\npacket_max = \"1B\"\n".into(), ":2:14: ", "from 256B"),
        (format!("{serial}baud = 1\n"), ":4:8: ", "from 300 to 4000000"),
        (format!("{serial}protocol = \"morse\"\n"), ":4:12: ", "`link`"),
        (format!("{serial}{serial}"), ":5:8: ", "its own name"),
        (i2c.replace("0x48", "0x80"), ":5:11: ", "from 8 to 119"),
        (i2c.replace("tmp105", "tmp999"), ":4:8: ", "`tmp105`"),
        (format!("{i2c}{}", i2c.replace("\"b\"", "\"c\"")), ":10:11: ", "different addresses"),
        (format!("{i2c}every = \"1ms\"\n"), ":6:9: ", "10ms or more"),
        (i2c.replace("tmp105", "tmp999"), ":4:8: ", "`ina226`"),
        (i2c.replace("tmp105", "scd41"), ":5:11: ", "from 0x62 to 0x62"),
        (i2c.replace("tmp105", "ina226"), ":4:8: ", "`shunt_uohm = 100000`"),
        (format!("{}shunt_uohm = 99\n", i2c.replace("tmp105", "ina226")), ":6:14: ", "from 100 to 2500000"),
        (format!("{i2c}shunt_uohm = 2000\n"), ":6:14: ", "remove it"),
        (route.replace("city/{d}/#", "city/#/x"), ":2:8: ", ""),
        (format!("{route}key = \"{{nobody}}\"\n"), ":4:7: ", "available"),
        (format!("{route}decode = \"xml\"\n"), ":4:10: ", "\"json\""),
        ("[topics.\"air quality\"]\npartitions = 2\n".into(), ":1:9: ", "letters, digits"),
        ("[topics.__state]\n".into(), ":1:9: ", "does not begin with"),
        ("[topics.air]\npartitions = 5000\n".into(), ":2:14: ", "from 1 to 1024"),
        ("[topics.air]\npriority = \"high\"\n".into(), ":2:12: ", "`alarm`"),
        ("[topics.air]\nwhen_full = \"drop\"\n".into(), ":2:13: ", "`give-up-oldest`"),
        ("[topics.air]\nkeep_for = \"10ms\"\n".into(), ":2:12: ", "1min or more"),
        ("[topics.air]\nkeep_bytes = \"64KiB\"\n".into(), ":2:14: ", "1MiB or more"),
        ("[topics.air]\nkeep_bytes = 64\n".into(), ":2:14: ", "text in double quotes"),
        ("[topics.dead-letters]\npriority = \"bulk\"\n".into(), ":2:12: ", "above all but \"alarm\""),
        (format!("[journal]\nquota = \"100MiB\"\n{alarm}"), ":2:9: ", "seven segments"),
        ("[journal]\nquota = \"95MiB\"\n".into(), ":2:9: ", "six segments"),
        ("[journal]\ncompression = \"gzip\"\n".into(), ":2:15: ", "`zstd`"),
        ("[journal]\nread_patience = 5\n".into(), ":2:17: ", "text in double quotes"),
        (format!("{KAFKA}bandwidth_max = \"2 Mbit\"\n"), ":3:17: ", "as in \"2 Mbit/s\""),
        (format!("{KAFKA}bandwidth_max = \"100 B/s\"\n"), ":3:17: ", "1000 B/s or more"),
        (format!("{KAFKA}bandwidth_max = \"9000 Gbit/s\"\n"), ":3:17: ", "leave `bandwidth_max` out"),
        (
            "[[sink]]\nname = \"a\"\n[sink.kafka]\nbootstrap = [\"b:1\"]\nbandwidth_max = \"1 B/s\"\n".into(),
            ":5:17: ",
            "1000 B/s or more",
        ),
        ("[kafka]\nbootstrap = []\n".into(), ":2:13: ", "at least one"),
        ("[kafka]\nbootstrap = [\"kafka\"]\n".into(), ":2:14: ", "host:port"),
        (format!("{KAFKA}delivery = \"twice\"\n"), ":3:12: ", "exactly-once"),
        (format!("{KAFKA}transaction_linger = \"1min\"\n"), ":3:22: ", "from 1ms to 10s"),
        (format!("{KAFKA}cursors_topic = \"__c\"\n"), ":3:17: ", "does not begin with"),
        (format!("{KAFKA}cursors_topic = \"air\"\n[topics.air]\n"), ":3:17: ", "a topic of their own"),
        (format!("{KAFKA}cursors_topic = \"dead-letters\"\n"), ":3:17: ", "a topic of their own"),
        (format!("{KAFKA}cursors_topic = \"events\"\n"), ":3:17: ", "a topic of their own"),
        (format!("{KAFKA}cursors_topic = \"t\"\n{route}"), ":3:17: ", "a topic of their own"),
        (
            format!("{KAFKA}cursors_topic = \"c-air\"\ntopic_template = \"c-{{topic}}\"\n[topics.air]\n"),
            ":3:17: ",
            "a topic of their own",
        ),
        ("[serial]\nname = \"a\"\n".into(), ":1:1: ", "[[serial]]"),
        ("[kafka]\nbootstrap = \"k:1\"\n".into(), ":2:13: ", "a list, as in"),
        ("[kafka]\nbootstrap = [\"kafka://k:1\"]\n".into(), ":2:14: ", "host:port"),
        ("[journal]\nsegment = \"1GiB\"\n".into(), ":2:11: ", "lower `segment`"),
        ("[gateway]\nstate_dir = \"here\"\n".into(), ":2:13: ", "begins with /"),
        ("[mqtt]\nlisten = \"127.0.0.1:9464\"\n".into(), ": mqtt and http both", "another port"),
        ("[mqtt]\nlisten = \"0.0.0.0:9464\"\nanonymous = true\n".into(), ": mqtt and http both", "another port"),
        ("[mqtt]\n[http]\nlisten = \"0.0.0.0:1883\"\n".into(), ":3:10: mqtt and http both", "another port"),
        (i2c.replace("0x48", "0x10"), ":5:11: ", "from 0x48 to 0x4f"),
        ("[kafka]\n".into(), ":1:1: missing key `bootstrap`", "add it"),
        (format!("{KAFKA}compression = \"rar\"\n"), ":3:15: ", "`zstd`"),
        ("[gateway]\nid = \"post 17\"\n".into(), ":2:6: ", "letters, digits"),
        ("[journal\n".into(), ":1:9: ", ""),
    ];
    for (text, place, remedy) in cases {
        let shown = problem(&text);
        assert!(shown.contains(&format!("x.toml{place}")), "{text}\n{shown}");
        assert!(shown.contains(remedy), "{text}\n{shown}");
    }
}

#[test]
fn several_mistakes_are_shown_together() {
    let shown = problem("[journal]\nquota = \"64MiB\"\nevent_max = \"8MiB\"\n");
    assert!(shown.contains("x.toml:2:9") && shown.contains("x.toml:3:13"), "{shown}");
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = load(Path::new("no/such/file.toml")).unwrap_err().to_string();
    assert!(error.contains("no/such/file.toml") && error.contains("--config"), "{error}");
}

/// What stands beside each board's drawing must be a configuration of this program.
#[test]
fn the_configurations_in_hardware_parse() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hardware");
    let boards = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path().join("lamppost.toml"));
    let found: Vec<_> = boards.filter(|path| path.exists()).collect();
    assert!(!found.is_empty(), "no configuration below {}", folder.display());
    for path in found {
        let config = load(&path).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(config.kafka.is_some() && !(config.serial.is_empty() && config.i2c.is_empty()), "{}", path.display());
    }
}

/// What the package brings listens to nobody else, and what it shows behind `#` is right too.
#[test]
fn the_packages_configuration_is_right_as_it_is_and_with_all_its_examples() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/lamppost.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let config = parse(&text).unwrap();
    let listeners = &config.mqtt.as_ref().unwrap().listeners;
    assert!(listeners.iter().all(|it| it.listen.ip().is_loopback()) && config.http.ip().is_loopback());
    assert!(config.kafka.is_none() && config.serial.is_empty() && config.i2c.is_empty());
    let is_example = |rest: &str| {
        let key = rest.split(" = ").next().unwrap_or_default();
        rest.starts_with('[') || rest.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let uncommented = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_example(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let whole: String = text.lines().map(uncommented).collect();
    let config = parse(&whole).unwrap_or_else(|list| panic!("{}", Problems::new(Path::new("x"), &whole, list)));
    assert!(config.kafka.is_some() && config.serial.len() == 1 && config.i2c.len() == 1 && config.routes.len() == 1);
    assert_eq!(config.gateway.as_str(), "post-17");
}
