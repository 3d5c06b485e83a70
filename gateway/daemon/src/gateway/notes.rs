//! What sources remember, as state of the journal.

use bytes::Bytes;
use lamppost_event::{Commit, NoteRefusal, Notes, NotesUnreadable};
use lamppost_journal::{Journal, PutError};

/// The notes of one source: its keys begin with its name.
pub(crate) struct JournalNotes {
    journal: Journal,
    /// The name and a slash, so that no name is the beginning of another.
    prefix: String,
    bytes_max: usize,
}

impl JournalNotes {
    /// `event_bytes_max`: what the journal takes, bytes.
    pub(crate) fn new(journal: Journal, source: &str, event_bytes_max: usize) -> Self {
        let prefix = format!("{source}/");
        let bytes_max = event_bytes_max.saturating_sub(prefix.len());
        Self { journal, prefix, bytes_max }
    }

    fn key(&self, of_source: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), of_source].concat()
    }
}

impl Notes for JournalNotes {
    fn put(&self, key: &[u8], value: Option<Bytes>) -> Result<Commit, NoteRefusal> {
        self.journal.put_state(&self.key(key), value).map_err(|error| match error {
            PutError::Full => NoteRefusal::Full,
            PutError::TooLarge { bytes, bytes_max } => NoteRefusal::TooLarge { bytes, bytes_max },
            PutError::Stopped(stopped) => NoteRefusal::Stopped(stopped),
        })
    }

    fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn visit(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &Bytes)) -> Result<(), NotesUnreadable> {
        let own = self.prefix.len();
        let visited = self
            .journal
            .state_scan(&self.key(prefix), &mut |key, value| each(key.get(own..).unwrap_or_default(), value));
        visited.map(drop).map_err(|error| NotesUnreadable { reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use lamppost_journal::Directory;

    use super::*;
    use crate::clock::MachineClock;
    use crate::{config, gateway::journal_options};

    fn open(dir: &Path) -> Journal {
        let config =
            config::parse("[journal]\nsegment = \"1MiB\"\nquota = \"8MiB\"\nlinger = \"0ms\"\nevent_max = \"64KiB\"\n")
                .unwrap();
        let disk = Arc::new(Directory::create(dir).unwrap());
        Journal::open(disk, journal_options(&config), Arc::new(MachineClock::new())).unwrap().0
    }

    fn all(notes: &JournalNotes, prefix: &[u8]) -> Vec<(Vec<u8>, Bytes)> {
        let mut found = Vec::new();
        notes.visit(prefix, &mut |key, value| found.push((key.to_vec(), value.clone()))).unwrap();
        found
    }

    #[test]
    fn notes_are_there_after_a_start_each_source_with_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let notes = JournalNotes::new(journal.clone(), "mqtt", 1_000);
        let others = JournalNotes::new(journal.clone(), "mq", 1_000);
        // The first room is made ready while the journal runs already.
        let mut first = notes.put(b"s/b", Some("2".into()));
        for _ in 0..500 {
            if first != Err(NoteRefusal::Full) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            first = notes.put(b"s/b", Some("2".into()));
        }
        let first = first.unwrap();
        assert!(notes.put(b"s/a", Some("1".into())).unwrap() >= first);
        notes.put(b"r/x", Some("3".into())).unwrap();
        notes.put(b"s/gone", Some("4".into())).unwrap();
        notes.put(b"s/gone", None).unwrap();
        others.put(b"s/a", Some("not mine".into())).unwrap();
        journal.close().unwrap();
        assert!(matches!(notes.put(b"s/c", None), Err(NoteRefusal::Stopped(_))));

        let notes = JournalNotes::new(open(dir.path()), "mqtt", 1_000);
        assert_eq!(all(&notes, b"s/"), [(b"s/a".to_vec(), "1".into()), (b"s/b".to_vec(), "2".into())]);
        assert_eq!(all(&notes, b"").len(), 3);
    }
}
