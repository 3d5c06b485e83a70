//! `lamppost journal`: looks into a journal without taking it from a running gateway, and sees to one whose gateway is stopped.

mod dump;
mod export;
mod forget;
pub(crate) mod instant;
mod ls;
mod progress;
mod repair;
mod replay;
mod reset;
mod shown;
mod tail;
mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use lamppost_event::{Clock, Topic};
use lamppost_journal::{Directory, Inspect, Journal};

use crate::cli::{Journal as Args, JournalCommand, JournalOf};
use crate::clock::MachineClock;
use crate::config::{self, Config};

/// How much is read at once, bytes.
const READ_BYTES: usize = 256 << 10;

/// Runs a subcommand; false is a verdict against the journal.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<bool> {
    match &args.command {
        JournalCommand::Ls(args) => ls::ls(args, out).map(|()| true),
        JournalCommand::Tail(args) => tail::tail(args, out).map(|()| true),
        JournalCommand::Replay(args) => replay::replay(args, out).map(|()| true),
        JournalCommand::Verify(at) => verify::verify(at, out),
        JournalCommand::Dump(args) => dump::dump(args, out).map(|()| true),
        JournalCommand::Repair(args) => repair::repair(args, out).map(|()| true),
        JournalCommand::Export(args) => export::export(args, out).map(|()| true),
        JournalCommand::Reset(args) => reset::reset(args, out).map(|()| true),
        JournalCommand::Forget(args) => forget::forget(args, out).map(|()| true),
    }
}

/// What to say of a folder that is none of a journal.
fn right(dir: &Path) -> String {
    format!("no journal can be read in {}; it is the folder \"journal\" in the gateway's state_dir", dir.display())
}

/// Opens to look.
fn open(dir: &Path) -> anyhow::Result<Inspect> {
    let disk = Directory::existing(dir).with_context(|| right(dir))?;
    let inspect = Inspect::open(Arc::new(disk)).with_context(|| right(dir))?;
    anyhow::ensure!(inspect.figures().identity.is_some(), right(dir));
    Ok(inspect)
}

/// A wrong topic is a mistake; the right ones are named.
fn known(inspect: &Inspect, topics: &[Topic]) -> anyhow::Result<()> {
    let mut known: Vec<Topic> = inspect.figures().partitions.into_iter().map(|p| p.at.topic).collect();
    known.dedup();
    for topic in topics {
        let names = || known.iter().map(Topic::as_str).collect::<Vec<_>>().join(", ");
        anyhow::ensure!(known.contains(topic), "there is no event of the topic {topic}; there are: {}", names());
    }
    Ok(())
}

/// The gateway's configuration.
fn configured(of: &JournalOf) -> anyhow::Result<Config> {
    config::load(&of.config).context("the journal is opened as its gateway's configuration says")
}

/// Where the journal is. Of the configuration only if it is not named.
fn folder(of: &JournalOf) -> anyhow::Result<PathBuf> {
    of.dir.clone().map_or_else(|| Ok(configured(of)?.state_dir.join("journal")), Ok)
}

/// Opens to write, as the gateway would, and with its lock.
fn take(config: &Config, dir: &Path) -> anyhow::Result<Journal> {
    // An empty folder is not made a journal by a mistake in a path.
    drop(open(dir)?);
    let disk = Arc::new(Directory::existing(dir).with_context(|| right(dir))?);
    let clock: Arc<dyn Clock> = Arc::new(MachineClock::new());
    let opened = Journal::open(disk, crate::gateway::journal_options(config), clock);
    let (journal, _) = opened.with_context(|| {
        format!(
            "the journal in {} can't be opened to write; is its gateway stopped (systemctl stop lamppost)?",
            dir.display()
        )
    })?;
    Ok(journal)
}
