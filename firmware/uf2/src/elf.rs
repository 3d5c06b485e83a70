//! What of an ELF file is put into flash (System V ABI, "ELF Header" and "Program Header": 32 bits, little-endian).
//!
//! | in the header | holds | in a program header | holds |
//! |---|---|---|---|
//! | 0..6 | 7f 45 4c 46, 1 (32 bits), 1 (little-endian) | 0 | type; 1: to be loaded |
//! | 28 | where the program headers begin | 4 | where its bytes begin |
//! | 42 | bytes of each (2) | 12 | their physical address |
//! | 44 | how many (2) | 16 | how many bytes |

use std::fmt;

/// Bytes of the firmware, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    /// The physical address of the first byte.
    pub(crate) address: u32,
    pub(crate) bytes: &'a [u8],
}

/// Why a file has no segments to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElfError {
    /// It is no ELF file of 32 bits, little-endian.
    Kind,
    /// It ends before this offset, to which a header points.
    Cut(usize),
    /// Nothing in it is to be loaded.
    Empty,
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("not an ELF file of 32 bits, little-endian"),
            Self::Cut(offset) => write!(f, "cut: there is nothing at offset {offset}, to which a header points"),
            Self::Empty => f.write_str("nothing in it is to be loaded"),
        }
    }
}

const HEADER: [u8; 6] = [0x7f, b'E', b'L', b'F', 1, 1];
const TO_BE_LOADED: usize = 1;

/// The segments that are to be loaded and have bytes, in the file's order.
pub(crate) fn segments(file: &[u8]) -> Result<Vec<Segment<'_>>, ElfError> {
    if !file.starts_with(&HEADER) {
        return Err(ElfError::Kind);
    }
    let (table, size, count) = (number::<4>(file, 28)?, number::<2>(file, 42)?, number::<2>(file, 44)?);
    let mut found = Vec::new();
    for index in 0..count {
        let header = table.saturating_add(index * size);
        let at = |offset| number::<4>(file, header.saturating_add(offset));
        if at(0)? != TO_BE_LOADED {
            continue;
        }
        let (offset, address, length) = (at(4)?, at(12)?, at(16)?);
        let end = offset.saturating_add(length);
        let bytes = file.get(offset..end).ok_or(ElfError::Cut(end))?;
        if !bytes.is_empty() {
            found.push(Segment { address: u32::try_from(address).map_err(|_| ElfError::Kind)?, bytes });
        }
    }
    if found.is_empty() { Err(ElfError::Empty) } else { Ok(found) }
}

/// The little-endian number of so many bytes at `offset`.
fn number<const BYTES: usize>(file: &[u8], offset: usize) -> Result<usize, ElfError> {
    let bytes = file.get(offset..).and_then(|rest| rest.first_chunk::<BYTES>()).ok_or(ElfError::Cut(offset))?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with two program headers: one to be loaded, one note.
    fn file(physical: u32, bytes: &[u8]) -> Vec<u8> {
        let mut file = [HEADER.as_slice(), &[0; 46]].concat();
        file[28..32].copy_from_slice(&52_u32.to_le_bytes());
        file[42..44].copy_from_slice(&32_u16.to_le_bytes());
        file[44..46].copy_from_slice(&2_u16.to_le_bytes());
        let length = u32::try_from(bytes.len()).unwrap();
        for words in [[4, 0, 0, 0, 9, 9, 4, 4], [1, 116, 0x2000_0000, physical, length, length, 5, 4]] {
            file.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
        }
        file.extend(bytes);
        file
    }

    #[test]
    fn a_segment_goes_to_its_physical_address() {
        let file = file(0x1000_0100, b"program");
        assert_eq!(segments(&file), Ok(vec![Segment { address: 0x1000_0100, bytes: b"program" }]));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused_without_a_panic() {
        let file = file(0x1000_0100, b"program");
        for length in 0..file.len() {
            assert!(segments(&file[..length]).is_err(), "cut at {length}");
        }
        assert_eq!(segments(&file[..5]), Err(ElfError::Kind));
    }

    #[test]
    fn a_file_with_nothing_to_load_is_refused() {
        assert_eq!(segments(&file(0x1000_0100, b"")), Err(ElfError::Empty));
    }
}
