use super::*;
use crate::config::parse;
use crate::config::problem::Problems;
use std::path::Path;

const LINES: &str = "[[serial]]\nname = \"pm\"\nport = \"/dev/ttyUSB0\"\nprotocol = \"lines\"\n";

fn problem(text: &str) -> String {
    Problems::new(Path::new("x.toml"), text, parse(text).unwrap_err()).to_string()
}

fn first(text: &str) -> Serial {
    parse(text).unwrap_or_else(|list| panic!("{}", Problems::new(Path::new("x"), text, list))).serial.remove(0)
}

#[test]
fn a_port_speaks_the_link_unless_it_says_otherwise() {
    let serial = first("[[serial]]\nname = \"n\"\nport = \"/dev/ttyS0\"\n");
    assert!(matches!(serial.spoken, Spoken::Link));
    assert_eq!(serial.port, PortSettings::new("/dev/ttyS0", 115_200));
}

#[test]
fn lines_with_fields_come_out_typed() {
    let serial = first(&format!(
        "{LINES}baud = 9600\nparity = \"even\"\nstop_bits = 2\nformat = \"delimited\"\nseparator = \";\"\ndevice = \"post-17\"\n\
         device_from = 1\nskip = [\"#\"]\nline_max = \"2KiB\"\n\
         [[serial.field]]\nname = \"pm2_5\"\nfrom = 2\nunit = \"ug/m3\"\nscale = 0.1\n\
         [[serial.field]]\nname = \"state\"\nfrom = 3\ntype = \"text\"\noptional = true\n"
    ));
    assert_eq!((serial.port.baud, serial.port.parity, serial.port.stop_bits), (9_600, Parity::Even, 2));
    let Spoken::Lines(lines) = serial.spoken else { panic!("no lines") };
    assert_eq!(lines.format, LineFormat::Delimited { separator: ";".to_owned() });
    assert_eq!((lines.device.as_str(), lines.line_bytes_max), ("post-17", 2048));
    assert_eq!((lines.device_from, lines.skip), (Some(FieldFrom::Column(1)), vec!["#".to_owned()]));
    let [pm, state] = &lines.fields[..] else { panic!("{:?}", lines.fields) };
    assert_eq!((pm.from.clone(), pm.scale.unwrap().to_string()), (FieldFrom::Column(2), "0.1".to_owned()));
    assert_eq!((state.kind, state.optional), (FieldKind::Text, true));
}

#[test]
fn each_mistake_of_lines_is_shown_where_it_stands() {
    let json = format!("{LINES}format = \"json\"\n");
    let field = |more: &str| format!("{json}[[serial.field]]\nname = \"a\"\nfrom = \"/a\"\n{more}");
    let cases = [
        (LINES.to_owned(), ":2:8: lines without a format", "format = \"json\""),
        (format!("{LINES}format = \"xml\"\n"), ":5:10: unknown value `xml`", "`json`"),
        (format!("{LINES}format = \"delimited\"\n"), ":2:8: delimited lines without fields", "[[serial.field]]"),
        (format!("{json}separator = \",\"\n"), ":6:13: a separator, and lines of JSON", "delimited"),
        (format!("{json}line_max = \"1MiB\"\n"), ":6:12: ", "from 16B to 64KiB"),
        (format!("{json}skip = [\"\"]\n"), ":6:8: an empty beginning", "[\"#\"]"),
        (format!("{json}stop_bits = 3\n"), ":6:13: ", "from 1 to 2"),
        (format!("{json}parity = \"mark\"\n"), ":6:10: ", "`even`"),
        (format!("{json}slaves = 3\n"), ":6:1: unknown key `slaves`", "expected"),
        (format!("{json}device = \"post/17\"\n"), ":6:10: can't be part of an address", "without '/'"),
        (json.replace("\"pm\"", "\"pm#\""), ":2:8: can't be part of an address", "'#'"),
        (field("scale = 0\n"), ":9:9: not a scale", "0.1"),
        (field("scale = \"x\"\n"), ":9:9: not a number", "0.1"),
        (field("type = \"text\"\nscale = 2\n"), ":10:9: a text can't be scaled", "remove"),
        (field("").replace("\"/a\"", "3"), ":8:8: a column of JSON", "pointer"),
        (field("").replace("\"/a\"", "\"a\""), ":8:8: \"a\" is not a JSON pointer", "/sds011/pm25"),
        (field("").replace("\"/a\"", "true"), ":8:8: neither a JSON pointer nor a column", "from 1"),
        (field("").replace("\"a\"", "\"a/b\""), ":7:8: \"a/b\" can't be part of an address", "pm2_5"),
        (field("[[serial.field]]\nname = \"a\"\nfrom = \"/b\"\n"), ":10:8: a second value named \"a\"", "its own name"),
        (
            format!("{LINES}format = \"json\"\n").replace("lines", "link"),
            ":5:10: `format` means nothing to the protocol link",
            "lines",
        ),
        ("[[serial]]\nname = \"n\"\nport = \"/dev/ttyS0\"\nparity = \"even\"\n".to_owned(), ":4:10: ", "no parity"),
    ];
    for (text, place, remedy) in cases {
        let shown = problem(&text);
        assert!(shown.contains(&format!("x.toml{place}")), "{text}\n{shown}");
        assert!(shown.contains(remedy), "{text}\n{shown}");
    }
}

