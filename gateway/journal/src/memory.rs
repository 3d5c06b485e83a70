//! Memory to read into, used again once nobody holds what was read into it. An allocator would give pieces of this size back to the
//! system, and take and clear them anew: that took longer than reading.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::format::PAGE;

/// The most bytes that wait to be used again, in the whole process.
const WAITING_BYTES_MAX: usize = 2 << 20;
/// No piece is smaller, so that nearly any serves for the next.
const PIECE_BYTES_MIN: usize = 272 << 10;

/// The pieces that wait. It may be held from anywhere: nothing else is waited for meanwhile.
static WAITING: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn waiting() -> MutexGuard<'static, Vec<Vec<u8>>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A piece of memory that is given back when it is dropped.
pub(crate) struct Memory {
    piece: Vec<u8>,
    place: Range<usize>,
}

impl Memory {
    /// So many bytes, whatever is in them. They begin with a page, as those in the page cache do: some processors copy them in half the time
    /// then.
    pub(crate) fn of(bytes: usize) -> Self {
        let mut piece = waiting().pop().unwrap_or_default();
        if piece.len() < bytes + PAGE {
            piece = vec![0; bytes.max(PIECE_BYTES_MIN) + PAGE];
        }
        // It may not be known; then any place will do.
        let begin = Some(piece.as_ptr().align_offset(PAGE)).filter(|begin| *begin < PAGE).unwrap_or(0);
        Self { piece, place: begin..begin + bytes }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.piece.get_mut(self.place.clone()).unwrap_or_default()
    }

    /// To be read by many.
    pub(crate) fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        self.piece.get(self.place.clone()).unwrap_or_default()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        let mut waiting = waiting();
        let bytes: usize = waiting.iter().map(Vec::len).sum();
        if bytes + piece.len() <= WAITING_BYTES_MAX {
            waiting.push(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_only_once_nobody_holds_it_and_never_much_of_it_waits() {
        let mut first = Memory::of(1000);
        first.bytes().fill(7);
        let held = first.share().slice(10..20);
        let mut second = Memory::of(1000);
        second.bytes().fill(9);
        assert_eq!(held, [7; 10][..], "another piece was written to");
        drop((held, second));
        drop((0..10).map(|_| Memory::of(1 << 20)).collect::<Vec<_>>());
        assert!(waiting().iter().map(Vec::len).sum::<usize>() <= WAITING_BYTES_MAX);
        assert!(!waiting().is_empty(), "some of it waits");
    }
}
