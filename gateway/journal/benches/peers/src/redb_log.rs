//! redb: one table; each batch is a transaction of its default durability, which is immediate.

use std::path::Path;

use redb::{Database, TableDefinition};

use crate::engine::{Engine, Entry, Outcome};

const EVENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("events");

pub(crate) struct RedbLog(Database);

impl RedbLog {
    pub(crate) fn open(folder: &Path) -> Outcome<Self> {
        Ok(Self(Database::create(folder.join("events.redb"))?))
    }
}

impl Engine for RedbLog {
    fn commit(&mut self, entries: &[Entry<'_>]) -> Outcome<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut events = transaction.open_table(EVENTS)?;
            for entry in entries {
                events.insert(entry.key().as_slice(), entry.value().as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// It puts nothing off.
    fn settle(&mut self) -> Outcome<()> {
        Ok(())
    }
}
