//! NOR flash that loses power: what a write or erase under way leaves behind is drawn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use embedded_storage_async::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

pub(crate) const PAGE_BYTES: usize = 256;
const WORD_BYTES: usize = 4;

/// SplitMix64 (Steele, Lea, Flood: OOPSLA 2014).
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) Cell<u64>);

impl Dice {
    pub(crate) fn below(&self, bound: u64) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The chip and its power, which outlive whoever uses them.
#[derive(Debug)]
pub(crate) struct Chip {
    bytes: RefCell<Vec<u8>>,
    dice: Dice,
    /// Writes and erases so far.
    pub(crate) operations: Cell<u64>,
    /// The one in which power is lost.
    pub(crate) cut_at: Cell<Option<u64>>,
    pub(crate) is_dead: Cell<bool>,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeFlash(pub(crate) Rc<Chip>);

impl FakeFlash {
    pub(crate) fn new(pages: usize, seed: u64) -> Self {
        Self(Rc::new(Chip {
            bytes: RefCell::new(vec![0xff; pages * PAGE_BYTES]),
            dice: Dice(Cell::new(seed)),
            operations: Cell::new(0),
            cut_at: Cell::new(None),
            is_dead: Cell::new(false),
        }))
    }

    /// Counts an operation; `Some` of how many of its bytes are done before power is lost.
    fn begin(&self, length: usize) -> Result<Option<usize>, Dead> {
        let chip = &self.0;
        if chip.is_dead.get() {
            return Err(Dead);
        }
        chip.operations.set(chip.operations.get() + 1);
        if chip.cut_at.get() != Some(chip.operations.get()) {
            return Ok(None);
        }
        chip.is_dead.set(true);
        Ok(Some(chip.dice.below(length as u64 + 1) as usize))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead;

impl NorFlashError for Dead {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for FakeFlash {
    type Error = Dead;
}

impl ReadNorFlash for FakeFlash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Dead> {
        if self.0.is_dead.get() {
            return Err(Dead);
        }
        bytes.copy_from_slice(&self.0.bytes.borrow()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.bytes.borrow().len()
    }
}

impl NorFlash for FakeFlash {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = PAGE_BYTES;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Dead> {
        assert!((from as usize).is_multiple_of(PAGE_BYTES) && (to as usize).is_multiple_of(PAGE_BYTES) && from < to);
        let cut = self.begin((to - from) as usize)?;
        let chip = &self.0;
        let place = &mut chip.bytes.borrow_mut()[from as usize..to as usize];
        let Some(done) = cut else {
            place.fill(0xff);
            return Ok(());
        };
        // A part is erased, the rest is anything between what it was and erased.
        place[..done].fill(0xff);
        place[done..].iter_mut().for_each(|byte| *byte |= chip.dice.below(256) as u8);
        Err(Dead)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Dead> {
        assert!((offset as usize).is_multiple_of(WORD_BYTES) && bytes.len().is_multiple_of(WORD_BYTES));
        let cut = self.begin(bytes.len())?;
        let chip = &self.0;
        let place = &mut chip.bytes.borrow_mut()[offset as usize..][..bytes.len()];
        let done = cut.unwrap_or(bytes.len());
        place.iter_mut().zip(bytes).take(done).for_each(|(old, new)| *old &= new);
        if cut.is_none() {
            return Ok(());
        }
        // Of the next byte some bits are written.
        if let (Some(old), Some(new)) = (place.get_mut(done), bytes.get(done)) {
            *old &= new | chip.dice.below(256) as u8;
        }
        Err(Dead)
    }
}

impl MultiwriteNorFlash for FakeFlash {}
