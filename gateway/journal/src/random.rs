//! Randomness, handed in: the machine's for the real journal, a seed's for a run that can be repeated.

/// Where salts, epochs and identities come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Entropy {
    /// The machine's (`getrandom`).
    #[default]
    System,
    /// A seed: the same seed gives the same journal. For tests.
    Seed(u64),
}

/// `SplitMix64` (Steele, Lea, Flood 2014): small, fast, and the same bytes from the same seed for ever.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From the machine's randomness, or a fixed seed.
    ///
    /// # Errors
    /// The machine has none to give.
    pub(crate) fn from_entropy(entropy: Entropy) -> std::io::Result<Self> {
        match entropy {
            Entropy::Seed(seed) => Ok(Self(seed)),
            Entropy::System => {
                let mut seed = [0_u8; 8];
                let got = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
                if got < seed.len() {
                    return Err(std::io::Error::other("getrandom gave fewer than 8 bytes"));
                }
                Ok(Self(u64::from_le_bytes(seed)))
            }
        }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 for a bound of 0). Slightly biased for bounds near 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// True `numerator` times out of `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_algorithm() {
        // First outputs of the reference implementation for seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }
}
