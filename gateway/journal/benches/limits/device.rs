//! What reaches the device: flushes for each commit, and bytes, those of the file system included. Counted on a card of our own that takes
//! no time, by the card itself.

use std::path::Path;

use crate::Outcome;
use crate::arguments::Arguments;
use crate::card::{Card, Pace};
use crate::figures::{Figures, median};
use crate::log::{Log, Spread, fresh, options};
use crate::telemetry::Report;

const CARD_BYTES: u64 = 1 << 30;
const WINDOWS: usize = 7;
const WINDOW_COMMITS: usize = 40;

/// Measures `flushes_per_commit`, `device_bytes_ratio_64` and `device_bytes_ratio_1024`.
pub(crate) fn measure(arguments: &Arguments, card: &Path, pool: &[Report], figures: &mut Figures) -> Outcome<()> {
    let dir = arguments.dir.join("device");
    fresh(&dir)?;
    let card = Card::put_up(card, &dir, CARD_BYTES, Pace::None)?;
    println!("Flushes that reach the device, batch 64, between two rolls to the next segment:");
    let mut flushes = Vec::new();
    for partitions in [1, 2, 4, 8, 16, 32, 64] {
        flushes.push(flushes_per_commit(&card, partitions, pool)?);
    }
    figures.put("flushes_per_commit", flushes.iter().copied().fold(0.0, f64::max));
    println!("Bytes that reach the device, 4 partitions; segments made beforehand and recycled meanwhile:");
    let commits = if arguments.quick { (600, 120) } else { (4000, 600) };
    let small = bytes(&card, (64, commits.0), pool)?;
    figures.put("device_bytes_ratio_64", small.device / small.paged);
    figures.put("device_bytes_over_records_64", small.device / small.records);
    let large = bytes(&card, (1024, commits.1), pool)?;
    figures.put("device_bytes_ratio_1024", large.device / large.records);
    drop(card);
    Ok(std::fs::remove_dir_all(dir)?)
}

/// The median of windows that a roll did not fall into; the card's flushes over the journal's commits.
fn flushes_per_commit(card: &Card, partitions: u16, pool: &[Report]) -> Outcome<f64> {
    let folder = card.folder.join("flushes");
    let mut log = Log::with_threads(&folder, options(partitions)?, pool, Spread::InTurn)?;
    log.settle()?;
    let mut windows = Vec::new();
    while windows.len() < WINDOWS {
        let (reached, before) = (card.reached()?, log.journal.stats());
        log.run(64, WINDOW_COMMITS)?;
        let (now, after) = (card.reached()?, log.journal.stats());
        let rolled = after.recycled != before.recycled || after.segments_used != before.segments_used;
        if !rolled {
            windows.push((now.flushes - reached.flushes) as f64 / (after.commits - before.commits) as f64);
        }
    }
    let most = windows.iter().copied().fold(0.0, f64::max);
    println!(
        "  {partitions} partitions: {:.3} a commit, at most {most:.3} in a window of {WINDOW_COMMITS}",
        median(&windows)
    );
    remove(log, &folder)?;
    Ok(median(&windows))
}

/// Bytes that reached the device, and those of keys, values and headers that were stored: as they are, and with each batch rounded up to pages.
struct Bytes {
    device: f64,
    records: f64,
    paged: f64,
}

fn bytes(card: &Card, (batch, commits): (usize, usize), pool: &[Report]) -> Outcome<Bytes> {
    let folder = card.folder.join("bytes");
    let mut log = Log::with_threads(&folder, options(4)?, pool, Spread::InTurn)?;
    log.settle()?;
    let (before, stats) = (card.settled()?, log.journal.stats());
    let took = log.run(batch, commits)?;
    let (after, now) = (card.settled()?, log.journal.stats());
    let bytes = Bytes {
        device: (after.bytes - before.bytes) as f64,
        records: took.bytes as f64,
        paged: took.paged_bytes as f64,
    };
    println!(
        "  batch {batch}: {commits} commits, {} segments recycled, {} checkpoints: {:.0} bytes reached the \
         device for {:.0} of keys, values and headers ({:.0} in whole pages); the journal wrote {} to its files",
        now.recycled - stats.recycled,
        now.checkpoints - stats.checkpoints,
        bytes.device,
        bytes.records,
        bytes.paged,
        now.bytes_written - stats.bytes_written,
    );
    remove(log, &folder)?;
    Ok(bytes)
}

fn remove(log: Log<'_>, folder: &Path) -> Outcome<()> {
    drop(log);
    Ok(std::fs::remove_dir_all(folder)?)
}
