//! What the card holds: pages of 4 KiB in memory. Pages of zeros take no room, and a copy shares its pages until they change.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The size of a page in bytes.
pub const PAGE: usize = 4096;

type Page = [u8; PAGE];

/// The bytes of a card. Cheap to clone.
#[derive(Clone)]
pub struct Image {
    pages: Vec<Option<Arc<Page>>>,
}

/// Something lies beyond the end of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeyondEnd;

impl Image {
    /// An image of `bytes` zeros, rounded up to whole pages.
    #[must_use]
    pub fn zeros(bytes: u64) -> Self {
        let pages = usize::try_from(bytes.div_ceil(PAGE as u64)).unwrap_or(usize::MAX / PAGE);
        Self { pages: vec![None; pages] }
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }

    /// Fills `buffer` from byte `at` on.
    ///
    /// # Errors
    /// [`BeyondEnd`]; nothing is promised of the buffer then.
    pub fn read(&self, mut buffer: &mut [u8], at: u64) -> Result<(), BeyondEnd> {
        let (mut page, mut within) = place(at)?;
        while !buffer.is_empty() {
            let (piece, rest) = buffer.split_at_mut(buffer.len().min(PAGE - within));
            match self.pages.get(page).ok_or(BeyondEnd)? {
                Some(bytes) => piece.copy_from_slice(bytes.get(within..within + piece.len()).ok_or(BeyondEnd)?),
                None => piece.fill(0),
            }
            (buffer, page, within) = (rest, page + 1, 0);
        }
        Ok(())
    }

    /// Writes it to a new, sparse file.
    ///
    /// # Errors
    /// The file can't be made or written.
    #[expect(
        clippy::disallowed_methods,
        reason = "an image that is left for whoever looks for a fault; no journal data"
    )]
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.bytes())?;
        for (number, page) in self.pages.iter().enumerate() {
            if let Some(page) = page {
                file.write_all_at(&**page, (number * PAGE) as u64)?;
            }
        }
        Ok(())
    }

    /// Takes over the pages of `other` that these bytes lie in; they are shared until they change.
    pub(crate) fn share(&mut self, other: &Self, at: u64, bytes: usize) {
        let (Ok((first, within)), true) = (place(at), bytes > 0) else { return };
        let pages = first..=first + (within + bytes - 1) / PAGE;
        if let (Some(ours), Some(theirs)) = (self.pages.get_mut(pages.clone()), other.pages.get(pages)) {
            ours.clone_from_slice(theirs);
        }
    }

    /// Writes `bytes` at byte `at`.
    ///
    /// # Errors
    /// [`BeyondEnd`]; nothing is written then.
    pub fn write(&mut self, mut bytes: &[u8], at: u64) -> Result<(), BeyondEnd> {
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > self.bytes()) {
            return Err(BeyondEnd);
        }
        let (mut page, mut within) = place(at)?;
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(PAGE - within));
            write_page(self.pages.get_mut(page).ok_or(BeyondEnd)?, within, piece);
            (bytes, page, within) = (rest, page + 1, 0);
        }
        Ok(())
    }
}

fn place(at: u64) -> Result<(usize, usize), BeyondEnd> {
    let at = usize::try_from(at).map_err(|_| BeyondEnd)?;
    Ok((at / PAGE, at % PAGE))
}

fn write_page(slot: &mut Option<Arc<Page>>, within: usize, piece: &[u8]) {
    let zeros = piece.iter().all(|byte| *byte == 0);
    if zeros && (slot.is_none() || piece.len() == PAGE) {
        *slot = None;
        return;
    }
    let page = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; PAGE])));
    if let Some(target) = page.get_mut(within..within + piece.len()) {
        target.copy_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_across_pages_is_read_again_and_the_copy_made_before_keeps_its_own() {
        let mut image = Image::zeros(4 * PAGE as u64);
        image.write(&[7; 6000], 3000).unwrap();
        let copy = image.clone();
        image.write(&[9; 10], 4096).unwrap();
        let (mut now, mut before) = ([0; 6002], [0; 6002]);
        image.read(&mut now, 2999).unwrap();
        copy.read(&mut before, 2999).unwrap();
        assert_eq!((now[0], now[1], now[1096], now[1097], now[1107], now[6001]), (0, 7, 7, 9, 7, 0));
        assert!(before[1..6001].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn zeros_over_bytes_are_zeros_and_a_whole_page_of_them_takes_no_room() {
        let mut image = Image::zeros(2 * PAGE as u64);
        image.write(&[7; 2 * PAGE], 0).unwrap();
        image.write(&[0; PAGE + 100], 0).unwrap();
        let mut bytes = [1; 2 * PAGE];
        image.read(&mut bytes, 0).unwrap();
        assert!(bytes[..PAGE + 100].iter().all(|byte| *byte == 0) && bytes[PAGE + 100..].iter().all(|byte| *byte == 7));
        assert!(image.pages[0].is_none());
    }

    #[test]
    fn beyond_the_end_nothing_is_read_or_written() {
        let mut image = Image::zeros(PAGE as u64);
        assert_eq!(image.write(&[1; 2], PAGE as u64 - 1), Err(BeyondEnd));
        assert_eq!(image.read(&mut [0; 2], PAGE as u64 - 1), Err(BeyondEnd));
        let mut last = [5];
        image.read(&mut last, PAGE as u64 - 1).unwrap();
        assert_eq!(last, [0]);
    }
}
