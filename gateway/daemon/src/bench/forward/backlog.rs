//! A backlog, as days without a cluster leave it: written into a journal without any source.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use lamppost_event::{Clock, Commit, EventTime, Topic, encode_event, partition_of};
use lamppost_journal::{AppendError, Directory, Journal};

use super::record;
use crate::clock::MachineClock;
use crate::config::Config;

/// Writes so many events of that topic into the journal of that configuration, and closes it.
pub(super) async fn fill(config: &Config, topic: &str, events: u64, event_bytes: u32) -> anyhow::Result<()> {
    let topic = Topic::user(topic)?;
    let partitions = config.topics.get(&topic).and_then(|settings| settings.partitions).unwrap_or(1);
    let clock: Arc<dyn Clock> = Arc::new(MachineClock::new());
    let journal = open(config, &clock, &config.state_dir.join("journal"))?;
    let payloads = record::Payloads::new(events, event_bytes);
    let mut last = Commit(0);
    for n in 0..events {
        let event = record::event(n, payloads.of(n), &topic, EventTime::received(clock.now(), None))?;
        let partition = partition_of(&event.key, partitions);
        let mut record = encode_event(&event);
        loop {
            match journal.append(&topic, partition, record, None) {
                Ok(appended) => {
                    last = appended.commit;
                    break;
                }
                Err(AppendError::Full(back)) => {
                    record = *back;
                    anyhow::ensure!(
                        journal.stats().disk_bytes < config.journal.quota.0,
                        "{n} of {events} events fill the journal's quota of {}",
                        config.journal.quota
                    );
                    journal.room().await;
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
    journal.commit_now();
    while journal.durable()? < last {
        journal.durable_after(Commit(last.0.saturating_sub(1))).await?;
    }
    tokio::task::spawn_blocking(move || journal.close()).await??;
    Ok(())
}

fn open(config: &Config, clock: &Arc<dyn Clock>, dir: &Path) -> anyhow::Result<Journal> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} can't be made", dir.display()))?;
    let disk = Arc::new(Directory::create(dir)?);
    let (journal, _) = Journal::open(disk, crate::gateway::journal_options(config), clock.clone())?;
    Ok(journal)
}
