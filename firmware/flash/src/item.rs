//! What lies in the flash, byte by byte: the head of the crate shows it.

use lamppost_node::{Boot, MeasureIndex, Millis, Reading, Sequence, Value};

pub(crate) const READING_BYTES: usize = 29;
pub(crate) const LIFE_BYTES: usize = 8;
/// Room for any item, and for the flash's words.
pub(crate) const ITEM_BYTES_MAX: usize = 64;

/// A life of the node: the number it was counted as, and the one that the gateway has given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) boot: Boot,
    pub(crate) given: Boot,
}

impl Life {
    pub(crate) fn to_bytes(self) -> [u8; LIFE_BYTES] {
        let mut bytes = [0; LIFE_BYTES];
        let (boot, given) = bytes.split_at_mut(4);
        boot.copy_from_slice(&self.boot.0.to_le_bytes());
        given.copy_from_slice(&self.given.0.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (boot, rest) = bytes.split_first_chunk()?;
        let given = rest.first_chunk()?;
        Some(Self { boot: Boot(u32::from_le_bytes(*boot)), given: Boot(u32::from_le_bytes(*given)) })
    }
}

pub(crate) fn reading_to(reading: &Reading) -> [u8; READING_BYTES] {
    let parts: [&[u8]; 5] = [
        &reading.boot.0.to_le_bytes(),
        &reading.sequence.0.to_le_bytes(),
        &reading.uptime.0.to_le_bytes(),
        &reading.value.0.to_le_bytes(),
        &[reading.measure.0],
    ];
    let mut bytes = [0; READING_BYTES];
    let mut places = bytes.iter_mut();
    for byte in parts.into_iter().flatten() {
        if let Some(place) = places.next() {
            *place = *byte;
        }
    }
    bytes
}

pub(crate) fn reading_from(bytes: &[u8]) -> Option<Reading> {
    let (boot, rest) = bytes.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (uptime, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_first_chunk()?;
    Some(Reading {
        boot: Boot(u32::from_le_bytes(*boot)),
        sequence: Sequence(u64::from_le_bytes(*sequence)),
        measure: MeasureIndex(*rest.first()?),
        uptime: Millis(u64::from_le_bytes(*uptime)),
        value: Value(i64::from_le_bytes(*value)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_these_bytes_and_come_back() {
        let reading = Reading {
            boot: Boot(0x0102),
            sequence: Sequence(3),
            measure: MeasureIndex(7),
            uptime: Millis(0x0405),
            value: Value(-2),
        };
        let bytes = reading_to(&reading);
        let mut golden = [0; READING_BYTES];
        (golden[0], golden[1], golden[4], golden[12], golden[13], golden[28]) = (2, 1, 3, 5, 4, 7);
        golden[20..28].copy_from_slice(&[0xfe, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(bytes, golden);
        assert_eq!(reading_from(&bytes), Some(reading));
        assert_eq!(reading_from(&bytes[..28]), None);
        let life = Life { boot: Boot(7), given: Boot(0x0100_0000) };
        assert_eq!(life.to_bytes(), [7, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(Life::from_bytes(&life.to_bytes()), Some(life));
        assert_eq!(Life::from_bytes(&[0; 7]), None);
    }
}
