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

/// Pieces that wait to be used again.
struct Pool(Mutex<Vec<Vec<u8>>>);

/// That of the process.
static POOL: Pool = Pool::new();

impl Pool {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// It may be held from anywhere: nothing else is waited for meanwhile.
    fn waiting(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, bytes: usize) -> Memory {
        let mut piece = self.waiting().pop().unwrap_or_default();
        if piece.len() < bytes + PAGE {
            piece = vec![0; bytes.max(PIECE_BYTES_MIN) + PAGE];
        }
        // It may not be known; then any place will do.
        let begin = Some(piece.as_ptr().align_offset(PAGE)).filter(|begin| *begin < PAGE).unwrap_or(0);
        Memory { piece, place: begin..begin + bytes, pool: self }
    }
}

/// A piece of memory that is given back when it is dropped.
pub(crate) struct Memory {
    piece: Vec<u8>,
    place: Range<usize>,
    pool: &'static Pool,
}

impl Memory {
    /// So many bytes, whatever is in them. They begin with a page, as those in the page cache do: some processors copy them in half the time
    /// then.
    pub(crate) fn of(bytes: usize) -> Self {
        POOL.take(bytes)
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
        let mut waiting = self.pool.waiting();
        let bytes: usize = waiting.iter().map(Vec::len).sum();
        if bytes + piece.len() <= WAITING_BYTES_MAX {
            waiting.push(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a pool that no other test uses: where each piece begins, to tell them apart.
    fn place(memory: &Memory) -> *const u8 {
        memory.piece.as_ptr()
    }

    #[test]
    fn memory_is_used_again_only_once_nobody_holds_it() {
        static OWN: Pool = Pool::new();
        let mut first = OWN.take(1000);
        first.bytes().fill(7);
        let at = place(&first);
        let held = first.share().slice(10..20);
        let mut second = OWN.take(1000);
        assert_ne!(place(&second), at, "somebody holds that piece");
        second.bytes().fill(9);
        assert_eq!(held, [7; 10][..], "another piece was written to");
        drop(held);
        let third = OWN.take(PIECE_BYTES_MIN);
        assert_eq!((place(&third), third.as_ref().len()), (at, PIECE_BYTES_MIN), "nobody held that piece any more");
    }

    #[test]
    fn never_much_memory_waits_to_be_used_again() {
        static OWN: Pool = Pool::new();
        let waiting = || OWN.waiting().iter().map(Vec::len).sum::<usize>();
        drop((0..10).map(|_| OWN.take(1 << 20)).collect::<Vec<_>>());
        assert_eq!(
            waiting(),
            (1 << 20) + PAGE,
            "one of the ten: two and their rooms to begin with a page are too much"
        );
        drop(OWN.take(WAITING_BYTES_MAX));
        assert_eq!(waiting(), 0, "the one that was too small went for it, and it was too large itself");
    }
}
