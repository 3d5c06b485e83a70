//! Where packets begin and end in what a broker sends: one byte of type and flags, then the remaining length in 1 to 4 bytes of
//! seven bits each, least significant first (section 2.2 of MQTT 3.1.1, 2.1 of 5.0).

/// Why a stream can't be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameError {
    /// A packet of so many bytes.
    TooLarge(usize),
    /// A remaining length of more than four bytes.
    Length,
}

/// Follows the packets of one connection; keeps no byte of them.
#[derive(Debug)]
pub(super) struct Frames {
    packet_bytes_max: usize,
    at: At,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Type,
    Length { read: u32, value: usize },
    Body { left: usize },
}

impl Frames {
    pub(super) fn new(packet_bytes_max: usize) -> Self {
        Self { packet_bytes_max, at: At::Type }
    }

    /// Follows the next bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while let Some((first, rest)) = bytes.split_first() {
            (self.at, bytes) = match self.at {
                At::Type => (At::Length { read: 0, value: 0 }, rest),
                At::Length { read, value } => (self.length(*first, read, value)?, rest),
                At::Body { left } => {
                    let taken = left.min(bytes.len());
                    let rest = bytes.get(taken..).unwrap_or_default();
                    (if taken == left { At::Type } else { At::Body { left: left - taken } }, rest)
                }
            };
        }
        Ok(())
    }

    fn length(&self, byte: u8, read: u32, value: usize) -> Result<At, FrameError> {
        let value = value | usize::from(byte & 0x7F) << (7 * read);
        let header = 2 + usize::try_from(read).unwrap_or(3);
        match (byte & 0x80 != 0, read) {
            (true, 3..) => Err(FrameError::Length),
            (true, _) => Ok(At::Length { read: read + 1, value }),
            (false, _) if value + header > self.packet_bytes_max => Err(FrameError::TooLarge(value + header)),
            (false, _) if value == 0 => Ok(At::Type),
            (false, _) => Ok(At::Body { left: value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_that_is_too_large_is_told_by_its_header_alone() {
        let mut frames = Frames::new(130);
        assert_eq!(frames.follow(&[0xD0, 0, 0x30, 127]), Ok(()));
        assert_eq!(frames.follow(&[0; 127]), Ok(()));
        assert_eq!(frames.follow(&[0x30, 0xFF]), Ok(()));
        assert_eq!(frames.follow(&[0x7F]), Err(FrameError::TooLarge(16_383 + 3)));
        assert_eq!(Frames::new(usize::MAX).follow(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Err(FrameError::Length));
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_its_packets_are_the_same(sizes in prop::collection::vec(0_usize..300, 1..20), cut in 1_usize..50) {
            let mut stream = Vec::new();
            for size in &sizes {
                stream.push(0x30);
                match size {
                    0..128 => stream.push(u8::try_from(*size).unwrap()),
                    _ => stream.extend([u8::try_from(size & 0x7F).unwrap() | 0x80, u8::try_from(size >> 7).unwrap()]),
                }
                stream.resize(stream.len() + size, 0xFF);
            }
            let largest = sizes.iter().map(|size| size + if *size < 128 { 2 } else { 3 }).max().unwrap();
            let follow = |max| {
                let mut frames = Frames::new(max);
                stream.chunks(cut).try_for_each(|part| frames.follow(part)).map(|()| matches!(frames.at, At::Type))
            };
            prop_assert_eq!(follow(largest), Ok(true));
            prop_assert_eq!(follow(largest - 1), Err(FrameError::TooLarge(largest)));
        }
    }
}
