use super::*;
use crate::Scale;
use lamppost_wire::{GatewayEvent, GatewaySession};
use std::vec::Vec as List;

/// A board whose line takes so many bytes a call.
#[derive(Default)]
struct Bench {
    line: List<u8>,
    room: usize,
    fault: bool,
    samples: List<u8>,
    acknowledged: List<u64>,
    dropped: List<u64>,
}

impl Board for Bench {
    fn sample(&mut self, measure: MeasureIndex) -> Result<Value, SensorFault> {
        self.samples.push(measure.0);
        if self.fault { Err(SensorFault) } else { Ok(Value(21_500 + i64::from(measure.0))) }
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.line.extend_from_slice(&bytes[..taken]);
        taken
    }

    fn acknowledged(&mut self, reading: &Reading) {
        self.acknowledged.push(reading.sequence.0);
    }

    fn dropped(&mut self, reading: &Reading) {
        self.dropped.push(reading.sequence.0);
    }
}

const TEMPERATURE: Channel<'static> =
    Channel { name: "temperature", unit: "Cel", scale: Scale(-3), range: None, interval_ms: 1000 };
const PRESSURE: Channel<'static> =
    Channel { name: "pressure", unit: "Pa", scale: Scale(0), range: None, interval_ms: 3000 };

fn node<const CAPACITY: usize>(channels: &[Channel<'_>]) -> Node<CAPACITY> {
    let identity = Identity { device: "node-7", firmware: "test", boot: Boot(5), nonce: 1 };
    Node::new(identity, channels, Millis(0)).unwrap()
}

/// A gateway that has everything on disk at once.
struct Gateway {
    session: GatewaySession,
    readings: List<Reading>,
    hellos: List<Hello>,
}

impl Gateway {
    fn new() -> Self {
        Self { session: GatewaySession::new(), readings: List::new(), hellos: List::new() }
    }

    /// Hears what the board has sent, and answers.
    fn answer(&mut self, now: u64, board: &mut Bench) -> List<u8> {
        let line = std::mem::take(&mut board.line);
        let mut bytes = &line[..];
        while let Some(event) = self.session.take(&mut bytes) {
            match event {
                GatewayEvent::Hello(hello) => {
                    self.session.welcome(hello.boot, Sequence::NONE, 8, 500);
                    self.hellos.push(hello);
                }
                GatewayEvent::Boot(boot) => self.session.open(boot, Sequence::NONE),
                GatewayEvent::Reading { reading, .. } => {
                    self.session.acknowledge(reading.boot, reading.sequence);
                    self.readings.push(reading);
                }
                GatewayEvent::Heartbeat(_) | GatewayEvent::TimeAsked { .. } | GatewayEvent::Answer(_) => {}
            }
        }
        let (mut answer, mut out) = (List::new(), [0; FRAME_BYTES_MAX]);
        loop {
            match self.session.transmit(Millis(now), &mut out) {
                0 => return answer,
                length => answer.extend_from_slice(&out[..length]),
            }
        }
    }
}

#[test]
fn a_node_samples_on_schedule_and_its_readings_reach_the_gateway_once() {
    let (mut node, mut board, mut gateway) = (node::<16>(&[TEMPERATURE, PRESSURE]), Bench::default(), Gateway::new());
    let mut answer = List::new();
    for now in (0..=10_000).step_by(10) {
        board.room = 1000;
        node.poll(Millis(now), &answer, &mut board);
        answer = gateway.answer(now, &mut board);
    }
    node.poll(Millis(10_001), &answer, &mut board);
    assert_eq!(board.samples.iter().filter(|measure| **measure == 0).count(), 11);
    assert_eq!(board.samples.iter().filter(|measure| **measure == 1).count(), 4);
    let sequences: List<u64> = gateway.readings.iter().map(|reading| reading.sequence.0).collect();
    assert_eq!(sequences, (1..=15).collect::<List<u64>>());
    assert_eq!(board.acknowledged, sequences);
    let report = node.report();
    assert_eq!((report.sampled, report.acknowledged, report.dropped, report.kept), (15, 15, 0, 0));
    assert_eq!(gateway.hellos[0].measures[0].unit.as_str(), "Cel");
}

#[test]
fn a_line_with_little_room_gets_whole_frames_bit_by_bit() {
    let (mut node, mut board, mut gateway) = (node::<16>(&[TEMPERATURE]), Bench::default(), Gateway::new());
    let mut answer = List::new();
    for now in 0..3_000 {
        board.room = 3;
        let wake_at = node.poll(Millis(now), &answer, &mut board);
        assert!(board.room > 0 || wake_at <= Millis(now + 1000));
        answer = gateway.answer(now, &mut board);
    }
    assert_eq!(board.acknowledged, [1, 2, 3]);
    assert_eq!(gateway.session.link_counters().garbage_bytes, 0);
}

#[test]
fn without_a_gateway_the_oldest_readings_make_room_and_are_counted() {
    let (mut node, mut board) = (node::<4>(&[TEMPERATURE]), Bench::default());
    for now in (0..10_000).step_by(100) {
        board.room = 1000;
        node.poll(Millis(now), &[], &mut board);
    }
    let report = node.report();
    assert_eq!((report.sampled, report.dropped, report.kept, report.is_up), (10, 6, 4, false));
    assert_eq!(board.dropped, [1, 2, 3, 4, 5, 6]);
    assert!(report.session.hellos >= 5, "it goes on asking: {report:?}");

    let mut gateway = Gateway::new();
    let mut answer = List::new();
    for now in (10_000..20_000).step_by(10) {
        board.room = 1000;
        node.poll(Millis(now), &answer, &mut board);
        answer = gateway.answer(now, &mut board);
    }
    // The gateway came late: more was dropped while the node waited to ask again, and the rest came through in order.
    let first = gateway.readings[0].sequence.0;
    assert_eq!(first, node.report().dropped + 1);
    assert!(gateway.readings.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.next()));
}

