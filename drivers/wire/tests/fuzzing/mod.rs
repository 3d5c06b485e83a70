//! Both ends fed with any bytes, for the fuzzer (`fuzz/`) and for the tests, which feed the seeds. Each function panics where
//! what an end does contradicts what it promises.

use lamppost_wire::{
    Ack, Boot, Capabilities, Command, FRAME_BYTES_MAX, FromGateway, FromNode, GatewayEvent, GatewaySession, Heartbeat,
    Hello, MeasureIndex, Millis, NodeSession, Quality, Reading, Resend, Sequence, Step, Store, TimeAsked, Value, Wall,
    Welcome, text,
};

/// What a node keeps, and what it was told of.
#[derive(Default)]
struct Kept {
    readings: Vec<Reading>,
    let_go: Vec<Reading>,
}

impl Store for Kept {
    fn kept(&self, position: usize) -> Option<Reading> {
        self.readings.get(position).copied()
    }
    fn len(&self) -> usize {
        self.readings.len()
    }
    fn last(&self) -> Sequence {
        Sequence(6)
    }
    fn dropped(&self) -> u64 {
        0
    }
    fn faults(&self) -> u64 {
        0
    }
    fn acknowledge(&mut self, boot: Boot, sequence: Sequence) {
        let (gone, kept) =
            self.readings.iter().copied().partition(|kept| kept.boot == boot && kept.sequence <= sequence);
        self.readings = kept;
        self.let_go.extend::<Vec<Reading>>(gone);
    }
    fn renumber(&mut self, from: Boot, to: Boot) {
        self.readings.iter_mut().filter(|kept| kept.boot == from).for_each(|kept| kept.boot = to);
    }
}

fn reading(sequence: u64) -> Reading {
    Reading {
        boot: Boot(5),
        sequence: Sequence(sequence),
        measure: MeasureIndex(0),
        uptime: Millis(sequence),
        value: Value(1),
    }
}

fn hello() -> Hello {
    Hello {
        version: 1,
        nonce: 70,
        device: text("node").unwrap(),
        boot: Boot(5),
        sent: Sequence::NONE,
        firmware: text("f").unwrap(),
        capabilities: Capabilities(7),
        measures: heapless::Vec::new(),
    }
}

/// Bytes as what a node sends: readings come in order, each once, and none before a welcome. How many events there were.
pub(crate) fn gateway(data: &[u8]) -> usize {
    let (mut session, mut bytes) = (GatewaySession::seeded(7), data);
    let (mut events, mut last, mut is_welcome) = (0, None, false);
    let mut out = [0; FRAME_BYTES_MAX];
    while let Some(event) = session.take(&mut bytes) {
        events += 1;
        match event {
            GatewayEvent::Hello(hello) => {
                assert!(hello.version > 0);
                session.welcome(hello.boot, Sequence::NONE, 8, 500);
                session.order(Command::Reset);
                (is_welcome, last) = (true, None);
            }
            GatewayEvent::Boot(boot) => {
                session.open(boot, Sequence::NONE);
                last = None;
            }
            GatewayEvent::Reading { reading, passed_over } => {
                assert!(is_welcome, "a reading from nobody");
                let before = last.replace(reading).map_or(0, |before: Reading| {
                    assert_eq!(before.boot, reading.boot);
                    before.sequence.0
                });
                assert!(reading.sequence.0 > before && passed_over < reading.sequence.0);
                session.acknowledge(reading.boot, reading.sequence);
            }
            GatewayEvent::TimeAsked { asked, .. } => {
                session.tell_time(Some(asked.uptime), Wall(1), Quality::Synced, 1);
            }
            GatewayEvent::Heartbeat(_) | GatewayEvent::Answer(_) => assert!(is_welcome),
        }
        let mut frames = 0;
        while session.transmit(Millis(events as u64), &mut out) > 0 {
            frames += 1;
            assert!(frames < 10, "it comes to no end");
        }
    }
    assert!(bytes.is_empty());
    events
}

