use super::*;

fn encoder(form: Form, id: i64) -> Encoder {
    Encoder::new(SchemaId::new(id).unwrap(), form, &"https://registry.city:8081/".parse().unwrap())
}

fn avro() -> Form {
    Form::Avro(Box::new(avro::Avro::read(&serde_json::json!(["null", "int"])).unwrap()))
}

#[test]
fn a_payload_begins_with_zero_and_the_schemas_id_of_four_bytes() {
    let mut out = b"what was there before".to_vec();
    encoder(Form::JsonSchema, 0x0102_0304).encode(b"{\"a\": 1 }", 1000, &mut out).unwrap();
    assert_eq!(out, b"\x00\x01\x02\x03\x04{\"a\": 1 }", "as received, spaces and all");
    encoder(avro(), 7).encode(b"-1", 1000, &mut out).unwrap();
    assert_eq!(out, [0, 0, 0, 0, 7, 0x02, 0x01]);
    encoder(avro(), i64::from(i32::MAX)).encode(b"null", 1000, &mut out).unwrap();
    assert_eq!(out, [0, 0x7f, 0xff, 0xff, 0xff, 0x00]);
}

#[test]
fn what_is_empty_stays_empty_and_what_is_no_json_does_not_fit() {
    for form in [Form::JsonSchema, avro()] {
        let (encoder, mut out) = (encoder(form, 7), vec![1]);
        encoder.encode(b"", 1000, &mut out).unwrap();
        assert!(out.is_empty());
        let why = encoder.encode(b"12,5", 1000, &mut out).unwrap_err();
        assert!(why.starts_with("it does not fit the schema: it is not JSON: "), "{why}");
    }
}

#[test]
fn cloudevents_is_told_the_media_type_and_where_the_schema_is() {
    assert_eq!(encoder(avro(), 7).content_type(), Some("application/avro"));
    assert_eq!(encoder(Form::JsonSchema, 7).content_type(), None);
    assert_eq!(encoder(avro(), 7).uri(), "https://registry.city:8081/schemas/ids/7");
}

#[test]
fn the_audit_trail_and_dead_letters_are_never_encoded() {
    let settings = RegistrySettings { url: "http://127.0.0.1:1".parse().unwrap(), ca: None, login: None };
    let rule = SchemaRule {
        topics: Interest::new(["*"]).unwrap(),
        format: SchemaFormat::Avro,
        file: "/nowhere/air.avsc".into(),
        subject: SubjectTemplate::default(),
        register: true,
    };
    let topic = |name: &str| Topic::new(name).unwrap();
    let schemas = Schemas::new(settings, vec![rule], vec![topic("dead-letters")]);
    for name in [AUDIT_TRAIL, "dead-letters"] {
        assert!(schemas.encoder(&topic(name), &topic(name)).unwrap().is_none(), "{name}");
    }
    let not_yet = schemas.encoder(&topic("air"), &topic("air")).unwrap_err();
    assert!(not_yet.to_string().starts_with("its schema /nowhere/air.avsc: can't be read: "), "{not_yet}");
}

#[test]
fn a_registry_that_was_not_reached_is_not_asked_for_the_next_topic_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            drop(stream);
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.avsc");
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    std::fs::write(&file, "\"double\"").unwrap();
    let rule = SchemaRule {
        topics: Interest::new(["*"]).unwrap(),
        format: SchemaFormat::Avro,
        file,
        subject: SubjectTemplate::default(),
        register: true,
    };
    let schemas = Schemas::new(RegistrySettings { url, ca: None, login: None }, vec![rule], Vec::new());
    let topic = |name: &str| Topic::new(name).unwrap();
    let said = |name: &str| schemas.encoder(&topic(name), &topic(name)).unwrap_err().to_string();
    let (first, asked_first) = (said("air"), asked.load(std::sync::atomic::Ordering::Relaxed));
    assert!(first.contains("is not reached") && asked_first > 0, "{first}");
    assert_eq!((said("noise"), asked.load(std::sync::atomic::Ordering::Relaxed)), (first, asked_first));
    // Twice as long as the answer took, at least two seconds; and the machine may have other work.
    let asked_again = (0..30).any(|_| {
        std::thread::sleep(HOLD);
        said("noise");
        asked.load(std::sync::atomic::Ordering::Relaxed) > asked_first
    });
    assert!(asked_again, "and asked again when that is over");
}

#[test]
fn a_registry_that_lets_us_wait_leaves_twice_as_long_for_other_questions() {
    assert_eq!(hold(Duration::ZERO), HOLD);
    assert_eq!(hold(Duration::from_secs(5)), Duration::from_secs(10));
}
