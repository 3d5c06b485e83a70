use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

/// What a registry was asked: the first line, the headers, and the body.
struct Asked {
    head: String,
    body: String,
}

/// Answers one connection with what `answer` writes, and hands out what was asked.
fn registry(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (RegistrySettings, thread::JoinHandle<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/apis/ccompat/v7/", listener.local_addr().unwrap()).parse().unwrap();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = read(&mut stream);
        answer(&mut stream);
        asked
    });
    (RegistrySettings { url, ca: None, login: None }, asked)
}

fn read(stream: &mut TcpStream) -> Asked {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        bytes.extend(byte);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    Asked { head, body: String::from_utf8(body).unwrap() }
}

fn answer(status: &str, body: &str) -> impl FnOnce(&mut TcpStream) + Send + use<> {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    move |stream| stream.write_all(answer.as_bytes()).unwrap()
}

const ASK: Ask<'_> = Ask { subject: "city/air-value", text: "\"double\"", format: SchemaFormat::Avro, register: true };
const LOOKUP: Ask<'_> = Ask { register: false, format: SchemaFormat::JsonSchema, ..ASK };

fn refused(status: &str, body: &str, ask_: &Ask<'_>) -> RegistryError {
    let (settings, asked) = registry(answer(status, body));
    let error = ask(&settings, ask_).unwrap_err();
    asked.join().unwrap();
    error
}

#[test]
fn registering_and_looking_up_are_these_two_questions() {
    let (settings, asked) = registry(answer("200 OK", "{\"id\": 7}"));
    assert_eq!(ask(&settings, &ASK).unwrap().get(), 7);
    let asked = asked.join().unwrap();
    let first = "POST /apis/ccompat/v7/subjects/city%2Fair-value/versions?normalize=true HTTP/1.1\r\n";
    assert!(asked.head.starts_with(first), "{}", asked.head);
    assert!(!asked.head.to_ascii_lowercase().contains("authorization"), "{}", asked.head);
    assert_eq!(asked.body, r#"{"schema":"\"double\""}"#);

    let found = "{\"subject\": \"x\", \"version\": 3, \"id\": 2147483647, \"schema\": \"…\", \"new\": [1]}";
    let (settings, asked) = registry(answer("200 OK", found));
    assert_eq!(ask(&settings, &LOOKUP).unwrap().get(), 2_147_483_647);
    let asked = asked.join().unwrap();
    assert!(asked.head.starts_with("POST /apis/ccompat/v7/subjects/city%2Fair-value?normalize=true HTTP/1.1\r\n"));
    assert_eq!(asked.body, r#"{"schema":"\"double\"","schemaType":"JSON"}"#);
}

#[test]
fn each_refusal_is_told_apart_with_the_registrys_own_words_on_one_line() {
    let words = "{\"error_code\": 1, \"message\": \"not\\n so\\u0007 \"}";
    let (subject, why) = ("city/air-value".to_owned(), "not so".to_owned());
    assert_eq!(
        refused("409 Conflict", words, &ASK),
        RegistryError::Incompatible { subject: subject.clone(), why: why.clone() }
    );
    assert_eq!(refused("422 Unprocessable", words, &ASK), RegistryError::Refused { status: 422, why: why.clone() });
    assert_eq!(refused("401 Unauthorized", words, &ASK), RegistryError::Denied { status: 401, why: why.clone() });
    assert_eq!(refused("403 Forbidden", words, &ASK), RegistryError::Denied { status: 403, why: why.clone() });
    assert_eq!(refused("500 Oh", words, &ASK), RegistryError::Unavailable { status: 500, why: why.clone() });
    assert_eq!(refused("404 Not Found", words, &LOOKUP), RegistryError::Unknown { subject, why: why.clone() });
    assert_eq!(refused("404 Not Found", words, &ASK), RegistryError::Refused { status: 404, why });
    let of_all = ["401 No", "403 No", "404 No", "409 No", "422 No", "429 No", "500 No"]
        .map(|status| refused(status, words, &ASK).is_unreached());
    assert_eq!(of_all, [true, false, false, false, false, true, true], "which of them hold the other topics up");
    let elsewhere = refused("302 Found\r\nLocation: http://127.0.0.1:1/", "", &ASK);
    assert_eq!(elsewhere, RegistryError::Refused { status: 302, why: "it does not say why".to_owned() });
}

#[test]
fn an_answer_without_a_right_id_is_no_answer() {
    for body in ["{}", "", "{\"id\": 0}", "{\"id\": -1}", "{\"id\": 2147483648}", "{\"id\": \"7\"}", "<html>", "[7]"] {
        let error = refused("200 OK", body, &ASK);
        assert!(
            matches!(&error, RegistryError::Refused { status: 200, why } if why.contains("no id")),
            "{body}: {error}"
        );
    }
}

#[test]
fn a_truncated_answer_and_a_giant_one_are_a_registry_out_of_reach() {
    let (settings, asked) =
        registry(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"id").unwrap());
    let error = ask(&settings, &ASK).unwrap_err();
    asked.join().unwrap();
    assert!(error.is_unreached() && error.to_string().contains("is not reached"), "{error}");

    let (settings, asked) = registry(|stream| {
        let mut whole = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Without an end, were it read on.
        while whole.is_ok() {
            whole = stream.write_all(format!("10000\r\n{}\r\n", " ".repeat(0x10000)).as_bytes());
        }
    });
    let error = ask(&settings, &ASK).unwrap_err();
    assert!(error.to_string().ends_with("its answer has more than 1024 KiB"), "{error}");
    asked.join().unwrap();

    let endless = registry(|stream| {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while sent.is_ok() {
            sent = stream.write_all(format!("X-More: {}\r\n", "x".repeat(1000)).as_bytes());
        }
    });
    assert!(ask(&endless.0, &ASK).unwrap_err().is_unreached());
    endless.1.join().unwrap();
}

#[test]
fn a_registry_that_says_nothing_is_given_up_in_time() {
    let (settings, asked) = registry(|stream| drop(stream.read(&mut [0])));
    let error = ask(&settings, &ASK).unwrap_err();
    assert!(error.to_string().ends_with("no answer within 5 s"), "{error}");
    asked.join().unwrap();
}

#[test]
fn nobody_there_is_said_in_the_same_words_each_time() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let settings = RegistrySettings { url, ca: None, login: None };
    let errors = [ask(&settings, &ASK).unwrap_err(), ask(&settings, &ASK).unwrap_err()];
    assert_eq!(errors[0], errors[1]);
    assert!(errors[0].to_string().contains("refused"), "{}", errors[0]);
}

