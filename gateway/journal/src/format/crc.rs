//! CRC32C of bytes put together from parts whose CRCs are known, without reading them again.
//!
//! A CRC is the remainder of a polynomial over GF(2); putting `n` bytes behind others multiplies what was there by x^(8n), modulo the
//! CRC's polynomial. Bits are reflected: the highest bit of a `u32` is x^0.

/// CRC32C's polynomial (Castagnoli), reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// x^0.
const ONE: u32 = 1 << 31;
/// x^(8 * 2^k).
const POWERS: [u32; 32] = powers();

const fn powers() -> [u32; 32] {
    let mut table = [0; 32];
    // x^8.
    let (mut power, mut rest) = (ONE >> 8, table.as_mut_slice());
    while let Some((first, behind)) = rest.split_first_mut() {
        *first = power;
        power = product(power, power);
        rest = behind;
    }
    table
}

const fn product(a: u32, mut b: u32) -> u32 {
    let (mut sum, mut bit) = (0, ONE);
    while bit != 0 {
        if a & bit != 0 {
            sum ^= b;
        }
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
        bit >>= 1;
    }
    sum
}

/// The CRC32C of some bytes with `bytes` more behind them, from the CRCs of both.
pub(crate) fn join(front: u32, behind: u32, bytes: usize) -> u32 {
    let mut shift = ONE;
    for (bit, power) in POWERS.iter().enumerate() {
        if bytes >> bit & 1 == 1 {
            shift = product(*power, shift);
        }
    }
    product(shift, front) ^ behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn joined_crcs_are_those_of_the_bytes_together(front in any::<Vec<u8>>(), behind in any::<Vec<u8>>(), times in 1..600_usize) {
            let behind = behind.repeat(times);
            let whole = [&front[..], &behind[..]].concat();
            let joined = join(crc32c::crc32c(&front), crc32c::crc32c(&behind), behind.len());
            prop_assert_eq!(joined, crc32c::crc32c(&whole));
        }
    }
}
