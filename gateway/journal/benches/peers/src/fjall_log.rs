//! fjall: one keyspace; each batch is persisted with `fdatasync`.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{Engine, Entry, Outcome};

pub(crate) struct FjallLog {
    database: Database,
    events: Keyspace,
}

impl FjallLog {
    pub(crate) fn open(folder: &Path) -> Outcome<Self> {
        let database = Database::builder(folder).open()?;
        let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
        Ok(Self { database, events })
    }
}

impl Engine for FjallLog {
    fn commit(&mut self, entries: &[Entry<'_>]) -> Outcome<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for entry in entries {
            batch.insert(&self.events, entry.key(), entry.value());
        }
        Ok(batch.commit()?)
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.events.rotate_memtable_and_wait()?)
    }
}
