//! Modelled slaves on one bus, and the source that asks them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lamppost_event::{Arrival, DeviceId, JournalStopped};
use lamppost_serial::{ModbusOptions, ModbusSource, ModbusStatus, PortSettings, Register, SlaveOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::intake::FakeIntake;
use crate::line::{Line, PATIENCE};

/// How a slave answers badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    NoiseBefore,
    WrongChecksum,
    AnotherSlave,
    AnotherFunction,
    TooShort,
    Cut,
    Late(Duration),
}

/// What the slaves hold: one store of words for all tables of a slave.
#[derive(Default)]
pub(crate) struct Bus {
    words: BTreeMap<(u8, u16), u16>,
    manners: BTreeMap<u8, (Manner, u32)>,
    asked: u32,
    /// What is answered to a request for what is not there: this exception, or nothing at all.
    pub(crate) refuses_by: Option<u8>,
}

impl Bus {
    pub(crate) fn set(&mut self, slave: u8, words: impl IntoIterator<Item = (u16, u16)>) {
        self.words.extend(words.into_iter().map(|(address, word)| ((slave, address), word)));
    }

    /// Each `n`-th answer is given in that manner.
    pub(crate) fn behave(&mut self, slave: u8, manner: Manner, n: u32) {
        self.manners.insert(slave, (manner, n));
    }

    /// The bytes of an answer, and how long it takes. None: nobody answers.
    fn answer(&mut self, request: &[u8]) -> Option<(Vec<u8>, Duration)> {
        let [slave, function, first_high, first_low, count_high, count_low, ..] = *request else { return None };
        assert_eq!(crc(&request[..6]), request[6..8], "the request's checksum");
        if !self.words.keys().any(|(known, _)| *known == slave) {
            return None;
        }
        let (first, count) = (u16::from_be_bytes([first_high, first_low]), u16::from_be_bytes([count_high, count_low]));
        let words: Option<Vec<u16>> = (0..count).map(|at| self.words.get(&(slave, first + at)).copied()).collect();
        let mut pdu = match (words, function) {
            (None, _) => vec![function | 0x80, self.refuses_by?],
            (Some(words), 3 | 4) => {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                [&[function, bytes.len() as u8], &bytes[..]].concat()
            }
            (Some(bits), _) => {
                let mut bytes = vec![0; bits.len().div_ceil(8)];
                bits.iter().enumerate().for_each(|(at, bit)| bytes[at / 8] |= (*bit as u8 & 1) << (at % 8));
                [&[function, bytes.len() as u8], &bytes[..]].concat()
            }
        };
        self.asked += 1;
        let manner = self.manners.get(&slave).filter(|(_, n)| self.asked.is_multiple_of(*n)).map(|(manner, _)| *manner);
        let answering = if manner == Some(Manner::AnotherSlave) { slave + 1 } else { slave };
        match manner {
            Some(Manner::AnotherFunction) => pdu[0] ^= 7,
            Some(Manner::TooShort) => {
                pdu.truncate(4);
                pdu[1] = 2;
            }
            _ => {}
        }
        let mut frame = [&[answering], &pdu[..]].concat();
        frame.extend(crc(&frame));
        let mut late = Duration::from_millis(1);
        match manner {
            Some(Manner::NoiseBefore) => frame = [&[0xff, 0x00, 0x55][..], &frame].concat(),
            Some(Manner::WrongChecksum) => *frame.last_mut().unwrap() ^= 0x10,
            Some(Manner::Cut) => frame.truncate(frame.len() - 3),
            Some(Manner::Late(by)) => late = by,
            _ => {}
        }
        Some((frame, late))
    }
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

/// A slave that is polled each 20 ms, over gaps of up to 8.
pub(crate) fn slave(id: u8, device: &str, registers: Vec<Register>) -> SlaveOptions {
    let every = Duration::from_millis(20);
    SlaveOptions { every, registers, gap: 8, ..SlaveOptions::new(id, DeviceId::new(device).unwrap()) }
}

pub(crate) fn options() -> ModbusOptions {
    let (timeout, turnaround) = (Duration::from_millis(50), Duration::from_millis(2));
    ModbusOptions { timeout, retries: 2, turnaround, slaves: Vec::new() }
}

/// A source at work, and the slaves.
pub(crate) struct Bench {
    pub(crate) intake: Arc<FakeIntake>,
    pub(crate) status: Arc<ModbusStatus>,
    pub(crate) bus: Arc<Mutex<Bus>>,
    /// The shortest time from the end of an answer to the next request, µs.
    pub(crate) shortest_silence_us: Arc<AtomicU64>,
    link: PathBuf,
    slaves: JoinHandle<()>,
    task: JoinHandle<Result<(), JournalStopped>>,
    stop: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(slaves: Vec<SlaveOptions>, set: impl FnOnce(&mut Bus)) -> Self {
        Self::with(ModbusOptions { retries: 1, ..options() }, slaves, set)
    }

