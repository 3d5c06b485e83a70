//! The pipe to the ledger.

use std::io::{BufRead, Write, stdin, stdout};
use std::process::exit;

use crate::words::Word;

/// Tells words, all in one go. With nobody left to hear them there is nothing to do, and the process ends.
pub(super) fn tell(words: &[Word]) {
    let lines: String = words.iter().map(|word| format!("{word}\n")).collect();
    let mut out = stdout().lock();
    if out.write_all(lines.as_bytes()).and_then(|()| out.flush()).is_err() {
        exit(3);
    }
}

/// Tells a word and waits until the ledger has it.
pub(super) fn tell_and_wait(word: Word) {
    tell(&[word]);
    let mut line = String::new();
    if !stdin().lock().read_line(&mut line).is_ok_and(|got| got > 0) {
        exit(3);
    }
}
