//! The control: sled, with `flush` taken as an acknowledgement, as its documentation invites to. On Linux that `flush` ends
//! in `sync_file_range` (pagecache/iobuf.rs), which does not flush the device's cache. An instrument that does not catch this
//! catches nothing.

use anyhow::{Context, Result};
use lamppost_journal::SplitMix64;

use super::Task;
use super::events::{Ids, id_of, payload};
use super::tell::tell;
use crate::words::Word;

const PARTITION: u16 = 0;

pub(super) fn write(task: &Task) -> Result<()> {
    let config = sled::Config::new().path(task.dir.join("sled")).cache_capacity(16 << 20);
    let store = config.open().context("sled does not open")?;
    tell(&[Word::Opened]);
    let next = read(&store)?;
    tell(&[Word::Read]);
    if task.read_only {
        return Ok(());
    }
    let (mut random, mut ids) = (SplitMix64::new(task.seed), Ids::of_life(task.life));
    let mut offset = next;
    loop {
        let mut words = Vec::new();
        for _ in 0..=random.below(8) {
            let id = ids.next();
            store.insert(offset.to_be_bytes(), payload(id)).context("sled does not insert")?;
            words.push(Word::Acknowledged(PARTITION, offset, id));
            offset += 1;
        }
        store.flush().context("sled does not flush")?;
        tell(&words);
    }
}

/// Tells what is there and gives the next offset.
fn read(store: &sled::Db) -> Result<u64> {
    let mut next = 0;
    for entry in store.iter() {
        let (key, value) = entry.context("sled does not read")?;
        let offset = u64::from_be_bytes(key.as_ref().try_into().context("sled made up a key")?);
        tell(&[id_of(&value).map_or(Word::Garbled(PARTITION, offset), |id| Word::Kept(PARTITION, offset, id))]);
        next = offset + 1;
    }
    Ok(next)
}
