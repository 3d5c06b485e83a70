//! What a reading costs the gateway: processor time of the source's thread, from the port to the intake, over a pseudo-terminal.
//! What the journal costs on top is not in it.
//!
//!     cargo run --release -p lamppost-serial --example cost
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for a terminal, that may stop at the first mistake"
)]

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lamppost_event::{Arrival, Commit, DeviceId, Intake, JournalStopped, Refusal, Waiting};
use lamppost_sdm::Model;
use lamppost_serial::{
    Field, FieldFrom, FieldKind, LineFormat, LinesOptions, LinesSource, ModbusOptions, ModbusSource, PortSettings,
    Register, SlaveOptions,
};
use rustix::pty::OpenptFlags;
use rustix::time::{ClockId, clock_gettime};

/// So many values are taken for a figure: of lines, and of Modbus, whose silences between frames take their time.
const LINES_VALUES: u64 = 100_000;
const MODBUS_VALUES: u64 = 20_000;

/// Counts what it is offered.
#[derive(Default)]
struct Counting(AtomicU64);

impl Intake for Counting {
    fn offer(&self, _: Arrival) -> Result<Commit, Refusal> {
        Ok(Commit(self.0.fetch_add(1, Ordering::Relaxed)))
    }

    fn offer_dead(&self, _: Arrival, reason: &str) -> Result<Commit, Refusal> {
        panic!("{reason}")
    }

    fn room(&self) -> Waiting<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn durable(&self) -> Result<Commit, JournalStopped> {
        Ok(Commit(0))
    }

    fn durable_after(&self, _: Commit) -> Waiting<'_, Result<Commit, JournalStopped>> {
        Box::pin(std::future::pending())
    }

    fn high_water(&self, _: &DeviceId, _: u64) -> Option<u64> {
        None
    }
}

/// A device's end, and the path of the gateway's.
fn terminal() -> (OwnedFd, PathBuf) {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let mut termios = rustix::termios::tcgetattr(&master).unwrap();
    termios.make_raw();
    rustix::termios::tcsetattr(&master, rustix::termios::OptionalActions::Now, &termios).unwrap();
    let path = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    (master, path.to_str().unwrap().into())
}

fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

/// Runs a source on this thread until the intake has been offered enough; the processor time it took.
fn measure(intake: &Counting, enough: u64, run: impl Future<Output = Result<(), JournalStopped>>) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = thread_time();
    runtime.block_on(async {
        let offered = async {
            while intake.0.load(Ordering::Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            ended = run => panic!("{ended:?}"),
            () = offered => {}
        }
    });
    thread_time() - before
}

fn print(what: &str, intake: &Counting, took: Duration) {
    let values = intake.0.load(Ordering::Relaxed);
    let each_us = took.as_secs_f64() * 1e6 / values as f64;
    println!("{what:<44} {values:>7} values   {each_us:6.2} µs of processor time each");
}

/// Lines of JSON with two values each, written as fast as they are read.
fn lines() {
    let (device, path) = terminal();
    let pointer = |text: &str| FieldFrom::Pointer(text.parse().unwrap());
    let field = |name: &str, from: &str| Field {
        name: name.to_owned(),
        from: pointer(from),
        unit: Some("ug/m3".to_owned()),
        scale: None,
        kind: FieldKind::Number,
        optional: false,
    };
    let fields = vec![field("pm2_5", "/SDS011/PM2.5"), field("pm10", "/SDS011/PM10")];
    let options = LinesOptions { fields, ..LinesOptions::new(LineFormat::Json, DeviceId::new("air").unwrap()) };
    let intake = Arc::new(Counting::default());
    let source = LinesSource::new("air", PortSettings::new(path, 115_200), options, Arc::<Counting>::clone(&intake));
    std::thread::spawn(move || {
        let line =
            b"{\"Time\":\"2026-11-22T10:00:00\",\"SDS011\":{\"PM2.5\":12.30,\"PM10\":20.70},\"id\":\"lamp-7\"}\n";
        // Until the port is gone.
        while rustix::io::write(&device, line).is_ok() {}
    });
    let took = measure(&intake, LINES_VALUES, source.run(std::future::pending()));
    print("lines: JSON of 83 bytes, two values each", &intake, took);
}

/// One SDM120, asked without a pause.
fn modbus() {
    let (device, path) = terminal();
    let slave = SlaveOptions {
        every: Duration::from_millis(1),
        registers_max: lamppost_sdm::REGISTERS_MAX,
        registers: Register::of_sdm(Model::Sdm120),
        ..SlaveOptions::new(1, DeviceId::new("main").unwrap())
    };
    let options = ModbusOptions { turnaround: Duration::ZERO, slaves: vec![slave], ..ModbusOptions::default() };
    let intake = Arc::new(Counting::default());
    let settings = PortSettings::new(path, 4_000_000);
    let source = ModbusSource::new("meters", settings, options, Arc::<Counting>::clone(&intake)).unwrap();
    std::thread::spawn(move || {
        let mut request = [0; 8];
        let mut held = 0;
        // Until the port is gone; what is not open yet reads as an error too.
        loop {
            match rustix::io::read(&device, request.get_mut(held..).unwrap()) {
                Ok(read) if held + read < request.len() => held += read,
                Ok(_) => {
                    held = 0;
                    let bytes = request.get(5).unwrap() * 2;
                    let mut frame = vec![1, 4, bytes];
                    frame.extend([0x43, 0x66, 0x33, 0x33].iter().cycle().take(bytes.into()));
                    frame.extend(crc(&frame));
                    rustix::io::write(&device, &frame).unwrap();
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    });
    let took = measure(&intake, MODBUS_VALUES, source.run(std::future::pending()));
    print("Modbus: SDM120 whole, 22 values a poll", &intake, took);
    println!("{:<44} {:>7} requests", "", source.status().requests.get());
}

/// CRC-16 of Modbus over serial line V1.02, section 6.2.2, low byte first.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xffff_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 };
        }
    }
    crc.to_le_bytes()
}

fn main() {
    lines();
    modbus();
}
