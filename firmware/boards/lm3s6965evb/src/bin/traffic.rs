//! A traffic post: an LSM303DLHC in or beside a lane, read 71 times a second; how many vehicles passed, and for what share of the
//! time one was there, over the link. What it does is the brain's ([`lamppost_node`]) and the detector's ([`lamppost_vehicle`]).

#![no_std]
#![no_main]

use cortex_m::peripheral::Peripherals;
use cortex_m_rt::entry;
use lamppost_node::{
    Board, Boot, Channel, Identity, MeasureIndex, Millis, Node, Policy, Range, Scale, SensorFault, Value,
};
use lamppost_vehicle::{Detector, End, Event, Field, Look, Pace, Sample, Settings, Summaries};
use lm3s6965evb::magnetometer::{self, Found, Magnetometer};
use lm3s6965evb::uart::{Console, Uart};
use lm3s6965evb::watchdog::Watchdog;
use lm3s6965evb::{clock, description, power, start};

/// What each reading that is sent speaks of.
const REPORT_INTERVAL_MS: u32 = 5_000;
/// Readings kept while no gateway takes them, 32 bytes of RAM each: 16 minutes of two every five seconds, and then 10 of one.
const READINGS_KEPT: usize = 512;
const FIRMWARE: &str = concat!("lm3s6965evb-traffic ", env!("CARGO_PKG_VERSION"));

const VEHICLES: MeasureIndex = MeasureIndex(0);
const OCCUPANCY: MeasureIndex = MeasureIndex(1);

/// What this post measures, in the order of their indices.
const CHANNELS: [Channel<'static>; 2] = [
    Channel {
        name: "vehicles",
        unit: "count",
        scale: Scale(0),
        range: Some(Range { low: Value(0), high: Value(u32::MAX as i64) }),
        interval_ms: REPORT_INTERVAL_MS,
    },
    Channel {
        name: "occupancy",
        unit: "/",
        scale: Scale(-3),
        range: Some(Range { low: Value(0), high: Value(1_000) }),
        interval_ms: REPORT_INTERVAL_MS,
    },
];

/// What the brain sees of this board.
struct Hands {
    uart: Uart,
    console: Console,
    lane: Lane,
    watchdog: Watchdog,
}

impl Board for Hands {
    /// Each measure is of the time since it was sampled last: their intervals may differ. Of a time that nothing is known of, there is none:
    /// no vehicle seen is not the same as none there.
    fn sample(&mut self, measure: MeasureIndex) -> Result<Value, SensorFault> {
        let latest = self.lane.detector.summarize(now());
        let summary = self.lane.summaries.take(usize::from(measure.0), latest);
        let value = if measure == VEHICLES {
            summary.known_count().map(i64::from)
        } else {
            summary.occupancy().map(|share| i64::from(share.get()))
        };
        value.map(Value).ok_or(SensorFault)
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        self.uart.send(bytes)
    }

    fn alive(&mut self) {
        self.watchdog.feed();
    }
}

/// The lane that is watched.
struct Lane {
    magnetometer: Magnetometer,
    detector: Detector,
    /// What the measures were not told yet.
    summaries: Summaries<{ CHANNELS.len() }>,
    pace: Pace,
}

impl Lane {
    fn watch(&mut self, console: &mut Console) {
        if now() < self.pace.due() {
            return;
        }
        let found = magnetometer::look(&mut self.magnetometer, &self.pace, console);
        // Where the chip had to be set up, that took a while.
        let looked_at = now();
        let (look, sample) = match found {
            None => (Look::Failed, None),
            Some(Found::NothingNew) => (Look::NothingNew, None),
            Some(Found::Saturated) => (Look::Result, Some(Sample::Saturated)),
            Some(Found::Field(field)) => (Look::Result, Some(Sample::Field(Field::new(field.x, field.y, field.z)))),
        };
        self.pace.looked(looked_at, look);
        let Some(sample) = sample else { return };
        match self.detector.observe(looked_at, sample) {
            None => {}
            Some(Event::Ready(_)) => console.say(format_args!("lane: watched")),
            Some(Event::ParkedLeft(_)) => console.say(format_args!("lane: what was parked has left")),
            Some(Event::Passed(passage)) => {
                let (number, ms, peak) = (self.detector.count(), passage.duration_ms(), passage.peak);
                let what = match passage.end {
                    End::Left => "passed",
                    End::Parked => "stays, and is part of the road from now on",
                    End::Unseen => "was not seen to its end",
                };
                console.say(format_args!("lane: vehicle {number} {what}: {ms} ms, {peak}"));
            }
        }
    }
}

#[entry]
fn main() -> ! {
    power::on();
    let watchdog = Watchdog::start();
    let core = Peripherals::take().expect("taken only here");
    clock::start(core.SYST);
    let uart = Uart::start();
    // Not `expect`: that formats the error with `Debug`, which takes 10 KiB of flash.
    let Ok(detector) = Detector::new(Settings::default()) else { panic!("the default is within its bounds") };
    let (magnetometer, summaries, pace) = (Magnetometer::new(), Summaries::new(), Pace::starting(now()));
    let lane = Lane { magnetometer, detector, summaries, pace };
    let mut hands = Hands { uart, console: Console::start(), lane, watchdog };

    let name = start::name();
    hands.console.say(format_args!("{name}: firmware {FIRMWARE}"));
    description::say(&CHANNELS, &policies(), &mut hands.console);
    let brain = brain(&name);
    for (measure, policy) in [VEHICLES, OCCUPANCY].into_iter().zip(policies()) {
        brain.set_policy(measure, policy);
    }
    serve(brain, hands)
}

/// The brain, made where it stays. Apart from all else, or the compiler keeps a third copy of it on the stack, for which there is no room.
#[inline(never)]
fn brain(name: &str) -> &'static mut Node<READINGS_KEPT> {
    let identity = Identity { device: name, firmware: FIRMWARE, boot: Boot::UNNUMBERED, nonce: start::nonce() };
    let brain = cortex_m::singleton!(BRAIN: Node<READINGS_KEPT> = {
        let node = Node::new(identity, &CHANNELS, Millis(clock::now_ms()));
        let Ok(node) = node else { panic!("the name and the channels fit the hello") };
        node
    });
    brain.expect("made only here")
}

/// What becomes of the samples, in the order of the channels. A count that is missing is missing in every sum: where room is short, the
/// shares of time make room for the counts, and come as one a minute.
fn policies() -> [Policy; 2] {
    [Policy { alarm: true, ..Policy::default() }, Policy { aggregate: 12, ..Policy::default() }]
}

fn serve(node: &mut Node<READINGS_KEPT>, mut hands: Hands) -> ! {
    let mut was_up = false;
    loop {
        let mut received = [0; 64];
        let count = hands.uart.receive(&mut received);
        hands.lane.watch(&mut hands.console);
        node.poll(Millis(clock::now_ms()), received.get(..count).unwrap_or_default(), &mut hands);
        let is_up = node.report().is_up;
        if is_up != was_up {
            was_up = is_up;
            hands.console.say(format_args!("link: {} as boot {}", if is_up { "up" } else { "down" }, node.boot().0));
        }
        if count == 0 {
            // The clock's tick wakes it within a millisecond, a byte at once.
            cortex_m::asm::wfi();
        }
    }
}

fn now() -> lamppost_vehicle::Millis {
    lamppost_vehicle::Millis(clock::now_ms())
}
