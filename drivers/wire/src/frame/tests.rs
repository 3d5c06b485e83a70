use super::*;

fn sealed(message: &[u8]) -> ([u8; FRAME_BYTES_MAX], usize) {
    let (mut buffer, mut out) = ([0; MESSAGE_BYTES_MAX], [0; FRAME_BYTES_MAX]);
    buffer[..message.len()].copy_from_slice(message);
    let length = seal(&mut buffer, message.len(), &mut out).unwrap();
    (out, length)
}

fn outcomes<const BYTES: usize>(
    decoder: &mut FrameDecoder<BYTES>,
    line: &[u8],
) -> std::vec::Vec<Result<std::vec::Vec<u8>, FrameError>> {
    line.iter().filter_map(|byte| decoder.take(*byte).map(|frame| frame.map(<[u8]>::to_vec))).collect()
}

#[test]
fn the_crc_is_the_check_value_of_crc_32_iscsi() {
    assert_eq!(CRC.checksum(b"123456789"), 0xe306_9283);
}

#[test]
fn a_frame_comes_out_as_it_went_in() {
    let (frame, length) = sealed(&[2, 0, 0, 7]);
    let mut decoder = FrameDecoder::<16>::new();
    assert_eq!(outcomes(&mut decoder, &frame[..length]), [Ok(std::vec![2, 0, 0, 7])]);
    assert_eq!(decoder.counters(), LinkCounters { frames_ok: 1, ..LinkCounters::default() });
}

#[test]
fn the_longest_message_fits_the_longest_frame() {
    let (frame, length) = sealed(&[9; MESSAGE_BYTES_MAX - CRC_BYTES]);
    assert!(length <= FRAME_BYTES_MAX);
    let mut decoder = FrameDecoder::<MESSAGE_BYTES_MAX>::new();
    assert_eq!(outcomes(&mut decoder, &frame[..length])[0].as_ref().unwrap().len(), MESSAGE_BYTES_MAX - CRC_BYTES);
    let mut buffer = [1; MESSAGE_BYTES_MAX];
    assert_eq!(seal(&mut buffer, MESSAGE_BYTES_MAX - CRC_BYTES + 1, &mut [0; FRAME_BYTES_MAX]), None);
}

#[test]
fn every_single_flipped_bit_is_noticed_and_the_next_frame_comes_through() {
    let (frame, length) = sealed(&[2, 5, 0, 200, 17, 0, 1]);
    for bit in 0..length * 8 {
        let mut line = frame[..length].to_vec();
        line[bit / 8] ^= 1 << (bit % 8);
        line.extend_from_slice(&frame[..length]);
        let mut decoder = FrameDecoder::<16>::new();
        let frames = outcomes(&mut decoder, &line);
        assert_eq!(frames.last(), Some(&Ok(std::vec![2, 5, 0, 200, 17, 0, 1])), "bit {bit}");
        assert!(frames.iter().filter(|frame| frame.is_ok()).count() <= 2);
        for frame in frames.iter().flatten() {
            assert_eq!(frame, &[2, 5, 0, 200, 17, 0, 1], "bit {bit}");
        }
    }
}

#[test]
fn an_over_long_frame_is_dropped_and_counted() {
    let mut decoder = FrameDecoder::<16>::new();
    let mut line = std::vec![0_u8];
    line.extend([7; 5000]);
    line.push(0);
    assert_eq!(outcomes(&mut decoder, &line), [Err(FrameError::TooLong)]);
    assert_eq!((decoder.counters().frames_too_long, decoder.counters().garbage_bytes), (1, 5000));
    let (frame, length) = sealed(&[1]);
    assert_eq!(outcomes(&mut decoder, &frame[..length]), [Ok(std::vec![1])]);
}

#[test]
fn a_cut_frame_and_an_empty_one_are_told_apart() {
    let (frame, length) = sealed(&[2, 1, 1, 1]);
    let mut decoder = FrameDecoder::<16>::new();
    let mut line = frame[..length - 3].to_vec();
    line.extend([0, 0, 0]);
    assert_eq!(outcomes(&mut decoder, &line), [Err(FrameError::Cut)]);
    assert_eq!(decoder.counters().frames_cut, 1);
    assert_eq!(outcomes(&mut decoder, &[1, 0]), [Err(FrameError::Cut)]);
}
