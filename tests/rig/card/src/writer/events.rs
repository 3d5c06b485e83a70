//! Events that prove themselves: an id says what the bytes must be.

use lamppost_journal::SplitMix64;

const BYTES_MAX: u64 = 900;

/// Ids rise from life to life and within a life; none is 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    next: u64,
}

impl Ids {
    pub(super) fn of_life(life: u32) -> Self {
        Self { next: (u64::from(life) + 1) << 32 }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// The bytes of an event: its id, and half text, half noise, of a length that follows from the id.
pub(super) fn payload(id: u64) -> Vec<u8> {
    let mut random = SplitMix64::new(id);
    let length = random.below(BYTES_MAX);
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((0..length).map(|at| if at % 2 == 0 { b'x' } else { random.next_u64().to_le_bytes()[0] }));
    bytes
}

/// The id, if these are the bytes of an event.
pub(super) fn id_of(bytes: &[u8]) -> Option<u64> {
    let id = u64::from_le_bytes(*bytes.first_chunk()?);
    (payload(id) == bytes).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_says_which_event_it_is_and_one_changed_byte_or_a_missing_one_makes_it_none() {
        let mut ids = Ids::of_life(3);
        for id in [ids.next(), ids.next(), ids.next()] {
            let mut bytes = payload(id);
            assert_eq!(id_of(&bytes), Some(id));
            assert_eq!(id_of(&bytes[..bytes.len() - 1]), None);
            *bytes.last_mut().unwrap() ^= 1;
            assert_eq!(id_of(&bytes), None);
        }
    }

    #[test]
    fn ids_rise_from_life_to_life() {
        let (mut first, mut second) = (Ids::of_life(0), Ids::of_life(1));
        assert!(0 < first.next() && first.next() < second.next());
    }
}
