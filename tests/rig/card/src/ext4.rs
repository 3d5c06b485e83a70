//! The pages without which ext4 can't find and replay its journal. A cut that tears them tells of ext4, and nothing of the store on it.
//!
//! They are the superblock, the group descriptors, the beginning of the inode table (where the journal's inode lies, besides those of
//! the first files), and the journal's own superblock. Layouts: <https://docs.kernel.org/filesystems/ext4/>.

use crate::image::{Image, PAGE};

const SUPERBLOCK_AT: u64 = 1024;
const MAGIC_AT: u64 = SUPERBLOCK_AT + 0x38;
const MAGIC: u16 = 0xef53;
/// With blocks of a page, the group descriptors lie in the page behind the superblock; so small a card needs one page of them.
const DESCRIPTORS: u64 = 1;
/// In the first descriptor: the inode table's block, its lower half.
const INODE_TABLE_AT: u64 = DESCRIPTORS * PAGE as u64 + 8;

/// The numbers of these pages, but for the journal's superblock; none if there is no ext4.
pub(crate) fn anchors(image: &Image) -> Vec<u64> {
    let (mut magic, mut table) = ([0; 2], [0; 4]);
    let read = image.read(&mut magic, MAGIC_AT).and_then(|()| image.read(&mut table, INODE_TABLE_AT));
    if read.is_err() || u16::from_le_bytes(magic) != MAGIC {
        return Vec::new();
    }
    vec![0, DESCRIPTORS, u64::from(u32::from_le_bytes(table))]
}

/// Whether this is the journal's superblock: the journal's magic and a block type of 3 or 4, big-endian.
pub(crate) fn is_journal_superblock(page: &[u8]) -> bool {
    const HEAD: &[u8] = &[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0];
    page.starts_with(HEAD) && matches!(page.get(HEAD.len()), Some(3 | 4))
}
