//! Where packets begin and end in what a broker sends: one byte of type and flags, then the remaining length in 1 to 4 bytes of
//! seven bits each, least significant first (section 2.2 of MQTT 3.1.1, 2.1 of 5.0). A PUBLISH that is too large can be cut: it goes on as a
//! shorter packet, with the beginning of its payload.

use std::collections::VecDeque;

/// A header has so many bytes at the most.
const HEADER_BYTES_MAX: usize = 5;
const PUBLISH: u8 = 3;

/// Why a stream can't be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameError {
    /// A packet of so many bytes.
    TooLarge(usize),
    /// A remaining length of more than four bytes.
    Length,
}

/// A PUBLISH that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Which of the connection's PUBLISH packets it was, from 1.
    pub(super) publish: u64,
    /// The whole packet, bytes.
    pub(super) bytes: usize,
}

/// Follows the packets of one connection; keeps no byte of them but those of a header.
#[derive(Debug)]
pub(super) struct Frames {
    packet_bytes_max: usize,
    /// A PUBLISH that is too large is cut and told here; without, it is an error.
    cuts: Option<VecDeque<Cut>>,
    publishes: u64,
    at: At,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Header { bytes: [u8; HEADER_BYTES_MAX], read: usize },
    Body { left: usize, excess: usize },
}

const START: At = At::Header { bytes: [0; HEADER_BYTES_MAX], read: 0 };

impl Frames {
    pub(super) fn new(packet_bytes_max: usize, cuts: bool) -> Self {
        Self { packet_bytes_max, cuts: cuts.then(VecDeque::new), publishes: 0, at: START }
    }

    /// Follows the next bytes, and puts what is to go on behind `out`.
    pub(super) fn follow(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        while let Some((first, rest)) = bytes.split_first() {
            (self.at, bytes) = match self.at {
                At::Header { bytes: header, read } => (self.header(*first, header, read, out)?, rest),
                At::Body { left, excess } if left > 0 => {
                    let (passed, rest) = bytes.split_at(left.min(bytes.len()));
                    out.extend_from_slice(passed);
                    (body(left - passed.len(), excess), rest)
                }
                At::Body { excess, .. } => {
                    let skipped = excess.min(bytes.len());
                    (body(0, excess - skipped), bytes.get(skipped..).unwrap_or_default())
                }
            };
        }
        Ok(())
    }

    /// What was cut since the last call.
    pub(super) fn take_cuts(&mut self) -> impl Iterator<Item = Cut> {
        self.cuts.as_mut().map(std::mem::take).unwrap_or_default().into_iter()
    }

    /// The end of a packet that was cut is being left out.
    pub(super) fn leaves_out(&self) -> bool {
        matches!(self.at, At::Body { left: 0, .. })
    }

    fn header(
        &mut self,
        byte: u8,
        mut header: [u8; HEADER_BYTES_MAX],
        read: usize,
        out: &mut Vec<u8>,
    ) -> Result<At, FrameError> {
        *header.get_mut(read).ok_or(FrameError::Length)? = byte;
        let read = read + 1;
        if read == 1 || byte & 0x80 != 0 {
            return if read < HEADER_BYTES_MAX {
                Ok(At::Header { bytes: header, read })
            } else {
                Err(FrameError::Length)
            };
        }
        let [first, length @ ..] = header;
        let value = length.iter().take(read - 1).rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7F));
        let is_publish = first >> 4 == PUBLISH;
        self.publishes += u64::from(is_publish);
        let bytes = value + read;
        if bytes <= self.packet_bytes_max {
            out.extend(header.iter().take(read));
            return Ok(body(value, 0));
        }
        let (Some(cuts), true) = (&mut self.cuts, is_publish) else { return Err(FrameError::TooLarge(bytes)) };
        cuts.push_back(Cut { publish: self.publishes, bytes });
        let kept = self.packet_bytes_max.saturating_sub(HEADER_BYTES_MAX).min(value);
        out.push(first);
        let mut length = kept;
        while length > 0x7F {
            out.push(length.to_le_bytes()[0] | 0x80);
            length >>= 7;
        }
        out.push(length.to_le_bytes()[0]);
        Ok(body(kept, value - kept))
    }
}

fn body(left: usize, excess: usize) -> At {
    if left + excess == 0 { START } else { At::Body { left, excess } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each packet's type, flags and body.
    fn stream(packets: &[(u8, usize)]) -> Vec<u8> {
        let mut stream = Vec::new();
        for (first, size) in packets {
            stream.push(*first);
            match size {
                0..128 => stream.push(u8::try_from(*size).unwrap()),
                _ => stream.extend([u8::try_from(size & 0x7F).unwrap() | 0x80, u8::try_from(size >> 7).unwrap()]),
            }
            stream.resize(stream.len() + size, 0xFF);
        }
        stream
    }

    #[test]
    fn a_packet_that_is_too_large_is_told_by_its_header_alone() {
        let (mut frames, mut out) = (Frames::new(130, false), Vec::new());
        assert_eq!(frames.follow(&[0xD0, 0, 0x30, 127], &mut out), Ok(()));
        assert_eq!(frames.follow(&[0; 127], &mut out), Ok(()));
        assert_eq!(frames.follow(&[0x30, 0xFF], &mut out), Ok(()));
        assert_eq!(frames.follow(&[0x7F], &mut out), Err(FrameError::TooLarge(16_383 + 3)));
        let endless = [0x30, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(Frames::new(usize::MAX, true).follow(&endless, &mut out), Err(FrameError::Length));
        let suback = [0x90, 0xFF, 0x7F];
        assert_eq!(Frames::new(130, true).follow(&suback, &mut out), Err(FrameError::TooLarge(16_386)));
    }

    #[test]
    fn a_publish_that_is_too_large_goes_on_as_a_shorter_one_and_what_follows_it_is_whole() {
        let (mut frames, mut out) = (Frames::new(205, true), Vec::new());
        frames.follow(&stream(&[(0x32, 7), (0x32, 5_000), (0xD0, 0), (0x30, 9)]), &mut out).unwrap();
        assert_eq!(out, stream(&[(0x32, 7), (0x32, 200), (0xD0, 0), (0x30, 9)]));
        assert_eq!(frames.take_cuts().collect::<Vec<_>>(), [Cut { publish: 2, bytes: 5_003 }]);
        assert_eq!(frames.take_cuts().count(), 0);
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_its_packets_are_the_same(sizes in prop::collection::vec(0_usize..300, 1..20), cut in 1_usize..50) {
            let whole = stream(&sizes.iter().map(|size| (0x30, *size)).collect::<Vec<_>>());
            let largest = sizes.iter().map(|size| size + if *size < 128 { 2 } else { 3 }).max().unwrap();
            let follow = |max, cuts| {
                let (mut frames, mut out) = (Frames::new(max, cuts), Vec::new());
                let followed = whole.chunks(cut).try_for_each(|part| frames.follow(part, &mut out));
                followed.map(|()| (matches!(frames.at, At::Header { read: 0, .. }), out, frames.take_cuts().count()))
            };
            prop_assert_eq!(follow(largest, false), Ok((true, whole.clone(), 0)));
            prop_assert_eq!(follow(largest - 1, false), Err(FrameError::TooLarge(largest)));
            if largest > 10 {
                let (ends, out, cuts) = follow(largest - 1, true).unwrap();
                prop_assert!(ends && cuts > 0 && out.len() < whole.len());
            }
        }
    }
}
