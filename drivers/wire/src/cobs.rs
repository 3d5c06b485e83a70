//! Consistent overhead byte stuffing (Cheshire and Baker, IEEE/ACM Transactions on Networking 7(2), 1999): a frame
//! without zero bytes, so that a zero byte on the line always is a border.
//!
//! ```text
//! block   code (1..=255), code - 1 bytes without zero, then a zero that is not sent,
//!         unless code = 255 or it is the last block
//! ```

/// The most bytes that `bytes` become.
pub(crate) const fn encoded_bytes_max(bytes: usize) -> usize {
    bytes + bytes / 254 + 1
}

/// Stuffs `bytes` into the front of `out` and says how many it took; `None` where `out` is shorter than that.
pub(crate) fn encode(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut code_at = 0;
    let mut code = 1_u8;
    let mut at = 1;
    for (index, byte) in bytes.iter().enumerate() {
        if *byte == 0 {
            *out.get_mut(code_at)? = code;
            (code_at, code, at) = (at, 1, at + 1);
            continue;
        }
        *out.get_mut(at)? = *byte;
        at += 1;
        code += 1;
        if code == u8::MAX && index + 1 < bytes.len() {
            *out.get_mut(code_at)? = code;
            (code_at, code, at) = (at, 1, at + 1);
        }
    }
    *out.get_mut(code_at)? = code;
    Some(at)
}

/// What one byte that is not zero adds to the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unstuffed {
    /// Nothing (a code).
    Nothing,
    /// This byte.
    Byte(u8),
}

/// Takes the stuffing out, byte by byte.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unstuffer {
    left: u8,
    zero_owed: bool,
}

impl Unstuffer {
    /// Takes a byte, which must not be zero.
    pub(crate) fn take(&mut self, byte: u8) -> Unstuffed {
        if self.left > 0 {
            self.left -= 1;
            return Unstuffed::Byte(byte);
        }
        let zero = core::mem::replace(&mut self.zero_owed, byte != u8::MAX);
        self.left = byte.saturating_sub(1);
        if zero { Unstuffed::Byte(0) } else { Unstuffed::Nothing }
    }

    /// No block is open: the frame may end here.
    pub(crate) fn is_whole(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(stuffed: &[u8]) -> ([u8; 1024], usize) {
        let (mut out, mut length, mut unstuffer) = ([0; 1024], 0, Unstuffer::default());
        for byte in stuffed {
            if let Unstuffed::Byte(byte) = unstuffer.take(*byte) {
                out[length] = byte;
                length += 1;
            }
        }
        assert!(unstuffer.is_whole());
        (out, length)
    }

    proptest! {
        #[test]
        fn what_is_stuffed_is_unstuffed_and_agrees_with_the_cobs_crate(
            bytes in proptest::collection::vec(prop_oneof![3 => 1..=255_u8, 1 => Just(0)], 0..800)
        ) {
            let mut out = [0; 1024];
            let length = encode(&bytes, &mut out).unwrap();
            prop_assert!(length <= encoded_bytes_max(bytes.len()));
            prop_assert!(!out[..length].contains(&0));
            let (back, back_length) = decode(&out[..length]);
            prop_assert_eq!(&back[..back_length], &bytes[..]);
            let mut theirs = [0; 1024];
            let theirs_length = ::cobs::decode(&out[..length], &mut theirs).unwrap();
            prop_assert_eq!(&theirs[..theirs_length], &bytes[..]);
            let theirs_length = ::cobs::encode(&bytes, &mut theirs);
            let (back, back_length) = decode(&theirs[..theirs_length]);
            prop_assert_eq!(&back[..back_length], &bytes[..]);
        }
    }

    #[test]
    fn a_run_of_254_takes_one_code() {
        let mut out = [0; 300];
        assert_eq!(encode(&[7; 254], &mut out), Some(255));
        assert_eq!(encode(&[7; 255], &mut out), Some(257));
        assert_eq!(encode(&[7; 254], &mut out[..254]), None);
    }
}