const MODBUS: &str = "[[serial]]\nname = \"meters\"\nport = \"/dev/ttyUSB0\"\nprotocol = \"modbus\"\n";
const SLAVE: &str = "[[serial.slave]]\nid = 1\ndevice = \"meter-1\"\n";
const REGISTER: &str = "[[serial.slave.register]]\nname = \"power\"\nregister = 0x10\n";

#[test]
fn slaves_with_registers_and_profiles_come_out_typed() {
    let serial = first(&format!(
        "{MODBUS}parity = \"even\"\ntimeout = \"200ms\"\nretries = 3\n{SLAVE}every = \"5s\"\ngap = 4\nregisters_max = 20\n\
         {REGISTER}kind = \"input\"\ntype = \"i32\"\nword_order = \"little\"\nscale = 0.001\nunit = \"W\"\n\
         [[serial.slave]]\nid = 2\ndevice = \"meter-2\"\nprofile = \"sdm630\"\n\
         [[serial.slave]]\nid = 3\ndevice = \"meter-3\"\nprofile = \"sdm120\"\nmeasures = [\"voltage\", \"power\"]\n\
         [[serial.slave]]\nid = 4\ndevice = \"box\"\n{REGISTER}type = \"u16\"\n"
    ));
    assert_eq!((serial.port.baud, serial.port.parity), (9_600, Parity::Even));
    let Spoken::Modbus(modbus) = serial.spoken else { panic!("no Modbus") };
    assert_eq!((modbus.timeout, modbus.retries), (Duration::from_millis(200), 3));
    let [first, second, third, _] = &modbus.slaves[..] else { panic!("{:?}", modbus.slaves) };
    assert_eq!((first.every, first.gap, first.registers_max), (Duration::from_secs(5), 4, 20));
    let register = &first.registers[0];
    assert_eq!((register.address, register.table), (16, lamppost_serial::Table::Input));
    assert_eq!(
        (register.value_type, register.word_order),
        (lamppost_serial::ValueType::I32, lamppost_serial::Order::Little)
    );
    assert_eq!((second.gap, modbus.slaves[3].gap), (8, 0), "only of a profile it is known what lies between");
    assert_eq!((second.registers.len(), second.registers_max), (lamppost_sdm::Model::Sdm630.quantities().len(), 80));
    assert_eq!(third.registers.iter().map(|register| register.address).collect::<Vec<_>>(), [0, 12]);
}

const DUST: &str = "[[serial]]\nname = \"dust\"\nport = \"/dev/ttyUSB0\"\nprotocol = \"pms5003\"\n";

#[test]
fn a_dust_sensor_is_at_9600_baud_and_gives_means_of_ten_seconds_once_it_is_warm() {
    let serial = first(DUST);
    assert_eq!(serial.port.baud, 9_600);
    let Spoken::Dust(dust) = serial.spoken else { panic!("no dust sensor") };
    assert_eq!(
        (dust.device.as_str(), dust.every, dust.warm_up),
        ("dust", Duration::from_secs(10), Duration::from_secs(30))
    );
    let serial = first(&format!("{DUST}device = \"post-17\"\nevery = \"1min\"\nwarm_up = \"0s\"\n"));
    let Spoken::Dust(dust) = serial.spoken else { panic!("no dust sensor") };
    assert_eq!((dust.device.as_str(), dust.every, dust.warm_up), ("post-17", Duration::from_secs(60), Duration::ZERO));
}

