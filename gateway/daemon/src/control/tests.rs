//! The socket as a program sees it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::place::Address;
use super::words::Why;
use super::*;
use crate::clock::MachineClock;

fn start(path: &Path) -> std::io::Result<Control> {
    Control::start(path, Nodes { links: Vec::new(), clock: Arc::new(MachineClock::new()) })
}

fn socket() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    (folder, path)
}

struct Caller(BufReader<UnixStream>);

impl Caller {
    async fn at(path: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(path).await.unwrap()))
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next line; empty once it was hung up.
    async fn hear(&mut self) -> String {
        let mut line = String::new();
        timeout(Duration::from_secs(10), self.0.read_line(&mut line)).await.unwrap().unwrap();
        line
    }

    async fn ask(&mut self, question: &str) -> Answer {
        self.say(format!("{question}\n").as_bytes()).await;
        serde_json::from_str(&self.hear().await).unwrap()
    }
}

fn why(answer: &Answer) -> Why {
    let Answer::Failed { why, .. } = answer else { panic!("{answer:?}") };
    *why
}

#[tokio::test]
async fn a_question_is_answered_and_what_is_none_is_told_and_costs_no_other() {
    let (_folder, path) = socket();
    let _control = start(&path).unwrap();
    let mut caller = Caller::at(&path).await;
    for wrong in [
        "",
        "ls",
        "{\"ask\":\"update\"}",
        "{\"ask\":\"reset\"}",
        "{\"ask\":\"reset\",\"device\":\"a\",\"now\":1}",
        "\u{7f}",
    ] {
        assert_eq!(why(&caller.ask(wrong).await), Why::BadRequest, "{wrong}");
    }
    let interval = "{\"ask\":\"set_interval\",\"device\":\"a\",\"interval_ms\":-1}";
    assert_eq!(why(&caller.ask(interval).await), Why::BadRequest);
    assert_eq!(caller.ask("{\"ask\":\"nodes\"}").await, Answer::Nodes { ports: Vec::new() });
    for command in [
        Question::Reset { device: "node-7".to_owned() },
        Question::Identify { device: "node-7".to_owned(), for_ms: 1 },
        Question::SetInterval { device: "node-7".to_owned(), measure: None, interval_ms: 1 },
    ] {
        let answer = ask(&path, &command).await.unwrap();
        assert_eq!(why(&answer), Why::NotConnected, "{command:?}");
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_not_kept() {
    let (_folder, path) = socket();
    let _control = start(&path).unwrap();
    let mut caller = Caller::at(&path).await;
    caller.say(&vec![b' '; usize::try_from(QUESTION_BYTES_MAX).unwrap()]).await;
    let told: Answer = serde_json::from_str(&caller.hear().await).unwrap();
    assert_eq!(why(&told), Why::BadRequest);
    assert_eq!(caller.hear().await, "", "it is hung up: what follows is the rest");
}

#[tokio::test]
async fn a_ninth_connection_is_turned_away_until_one_of_eight_has_gone() {
    let (_folder, path) = socket();
    let _control = start(&path).unwrap();
    let mut callers = Vec::new();
    for _ in 0..8 {
        let mut caller = Caller::at(&path).await;
        assert_eq!(caller.ask("{\"ask\":\"nodes\"}").await, Answer::Nodes { ports: Vec::new() });
        callers.push(caller);
    }
    assert_eq!(why(&ask(&path, &Question::Nodes).await.unwrap()), Why::TooMany);
    callers.pop();
    let served = async {
        while ask(&path, &Question::Nodes).await.unwrap() != (Answer::Nodes { ports: Vec::new() }) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), served).await.unwrap();
}

#[tokio::test]
async fn the_socket_is_for_user_and_group_takes_a_killed_ones_place_and_goes_with_the_gateway() {
    let (_folder, path) = socket();
    // What a killed gateway leaves: nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let control = start(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(start(&path).err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(ask(&path, &Question::Nodes).await.unwrap(), Answer::Nodes { ports: Vec::new() }, "it listens still");
    drop(control);
    assert!(!path.exists());
    let told = ask(&path, &Question::Nodes).await.unwrap_err().to_string();
    assert!(told.contains("no gateway listens") && told.contains("systemctl"), "{told}");
}

#[tokio::test]
async fn what_is_no_socket_stays_where_it_is() {
    let (_folder, path) = socket();
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(&path, "dear").unwrap();
    assert_eq!(start(&path).err().unwrap().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), b"dear");
}

#[tokio::test]
async fn a_path_may_be_longer_than_an_address() {
    let (folder, _) = socket();
    let deep = folder.path().join("a".repeat(100)).join("b".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let path = deep.join("control.sock");
    let _control = start(&path).unwrap();
    assert_eq!(ask(&path, &Question::Nodes).await.unwrap(), Answer::Nodes { ports: Vec::new() });
    assert!(Address::of(Path::new("/")).is_err());
}
