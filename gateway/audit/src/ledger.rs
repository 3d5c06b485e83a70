//! A sender's ledger: what was acknowledged to it, in the order in which it sent it. Written by the sender alone, so that the
//! gateway is not its own witness.
//!
//! JSON, one entry a line; fields that are not named here are passed over:
//!
//! ```text
//! {"topic":"air-quality","key":"dev-3","id":"dev-3:17"}            a sender that gives ids (MQTT v5)
//! {"topic":"energy","device":"node-1","boot":3,"sequence":17}      a sender that counts (a node); its key is the device
//! ```
//!
//! `topic` is the journal's; without it, any topic will do. Without `key` (and `device`) order is not judged. A last line that is cut
//! short is a sender that was killed while it wrote: it is counted and passed over. Any other broken line is an error.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// One acknowledged event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The journal's topic; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The event's key; `None`: the device, else its order is not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The sender's own mark.
    #[serde(flatten)]
    pub mark: Mark,
}

/// How a sender marks an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Mark {
    /// A sequence within a boot (`ce_device`, `ce_senderboot`, `ce_senderseq`).
    Sequence {
        /// Who sent.
        device: String,
        /// Which boot of it.
        boot: u64,
        /// Its number in that boot.
        sequence: u64,
    },
    /// An id of the sender's choosing (`ce_senderid`), unique in its topic.
    Id {
        /// The id.
        id: String,
    },
}

impl LedgerEntry {
    /// What decides the event's order: its key, or else its device.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match (&self.key, &self.mark) {
            (Some(key), _) => Some(key),
            (None, Mark::Sequence { device, .. }) => Some(device),
            (None, Mark::Id { .. }) => None,
        }
    }
}

/// Why a ledger can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The ledger.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line that is not the last one is broken.
    #[error("{}:{line}: not a ledger entry: {why}", path.display())]
    Broken {
        /// The ledger.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
        /// What is wrong with it.
        why: String,
    },
}

/// How many bytes a ledger has by now.
///
/// # Errors
/// [`LedgerError::Io`].
pub(crate) fn length(path: &Path) -> Result<u64, LedgerError> {
    let io = |source| LedgerError::Io { path: path.to_owned(), source };
    Ok(path.metadata().map_err(io)?.len())
}

/// Reads the first `length` bytes of a ledger; `take` gets each entry with its line, from 1. Returns whether the last line was broken.
///
/// # Errors
/// [`LedgerError`] names the file and the line.
#[expect(clippy::disallowed_methods, reason = "a ledger is its sender's file, not the journal's")]
pub fn read_ledger(path: &Path, length: u64, take: &mut dyn FnMut(u32, LedgerEntry)) -> Result<bool, LedgerError> {
    let io = |source| LedgerError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(io)?.take(length));
    let (mut bytes, mut line, mut broken) = (Vec::new(), 0, None::<(u32, String)>);
    loop {
        bytes.clear();
        (&mut file).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(io)?;
        if bytes.is_empty() {
            return Ok(broken.is_some());
        }
        if let Some((line, why)) = broken {
            return Err(LedgerError::Broken { path: path.to_owned(), line, why });
        }
        line += 1;
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&bytes) {
            Ok(entry) => take(line, entry),
            Err(error) => broken = Some((line, error.to_string())),
        }
    }
}

/// Writes a ledger. What [`Ledger::sync`] has returned from survives the writer, and the machine.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    batch: Vec<u8>,
}

impl Ledger {
    /// Opens a ledger to append to. What a killed writer left of its last line is taken away.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    #[expect(clippy::disallowed_methods, reason = "a ledger is its sender's file, not the journal's")]
    pub fn append_to(path: &Path) -> Result<Self, LedgerError> {
        let io = |source| LedgerError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let whole = whole_lines(&mut file).map_err(io)?;
        file.set_len(whole).map_err(io)?;
        file.seek(SeekFrom::Start(whole)).map_err(io)?;
        Ok(Self { path: path.to_owned(), file, batch: Vec::new() })
    }

    /// Adds an entry to the batch.
    pub fn note(&mut self, entry: &LedgerEntry) {
        // Writing plain text to memory can't fail.
        if serde_json::to_writer(&mut self.batch, entry).is_ok() {
            self.batch.push(b'\n');
        }
    }

    /// Writes the batch and flushes it to the disk.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; the ledger must not be used any more then.
    pub fn sync(&mut self) -> Result<(), LedgerError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.batch).and_then(|()| self.file.sync_data());
        self.batch.clear();
        written.map_err(|source| LedgerError::Io { path: self.path.clone(), source })
    }
}

/// The bytes up to the end of the last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        file.seek(SeekFrom::Start(start))?;
        // At most the length of the block.
        let length = usize::try_from(end - start).unwrap_or(block.len());
        let Some(part) = block.get_mut(..length) else { break };
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "ledgers are plain files")]
mod tests {
    use super::*;

    fn id(n: u64) -> LedgerEntry {
        let mark = Mark::Id { id: format!("dev-3:{n}") };
        LedgerEntry { topic: Some("air-quality".into()), key: Some("dev-3".into()), mark }
    }

    fn read(path: &Path) -> Result<(Vec<LedgerEntry>, bool), LedgerError> {
        let mut entries = Vec::new();
        let broken = read_ledger(path, length(path)?, &mut |_, entry| entries.push(entry))?;
        Ok((entries, broken))
    }

    #[test]
    fn the_two_kinds_of_lines_are_these() {
        assert_eq!(serde_json::to_string(&id(17)).unwrap(), r#"{"topic":"air-quality","key":"dev-3","id":"dev-3:17"}"#);
        let text = r#"{"device":"node-1","boot":3,"sequence":17,"measure":"temperature","value":21.5}"#;
        let entry: LedgerEntry = serde_json::from_str(text).unwrap();
        assert_eq!(entry.mark, Mark::Sequence { device: "node-1".into(), boot: 3, sequence: 17 });
        assert_eq!((entry.key(), entry.topic.as_deref()), (Some("node-1"), None));
    }

    #[test]
    fn a_broken_last_line_is_tolerated_and_a_broken_line_before_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let good = serde_json::to_string(&id(1)).unwrap();
        std::fs::write(&path, format!("{good}\n\n{good}\n{{\"topic\":\"ai")).unwrap();
        assert_eq!(read(&path).unwrap(), (vec![id(1), id(1)], true));
        std::fs::write(&path, format!("{good}\n{{\"topic\":\"ai\n{good}\n")).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, LedgerError::Broken { line: 2, .. }), "{error}");
        assert!(error.to_string().contains("ledger:2: "), "{error}");
    }

    #[test]
    fn a_ledger_is_gone_on_with_after_its_writer_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let mut ledger = Ledger::append_to(&path).unwrap();
        ledger.note(&id(1));
        ledger.note(&id(2));
        ledger.sync().unwrap();
        drop(ledger);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&[b'x'; 10_000]).unwrap();
        let mut ledger = Ledger::append_to(&path).unwrap();
        ledger.note(&id(3));
        ledger.sync().unwrap();
        assert_eq!(read(&path).unwrap(), (vec![id(1), id(2), id(3)], false));
    }
}
