extern crate std;

use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::Command;

/// Frames of real sensors, as published with the tests of other projects (a Prometheus exporter in Rust and periph.io's pmsa003i,
/// of the same protocol).
pub(crate) const PUBLISHED: [[u8; 32]; 2] = [
    [
        0x42, 0x4d, 0x00, 0x1c, 0x00, 0x03, 0x00, 0x04, 0x00, 0x07, 0x00, 0x03, 0x00, 0x04, 0x00, 0x07, 0x02, 0xd0,
        0x00, 0xb8, 0x00, 0x19, 0x00, 0x08, 0x00, 0x04, 0x00, 0x02, 0x97, 0x00, 0x03, 0x0f,
    ],
    [
        0x42, 0x4d, 0x00, 0x1c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01, 0x00, 0x05, 0x00, 0x7e,
        0x00, 0x2a, 0x00, 0x0f, 0x00, 0x09, 0x00, 0x03, 0x00, 0x03, 0x97, 0x00, 0x02, 0x14,
    ],
];
/// What "passive" is answered with.
const ANSWER: [u8; 8] = [0x42, 0x4d, 0x00, 0x04, 0xe1, 0x00, 0x01, 0x74];

fn parse_all(parser: &mut Parser, bytes: &[u8]) -> (Vec<Frame>, Vec<FrameError>) {
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    for byte in bytes {
        match parser.push(*byte) {
            Ok(frame) => frames.extend(frame),
            Err(error) => errors.push(error),
        }
    }
    (frames, errors)
}

fn whole(bytes: &[u8]) -> Frame {
    let (frames, errors) = parse_all(&mut Parser::new(), bytes);
    assert!(errors.is_empty() && frames.len() == 1, "{frames:?} {errors:?}");
    frames[0]
}

#[test]
fn a_published_frame_says_what_was_published_with_it() {
    let Frame::Reading(found) = whole(&PUBLISHED[0]) else { panic!("not a reading") };
    let texts = [found.atmospheric.pm1, found.atmospheric.pm2_5, found.atmospheric.pm10].map(|mass| mass.to_string());
    assert_eq!(texts, ["3 µg/m³", "4 µg/m³", "7 µg/m³"]);
    assert_eq!(found.standard, found.atmospheric);
    let counts = found.counts;
    assert_eq!((counts.above_0_3, counts.above_0_5, counts.above_1), (0x2d0, 0xb8, 0x19));
    assert_eq!((counts.above_2_5, counts.above_5, counts.above_10), (8, 4, 2));
    assert_eq!((found.version, found.error), (0x97, 0));
}

#[test]
fn standard_and_atmospheric_masses_are_not_mixed_up() {
    let mut frame = PUBLISHED[0];
    frame[4..16].copy_from_slice(&[0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0xff, 0xff]);
    let [high, low] = checksum(&frame[..30]).to_be_bytes();
    frame[30..].copy_from_slice(&[high, low]);
    let Frame::Reading(found) = whole(&frame) else { panic!("not a reading") };
    let milli = |masses: crate::Masses| [masses.pm1.milli(), masses.pm2_5.milli(), masses.pm10.milli()];
    assert_eq!(milli(found.standard), [1_000, 2_000, 3_000]);
    assert_eq!(milli(found.atmospheric), [4_000, 5_000, 65_535_000]);
}

#[test]
fn commands_are_those_that_linux_sends() {
    // drivers/iio/chemical/pms7003.c.
    assert_eq!(Command::WakeUp.bytes(), [0x42, 0x4d, 0xe4, 0x00, 0x01, 0x01, 0x74]);
    assert_eq!(Command::Passive.bytes(), [0x42, 0x4d, 0xe1, 0x00, 0x00, 0x01, 0x70]);
    assert_eq!(Command::Read.bytes(), [0x42, 0x4d, 0xe2, 0x00, 0x00, 0x01, 0x71]);
    assert_eq!(Command::Sleep.bytes(), [0x42, 0x4d, 0xe4, 0x00, 0x00, 0x01, 0x73]);
    assert_eq!(Command::Active.bytes(), [0x42, 0x4d, 0xe1, 0x00, 0x01, 0x01, 0x71]);
}

