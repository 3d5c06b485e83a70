use super::*;
use proptest::prelude::*;

fn field(from: &str) -> Field {
    let from = from.parse().map_or_else(|_| FieldFrom::Pointer(from.parse().unwrap()), FieldFrom::Column);
    Field { name: "v".to_owned(), from, unit: None, scale: None, kind: FieldKind::Number, optional: false }
}

fn json(line: &str, field: &Field) -> Result<Option<String>, LineError> {
    Parsed::new(&LineFormat::Json, line.as_bytes())?.value(field)
}

fn columns(separator: &str, line: &str, field: &Field) -> Result<Option<String>, LineError> {
    Parsed::new(&LineFormat::Delimited { separator: separator.to_owned() }, line.as_bytes())?.value(field)
}

#[test]
fn a_json_number_is_kept_as_written() {
    let line = r#"{"a":12.30,"b":{"c":[1,{"d/e":0.1000000000000000055511151231257827}]},"q":"+7.0"}"#;
    assert_eq!(json(line, &field("/a")), Ok(Some("12.30".to_owned())));
    let deep = json(line, &field("/b/c/1/d~1e"));
    assert_eq!(deep, Ok(Some("0.1000000000000000055511151231257827".to_owned())));
    assert_eq!(json(line, &field("/q")), Ok(Some("7.0".to_owned())));
    assert_eq!(json("[5,6]", &field("/1")), Ok(Some("6".to_owned())));
}

#[test]
fn columns_are_counted_from_one_and_a_space_stands_for_any_run_of_blanks() {
    assert_eq!(columns(";", "a; 2.50 ;c", &field("2")), Ok(Some("2.50".to_owned())));
    assert_eq!(columns(" ", "  1   2\t3", &field("3")), Ok(Some("3".to_owned())));
    let text = Field { kind: FieldKind::Text, ..field("3") };
    assert_eq!(columns(";", "a;b;c \"x\"", &text), Ok(Some(r#""c \"x\"""#.to_owned())));
}

#[test]
fn a_scale_is_applied_exactly() {
    let scaled = Field { scale: Some("0.1".parse().unwrap()), ..field("/pm") };
    assert_eq!(json(r#"{"pm":123}"#, &scaled), Ok(Some("12.3".to_owned())));
}

#[test]
fn a_missing_value_is_named_with_its_place_unless_it_may_be_missing() {
    let error = json(r#"{"a":1}"#, &field("/b")).unwrap_err();
    assert_eq!(error.to_string(), "field \"v\": nothing at /b");
    assert_eq!(columns(",", "1,,3", &field("2")).unwrap_err().to_string(), "field \"v\": nothing at column 2");
    assert_eq!(columns(",", "1", &Field { optional: true, ..field("2") }), Ok(None));
    assert!(matches!(json(r#"{"b":null}"#, &field("/b")), Err(LineError::Missing { .. })));
}

#[test]
fn what_can_not_be_decoded_says_why() {
    for (line, reason) in [
        ("{\"v\":1", "not JSON: "),
        ("{\"v\":[1]}", "neither a number nor a text: [1]"),
        ("{\"v\":true}", "\"true\" is not a number"),
    ] {
        let error = json(line, &field("/v")).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(columns(",", "12x", &field("1")).unwrap_err().to_string(), "field \"v\": \"12x\" is not a number");
    let bytes = Parsed::new(&LineFormat::Json, b"ab\xff").err();
    assert_eq!(bytes, Some(LineError::Utf8(3)));
}

#[test]
fn a_device_may_be_named_by_a_text_or_a_number() {
    let line = br#"{"id":"lamp-\u0037","n":17}"#;
    let parsed = Parsed::new(&LineFormat::Json, line).unwrap();
    assert_eq!(parsed.text(&field("/id").from).as_deref(), Some("lamp-7"));
    assert_eq!(parsed.text(&field("/n").from).as_deref(), Some("17"));
}

proptest! {
    #[test]
    fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..80), written in "[\\[\\]{}\":,0-9a-z.]{0,60}") {
        for line in [&line[..], written.as_bytes()] {
            for format in [LineFormat::Json, LineFormat::Delimited { separator: ",".to_owned() }] {
                if let Ok(parsed) = Parsed::new(&format, line) {
                    for from in ["/a", "/0/b", "1", "7"] {
                        drop(parsed.value(&field(from)));
                        drop(parsed.text(&field(from).from));
                    }
                }
            }
        }
    }
}
