//! The senders' own account of what was acknowledged to them, kept apart from everything that the gateway knows.

use std::path::{Path, PathBuf};

use lamppost_audit::{Ledger, LedgerEntry, Mark};
use lamppost_node::Reading;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::city::Acknowledged;
use super::node;

/// Entries that may wait for the file.
const QUEUE: usize = 4_096;

/// Where the senders hand their entries in.
pub(crate) struct Entries {
    pub(crate) city: mpsc::Sender<Acknowledged>,
    pub(crate) node: mpsc::Sender<Reading>,
}

/// The ledgers being written.
pub(crate) struct Ledgers {
    writers: Vec<(PathBuf, JoinHandle<anyhow::Result<()>>)>,
}

/// Opens a ledger for the city and one for the node.
pub(crate) fn open(dir: &Path) -> anyhow::Result<(Ledgers, Entries)> {
    let dir = dir.join("ledgers");
    std::fs::create_dir_all(&dir)?;
    let (city, city_entries) = mpsc::channel(QUEUE);
    let (node, node_entries) = mpsc::channel(QUEUE);
    let writers =
        vec![writer(&dir, "city.jsonl", city_entries, of_city)?, writer(&dir, "node.jsonl", node_entries, of_node)?];
    Ok((Ledgers { writers }, Entries { city, node }))
}

impl Ledgers {
    /// Waits until the senders are gone and all is on disk; gives the files.
    pub(crate) async fn close(self) -> anyhow::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for (path, writer) in self.writers {
            writer.await??;
            paths.push(path);
        }
        Ok(paths)
    }
}

fn of_city(acknowledged: &Acknowledged) -> LedgerEntry {
    LedgerEntry {
        topic: Some(acknowledged.topic.to_owned()),
        key: Some(acknowledged.device.to_string()),
        mark: Mark::Id { id: acknowledged.id() },
    }
}

fn of_node(reading: &Reading) -> LedgerEntry {
    let mark = Mark::Sequence {
        device: node::DEVICE.to_owned(),
        boot: u64::from(reading.boot.0),
        sequence: reading.sequence.0,
    };
    LedgerEntry { topic: Some("nodes".to_owned()), key: None, mark }
}

fn writer<T: Send + 'static>(
    dir: &Path,
    name: &str,
    mut entries: mpsc::Receiver<T>,
    entry_of: fn(&T) -> LedgerEntry,
) -> anyhow::Result<(PathBuf, JoinHandle<anyhow::Result<()>>)> {
    let path = dir.join(name);
    let mut ledger = Ledger::append_to(&path)?;
    let task = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::new();
        while entries.blocking_recv_many(&mut batch, QUEUE) > 0 {
            batch.drain(..).for_each(|entry| ledger.note(&entry_of(&entry)));
            ledger.sync()?;
        }
        Ok(())
    });
    Ok((path, task))
}
