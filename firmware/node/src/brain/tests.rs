use super::*;
use crate::Scale;
use lamppost_wire::{Command, GatewayEvent, GatewaySession, Quality, Wall};
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
    identified: List<u32>,
    resets: u32,
    alive: u32,
    /// What a sample is; rises with each.
    value: i64,
}

impl Board for Bench {
    fn sample(&mut self, measure: MeasureIndex) -> Result<Value, SensorFault> {
        self.samples.push(measure.0);
        if self.fault {
            Err(SensorFault)
        } else {
            {
                self.value += 1;
                Ok(Value(21_499 + self.value))
            }
        }
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

    fn identify(&mut self, for_ms: u32) -> Result<(), Refusal> {
        self.identified.push(for_ms);
        Ok(())
    }

    fn reset(&mut self) {
        self.resets += 1;
    }

    fn alive(&mut self) {
        self.alive += 1;
    }
}

const NOON: i64 = 1_767_268_800_000;
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
    answers: List<Result<(), Refusal>>,
}

impl Gateway {
    fn new() -> Self {
        Self { session: GatewaySession::new(), readings: List::new(), hellos: List::new(), answers: List::new() }
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
                GatewayEvent::Answer(answer) => self.answers.push(answer.outcome()),
                GatewayEvent::TimeAsked { asked, .. } => {
                    self.session.tell_time(Some(asked.uptime), Wall(NOON + now as i64), Quality::Synced, 1);
                }
                GatewayEvent::Heartbeat(_) => {}
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
    assert!(size_of::<Node<1>>() < 3_072, "{}", size_of::<Node<1>>());
}

/// Lets both talk until `until`, every 10 ms.
fn talk<const CAPACITY: usize>(
    node: &mut Node<CAPACITY>,
    board: &mut Bench,
    gateway: &mut Gateway,
    from: u64,
    until: u64,
) {
    let mut answer = List::new();
    for now in (from..until).step_by(10) {
        board.room = 1000;
        node.poll(Millis(now), &answer, board);
        answer = gateway.answer(now, board);
    }
}

#[test]
fn a_node_obeys_each_command_once_and_says_what_it_can_not_do() {
    let (mut node, mut board, mut gateway) = (node::<16>(&[TEMPERATURE]), Bench::default(), Gateway::new());
    node.offer(Capabilities::IDENTIFY);
    talk(&mut node, &mut board, &mut gateway, 0, 1_000);
    let can = gateway.hellos[0].capabilities;
    assert!(can.include(Capabilities::SET_INTERVAL) && !can.include(Capabilities::RESET));
    let interval = |measure, interval_ms| Command::SetInterval { measure: MeasureIndex(measure), interval_ms };
    let commands = [
        (Command::Identify { for_ms: 700 }, Ok(())),
        (interval(0, 100), Ok(())),
        (interval(1, 100), Err(Refusal::NoSuchMeasure)),
        (interval(0, 0), Err(Refusal::OutOfRange)),
        (Command::Reset, Err(Refusal::Unsupported)),
    ];
    let mut now = 1_000;
    for (command, outcome) in commands {
        assert!(gateway.session.order(command));
        talk(&mut node, &mut board, &mut gateway, now, now + 3_000);
        now += 3_000;
        assert_eq!(gateway.answers.pop(), Some(outcome), "{command:?}");
    }
    assert_eq!((board.identified, board.resets), (List::from([700]), 0));
    let samples = board.samples.len();
    assert!((110..=130).contains(&samples), "one a second, then ten: {samples}");
}

#[test]
fn a_node_told_to_reset_answers_first_and_does_it_once() {
    let (mut node, mut board, mut gateway) = (node::<16>(&[TEMPERATURE]), Bench::default(), Gateway::new());
    node.offer(Capabilities::RESET);
    talk(&mut node, &mut board, &mut gateway, 0, 1_000);
    gateway.session.order(Command::Reset);
    talk(&mut node, &mut board, &mut gateway, 1_000, 1_200);
    assert_eq!((gateway.answers.as_slice(), board.resets), (&[Ok(())][..], 0));
    talk(&mut node, &mut board, &mut gateway, 1_200, 5_000);
    assert_eq!(board.resets, 1);
}

#[test]
fn the_watchdog_is_fed_while_the_clock_goes_on_and_not_while_it_stands() {
    let (mut node, mut board) = (node::<16>(&[TEMPERATURE]), Bench::default());
    for now in [0, 1, 2, 2, 2, 2, 1, 3] {
        node.poll(Millis(now), &[], &mut board);
    }
    assert_eq!(board.alive, 4);
}

#[test]
fn a_node_knows_the_wall_time_and_its_error() {
    let (mut node, mut board, mut gateway) = (node::<16>(&[TEMPERATURE]), Bench::default(), Gateway::new());
    assert_eq!(node.wall(Millis(0)), None);
    talk(&mut node, &mut board, &mut gateway, 0, 2_000);
    let wall = node.wall(Millis(2_000)).unwrap();
    let off = (wall.wall.0 - NOON - 2_000).unsigned_abs();
    assert!(off <= u64::from(wall.error_ms) && wall.error_ms < 20, "{wall:?} is {off} ms off");
}

#[test]
fn in_an_outage_alarms_are_kept_and_bulk_becomes_means_and_all_arrives_in_order() {
    let door = Channel { name: "door", interval_ms: 7_000, ..TEMPERATURE };
    let extremes = [Channel { name: "lowest", ..TEMPERATURE }, Channel { name: "highest", ..TEMPERATURE }];
    let (mut node, mut board, mut gateway) =
        (node::<64>(&[TEMPERATURE, door, extremes[0], extremes[1]]), Bench::default(), Gateway::new());
    let aggregate =
        Policy { aggregate: 12, lowest: Some(MeasureIndex(2)), highest: Some(MeasureIndex(3)), ..Policy::default() };
    node.set_policy(MeasureIndex(0), aggregate);
    node.set_policy(MeasureIndex(1), Policy { alarm: true, ..Policy::default() });
    for now in (0..200_000).step_by(100) {
        board.room = 1000;
        node.poll(Millis(now), &[], &mut board);
    }
    board.line.clear();
    assert!(node.report().dropped > 0, "the outage was long enough: {:?}", node.report());
    talk(&mut node, &mut board, &mut gateway, 200_000, 230_000);
    let sequences: List<u64> = gateway.readings.iter().map(|reading| reading.sequence.0).collect();
    assert!(sequences.is_sorted() && node.report().kept == 0);
    let doors = gateway.readings.iter().filter(|reading| reading.measure == MeasureIndex(1)).count();
    assert_eq!(doors, board.samples.iter().filter(|measure| **measure == 1).count(), "every alarm has arrived");
    // An aggregate is three readings of one moment.
    let whole = gateway.readings.windows(3).filter(|three| {
        let [mean, lowest, highest] = three else { return false };
        (mean.measure.0, lowest.measure.0, highest.measure.0) == (0, 2, 3)
            && lowest.value < mean.value
            && mean.value < highest.value
    });
    assert!(whole.count() >= 5);
    let of = |measure| gateway.readings.iter().filter(move |reading| reading.measure == MeasureIndex(measure)).count();
    assert!(of(2) == of(3) && of(2) < of(0), "only aggregates have a lowest and a highest");
    assert!(board.samples.iter().all(|measure| *measure < 2), "what is derived is not sampled");

    let interval = Command::SetInterval { measure: MeasureIndex(3), interval_ms: 100 };
    assert!(gateway.session.order(interval));
    talk(&mut node, &mut board, &mut gateway, 230_000, 240_000);
    assert_eq!(gateway.answers.pop(), Some(Err(Refusal::Unsupported)));
    assert!(board.samples.iter().all(|measure| *measure < 2), "nor when it is told to be");
}
