//! `lamppost clients` as an operator uses it: the program itself, asking a gateway that runs.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: a panic is how it fails, and its files need not outlive a crash"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const STEP: Duration = Duration::from_millis(50);
const STEPS_MAX: u32 = 400;

struct Gateway {
    process: Child,
    mqtt: SocketAddr,
    folder: tempfile::TempDir,
}

impl Gateway {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mqtt, http) = (free_port(), free_port());
        let config = format!(
            "[gateway]\nid = \"post\"\nstate_dir = {:?}\n[journal]\nsegment = \"1MiB\"\nquota = \"8MiB\"\nevent_max = \"64KiB\"\n[mqtt]\nlisten = \"{mqtt}\"\n[http]\nlisten = \"{http}\"\n",
            folder.path().join("state")
        );
        std::fs::write(folder.path().join("lamppost.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lamppost"));
        command.args(["run", "--config"]).arg(folder.path().join("lamppost.toml")).stdout(Stdio::null());
        let process = command.env("RUST_LOG", "off").spawn().unwrap();
        let gateway = Self { process, mqtt, folder };
        until("the gateway is ready", || TcpStream::connect(gateway.mqtt).is_ok() && TcpStream::connect(http).is_ok());
        gateway
    }

    /// The socket of a client that was let in.
    fn connect(&self, id: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.mqtt).unwrap();
        let mut packet = vec![0x10, u8::try_from(12 + id.len()).unwrap(), 0, 4];
        packet.extend(b"MQTT\x04\x02\x00\x3c\x00");
        packet.push(u8::try_from(id.len()).unwrap());
        packet.extend(id.as_bytes());
        socket.write_all(&packet).unwrap();
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0]);
        socket
    }

    fn clients(&self, args: &[&str]) -> Output {
        let config = self.folder.path().join("lamppost.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lamppost"));
        command.args(["clients", "--over-ms", "20", "--config"]).arg(config).args(args).output().unwrap()
    }

    fn json(&self) -> Value {
        let done = self.clients(&["--json"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..STEPS_MAX {
        if reached() {
            return;
        }
        std::thread::sleep(STEP);
    }
    panic!("not in time: {what}");
}

#[test]
fn who_is_connected_is_shown_with_what_it_sent_and_gone_when_it_has_left() {
    let gateway = Gateway::start();
    let mut air = gateway.connect("air-1");
    let water = gateway.connect("water-7");
    for packet_id in [1, 2, 3] {
        // PUBLISH with QoS 1 to "a", payload "x".
        air.write_all(&[0x32, 6, 0, 1, b'a', 0, packet_id, b'x']).unwrap();
        let mut puback = [0; 4];
        air.read_exact(&mut puback).unwrap();
        assert_eq!(puback, [0x40, 2, 0, packet_id]);
    }
    until("both clients with their figures", || {
        let shown = gateway.json();
        let shown = shown["clients"].as_array().unwrap();
        shown.len() == 2 && shown[0]["events"] == 3 && shown[0]["in_flight"] == 0
    });
    let shown = gateway.json();
    let first = &shown["clients"][0];
    assert_eq!((first["client"].as_str().unwrap(), first["version"].as_str().unwrap()), ("air-1", "3.1.1"));
    assert_eq!(first["address"], air.local_addr().unwrap().to_string());
    assert_eq!(first["events_per_s"], 0.0);
    assert_eq!((&first["session_present"], &first["session_expiry_s"]), (&Value::Bool(false), &Value::from(0)));
    assert_eq!(shown["clients"][1]["client"], "water-7");

    drop(water);
    until("one client", || gateway.json()["clients"].as_array().unwrap().len() == 1);
    let table = String::from_utf8(gateway.clients(&[]).stdout).unwrap();
    assert!(
        table.starts_with("client  user") && table.contains("\nair-1 ") && table.contains("\n1 connected\n"),
        "{table}"
    );
}

#[test]
fn the_last_error_of_a_client_is_shown_beside_it_when_it_is_back() {
    let gateway = Gateway::start();
    let mut bad = gateway.connect("air-1");
    // A packet of the type 0, which there is not.
    bad.write_all(&[0, 0]).unwrap();
    assert_eq!(bad.read(&mut [0; 4]).unwrap(), 0);
    until("the ending", || !gateway.json()["endings"].as_array().unwrap().is_empty());
    let _back = gateway.connect("air-1");
    until("the client", || gateway.json()["clients"].as_array().unwrap().len() == 1);
    let shown = gateway.json();
    assert_eq!(shown["clients"][0]["last_error"]["cause"], "malformed");
    assert_eq!(shown["endings"][0]["client"], "air-1");
    let table = String::from_utf8(gateway.clients(&[]).stdout).unwrap();
    assert!(table.contains("malformed") && table.contains("refused or ended by the gateway"), "{table}");
}

#[test]
fn where_no_gateway_answers_it_is_said_where_it_was_looked_for() {
    let nobody = free_port();
    let done =
        Command::new(env!("CARGO_BIN_EXE_lamppost")).args(["clients", "--http", &nobody.to_string()]).output().unwrap();
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains(&format!("no gateway answers on {nobody}")) && said.contains("--http"), "{said}");
}
