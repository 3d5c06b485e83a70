//! A UF2 file (specification by Microsoft, "UF2 Format"): blocks of 512 bytes, each with 256 bytes of the firmware and their
//! address. Words are little-endian.
//!
//! | offset | holds |
//! |---|---|
//! | 0, 4 | 0x0a324655, 0x9e5d5157 |
//! | 8 | flags: 0x2000, a family stands at 28 |
//! | 12 | address of the first byte |
//! | 16 | 256, the bytes used |
//! | 20, 24 | this block's number, from 0; how many there are |
//! | 28 | family |
//! | 32 | the bytes, and zeros up to 508 |
//! | 508 | 0x0ab16f30 |

use std::collections::BTreeMap;

use crate::elf::Segment;

const PAGE_BYTES: u32 = 256;
const BLOCK_BYTES: usize = 512;
const BEGIN: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const END: u32 = 0x0ab1_6f30;
const FAMILY_IS_GIVEN: u32 = 0x2000;

type Page = [u8; PAGE_BYTES as usize];

/// The file. Pages that segments fill only in part are filled up with zeros; pages come in the order of their addresses.
pub(crate) fn file(segments: &[Segment<'_>], family: u32) -> Vec<u8> {
    let pages = pages(segments);
    let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    (0..).zip(&pages).flat_map(|(number, (address, page))| block(*address, page, number, count, family)).collect()
}

fn pages(segments: &[Segment<'_>]) -> BTreeMap<u32, Page> {
    let mut pages = BTreeMap::new();
    for segment in segments {
        for (address, byte) in (segment.address..=u32::MAX).zip(segment.bytes) {
            let page = pages.entry(address - address % PAGE_BYTES).or_insert([0; PAGE_BYTES as usize]);
            if let Some(place) = page.get_mut((address % PAGE_BYTES) as usize) {
                *place = *byte;
            }
        }
    }
    pages
}

fn block(address: u32, page: &Page, number: u32, count: u32, family: u32) -> Vec<u8> {
    let [begin, begin_too] = BEGIN;
    let words = [begin, begin_too, FAMILY_IS_GIVEN, address, PAGE_BYTES, number, count, family];
    let mut block: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).chain(*page).collect();
    block.resize(BLOCK_BYTES - size_of_val(&END), 0);
    block.extend(END.to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    const RP2040: u32 = 0xe48b_ff56;

    fn word(block: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(block[offset..offset + 4].try_into().unwrap())
    }

    #[test]
    fn each_block_is_as_the_specification_has_it() {
        let bytes: Vec<u8> = (0..600_u32).map(|n| n as u8).collect();
        let file = file(&[Segment { address: 0x1000_0000, bytes: &bytes }], RP2040);
        assert_eq!(file.len(), 3 * 512);
        for (number, block) in file.chunks(512).enumerate() {
            assert_eq!(&block[..4], b"UF2\n");
            assert_eq!((word(block, 0), word(block, 4), word(block, 508)), (0x0a32_4655, 0x9e5d_5157, 0x0ab1_6f30));
            assert_eq!((word(block, 8), word(block, 28)), (0x2000, 0xe48b_ff56));
            assert_eq!(word(block, 12), 0x1000_0000 + 256 * number as u32);
            assert_eq!((word(block, 16), word(block, 20), word(block, 24)), (256, number as u32, 3));
            let used = &bytes[256 * number..bytes.len().min(256 * (number + 1))];
            assert_eq!(&block[32..32 + used.len()], used);
            assert!(block[32 + used.len()..508].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn segments_that_meet_in_a_page_share_it_and_a_gap_has_no_block() {
        let segments = [
            Segment { address: 0x1000_0310, bytes: b"late" },
            Segment { address: 0x1000_0010, bytes: b"one" },
            Segment { address: 0x1000_0013, bytes: b"two" },
        ];
        let file = file(&segments, RP2040);
        let addresses: Vec<u32> = file.chunks(512).map(|block| word(block, 12)).collect();
        assert_eq!(addresses, [0x1000_0000, 0x1000_0300]);
        assert_eq!(&file[32..32 + 24], b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0onetwo\0\0");
        assert_eq!(&file[512 + 32 + 16..512 + 32 + 20], b"late");
    }
}
