//! The bytes of each message, pinned: a change here breaks every node in the field.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

use lamppost_wire::{
    Ack, Answer, Boot, Capabilities, Command, FRAME_BYTES_MAX, FrameDecoder, FromGateway, FromNode, Heartbeat, Hello,
    MESSAGE_BYTES_MAX, Measure, MeasureIndex, MessageError, Millis, Quality, Range, Reading, Refusal, Resend, Scale,
    Sequence, Step, Time, TimeAsked, Value, Wall, Welcome, text,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What the one frame in `line` carries.
fn unframed(line: &[u8]) -> Vec<u8> {
    let mut decoder = FrameDecoder::<MESSAGE_BYTES_MAX>::new();
    let mut frames: Vec<Vec<u8>> =
        line.iter().filter_map(|byte| decoder.take(*byte).map(|frame| frame.unwrap().to_vec())).collect();
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

fn pin_node(message: &FromNode, golden: &str) {
    let mut out = [0; FRAME_BYTES_MAX];
    let length = message.encode(&mut out);
    assert_eq!(hex(&out[..length]), golden);
    assert_eq!(FromNode::decode(&unframed(&from_hex(golden))).as_ref(), Ok(message));
}

fn pin_gateway(message: FromGateway, golden: &str) {
    let mut out = [0; FRAME_BYTES_MAX];
    let length = message.encode(&mut out);
    assert_eq!(hex(&out[..length]), golden);
    assert_eq!(FromGateway::decode(&unframed(&from_hex(golden))), Ok(message));
}

fn hello() -> Hello {
    let temperature = Measure {
        name: text("temperature").unwrap(),
        unit: text("Cel").unwrap(),
        scale: Scale(-3),
        range: Some(Range { low: Value(-40_000), high: Value(125_000) }),
    };
    let count = Measure { name: text("vehicles").unwrap(), unit: text("1").unwrap(), scale: Scale(0), range: None };
    Hello {
        version: 1,
        nonce: 0x0102,
        device: text("node-7").unwrap(),
        boot: Boot(300),
        sent: Sequence(0),
        firmware: text("lm3s 0.1.0").unwrap(),
        capabilities: Capabilities(0),
        measures: [temperature, count].into_iter().collect(),
    }
}

#[test]
fn a_hello_is_these_bytes() {
    pin_node(
        &FromNode::Hello(hello()),
        "000e01018202066e6f64652d37ac020c0a6c6d337320302e312e3025020b74656d70657261747572650343656cfd01fff00490a10f0876656869636c657301310105784e693000",
    );
}

#[test]
fn a_reading_is_these_bytes() {
    let reading = Reading {
        boot: Boot(300),
        sequence: Sequence(1000),
        measure: MeasureIndex(0),
        uptime: Millis(60_000),
        value: Value(-10_500),
    };
    pin_node(&FromNode::Reading(Step(1), reading), "00070201ac02e8070be0d40387a401aabc340200");
}

#[test]
fn a_heartbeat_is_these_bytes() {
    let heartbeat =
        Heartbeat { boot: Boot(300), uptime: Millis(60_000), last: Sequence(1000), kept: 12, dropped: 3, faults: 0 };
    pin_node(&FromNode::Heartbeat(heartbeat), "000b03ac02e0d403e8070c03051b639a5700");
}

#[test]
fn a_welcome_is_these_bytes() {
    let welcome = Welcome {
        version: 1,
        nonce: 0x0102,
        boot: Boot(300),
        resume_after: Sequence(999),
        window: 64,
        patience_ms: 1000,
    };
    pin_gateway(FromGateway::Welcome(welcome), "001081018202ac02e70740e807a448973600");
}

#[test]
fn an_acknowledgement_is_these_bytes() {
    pin_gateway(FromGateway::Ack(Ack { boot: Boot(300), sequence: Sequence(1000) }), "000a82ac02e80731d9ff2e00");
}

#[test]
fn a_request_to_resend_is_these_bytes() {
    pin_gateway(FromGateway::Resend(Resend { boot: Boot(300), after: Sequence(1000) }), "000a83ac02e8079db6ee1600");
}

#[test]
fn a_request_to_introduce_itself_is_these_bytes() {
    pin_gateway(FromGateway::Introduce, "00068436ff111700");
}

#[test]
fn a_question_for_the_time_is_these_bytes() {
    let asked = TimeAsked { boot: Boot(300), uptime: Millis(60_000), heard: 0x0102 };
    pin_node(&FromNode::TimeAsked(asked), "000d04ac02e0d4038202cf43c9ab00");
}

#[test]
fn a_time_is_these_bytes() {
    let wall = Wall(1_767_225_600_000);
    let time =
        Time { boot: Boot(300), number: 9, asked: Some(Millis(60_000)), wall, quality: Quality::Synced, epoch: 1 };
    pin_gateway(FromGateway::Time(time), "001585ac020901e0d40380a0d5edee6602019712b36a00");
    pin_gateway(
        FromGateway::Time(Time { asked: None, quality: Quality::Unset, wall: Wall(5), ..time }),
        "000585ac0209020a06015a455f5000",
    );
}

#[test]
fn an_order_is_these_bytes() {
    let interval = Command::SetInterval { measure: MeasureIndex(1), interval_ms: 60_000 };
    pin_gateway(FromGateway::Order(interval.order(Boot(300), 0x0102, 7)), "001086ac028202070101e0d4031bb18d0200");
    pin_gateway(
        FromGateway::Order(Command::Identify { for_ms: 5_000 }.order(Boot(300), 0x0102, 8)),
        "000886ac02820208020788270f8b108700",
    );
    pin_gateway(FromGateway::Order(Command::Reset.order(Boot(300), 0x0102, 9)), "000886ac02820209030105a0987bd200");
}

#[test]
fn an_answer_is_these_bytes() {
    let order = Command::Reset.order(Boot(300), 0x0102, 9);
    pin_node(&FromNode::Answer(Answer::new(&order, Ok(()))), "000705ac02820209056331ee6100");
    pin_node(&FromNode::Answer(Answer::new(&order, Err(Refusal::Unsupported))), "000c05ac028202090160b2859300");
}

#[test]
fn commands_and_refusals_keep_their_numbers() {
    let order = Command::Reset.order(Boot(1), 1, 1);
    for outcome in 1..=9 {
        let refusal = Answer { outcome, ..Answer::new(&order, Ok(())) }.outcome().unwrap_err();
        assert_eq!(Answer::new(&order, Err(refusal)).outcome, outcome);
    }
    for kind in 0..=9 {
        let order = lamppost_wire::Order { kind, value: 3, measure: MeasureIndex(0), ..order };
        let command = Command::of(&order);
        assert_eq!(command.is_some(), (1..=3).contains(&kind), "an order of kind {kind}");
        assert!(command.is_none_or(|command| command.order(Boot(1), 1, 1).kind == kind));
    }
}

#[test]
fn the_longest_hello_fits_a_frame() {
    let measure = Measure {
        name: text(&"n".repeat(24)).unwrap(),
        unit: text(&"u".repeat(12)).unwrap(),
        scale: Scale(-128),
        range: Some(Range { low: Value(i64::MIN), high: Value(i64::MAX) }),
    };
    let hello = Hello {
        version: 255,
        nonce: u32::MAX,
        device: text(&"d".repeat(32)).unwrap(),
        boot: Boot(u32::MAX),
        sent: Sequence(u64::MAX),
        firmware: text(&"f".repeat(32)).unwrap(),
        capabilities: Capabilities(u32::MAX),
        measures: (0..8).map(|_| measure.clone()).collect(),
    };
    let mut out = [0; FRAME_BYTES_MAX];
    let length = FromNode::Hello(hello.clone()).encode(&mut out);
    let message = unframed(&out[..length]);
    assert_eq!(message.len(), 574);
    assert_eq!(FromNode::decode(&message), Ok(FromNode::Hello(hello)));
}

#[test]
fn fields_that_a_later_version_adds_are_skipped() {
    let mut message = unframed(&{
        let mut out = [0; FRAME_BYTES_MAX];
        let length = FromNode::Hello(hello()).encode(&mut out);
        out[..length].to_vec()
    });
    message.extend([1, 2, 3]);
    assert_eq!(FromNode::decode(&message), Ok(FromNode::Hello(hello())));
}

#[test]
fn an_unknown_type_and_a_body_that_does_not_fit_are_told_apart() {
    assert_eq!(FromNode::decode(&[0x06, 1, 2]), Err(MessageError::Unknown { kind: 0x06 }));
    assert_eq!(FromNode::decode(&[0x82, 1, 2]), Err(MessageError::Unknown { kind: 0x82 }));
    assert_eq!(FromNode::decode(&[0x02, 1]), Err(MessageError::Malformed { kind: 0x02 }));
    assert_eq!(FromGateway::decode(&[0x82]), Err(MessageError::Malformed { kind: 0x82 }));
    assert_eq!(FromGateway::decode(&[]), Err(MessageError::Unknown { kind: 0 }));
}