#[test]
fn a_sensor_that_fails_is_counted_and_asked_again_when_next_due() {
    let (mut node, mut board) = (node::<4>(&[TEMPERATURE]), Bench { fault: true, ..Bench::default() });
    for now in (0..3_000).step_by(10) {
        node.poll(Millis(now), &[], &mut board);
    }
    assert_eq!((node.report().faults, node.report().sampled, board.samples.len()), (3, 0, 3));
}

#[test]
fn a_board_is_told_when_to_poll_again() {
    let (mut node, mut board) = (node::<4>(&[TEMPERATURE]), Bench { room: 1000, ..Bench::default() });
    assert_eq!(node.poll(Millis(0), &[], &mut board), Millis(250));
    board.room = 0;
    assert_eq!(node.poll(Millis(250), &[], &mut board), Millis(250));
}

#[test]
fn what_does_not_fit_the_hello_is_refused() {
    let new = |device, channels: &[Channel<'_>]| {
        Node::<4>::new(Identity { device, firmware: "f", boot: Boot(1), nonce: 0 }, channels, Millis(0)).map(|_| ())
    };
    assert_eq!(new("node", &[TEMPERATURE; 8]), Ok(()));
    assert_eq!(new("node", &[TEMPERATURE; 9]), Err(SetupError::TooManyChannels));
    assert_eq!(new("node/7", &[]), Err(SetupError::Name));
    assert_eq!(new("node", &[Channel { name: "", ..TEMPERATURE }]), Err(SetupError::Name));
    assert_eq!(new("node", &[Channel { interval_ms: 0, ..TEMPERATURE }]), Err(SetupError::Interval));
    assert!(matches!(new("a-device-name-of-more-than-32-bytes", &[]), Err(SetupError::Text(_))));
}

#[test]
fn a_node_with_512_readings_takes_less_than_20_kib() {
    assert!(size_of::<Node<512>>() < 20 * 1024, "{}", size_of::<Node<512>>());
    assert!(size_of::<Node<1>>() < 2_560, "{}", size_of::<Node<1>>());
}
