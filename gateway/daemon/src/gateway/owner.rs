//! Whose journal it is, and how far it had come: a note beside it, so that a card taken from another gateway, a journal put in another's
//! place, and an older copy put back are told apart. Written at each start and at each orderly stop.
//!
//! ```text
//! gateway <id>
//! journal <identity>      32 hexadecimal digits
//! commit <number>         durable then
//! ```

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lamppost_event::{Commit, GatewayId};

use crate::durable::replace_file;

/// In the state folder.
const FILE: &str = "owner";
/// An id has 64 bytes at most.
const FILE_BYTES_MAX: u64 = 1 << 10;

/// Whose the journal was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Owner {
    /// This gateway's; or nobody had said so yet.
    #[default]
    Ours,
    /// Another gateway's.
    Another {
        /// Its id.
        gateway: String,
    },
    /// This gateway's had another one, which is not here.
    Replaced {
        /// Its identity.
        journal: String,
    },
    /// It had come further.
    Older {
        /// Its last commit that is known of.
        noted: Commit,
        /// The last that it has.
        found: Commit,
    },
}

/// The note, of one journal.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    gateway: GatewayId,
    /// The journal's identity.
    journal: u128,
}

impl Note {
    pub(super) fn new(state_dir: &Path, gateway: &GatewayId, journal: u128) -> Self {
        Self { path: state_dir.join(FILE), gateway: gateway.clone(), journal }
    }

    /// Whose the journal was that was found here, with that last commit.
    fn found(&self, commit: Commit) -> io::Result<Owner> {
        let known = match read(&self.path) {
            Ok(known) => known,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let value = |key: &str| known.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        let noted = value("commit ").and_then(|number| number.parse().ok()).map(Commit);
        Ok(match (value("gateway "), value("journal "), noted) {
            (Some(other), ..) if other != self.gateway.as_str() => Owner::Another { gateway: other },
            (Some(_), Some(other), _) if other != format!("{:032x}", self.journal) => {
                Owner::Replaced { journal: other }
            }
            (_, _, Some(noted)) if commit < noted => Owner::Older { noted, found: commit },
            _ => Owner::Ours,
        })
    }

    fn write(&self, commit: Commit) -> io::Result<()> {
        let Self { path, gateway, journal } = self;
        replace_file(path, format!("gateway {gateway}\njournal {journal:032x}\ncommit {commit}\n").as_bytes())
    }

    /// At a start, with the last commit that was found: says whose the journal was, and only then notes that it is this gateway's from now on.
    /// What is told is only words, so a note that can't be had stops nothing.
    pub(super) fn start(&self, commit: Commit) -> Owner {
        self.take_over(commit, |owner| {
            if let Some(words) = owner.words(&self.gateway) {
                tracing::warn!(?owner, "{words}");
            }
        })
    }

    fn take_over(&self, commit: Commit, tell: impl FnOnce(&Owner)) -> Owner {
        let found = self.found(commit).and_then(|owner| {
            tell(&owner);
            self.write(commit).map(|()| owner.clone()).or_else(|error| {
                tracing::warn!(%error, "whose journal this is can't be noted: it is told again at the next start");
                Ok(owner)
            })
        });
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "whose journal this is can't be read");
            Owner::Ours
        })
    }

    /// At an orderly stop.
    pub(super) fn stop(&self, commit: Commit) {
        if let Err(error) = self.write(commit) {
            tracing::warn!(%error, "how far the journal has come can't be noted");
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "a file of the daemon's own; no journal data")]
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    // What a fault of the card has made of it is nobody's name.
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

impl Owner {
    /// For a label: all that it may be.
    pub(super) const NAMES: [&str; 4] = ["ours", "another_gateways", "another_journal", "older_copy"];

    pub(super) const fn name(&self) -> &'static str {
        let [ours, another, replaced, older] = Self::NAMES;
        match self {
            Self::Ours => ours,
            Self::Another { .. } => another,
            Self::Replaced { .. } => replaced,
            Self::Older { .. } => older,
        }
    }

    /// What to say of it to somebody who looks after `gateway`, if there is something to say.
    pub(super) fn words(&self, gateway: &GatewayId) -> Option<String> {
        match self {
            Self::Ours => None,
            Self::Another { gateway: other } => Some(format!(
                "the journal was gateway {other:?}'s: this is its card, or [gateway] id was changed. What it had not delivered goes on as {gateway}'s, and what it had delivered since its last note of it comes twice"
            )),
            Self::Replaced { journal } => Some(format!(
                "another journal ({journal}) was here before: this one was put in its place, or the folder was wiped. What that one had not delivered is not here"
            )),
            Self::Older { noted, found } => Some(format!(
                "the journal ends at commit {found}, and had come to {noted}: an older copy was put back, or its end is lost. What is stored from now on has other names than what that end held; \
                 what had been delivered since the copy comes twice"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_of_another_gateway_is_told_once_and_then_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let [pole, yard] = ["pole-1", "yard-9"].map(|id| GatewayId::new(id).unwrap());
        let take = |gateway| Note::new(dir.path(), gateway, 0xabc).start(Commit(3));
        assert_eq!(take(&pole), Owner::Ours, "nobody had said so");
        assert_eq!(crate::durable::flushed::folders(), [dir.path()], "the note outlives a power cut");
        assert_eq!(take(&pole), Owner::Ours);
        assert_eq!(take(&yard), Owner::Another { gateway: "pole-1".into() });
        assert_eq!(take(&yard), Owner::Ours);
    }

    #[test]
    fn a_journal_in_anothers_place_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let pole = GatewayId::new("pole-1").unwrap();
        assert_eq!(Note::new(dir.path(), &pole, 1).start(Commit(9)), Owner::Ours);
        let first = "00000000000000000000000000000001".to_owned();
        assert_eq!(Note::new(dir.path(), &pole, 2).start(Commit(1)), Owner::Replaced { journal: first });
    }

    #[test]
    fn the_note_stays_until_what_it_shows_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let [pole, yard] = ["pole-1", "yard-9"].map(|id| GatewayId::new(id).unwrap());
        Note::new(dir.path(), &pole, 1).start(Commit(3));
        let first = || read(&dir.path().join(FILE)).unwrap().lines().next().map(str::to_owned);
        let mut noted = None;
        Note::new(dir.path(), &yard, 1).take_over(Commit(3), |_| noted = first());
        assert_eq!((noted.as_deref(), first().as_deref()), (Some("gateway pole-1"), Some("gateway yard-9")));
    }

    #[test]
    fn an_older_copy_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let note = Note::new(dir.path(), &GatewayId::new("pole-1").unwrap(), 1);
        let take = |commit| note.start(Commit(commit));
        assert_eq!((take(1), take(5)), (Owner::Ours, Owner::Ours));
        note.stop(Commit(70));
        assert_eq!(take(70), Owner::Ours);
        assert_eq!(take(69), Owner::Older { noted: Commit(70), found: Commit(69) });
        assert_eq!(take(69), Owner::Ours);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a file of the daemon's own; no journal data")]
    fn garbage_in_the_note_is_nobodys_name_and_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let pole = GatewayId::new("pole-1").unwrap();
        for garbage in [&b"\xff\xfe gateway"[..], b"", b"gateway", &[b'x'; 5_000]] {
            std::fs::write(dir.path().join(FILE), garbage).unwrap();
            assert_eq!(Note::new(dir.path(), &pole, 1).start(Commit(1)), Owner::Ours);
            assert_eq!(read(&dir.path().join(FILE)).unwrap().lines().next(), Some("gateway pole-1"));
        }
    }
}
