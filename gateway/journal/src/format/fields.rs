//! Taking and putting fields: nothing here panics on any input.

/// The front of some bytes, taken off piece by piece. Every method gives `None` where the bytes end early.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(front)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*front)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn i16_be(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32_be(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u32_be(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i64_be(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// Kafka's varint: zigzag, base 128, least significant group first.
    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Option<i64> {
        match self.rest {
            [first @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Some(unzigzag(u64::from(*first)))
            }
            [first, second @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Some(unzigzag(u64::from(*first & 0x7f) | u64::from(*second) << 7))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(unzigzag(value));
            }
        }
        None
    }
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Appends Kafka's varint. One and two bytes, of which nearly all are, come first.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    let rest = zigzag(value);
    match rest {
        0..0x80 => out.push(rest as u8),
        0x80..0x4000 => out.extend_from_slice(&[rest as u8 | 0x80, (rest >> 7) as u8]),
        _ => put_long_varint(out, rest),
    }
}

fn put_long_varint(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes [`put_varint`] appends: 1 to 10.
#[inline]
pub(crate) const fn varint_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    // Bits over 7, rounded up, without a division: right for 1 to 64.
    ((bits * 9 + 64) / 64) as usize
}

/// Overwrites `out` from `at` on. The callers overwrite what they have put before.
pub(crate) fn patch(out: &mut [u8], at: usize, bytes: &[u8]) {
    let place = out.get_mut(at..at + bytes.len()).expect("a patch lies within what was put before");
    place.copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn varints_at_each_change_of_length_read_as_they_were_written() {
        for bits in 0..64 {
            for value in [
                1_i64 << bits,
                (1_i64 << bits).wrapping_sub(1),
                (1_i64 << bits).wrapping_neg(),
                i64::MAX >> bits,
                i64::MIN >> bits,
            ] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_bytes(value), "{value}");
                assert_eq!(Fields::new(&out).varint(), Some(value));
            }
        }
    }

    proptest! {
        #[test]
        fn a_varint_reads_as_it_was_written(value in any::<i64>()) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_bytes(value));
            prop_assert_eq!(Fields::new(&out).varint(), Some(value));
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        assert_eq!(Fields::new(&[0xff; 10]).varint(), None);
        assert_eq!(Fields::new(&[0x80]).varint(), None);
    }
}
