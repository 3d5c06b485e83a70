//! Reading back: the whole journal in order through its interface, against reading the bare files with a CRC32C over all bytes.

use std::path::Path;
use std::time::Instant;

use lamppost_event::Position;
use lamppost_journal::{Journal, ReadItem};

use crate::Outcome;
use crate::arguments::Arguments;
use crate::cache::{drop_pages, files, load_pages, read_through};
use crate::figures::Figures;
use crate::log::{Log, Spread, fresh, options};
use crate::telemetry::Report;

/// What a forwarder asks for at once.
const CHUNK_BYTES: usize = 1 << 20;
/// What the bare files are read by.
const BUFFER_BYTES: usize = 256 << 10;

/// Measures `read_ratio`, with the files in the page cache and not.
pub(crate) fn measure(arguments: &Arguments, pool: &[Report], figures: &mut Figures) -> Outcome<()> {
    let (segments, rounds) = if arguments.quick { (4, 3) } else { (16, 9) };
    println!("Reading back, {segments} segments written in commits of 1024:");
    let folder = arguments.dir.join("reading");
    fresh(&folder)?;
    let mut options = options(4)?;
    options.quota_bytes = options.quota_min() + segments * options.segment_bytes;
    let mut log = Log::with_threads(&folder, options, pool, Spread::InTurn)?;
    while (log.journal.stats().segments_used as u64) < segments {
        log.run(1024, 16)?;
    }
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for number in 1..=rounds {
        load_pages(&folder)?;
        let (bare, journal) = (bare_mb_per_s(&folder)?, journal_mb_per_s(&log.journal)?);
        warm.push(journal / bare);
        drop_pages(&folder)?;
        let bare_cold = bare_mb_per_s(&folder)?;
        drop_pages(&folder)?;
        let journal_cold = journal_mb_per_s(&log.journal)?;
        cold.push(journal_cold / bare_cold);
        println!(
            "  round {number} of {rounds}, MB/s: in the page cache: files {bare:.0}, journal {journal:.0}; \
             from the disk: files {bare_cold:.0}, journal {journal_cold:.0}"
        );
    }
    println!("  read_ratio is with all files in the page cache, where the disk hides nothing");
    figures.put_rounds("read_ratio", &warm);
    figures.put_rounds("read_ratio_from_disk", &cold);
    drop(log);
    Ok(std::fs::remove_dir_all(folder)?)
}

fn bare_mb_per_s(folder: &Path) -> Outcome<f64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut crc, mut bytes, start) = (0, 0, Instant::now());
    for path in files(folder, "hot-")? {
        bytes += read_through(&path, &mut buffer, |piece| crc = crc32c::crc32c_append(crc, piece))?;
    }
    std::hint::black_box(crc);
    Ok(bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
}

/// By the journal's positions: nothing was recycled, so they are the bytes from its beginning.
fn journal_mb_per_s(journal: &Journal) -> Outcome<f64> {
    let start = Instant::now();
    let (mut at, mut events) = (Position(0), 0_u64);
    loop {
        let chunk = journal.read(at, CHUNK_BYTES)?;
        let records = chunk.items.iter().filter(|item| matches!(item, ReadItem::Record(_)));
        events += records.map(std::hint::black_box).count() as u64;
        at = chunk.next;
        if chunk.caught_up {
            break;
        }
    }
    let elapsed = start.elapsed();
    let stored: u64 = journal.partitions().iter().map(|bounds| bounds.next.0).sum();
    if events != stored {
        return Err(format!("read {events} events of {stored}").into());
    }
    Ok(at.0 as f64 / 1e6 / elapsed.as_secs_f64())
}
