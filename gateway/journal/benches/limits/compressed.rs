//! Compressed commits on a modelled card: the bytes that reach it, and events/s over the card's own floor, which writes the same events
//! uncompressed. Both of the same commits.

use std::path::Path;

use lamppost_journal::{Compression, Options};

use crate::Outcome;
use crate::arguments::Arguments;
use crate::card::{Card, Pace};
use crate::figures::Figures;
use crate::floor::Floor;
use crate::log::{Log, Spread, fresh, options};
use crate::telemetry::Report;

const CARD_BYTES: u64 = 2 << 30;
/// Commits before anything counts: the journal tries out what pays.
const TRIED: usize = 12;

struct Contender<'a> {
    suffix: &'static str,
    log: Log<'a>,
    ratios: Vec<f64>,
    device: u64,
    records: usize,
}

/// Measures `compressed_bytes_ratio_1024` and `compressed_floor_ratio_1024`, with Zstandard, and the same with LZ4; and of batch 64.
pub(crate) fn measure(arguments: &Arguments, card: &Path, pool: &[Report], figures: &mut Figures) -> Outcome<()> {
    let dir = arguments.dir.join("compressed");
    fresh(&dir)?;
    let card = Card::put_up(card, &dir, CARD_BYTES, Pace::Sd)?;
    println!("Compressed commits, 4 partitions, on a modelled card (5 ms a flush, 0.4 ms a write, 15 MB/s):");
    let plain_folder = card.folder.join("plain");
    let mut plain = Log::with_threads(&plain_folder, options(4)?, pool, Spread::ByDevice)?;
    let mut floor = Floor::new(&card.folder)?;
    let mut contenders = Vec::new();
    for (suffix, compression) in [("", Compression::Zstd), ("_lz4", Compression::Lz4)] {
        let options = Options { compression, ..options(4)? };
        let mut log = Log::with_threads(&card.folder.join(format!("packed{suffix}")), options, pool, Spread::ByDevice)?;
        log.settle()?;
        contenders.push(Contender { suffix, log, ratios: Vec::new(), device: 0, records: 0 });
    }
    for (batch, commits) in if arguments.quick { [(64, 40), (1024, 20)] } else { [(64, 100), (1024, 60)] } {
        plain.run(batch, TRIED)?;
        floor.take_frames(&plain_folder, batch)?;
        against_floor(&card, &mut floor, &mut contenders, (batch, commits), arguments.quick, figures)?;
    }
    drop((contenders, plain, floor, card));
    Ok(std::fs::remove_dir_all(dir)?)
}

fn against_floor(
    card: &Card,
    floor: &mut Floor,
    contenders: &mut [Contender<'_>],
    (batch, commits): (usize, usize),
    quick: bool,
    figures: &mut Figures,
) -> Outcome<()> {
    for contender in &mut *contenders {
        (contender.ratios, contender.device, contender.records) = (Vec::new(), 0, 0);
        contender.log.run(batch, TRIED)?;
    }
    let rounds = if quick { 2 } else { 5 };
    for number in 1..=rounds {
        let bare = floor.run(batch, commits)?.events_per_s();
        let mut line = format!("  batch {batch}, round {number} of {rounds}, events/s: floor {bare:.0}");
        for contender in &mut *contenders {
            let before = card.settled()?;
            let took = contender.log.run(batch, commits)?;
            contender.device += card.settled()?.bytes - before.bytes;
            contender.records += took.bytes;
            contender.ratios.push(took.events_per_s() / bare);
            line += &format!(", journal{} {:.0}", contender.suffix.replace('_', " "), took.events_per_s());
        }
        println!("{line}");
    }
    for contender in contenders {
        let ratio = contender.device as f64 / contender.records as f64;
        figures.put(format!("compressed_bytes_ratio_{batch}{}", contender.suffix), ratio);
        figures.put_rounds(&format!("compressed_floor_ratio_{batch}{}", contender.suffix), &contender.ratios);
    }
    Ok(())
}