#[test]
fn each_mistake_of_a_dust_sensor_is_shown_where_it_stands() {
    let cases = [
        (format!("{DUST}every = \"1s\"\n"), ":5:9: means over too short", "3s"),
        (format!("{DUST}warm_up = \"1h\"\n"), ":5:11: warms up for too long", "10min"),
        (format!("{DUST}parity = \"even\"\n"), ":5:10: `parity` of a pms5003 can't be chosen", "no parity"),
        (format!("{DUST}device = \"a/b\"\n"), ":5:10: can't be part of an address", "without '/'"),
        (format!("{DUST}format = \"json\"\n"), ":5:10: `format` means nothing to the protocol pms5003", "lines"),
        (
            DUST.replace("pms5003", "link") + "every = \"10s\"\n",
            ":5:9: `every` means nothing to the protocol link",
            "pms5003",
        ),
    ];
    for (text, place, remedy) in cases {
        let shown = problem(&text);
        assert!(shown.contains(&format!("x.toml{place}")) && shown.contains(remedy), "{text}\n{shown}");
    }
}

#[test]
fn each_mistake_of_modbus_is_shown_where_it_stands() {
    let with = |more: &str| format!("{MODBUS}{SLAVE}{REGISTER}{more}");
    let cases = [
        (MODBUS.to_owned(), ":2:8: a bus without slaves", "[[serial.slave]]"),
        (format!("{MODBUS}{SLAVE}"), ":6:6: a slave of which nothing is read", "sdm630"),
        (format!("{MODBUS}{SLAVE}").replace("id = 1", "id = 248"), ":6:6: ", "from 1 to 247"),
        (format!("{MODBUS}{SLAVE}profile = \"sdm72\"\n"), ":8:11: unknown value `sdm72`", "`sdm120`"),
        (
            format!("{MODBUS}{SLAVE}profile = \"sdm120\"\nmeasures = [\"voltage_l2\"]\n"),
            ":9:13: the profile has no measure",
            "`voltage`",
        ),
        (
            format!("{MODBUS}{SLAVE}profile = \"sdm120\"\n{REGISTER}type = \"u16\"\n"),
            ":10:8: the profile has a value named \"power\"",
            "another name",
        ),
        (with(""), ":9:8: the register \"power\" has no type", "f32"),
        (with("type = \"u8\"\n"), ":11:8: unknown value `u8`", "`u16`"),
        (with("kind = \"coil\"\ntype = \"u16\"\n"), ":12:8: a bit has no type", "true or false"),
        (with("type = \"f64\"\n").replace("0x10", "65533"), ":10:12: the value would end behind", "lower"),
        (with("type = \"u16\"\n").replace("0x10", "65536"), ":10:12: ", "from 0 to 65535"),
        (
            with("type = \"u16\"\n[[serial.slave.register]]\nname = \"power\"\nregister = 3\ntype = \"u16\"\n"),
            ":13:8: a second value named",
            "its own name",
        ),
        (
            format!("{}{SLAVE}profile = \"sdm120\"\n", with("type = \"u16\"\n")),
            ":13:6: a second slave with the address 1",
            "different",
        ),
        (format!("{MODBUS}{SLAVE}every = \"1ms\"\nprofile = \"sdm120\"\n"), ":8:9: polled too often", "100ms"),
        (
            format!("{MODBUS}timeout = \"1min\"\n{SLAVE}profile = \"sdm120\"\n"),
            ":5:11: waits too short or too long",
            "10s",
        ),
        (
            with("type = \"u16\"\n").replace("modbus", "lines"),
            ":5:1: `slave` means nothing to the protocol lines",
            "modbus",
        ),
    ];
    for (text, place, remedy) in cases {
        let shown = problem(&text);
        assert!(shown.contains(&format!("x.toml{place}")), "{text}\n{shown}");
        assert!(shown.contains(remedy), "{text}\n{shown}");
    }
}
