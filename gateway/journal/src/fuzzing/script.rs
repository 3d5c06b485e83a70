//! What is done to a sound journal's files, read from the fuzzer's bytes: so few bytes say much, and the fuzzer can learn them.
//!
//! A step is one byte for what (its highest bit: make the file's checksums right afterwards), one for the file, then the
//! step's own. Numbers that are missing at the end are zero.

use std::collections::BTreeMap;

use super::seal;
use crate::format::PAGE;

/// Files by name.
pub(super) type Image = BTreeMap<String, Vec<u8>>;

const STEPS_MAX: usize = 48;
const FILE_BYTES_MAX: usize = 1 << 20;
const FILES_MAX: usize = 16;
pub(super) const SEAL: u8 = 0x80;
/// So many kinds of steps there are.
pub(super) const STEPS: u8 = 9;

pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(self.byte()) | usize::from(self.byte()) << 8;
        number % bound.max(1)
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, shift| word | u64::from(self.byte()) << (8 * shift))
    }

    /// Does all steps. True if a checksum was forged or a file given another's name: then anything may be said, and only panics,
    /// memory and loops count.
    pub(super) fn play(&mut self, image: &mut Image) -> bool {
        let mut forged = false;
        for _ in 0..STEPS_MAX {
            if self.0.is_empty() {
                break;
            }
            let what = self.byte();
            let Some(name) = self.file(image) else { break };
            forged |= self.step(what & !SEAL, &name, image);
            if what & SEAL != 0
                && let Some(bytes) = image.get_mut(&name)
            {
                seal::file(bytes);
                forged = true;
            }
        }
        forged
    }

    fn file(&mut self, image: &Image) -> Option<String> {
        let index = usize::from(self.byte());
        image.keys().nth(index.checked_rem(image.len())?).cloned()
    }

    /// True if a file got another name.
    fn step(&mut self, what: u8, name: &str, image: &mut Image) -> bool {
        match what % STEPS {
            0..=4 => {
                let source = self.file(image).and_then(|name| image.get(&name)).cloned().unwrap_or_default();
                if let Some(bytes) = image.get_mut(name) {
                    self.change(what % STEPS, bytes, &source);
                }
                false
            }
            5 => {
                if let Some(bytes) = image.get_mut(name) {
                    let size = self.below(FILE_BYTES_MAX / PAGE) * PAGE + usize::from(self.byte());
                    bytes.resize(size.min(FILE_BYTES_MAX), 0);
                }
                false
            }
            6 => image.remove(name).is_none(),
            7 => {
                let to = self.name();
                image.remove(name).and_then(|bytes| image.insert(to, bytes));
                true
            }
            _ => {
                let to = self.name();
                let copy = image.get(name).filter(|_| image.len() < FILES_MAX).cloned();
                copy.and_then(|bytes| image.insert(to, bytes));
                true
            }
        }
    }

    /// Changes bytes of a file. Where matters: near the beginnings of pages there are heads.
    fn change(&mut self, what: u8, bytes: &mut [u8], source: &[u8]) {
        let pages = bytes.len() / PAGE;
        let page = self.below(pages + 1) * PAGE;
        let at = page + self.below(PAGE);
        match what {
            0 => {
                let mask = self.byte().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
            1 => {
                // A field of a head.
                let (at, word, width) = (page + self.below(128), self.word(), 1 << (self.byte() % 4));
                for (place, byte) in bytes.iter_mut().skip(at).take(width).zip(word.to_le_bytes()) {
                    *place = byte;
                }
            }
            2 => {
                let count = usize::from(self.byte() % 32) + 1;
                for place in bytes.iter_mut().skip(at).take(count) {
                    *place = self.byte();
                }
            }
            3 => {
                // Written to the wrong place, or not at all.
                let (from, count) = (self.below(source.len() / PAGE + 1) * PAGE, usize::from(self.byte() % 8) + 1);
                for (place, byte) in bytes.iter_mut().skip(page).zip(source.iter().skip(from).take(count * PAGE)) {
                    *place = *byte;
                }
            }
            _ => {
                let count = usize::from(self.byte() % 8) + 1;
                bytes.iter_mut().skip(page).take(count * PAGE).for_each(|place| *place = 0);
            }
        }
    }

    fn name(&mut self) -> String {
        let kind = self.byte();
        let number = if kind & 0x80 == 0 { u64::from(self.byte()) } else { self.word() };
        match kind % 8 {
            0 | 1 => format!("hot-{number:016}.seg"),
            2 => format!("free-{number:016}.seg"),
            3 => format!("cold-{number:016}.seg"),
            4 => format!("checkpoint-{number:020}.ckp"),
            5 => format!("checkpoint-{number:020}.ckp.tmp"),
            6 => format!("damaged-hot-{number:016}.seg"),
            _ => format!("hot-{number}"),
        }
    }
}