#[test]
fn an_answer_is_a_frame_of_its_own() {
    assert_eq!(whole(&ANSWER), Frame::Answer { command: 0xe1, argument: 0 });
}

#[test]
fn every_single_wrong_bit_is_seen_and_the_next_frame_is_found() {
    for bit in 0..PUBLISHED[0].len() * 8 {
        let mut bytes = [PUBLISHED[0].as_slice(), &PUBLISHED[1], &PUBLISHED[1]].concat();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (frames, _) = parse_all(&mut Parser::new(), &bytes);
        assert!(!frames.contains(&whole(&PUBLISHED[0])), "bit {bit}: the damaged one was taken");
        assert_eq!(frames, [whole(&PUBLISHED[1]); 2], "bit {bit}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let mut bytes = PUBLISHED[0];
    bytes[31] ^= 1;
    let (_, errors) = parse_all(&mut Parser::new(), &bytes);
    assert_eq!(errors, [FrameError::Checksum { found: 0x030e, computed: 0x030f }]);
    assert_eq!(errors[0].to_string(), "a PMS5003 frame with checksum 0x030e, not 0x030f");
    let (_, errors) = parse_all(&mut Parser::new(), &[0x42, 0x4d, 0xff, 0xff]);
    assert_eq!(errors[0].to_string(), "a PMS5003 frame of 65535 bytes: there are such of 28 and 4");
}

#[test]
fn a_start_of_a_start_is_not_missed() {
    for starts in 1..5 {
        let bytes = [[0x42; 5][..starts].as_ref(), &PUBLISHED[0][1..]].concat();
        let (frames, errors) = parse_all(&mut Parser::new(), &bytes);
        assert_eq!((frames.len(), errors.len()), (1, 0), "{starts}");
    }
}

#[test]
fn a_frame_that_lost_bytes_does_not_cost_the_one_behind_it() {
    for kept in 0..PUBLISHED[0].len() {
        let bytes = [&PUBLISHED[0][..kept], &PUBLISHED[1]].concat();
        let mut parser = Parser::new();
        let (frames, _) = parse_all(&mut parser, &bytes);
        assert_eq!(frames, [whole(&PUBLISHED[1])], "of the first frame {kept} bytes came");
        assert_eq!(parser.discarded(), kept as u64);
    }
}

proptest! {
    #[test]
    fn frames_are_found_in_any_garbage_that_holds_no_start(
        garbage in proptest::collection::vec(any::<u8>().prop_filter("no start", |byte| *byte != 0x42), 0..100),
        which in 0..2_usize,
    ) {
        let bytes = [garbage.as_slice(), &PUBLISHED[which], &ANSWER].concat();
        let mut parser = Parser::new();
        let (frames, errors) = parse_all(&mut parser, &bytes);
        prop_assert_eq!(frames, [whole(&PUBLISHED[which]), whole(&ANSWER)]);
        prop_assert!(errors.is_empty());
        prop_assert_eq!(parser.discarded(), garbage.len() as u64);
    }

    #[test]
    fn no_bytes_make_it_panic_or_keep_it_from_a_frame_that_comes_often_enough(
        garbage in proptest::collection::vec(prop_oneof![Just(0x42_u8), Just(0x4d), Just(0x00), Just(0x1c), Just(0x04), any::<u8>()], 0..300),
    ) {
        let mut parser = Parser::new();
        for byte in &garbage {
            let _looked_like_one = parser.push(*byte).err();
            prop_assert!((1..=32).contains(&parser.missing()) && parser.filled < FRAME_BYTES_MAX);
        }
        let (frames, _) = parse_all(&mut parser, &[PUBLISHED[1].as_slice(), &PUBLISHED[1]].concat());
        prop_assert!(frames.contains(&whole(&PUBLISHED[1])), "{frames:?}");
    }
}