/// Bytes as what a gateway sends: no reading is let go of that was not sent, and the window is kept. How many good frames
/// there were.
pub(crate) fn node(data: &[u8]) -> usize {
    let mut session = NodeSession::new(hello(), Millis(0));
    let mut kept = Kept { readings: (1..=6).map(reading).collect(), let_go: Vec::new() };
    let (mut out, mut sent) = ([0; FRAME_BYTES_MAX], Vec::new());
    for (turn, bytes) in data.chunks(24).enumerate() {
        let now = Millis(1 + turn as u64 * 100);
        session.receive(bytes, now, &mut kept);
        for gone in &kept.let_go {
            assert!(sent.contains(&gone.sequence), "{gone:?} was never sent");
        }
        if session.take_order().is_some() {
            session.answer(Ok(()));
        }
        let mut frames = 0;
        loop {
            let length = session.transmit(now, &kept, &mut out);
            if length == 0 {
                break;
            }
            frames += 1;
            assert!(frames < 20, "it comes to no end");
            let mut decoder = lamppost_wire::FrameDecoder::<{ lamppost_wire::MESSAGE_BYTES_MAX }>::new();
            for byte in &out[..length] {
                if let Some(Ok(message)) = decoder.take(*byte)
                    && let Ok(FromNode::Reading(_, reading)) = FromNode::decode(message)
                {
                    sent.push(reading.sequence);
                }
            }
        }
    }
    session.link_counters().frames_ok as usize
}

fn frames<T>(messages: &[T], encode: impl Fn(&T, &mut [u8; FRAME_BYTES_MAX]) -> usize) -> Vec<u8> {
    let mut all = Vec::new();
    for message in messages {
        let mut out = [0; FRAME_BYTES_MAX];
        let length = encode(message, &mut out);
        all.extend_from_slice(&out[..length]);
    }
    all
}

/// What each target may begin with: its name, the bytes, and how many frames are in them.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>, usize)> {
    let beat = Heartbeat { boot: Boot(5), uptime: Millis(9), last: Sequence(6), kept: 1, dropped: 0, faults: 0 };
    let up = [
        FromNode::Hello(hello()),
        FromNode::TimeAsked(TimeAsked { boot: Boot(5), uptime: Millis(3), heard: 0 }),
        FromNode::Reading(Step::OLDEST, reading(1)),
        FromNode::Reading(Step(3), reading(4)),
        FromNode::Reading(Step::OLDEST, Reading { boot: Boot(4), ..reading(5) }),
        FromNode::Heartbeat(beat),
    ];
    let welcome =
        Welcome { version: 1, nonce: 71, boot: Boot(5), resume_after: Sequence(0), window: 3, patience_ms: 100 };
    let (boot, sequence) = (Boot(5), Sequence(2));
    let down = [
        FromGateway::Introduce,
        FromGateway::Welcome(welcome),
        FromGateway::Time(lamppost_wire::Time {
            boot,
            number: 3,
            asked: None,
            wall: Wall(1_767_225_600_000),
            quality: Quality::Synced,
            epoch: 1,
        }),
        FromGateway::Order(Command::Identify { for_ms: 9 }.order(boot, 71, 1)),
        FromGateway::Ack(Ack { boot, sequence }),
        FromGateway::Resend(Resend { boot, after: sequence }),
    ];
    let up_bytes = frames(&up, |message, out| message.encode(out));
    let down_bytes = frames(&down, |message, out| message.encode(out));
    let noisy = |bytes: &[u8]| [b"noise", bytes, &[1, 0, 255]].concat();
    vec![
        // The reading of boot 4 comes after the first of this life: no event.
        ("gateway", noisy(&up_bytes), 5),
        ("gateway", up_bytes, 5),
        ("node", noisy(&down_bytes), down.len()),
        ("node", down_bytes, down.len()),
    ]
}
