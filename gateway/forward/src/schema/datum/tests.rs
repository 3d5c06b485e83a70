use proptest::prelude::*;

use super::*;

const AIR: &str = r#"{"type": "record", "name": "Air", "fields": [
    {"name": "device", "type": "string"},
    {"name": "pm10", "type": ["null", "double"], "default": null},
    {"name": "count", "type": "int"},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OK", "HEATING"]}, "default": "OK"},
    {"name": "raw", "type": {"type": "array", "items": "long"}, "default": []}]}"#;

fn avro(schema: &str) -> Avro {
    Avro::read(&serde_json::from_str(schema).unwrap()).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn encoded(schema: &str, json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&avro(schema), json.as_bytes(), 1 << 20, &mut out).unwrap_or_else(|misfit| panic!("{json}: {misfit}"));
    out
}

fn misfit(schema: &str, json: &str) -> String {
    let mut out = Vec::new();
    match encode(&avro(schema), json.as_bytes(), 1 << 20, &mut out) {
        Ok(()) => panic!("{json} was taken as {out:02x?}"),
        Err(misfit) => misfit.to_string(),
    }
}

#[test]
fn the_specifications_own_examples_are_these_bytes() {
    // "Binary Encoding" of the Avro specification: the table of zigzag longs, "foo", [3, 27], and the union of null and string.
    for (json, bytes) in [
        ("0", &[0x00][..]),
        ("-1", &[0x01]),
        ("1", &[0x02]),
        ("-2", &[0x03]),
        ("2", &[0x04]),
        ("-64", &[0x7f]),
        ("64", &[0x80, 0x01]),
    ] {
        assert_eq!(encoded("\"long\"", json), bytes, "{json}");
        assert_eq!(encoded("\"int\"", json), bytes, "{json}");
    }
    assert_eq!(encoded("\"string\"", "\"foo\""), [0x06, 0x66, 0x6f, 0x6f]);
    assert_eq!(encoded(r#"{"type": "array", "items": "long"}"#, "[3, 27]"), [0x04, 0x06, 0x36, 0x00]);
    let union = r#"["null", "string"]"#;
    assert_eq!((encoded(union, "null"), encoded(union, "\"a\"")), (vec![0x00], vec![0x02, 0x02, 0x61]));
    let record = r#"{"type": "record", "name": "test", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}]}"#;
    assert_eq!(encoded(record, r#"{"b": "foo", "a": 27}"#), [0x36, 0x06, 0x66, 0x6f, 0x6f]);
}

#[test]
fn each_type_has_its_bytes() {
    let longest = i64::MAX.to_string();
    let most = [&[0xfe][..], &[0xff; 8], &[0x01]].concat();
    for (schema, json, bytes) in [
        ("\"null\"", "null", &[][..]),
        ("\"boolean\"", " true ", &[1]),
        ("\"boolean\"", "false", &[0]),
        ("\"long\"", &longest, &most),
        ("\"float\"", "1.5", &[0x00, 0x00, 0xc0, 0x3f]),
        ("\"double\"", "-2", &[0, 0, 0, 0, 0, 0, 0x00, 0xc0]),
        ("\"string\"", "\"\\u00e4\\n\"", &[0x06, 0xc3, 0xa4, 0x0a]),
        ("\"bytes\"", "\"\\u00ff\\u0000\"", &[0x04, 0xff, 0x00]),
        (r#"{"type": "fixed", "name": "F", "size": 2}"#, "\"ab\"", &[0x61, 0x62]),
        (r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#, "\"B\"", &[0x02]),
        (r#"{"type": "map", "values": "int"}"#, r#"{"a": 1}"#, &[0x02, 0x02, 0x61, 0x02, 0x00]),
        (r#"{"type": "map", "values": "int"}"#, "{}", &[0x00]),
        (r#"{"type": "array", "items": "int"}"#, "[]", &[0x00]),
        (r#"{"type": "long", "logicalType": "timestamp-millis"}"#, "1", &[0x02]),
    ] {
        assert_eq!(encoded(schema, json), bytes, "{schema} {json}");
    }
}

#[test]
fn fields_go_in_the_schemas_order_and_what_is_missing_has_its_default() {
    let whole = [&[0x04, b'd', b'1'][..], &[0x02, 0, 0, 0, 0, 0, 0, 0x29, 0x40], &[0x54, 0x02, 0x04, 0x02, 0x04, 0x00]]
        .concat();
    let json = r#"{"raw": [1, 2], "state": "HEATING", "count": 42.0, "pm10": 12.5, "device": "d1"}"#;
    assert_eq!(encoded(AIR, json), whole);
    assert_eq!(encoded(AIR, r#"{"device": "d1", "count": 42}"#), [0x04, b'd', b'1', 0x00, 0x54, 0x00, 0x00]);
}

#[test]
fn a_default_is_the_number_that_the_schema_has_and_none_beside_it() {
    for default in ["1.602176634e-19", "3e-30", "94.52706955539223", "0.1"] {
        let schema = format!(
            r#"{{"type": "record", "name": "R", "fields": [{{"name": "x", "type": "double", "default": {default}}}]}}"#
        );
        let expected: f64 = default.parse().unwrap();
        assert_eq!(encoded(&schema, "{}"), expected.to_le_bytes(), "{default}");
        assert_eq!(encoded(&schema, &format!(r#"{{"x": {default}}}"#)), expected.to_le_bytes(), "{default}");
    }
}

#[test]
fn a_union_takes_the_first_branch_that_fits() {
    let numbers = r#"["int", "long", "double", "string"]"#;
    assert_eq!(encoded(numbers, "1")[0], 0x00);
    assert_eq!(encoded(numbers, "4294967296")[0], 0x02);
    assert_eq!(encoded(numbers, "0.5")[0], 0x04);
    assert_eq!(encoded(numbers, "\"x\"")[0], 0x06);
    assert_eq!(misfit(numbers, "true"), "true is none of int, long, double, string");
    let records = r#"[{"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]},
                      {"type": "record", "name": "B", "fields": [{"name": "b", "type": "int"}]}]"#;
    assert_eq!(encoded(records, r#"{"b": 5}"#), [0x02, 0x0a], "nothing is left of what was tried before");
}

#[test]
fn what_does_not_fit_is_told_with_its_place_and_nothing_is_rounded_or_left_out() {
    let air = |fields: &str| misfit(AIR, &format!("{{\"device\": \"d1\", {fields}}}"));
    for (fields, wanted) in [
        ("\"count\": 2147483648", "count: 2147483648 does not fit into int"),
        ("\"count\": 1.5", "count: 1.5 does not fit into int"),
        ("\"count\": \"1\"", "count: \"1\" is no int"),
        ("\"count\": null", "count: null is no int"),
        (
            "\"count\": 1, \"pm10\": 9007199254740993",
            "pm10: 9007199254740993 does not fit into double without being rounded",
        ),
        ("\"count\": 1, \"pm10\": \"12\"", "pm10: \"12\" is none of null, double"),
        ("\"count\": 1, \"state\": \"BROKEN\"", "state: \"BROKEN\" is no symbol of State"),
        ("\"count\": 1, \"raw\": [1, 2, {}]", "raw.2: {} is no long"),
        ("\"count\": 1, \"pm2_5\": 3", "Air has no field \"pm2_5\""),
        ("\"count\": 1, \"count\": 1", "the field \"count\" twice"),
        ("\"pm10\": 1", "the field \"count\" of Air is missing"),
    ] {
        assert_eq!(air(fields), wanted);
    }
    assert_eq!(misfit(r#"{"type": "map", "values": "int"}"#, r#"{"a": 1, "a": 2}"#), "\"a\" twice");
    assert_eq!(misfit(r#"{"type": "fixed", "name": "F", "size": 2}"#, "\"abc\""), "3 bytes, where F has 2");
    assert!(misfit("\"bytes\"", "\"\\u0100\"").contains("up to U+00FF"));
    assert!(misfit("\"string\"", "\"\\ud800\"").contains("hex escape"));
    assert!(misfit("\"float\"", "16777217").contains("without being rounded"));
    let long = format!("\"{}\"", "x".repeat(10_000));
    assert!(misfit("\"int\"", &long).len() < 100, "a human is not shown all of it");
    let map = r#"{"type": "map", "values": "int"}"#;
    assert_eq!(
        misfit(map, r#"{"a\u001b[2J\nb": "x"}"#),
        "a [2J b: \"x\" is no int",
        "and it is one line, without commands"
    );
    assert_eq!(misfit("\"int\"", "{\n\t\"a\":\r1}"), "{  \"a\": 1} is no int");
}

#[test]
fn what_is_no_json_does_not_fit() {
    for payload in ["", "{", "{} {}", "12,5", "nul", "{\"device\": }"] {
        let mut out = Vec::new();
        let misfit = encode(&avro(AIR), payload.as_bytes(), 1 << 20, &mut out).unwrap_err().to_string();
        assert!(misfit.starts_with("it is not JSON: "), "{payload}: {misfit}");
    }
    assert!(raw(b"\"\xff\"").is_err(), "and neither is what is not UTF-8");
}

#[test]
fn depth_size_and_work_are_bounded() {
    let tree = r#"{"type": "record", "name": "T", "fields": [{"name": "t", "type": ["null", "T"]}]}"#;
    let nested = |depth: usize| format!("{}null{}", "{\"t\":".repeat(depth), "}".repeat(depth));
    assert_eq!(encoded(tree, &nested(30)).len(), 30);
    assert_eq!(misfit(tree, &nested(100)).split(": ").last(), Some("nested more than 64 deep"));

    let mut out = Vec::new();
    let doubles = format!("[{}]", vec!["1"; 1000].join(","));
    let array = avro(r#"{"type": "array", "items": "double"}"#);
    let misfit_ = encode(&array, doubles.as_bytes(), 2000, &mut out).unwrap_err().to_string();
    assert!(misfit_.contains("larger than the cluster takes (2000 bytes)") && out.len() < 2020, "{misfit_}");

    // Each level has two branches, the first of which fails at the very bottom.
    let mut schema = "\"int\"".to_owned();
    for level in 0..24 {
        let record = |name: &str| {
            format!(r#"{{"type": "record", "name": "{name}{level}", "fields": [{{"name": "x", "type": SCHEMA}}]}}"#)
        };
        let first = record("A").replace("SCHEMA", &schema);
        let name = format!("A{}", level - i32::from(level > 0));
        let again = if level == 0 { "\"int\"".to_owned() } else { format!("[\"{name}\", \"B{}\"]", level - 1) };
        schema = format!("[{first}, {}]", record("B").replace("SCHEMA", &again));
    }
    let deep = format!("{}\"no\"{}", "{\"x\":".repeat(24), "}".repeat(24));
    assert!(misfit(&schema, &deep).contains("more than 1000000 values"));
    // Each of the million would be read whole.
    let wide = format!("{}\"{}\"{}", "{\"x\":".repeat(24), "n".repeat(1 << 18), "}".repeat(24));
    assert!(misfit(&schema, &wide).contains("too many branches"));
}

/// Reads what was written, by the specification and no code of ours.
fn read_long(bytes: &mut &[u8]) -> i64 {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
        }
    }
}

proptest! {
    #[test]
    fn numbers_and_texts_come_back(number in any::<i64>(), double in any::<f64>(), text in ".{0,50}") {
        prop_assume!(double.is_finite());
        let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}, {"name": "d", "type": "double"}, {"name": "t", "type": "string"}]}"#;
        let json = serde_json::json!({ "t": text, "d": double, "n": number }).to_string();
        let bytes = encoded(schema, &json);
        let mut rest = &bytes[..];
        prop_assert_eq!(read_long(&mut rest), number);
        let (eight, mut rest) = rest.split_at(8);
        prop_assert_eq!(f64::from_le_bytes(eight.try_into().unwrap()), double);
        prop_assert_eq!(read_long(&mut rest), i64::try_from(text.len()).unwrap());
        prop_assert_eq!(rest, text.as_bytes());
    }

    #[test]
    fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..200), json in "[\\[\\]{}\",:0-9a-z.\\\\-]{0,60}") {
        for payload in [payload, json.into_bytes()] {
            drop(encode(&avro(AIR), &payload, 1000, &mut Vec::new()));
        }
    }
}