#[test]
fn the_password_goes_to_the_registry_and_into_no_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    std::fs::write(&file, "s3cr3t-word\n").unwrap();
    let login = RegistryLogin { user: "post-17".to_owned(), password: file.clone() };
    // post-17:s3cr3t-word
    let coded = "cG9zdC0xNzpzM2NyM3Qtd29yZA==";
    let (settings, asked) =
        registry(answer("401 No", &format!("you said s3cr3t-word, {coded}: {}", "no ".repeat(500))));
    let settings = RegistrySettings { login: Some(login), ..settings };
    let error = ask(&settings, &ASK).unwrap_err();
    assert!(
        asked
            .join()
            .unwrap()
            .head
            .to_ascii_lowercase()
            .contains(&format!("authorization: basic {}\r\n", coded.to_ascii_lowercase()))
    );
    let said = format!("{error} {error:?}");
    assert!(said.contains("you said (hidden), (hidden): no no") && !said.contains("s3cr3t"), "{said}");
    assert!(error.to_string().chars().count() < 400, "{error}");

    std::fs::remove_file(&file).unwrap();
    let error = ask(&settings, &ASK).unwrap_err().to_string();
    assert!(error.contains("password: can't be read: "), "{error}");
}

#[test]
fn tls_trusts_the_roots_that_are_named_and_no_others() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    std::fs::write(&ca, key.cert.pem()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let server = Arc::new(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = thread::spawn(move || {
        for stream in listener.incoming().take(3).map(Result::unwrap) {
            let connection = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"}") && stream.read_exact(&mut byte).is_ok() {
                head.extend(byte);
            }
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"id\": 3}"));
        }
    });
    let url: RegistryUrl = format!("https://localhost:{port}").parse().unwrap();
    let trusting = RegistrySettings { url: url.clone(), ca: Some(ca.clone()), login: None };
    assert_eq!(ask(&trusting, &ASK).unwrap().get(), 3);
    let elsewhere = format!("https://127.0.0.1:{port}").parse().unwrap();
    let error = ask(&RegistrySettings { url: elsewhere, ..trusting.clone() }, &ASK).unwrap_err();
    assert!(error.is_unreached() && error.to_string().contains("certificate"), "another name: {error}");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    std::fs::write(&ca, other.cert.pem()).unwrap();
    let error = ask(&trusting, &ASK).unwrap_err();
    assert!(error.is_unreached() && error.to_string().contains("certificate"), "{error}");
    answering.join().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    std::fs::write(&ca, "nothing").unwrap();
    assert!(ask(&trusting, &ASK).unwrap_err().to_string().contains("has no certificate in it"));
}

#[test]
fn a_look_says_whether_a_registry_is_there_and_lets_us_in() {
    let (settings, asked) = registry(answer("200 OK", "[\"AVRO\"]"));
    assert_eq!(look_at_registry(&settings), Ok(()));
    assert!(asked.join().unwrap().head.starts_with("GET /apis/ccompat/v7/schemas/types HTTP/1.1\r\n"));
    let (settings, asked) = registry(answer("403 No", "{\"message\": \"no rights\"}"));
    assert_eq!(look_at_registry(&settings), Err(RegistryError::Denied { status: 403, why: "no rights".to_owned() }));
    asked.join().unwrap();
}

#[test]
fn an_address_has_no_secret_and_nothing_behind_its_path() {
    let url = |text: &str| text.parse::<RegistryUrl>().map(|url| url.to_string());
    assert_eq!(url("https://registry.city:8081/"), Ok("https://registry.city:8081".to_owned()));
    assert_eq!(url("http://[::1]:8080/apis/ccompat/v7"), Ok("http://[::1]:8080/apis/ccompat/v7".to_owned()));
    for secret in ["s3cr3t", "s3#r3t", "s3?r3t", "s3/r3t", "s3 r3t", "s3%r3t", "s3\\r3t"] {
        for scheme in ["https://", "HTTP://", "ftp://", ""] {
            let text = format!("{scheme}post:{secret}@registry.city:8081");
            assert_eq!(url(&text), Err(RegistryUrlError::Login), "{text}: its line would be shown");
        }
    }
    let is_tls = |text: &str| text.parse::<RegistryUrl>().unwrap().is_tls();
    assert!(is_tls("HTTPS://registry.city") && is_tls("https://r") && !is_tls("http://registry.city"));
    assert_eq!(url("https://registry.city/?a=b"), Err(RegistryUrlError::Query));
    for text in ["", "registry.city:8081", "ftp://registry.city", "/subjects", "https://", "https://a b"] {
        assert_eq!(url(text), Err(RegistryUrlError::Form), "{text}");
    }
}