    pub(crate) fn with(options: ModbusOptions, slaves: Vec<SlaveOptions>, set: impl FnOnce(&mut Bus)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("usb-rs485-if00");
        let mut bus = Bus { refuses_by: Some(2), ..Bus::default() };
        set(&mut bus);
        let bus = Arc::new(Mutex::new(bus));
        let silence = Arc::new(AtomicU64::new(u64::MAX));
        let answering = tokio::spawn(serve(Line::at(&link), Arc::clone(&bus), Arc::clone(&silence)));
        let intake = Arc::new(FakeIntake::new());
        let settings = PortSettings {
            reopen_pause_min: Duration::from_millis(10),
            reopen_pause_max: Duration::from_millis(50),
            ..PortSettings::new(&link, 115_200)
        };
        let options = ModbusOptions { slaves, ..options };
        let source = ModbusSource::new("bench", settings, options, Arc::<FakeIntake>::clone(&intake)).unwrap();
        let status = source.status();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { source.run(async { drop(stopped.await) }).await });
        Self { intake, status, bus, shortest_silence_us: silence, link, slaves: answering, task, stop, _dir: dir }
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited: Result<(), _> = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "never happened: {what}; {:?}", self.status);
    }

    /// The adapter is pulled out.
    pub(crate) fn unplug(&mut self) {
        self.slaves.abort();
        std::fs::remove_file(&self.link).unwrap();
    }

    /// It comes back under its name.
    pub(crate) fn plug_in(&mut self) {
        let (bus, silence) = (Arc::clone(&self.bus), Arc::clone(&self.shortest_silence_us));
        self.slaves = tokio::spawn(serve(Line::at(&self.link), bus, silence));
    }

    pub(crate) fn texts(&self) -> Vec<(String, String)> {
        let text =
            |arrival: &Arrival| (arrival.address.to_string(), String::from_utf8(arrival.payload.to_vec()).unwrap());
        self.intake.offers().iter().map(text).collect()
    }

    /// Waits for the source to end by itself.
    pub(crate) async fn ended(self) -> Result<(), JournalStopped> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("it goes on").unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, self.task).await.expect("it goes on").unwrap(), Ok(()));
        self.slaves.abort();
    }
}

/// Answers requests until it is aborted.
async fn serve(line: Line, bus: Arc<Mutex<Bus>>, shortest_silence_us: Arc<AtomicU64>) {
    let mut request = Vec::new();
    let mut spoken: Option<Instant> = None;
    loop {
        let received = line.receive();
        if received.is_empty() {
            tokio::time::sleep(Duration::from_micros(500)).await;
            continue;
        }
        request.extend(received);
        // All requests that the source makes have eight bytes.
        if request.len() < 8 {
            continue;
        }
        if let Some(spoken) = spoken {
            let silence = u64::try_from(spoken.elapsed().as_micros()).unwrap();
            shortest_silence_us.fetch_min(silence, Ordering::Relaxed);
        }
        let answer = bus.lock().unwrap().answer(&request);
        request.clear();
        if let Some((frame, after)) = answer {
            tokio::time::sleep(after).await;
            spoken = Some(Instant::now());
            line.send(&frame).await;
        }
    }
}
