//! Whether the last use of a view ended well: one line beside sled's folder, really flushed, since sled's own word about
//! itself is what is in doubt.
//!
//! ```text
//! lamppost-views 1 <generation, decimal> <boot id, 16 hex digits> <opening|open|closed>\n
//! ```
//!
//! `opening` found at a start means that the last opening never came to an end, be it that sled took the whole process
//! down: that folder is not opened again.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lamppost_event::BootId;

/// The line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) generation: u64,
    pub(crate) boot: BootId,
    pub(crate) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Opening,
    Open,
    Closed,
}

const NAME: &str = "session";
const FOLDER: &str = "sled-";
/// The line has less than half of this.
const BYTES_MAX: u64 = 128;

impl Session {
    /// The last session's line; `None` if there is none or it is not one.
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        let path = dir.join(NAME);
        if fs::metadata(&path).ok()?.len() > BYTES_MAX {
            return None;
        }
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        if (words.next()?, words.next()?) != ("lamppost-views", "1") {
            return None;
        }
        let generation = words.next()?.parse().ok()?;
        let boot = BootId(u64::from_str_radix(words.next()?, 16).ok()?);
        let state = match words.next()? {
            "opening" => State::Opening,
            "open" => State::Open,
            "closed" => State::Closed,
            _ => return None,
        };
        words.next().is_none().then_some(Self { generation, boot, state })
    }

    fn line(&self) -> String {
        let state = match self.state {
            State::Opening => "opening",
            State::Open => "open",
            State::Closed => "closed",
        };
        format!("lamppost-views 1 {} {:016x} {state}\n", self.generation, self.boot.0)
    }

    /// Writes the line and flushes it. A line torn by a power cut reads as none.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "a view's own mark, not the journal's data; flushed right below")]
        let mut file = fs::File::create(dir.join(NAME))?;
        file.write_all(self.line().as_bytes())?;
        file.sync_all()?;
        sync(dir)
    }

    /// sled's folder in this session.
    pub(crate) fn folder(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{FOLDER}{}", self.generation))
    }

    /// Removes the folders of all other generations. What can't be removed now is tried again at the next start.
    pub(crate) fn sweep(&self, dir: &Path) {
        let kept = self.folder(dir);
        let Ok(entries) = fs::read_dir(dir) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if generation_of(&path).is_some()
                && path != kept
                && let Err(error) = fs::remove_dir_all(&path)
            {
                tracing::warn!(path = %path.display(), %error, "a discarded view can't be removed");
            }
        }
    }
}

/// The newest folder of sled's that is there, whatever the session says.
pub(crate) fn newest_generation(dir: &Path) -> Option<u64> {
    fs::read_dir(dir).ok()?.flatten().filter_map(|entry| generation_of(&entry.path())).max()
}

fn generation_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(FOLDER)?.parse().ok()
}

/// Flushes a file, or a folder with all that is in it, to the card.
pub(crate) fn sync_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_all(&entry?.path())?;
        }
    }
    sync(path)
}

fn sync(path: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "opened to be flushed; a view's files, not the journal's data")]
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_this_text_and_reads_back() {
        let session = Session { generation: 7, boot: BootId(0xbeef), state: State::Open };
        assert_eq!(session.line(), "lamppost-views 1 7 000000000000beef open\n");
        for state in [State::Opening, State::Open, State::Closed] {
            let session = Session { state, ..session };
            assert_eq!(Session::parse(&session.line()), Some(session));
        }
    }

    #[test]
    fn a_torn_or_foreign_line_is_none() {
        let whole = "lamppost-views 1 7 000000000000beef closed\n";
        for cut in 0..whole.len() {
            assert_eq!(Session::parse(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(Session::parse("lamppost-views 2 7 000000000000beef closed\n"), None);
        assert_eq!(Session::parse("lamppost-views 1 7 000000000000beef closed now\n"), None);
    }
}
