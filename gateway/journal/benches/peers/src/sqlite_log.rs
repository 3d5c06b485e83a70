//! SQLite: one table, `journal_mode=WAL`, `synchronous=FULL`; each batch is a transaction.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::engine::{Engine, Entry, Outcome};

pub(crate) struct SqliteLog(Connection);

impl SqliteLog {
    pub(crate) fn open(folder: &Path) -> Outcome<Self> {
        let connection = Connection::open(folder.join("events.sqlite"))?;
        let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("SQLite stays in journal mode {mode}").into());
        }
        connection.execute_batch(
            "PRAGMA synchronous=FULL;
             CREATE TABLE IF NOT EXISTS events
                 (partition INTEGER, offset INTEGER, record BLOB, PRIMARY KEY (partition, offset)) WITHOUT ROWID;",
        )?;
        Ok(Self(connection))
    }
}

impl Engine for SqliteLog {
    fn commit(&mut self, entries: &[Entry<'_>]) -> Outcome<()> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3)")?;
            for entry in entries {
                insert.execute(params![entry.partition, entry.offset as i64, entry.value()])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }
}
