//! Single rules of the two sessions, which the simulation seldom or never needs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

use lamppost_wire::{
    Ack, Answer, Boot, Capabilities, Command, FRAME_BYTES_MAX, FrameDecoder, FromGateway, FromNode, GatewayEvent,
    GatewaySession, Hello, MESSAGE_BYTES_MAX, MeasureIndex, Millis, NodeSession, Quality, Reading, Refusal, Sequence,
    Step, Store, Time, Value, Wall, Welcome, text,
};

#[derive(Default)]
struct Kept(Vec<Reading>);

impl Store for Kept {
    fn kept(&self, position: usize) -> Option<Reading> {
        self.0.get(position).copied()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn last(&self) -> Sequence {
        self.0.last().map_or(Sequence::NONE, |reading| reading.sequence)
    }
    fn dropped(&self) -> u64 {
        0
    }
    fn faults(&self) -> u64 {
        0
    }
    fn acknowledge(&mut self, boot: Boot, sequence: Sequence) {
        self.0.retain(|reading| reading.boot != boot || reading.sequence > sequence);
    }
    fn renumber(&mut self, from: Boot, to: Boot) {
        self.0.iter_mut().filter(|reading| reading.boot == from).for_each(|reading| reading.boot = to);
    }
}

fn reading(boot: u32, sequence: u64) -> Reading {
    Reading {
        boot: Boot(boot),
        sequence: Sequence(sequence),
        measure: MeasureIndex(0),
        uptime: Millis(0),
        value: Value(0),
    }
}

fn hello(boot: u32, sent: u64) -> Hello {
    Hello {
        version: 1,
        nonce: 70,
        device: text("node").unwrap(),
        boot: Boot(boot),
        sent: Sequence(sent),
        firmware: text("f").unwrap(),
        capabilities: Capabilities(0),
        measures: heapless::Vec::new(),
    }
}

fn welcome(nonce: u32, boot: u32, resume_after: u64) -> FromGateway {
    let (boot, resume_after) = (Boot(boot), Sequence(resume_after));
    FromGateway::Welcome(Welcome { version: 1, nonce, boot, resume_after, window: 3, patience_ms: 100 })
}

/// Everything that the node has to say at that time.
fn said(node: &mut NodeSession, now: u64, kept: &Kept) -> Vec<FromNode> {
    let (mut decoder, mut said) = (FrameDecoder::<MESSAGE_BYTES_MAX>::new(), Vec::new());
    loop {
        let mut out = [0; FRAME_BYTES_MAX];
        let length = node.transmit(Millis(now), kept, &mut out);
        if length == 0 {
            return said;
        }
        for byte in &out[..length] {
            if let Some(frame) = decoder.take(*byte) {
                said.push(FromNode::decode(frame.unwrap()).unwrap());
            }
        }
    }
}

fn tell(node: &mut NodeSession, message: FromGateway, now: u64, kept: &mut Kept) {
    let mut out = [0; FRAME_BYTES_MAX];
    let length = message.encode(&mut out);
    node.receive(&out[..length], Millis(now), kept);
}

fn sequences(said: &[FromNode]) -> Vec<(u32, u64)> {
    let sequence = |message: &FromNode| match message {
        FromNode::Reading(_, reading) => Some((reading.boot.0, reading.sequence.0)),
        _ => None,
    };
    said.iter().filter_map(sequence).collect()
}

/// What the gateway says after a welcome.
fn time(boot: u32) -> FromGateway {
    let (boot, wall) = (Boot(boot), Wall(0));
    FromGateway::Time(Time { boot, number: 1, asked: None, wall, quality: Quality::Unset, epoch: 0 })
}

/// A node of boot 5 that is up and has been told the time, with nothing kept of an earlier boot.
fn up(kept: &mut Kept) -> NodeSession {
    let mut node = NodeSession::new(hello(5, 0), Millis(0));
    said(&mut node, 0, kept);
    tell(&mut node, welcome(71, 5, 0), 1, kept);
    tell(&mut node, time(5), 1, kept);
    assert!(node.is_up());
    node
}

/// What the gateway makes of one message at first.
fn event(gateway: &mut GatewaySession, message: &FromNode) -> Option<GatewayEvent> {
    let mut out = [0; FRAME_BYTES_MAX];
    let length = message.encode(&mut out);
    gateway.take(&mut &out[..length])
}

#[test]
fn a_node_given_a_number_says_hello_again_under_it_before_it_sends_a_reading() {
    let mut kept = Kept(vec![reading(0, 1)]);
    let mut node = NodeSession::new(hello(0, 0), Millis(0));
    said(&mut node, 0, &kept);
    tell(&mut node, welcome(71, 99, 0), 1, &mut kept);
    assert_eq!((node.boot(), kept.0[0].boot, node.is_up()), (Boot(99), Boot(99), false));
    let hellos = said(&mut node, 1, &kept);
    assert!(matches!(&hellos[..], [FromNode::Hello(hello)] if hello.boot == Boot(99) && hello.nonce == 72));
    tell(&mut node, welcome(72, 99, 0), 2, &mut kept);
    tell(&mut node, time(99), 2, &mut kept);
    assert_eq!(sequences(&said(&mut node, 2, &kept)), [(99, 1)]);
}

#[test]
fn a_node_asked_to_introduce_itself_takes_no_echo_of_the_welcome_before() {
    let mut kept = Kept(vec![reading(5, 1)]);
    let mut node = up(&mut kept);
    tell(&mut node, FromGateway::Introduce, 2, &mut kept);
    tell(&mut node, welcome(71, 99, 0), 2, &mut kept);
    assert_eq!((node.boot(), kept.0[0].boot, node.is_up()), (Boot(5), Boot(5), false));
}

#[test]
fn a_node_takes_no_welcome_that_answers_another_hello() {
    let mut kept = Kept::default();
    let mut node = NodeSession::new(hello(5, 0), Millis(0));
    said(&mut node, 0, &kept);
    tell(&mut node, welcome(70, 5, 0), 1, &mut kept);
    assert!(!node.is_up());
    tell(&mut node, FromGateway::Welcome(Welcome { version: 2, ..unwelcome() }), 1, &mut kept);
    assert!(!node.is_up() && node.counters().refused == 1);
}

fn unwelcome() -> Welcome {
    Welcome { version: 1, nonce: 71, boot: Boot(5), resume_after: Sequence(0), window: 3, patience_ms: 100 }
}

#[test]
fn readings_wait_for_the_first_time_after_a_welcome_and_are_sent_behind_the_answer_to_it() {
    for (told, at) in [(Some(40), 40), (None, 1_001)] {
        let mut kept = Kept(vec![reading(5, 1)]);
        let mut node = NodeSession::new(hello(5, 0), Millis(0));
        said(&mut node, 0, &kept);
        tell(&mut node, welcome(71, 5, 0), 1, &mut kept);
        for now in 1..at {
            assert_eq!(sequences(&said(&mut node, now, &kept)), [], "at {now} ms");
        }
        if told.is_some() {
            tell(&mut node, time(5), at, &mut kept);
        }
        assert!(node.wake_at() <= Millis(at));
        let said = said(&mut node, at, &kept);
        assert!(matches!(&said[..], [FromNode::TimeAsked(_), FromNode::Reading(..)]), "{said:?}");
    }
}

#[test]
fn readings_under_way_are_within_the_window_and_of_one_boot() {
    let mut kept = Kept(vec![reading(4, 8), reading(4, 9), reading(5, 1), reading(5, 2), reading(5, 3), reading(5, 4)]);
    let mut node = up(&mut kept);
    assert_eq!(sequences(&said(&mut node, 1, &kept)), [(4, 8), (4, 9)]);
    tell(&mut node, FromGateway::Ack(Ack { boot: Boot(4), sequence: Sequence(9) }), 2, &mut kept);
    assert_eq!(sequences(&said(&mut node, 2, &kept)), [(5, 1), (5, 2), (5, 3)]);
    tell(&mut node, FromGateway::Ack(Ack { boot: Boot(5), sequence: Sequence(1) }), 3, &mut kept);
    assert_eq!(sequences(&said(&mut node, 3, &kept)), [(5, 4)]);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut kept = Kept((1..=5).map(|sequence| reading(5, sequence)).collect());
    let mut node = up(&mut kept);
    assert_eq!(sequences(&said(&mut node, 1, &kept)).len(), 3);
    tell(&mut node, FromGateway::Ack(Ack { boot: Boot(5), sequence: Sequence(4) }), 2, &mut kept);
    assert_eq!((kept.0.len(), node.counters().refused), (5, 1));
}

#[test]
fn what_is_not_acknowledged_is_sent_again_from_the_oldest_with_growing_patience() {
    let mut kept = Kept((1..=2).map(|sequence| reading(5, sequence)).collect());
    let mut node = up(&mut kept);
    let mut sent_at = Vec::new();
    for now in 1..1_000 {
        if sequences(&said(&mut node, now, &kept)) == [(5, 1), (5, 2)] {
            sent_at.push(now);
        }
    }
    assert_eq!(sent_at, [1, 101, 301, 701]);
}

#[test]
fn steps_tell_what_was_dropped_between() {
    let mut kept = Kept(vec![reading(5, 3), reading(5, 4), reading(5, 9)]);
    let mut node = up(&mut kept);
    let steps: Vec<u64> = said(&mut node, 1, &kept)
        .iter()
        .filter_map(|message| if let FromNode::Reading(step, _) = message { Some(step.0) } else { None })
        .collect();
    assert_eq!(steps, [0, 1, 5]);
}

#[test]
fn after_this_life_s_first_reading_one_of_an_earlier_life_is_not_taken() {
    let mut gateway = GatewaySession::new();
    assert!(event(&mut gateway, &FromNode::Hello(hello(5, 0))).is_some());
    gateway.welcome(Boot(5), Sequence(0), 8, 100);
    let old = FromNode::Reading(Step::OLDEST, reading(4, 7));
    assert_eq!(event(&mut gateway, &old), Some(GatewayEvent::Boot(Boot(4))));
    gateway.open(Boot(4), Sequence(6));
    let taken = GatewayEvent::Reading { reading: reading(4, 7), passed_over: 0 };
    assert_eq!(gateway.take(&mut &[][..]), Some(taken));

    let new = FromNode::Reading(Step::OLDEST, reading(5, 1));
    assert_eq!(event(&mut gateway, &new), Some(GatewayEvent::Boot(Boot(5))));
    gateway.open(Boot(5), Sequence(0));
    assert!(gateway.take(&mut &[][..]).is_some());
    let echo = FromNode::Reading(Step::OLDEST, reading(4, 8));
    assert_eq!((event(&mut gateway, &echo), gateway.counters().bygone), (None, 1));
}

/// Everything that the gateway has to say.
fn told(gateway: &mut GatewaySession) -> Vec<FromGateway> {
    let (mut decoder, mut told) = (FrameDecoder::<MESSAGE_BYTES_MAX>::new(), Vec::new());
    loop {
        let mut out = [0; FRAME_BYTES_MAX];
        let length = gateway.transmit(Millis(0), &mut out);
        if length == 0 {
            return told;
        }
        for byte in &out[..length] {
            if let Some(frame) = decoder.take(*byte) {
                told.push(FromGateway::decode(frame.unwrap()).unwrap());
            }
        }
    }
}

#[test]
fn a_node_that_takes_anothers_place_is_not_told_what_was_kept_of_that_one() {
    let mut gateway = GatewaySession::new();
    assert!(event(&mut gateway, &FromNode::Hello(hello(5, 0))).is_some());
    gateway.welcome(Boot(5), Sequence::NONE, 8, 100);
    assert!(event(&mut gateway, &FromNode::Reading(Step::OLDEST, reading(5, 1))).is_some());
    // Another one stands there, in a life of the same number, before the reading is on disk.
    assert!(event(&mut gateway, &FromNode::Hello(hello(5, 1))).is_some());
    gateway.acknowledge(Boot(5), Sequence(1));
    gateway.welcome(Boot(5), Sequence::NONE, 8, 100);
    let told = told(&mut gateway);
    assert!(matches!(&told[..], [FromGateway::Welcome(_)]), "{told:?}");
}

/// Sends the node a command of that session and number: what it obeys and what it answers.
#[test]
fn of_lives_that_a_node_counts_none_before_the_latest_taken_or_on_disk_is_taken_any_more() {
    let mut gateway = GatewaySession::new();
    let meet = |gateway: &mut GatewaySession, boot: u32, on_disk: &[u32]| {
        assert!(event(gateway, &FromNode::Hello(hello(boot, 0))).is_some());
        gateway.settle(Boot(boot).settled(|life| Sequence(u64::from(on_disk.contains(&life.0)))));
        gateway.welcome(Boot(boot), Sequence::NONE, 8, 100);
    };
    let is_taken = |gateway: &mut GatewaySession, boot: u32| {
        let mut came = event(gateway, &FromNode::Reading(Step::OLDEST, reading(boot, 1)));
        if came == Some(GatewayEvent::Boot(Boot(boot))) {
            gateway.open(Boot(boot), Sequence::NONE);
            came = gateway.take(&mut &[][..]);
        }
        matches!(came, Some(GatewayEvent::Reading { .. }))
    };
    let given = Boot::GIVEN_MIN.0;
    meet(&mut gateway, 9, &[3]);
    let taken = [4, 7, 5, given, 7, 9, 3].map(|boot| is_taken(&mut gateway, boot));
    assert_eq!(taken, [true, true, false, true, true, true, false], "the present life's are taken, and end all others");

    // A gateway that was started anew knows by its disk.
    meet(&mut gateway, 10, &[3, 7]);
    assert_eq!([5, 8].map(|boot| is_taken(&mut gateway, boot)), [false, true]);
    // What a node keeps that has lost its count, and begins below, is not of the past.
    meet(&mut gateway, 2, &[3, 7]);
    assert!(is_taken(&mut gateway, 1));
    // The present life's are taken whatever is on disk.
    meet(&mut gateway, 40, &[7, 39]);
    assert_eq!([38, 40].map(|boot| is_taken(&mut gateway, boot)), [false, true]);
}

/// A node whose count was lost has got to its third life without a word to the gateway, which has the fourth of the lives before on disk.
#[test]
fn what_a_node_insists_on_in_three_sessions_in_a_row_is_taken_and_told_of() {
    let mut gateway = GatewaySession::new();
    let mut nonce = 0;
    let mut begin = |gateway: &mut GatewaySession, step: Step, boot: u32, sequence: u64| {
        nonce += 1;
        assert!(event(gateway, &FromNode::Hello(Hello { nonce, ..hello(5, 0) })).is_some());
        gateway.settle(Boot(5).settled(|life| Sequence(u64::from(life == Boot(4)))));
        gateway.welcome(Boot(5), Sequence::NONE, 8, 100);
        // It is sent twice in a session: that is no more insistence.
        let came = [(), ()].map(|()| event(gateway, &FromNode::Reading(step, reading(boot, sequence))));
        (came[0].is_some(), gateway.counters().recounted)
    };
    assert_eq!(begin(&mut gateway, Step::OLDEST, 3, 1), (false, 0));
    assert_eq!(begin(&mut gateway, Step::OLDEST, 3, 1), (false, 0));
    assert_eq!(begin(&mut gateway, Step::OLDEST, 2, 1), (false, 0), "another one: it began with an echo");
    assert_eq!(begin(&mut gateway, Step::OLDEST, 3, 1), (false, 0));
    assert_eq!(begin(&mut gateway, Step(1), 3, 1), (false, 0), "not the oldest that it keeps");
    assert_eq!(begin(&mut gateway, Step::OLDEST, 3, 1), (false, 0));
    assert_eq!(begin(&mut gateway, Step::OLDEST, 3, 1), (true, 1));
    gateway.open(Boot(3), Sequence::NONE);
    let taken = |came: Option<GatewayEvent>| matches!(came, Some(GatewayEvent::Reading { .. }));
    assert!(taken(gateway.take(&mut &[][..])));
    assert!(taken(event(&mut gateway, &FromNode::Reading(Step(1), reading(3, 2)))), "and so are those behind it");
    assert_eq!(begin(&mut gateway, Step::OLDEST, 3, 3), (false, 1), "a reading that was taken ends the insistence");
}

#[test]
fn no_more_than_sixteen_lives_are_asked_for() {
    let mut asked = 0;
    let settled = Boot(1_000_000).settled(|_| {
        asked += 1;
        Sequence::NONE
    });
    assert_eq!((settled, asked), (Boot::UNNUMBERED, 16));
    let any = |boot: Boot| boot.settled(|_| Sequence(1));
    assert_eq!([Boot(1), Boot::UNNUMBERED, Boot::GIVEN_MIN].map(any), [Boot(1), Boot::UNNUMBERED, Boot::UNNUMBERED]);
}

fn command(node: &mut NodeSession, session: u32, id: u32, now: u64) -> (bool, Vec<Result<(), Refusal>>) {
    let mut kept = Kept::default();
    tell(node, FromGateway::Order(Command::Reset.order(Boot(5), session, id)), now, &mut kept);
    let obeyed = node.take_order().is_some();
    if obeyed {
        node.answer(Ok(()));
    }
    let answer =
        |message: &FromNode| if let FromNode::Answer(answer) = message { Some(answer.outcome()) } else { None };
    (obeyed, said(node, now, &kept).iter().filter_map(answer).collect())
}

#[test]
fn a_command_is_obeyed_once_its_answer_repeated_and_the_echo_of_an_old_one_passed_over() {
    let mut node = up(&mut Kept::default());
    assert_eq!(command(&mut node, 71, 4, 2), (true, vec![Ok(())]));
    assert_eq!(command(&mut node, 71, 4, 3), (false, vec![Ok(())]));
    assert_eq!(command(&mut node, 71, 5, 4), (true, vec![Ok(())]));
    assert_eq!(command(&mut node, 71, 4, 5), (false, vec![]));
    assert_eq!(command(&mut node, 70, 9, 6), (false, vec![Err(Refusal::AnotherSession)]));
}

#[test]
fn a_gateway_takes_no_answer_but_to_the_command_under_way() {
    let mut gateway = GatewaySession::new();
    assert!(!gateway.order(Command::Reset), "nobody is there");
    assert!(event(&mut gateway, &FromNode::Hello(hello(5, 0))).is_some());
    gateway.welcome(Boot(5), Sequence(0), 8, 100);
    assert!(gateway.order(Command::Reset) && !gateway.order(Command::Reset));
    let order = Command::Reset.order(Boot(5), 70, 1);
    for other in [
        Command::Reset.order(Boot(5), 70, 2),
        Command::Reset.order(Boot(5), 69, 1),
        Command::Reset.order(Boot(4), 70, 1),
    ] {
        assert_eq!(event(&mut gateway, &FromNode::Answer(Answer::new(&other, Ok(())))), None);
    }
    let answer = Answer::new(&order, Ok(()));
    assert_eq!(event(&mut gateway, &FromNode::Answer(answer)), Some(GatewayEvent::Answer(answer)));
    assert_eq!(event(&mut gateway, &FromNode::Answer(answer)), None);
}

#[test]
fn a_node_believes_a_time_only_in_answer_to_its_last_question_and_forgets_it_when_the_clock_has_jumped() {
    let mut kept = Kept::default();
    let mut node = up(&mut kept);
    let asked = |said: &[FromNode]| {
        said.iter().find_map(|message| if let FromNode::TimeAsked(asked) = message { Some(*asked) } else { None })
    };
    let time =
        Time { boot: Boot(5), number: 9, asked: None, wall: Wall(1_000_000), quality: Quality::Synced, epoch: 1 };
    tell(&mut node, FromGateway::Time(time), 10, &mut kept);
    let question = asked(&said(&mut node, 10, &kept)).unwrap();
    assert_eq!((question.uptime, question.heard, node.wall(Millis(10))), (Millis(10), 9, None));
    let answer = Time { asked: Some(Millis(10)), ..time };
    tell(&mut node, FromGateway::Time(Time { asked: Some(Millis(9)), ..answer }), 20, &mut kept);
    tell(&mut node, FromGateway::Time(Time { boot: Boot(4), ..answer }), 20, &mut kept);
    assert_eq!(node.wall(Millis(20)), None);
    tell(&mut node, FromGateway::Time(answer), 30, &mut kept);
    let known = node.wall(Millis(30)).unwrap();
    assert_eq!((known.wall, known.error_ms), (Wall(1_000_010), 12));
    tell(&mut node, FromGateway::Time(answer), 90, &mut kept);
    assert_eq!(node.wall(Millis(30)), Some(known), "an echo");
    tell(&mut node, FromGateway::Time(Time { number: 10, epoch: 2, ..time }), 100, &mut kept);
    assert_eq!(node.wall(Millis(100)), None);
    assert_eq!(asked(&said(&mut node, 100, &kept)).unwrap().heard, 10);
    // Unanswered: the next question is one of its own.
    assert_eq!(asked(&said(&mut node, 10_100, &kept)).unwrap().heard, 0);
}
