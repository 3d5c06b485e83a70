//! Reading back: the whole journal in order through its interface, against reading the bare files with a CRC32C over all bytes.

use std::path::Path;
use std::time::Instant;

use lamppost_event::{Position, decode_event};
use lamppost_journal::{ItemInPlace, Journal, ReadChunk, ReadItem, ReadOn};

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

/// Measures `read_ratio`: from the disk and from the page cache, each event kept or looked at in place, everything in turns.
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
    let (mut rates, mut events) = ([(); 6].map(|()| Vec::new()), Vec::new());
    for number in 1..=rounds {
        let mut round = Vec::new();
        for prepare in [drop_pages, load_pages] {
            prepare(&folder)?;
            let bare = bare_mb_per_s(&folder)?;
            prepare(&folder)?;
            let kept = mb_per_s(&log.journal, kept)?;
            prepare(&folder)?;
            let in_place = mb_per_s(&log.journal, in_place)?;
            round.extend([bare, kept, in_place]);
        }
        let once_kept = mb_per_s(&log.journal, events_once_kept)?;
        events.push(mb_per_s(&log.journal, events_in_place)? / once_kept);
        let [bare, kept, in_place, bare_cached, kept_cached, in_place_cached] = round[..] else { break };
        println!(
            "  round {number} of {rounds}, MB/s: from the disk: files {bare:.0}, journal {kept:.0}, in place {in_place:.0}; in the page \
             cache: files {bare_cached:.0}, journal {kept_cached:.0}, in place {in_place_cached:.0}"
        );
        rates.iter_mut().zip(round).for_each(|(rates, rate)| rates.push(rate));
    }
    let [bare, kept, in_place, bare_cached, kept_cached, in_place_cached] = &rates;
    let over = |rates: &[f64], bare: &[f64]| rates.iter().zip(bare).map(|(rate, bare)| rate / bare).collect::<Vec<_>>();
    println!("  read_ratio is in place and with the page cache empty");
    figures.put_rounds("read_ratio", &over(in_place, bare));
    figures.put_rounds("read_ratio_kept", &over(kept, bare));
    figures.put_rounds("read_ratio_cached", &over(in_place_cached, bare_cached));
    figures.put_rounds("read_ratio_kept_cached", &over(kept_cached, bare_cached));
    figures.put_rounds("read_events_in_place_over_kept", &events);
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
fn mb_per_s(journal: &Journal, read: fn(&Journal, Position) -> Outcome<(u64, ReadOn)>) -> Outcome<f64> {
    let start = Instant::now();
    let (mut at, mut events) = (Position(0), 0_u64);
    loop {
        let (more, on) = read(journal, at)?;
        events += more;
        at = on.next;
        if on.caught_up {
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

/// Each event an object of its own, as the forwarder wants it.
fn kept(journal: &Journal, at: Position) -> Outcome<(u64, ReadOn)> {
    let ReadChunk { items, next, caught_up } = journal.read(at, CHUNK_BYTES)?;
    let records = items.iter().filter(|item| matches!(item, ReadItem::Record(_)));
    Ok((records.map(std::hint::black_box).count() as u64, ReadOn { next, caught_up }))
}

/// Each event where it lies.
fn in_place(journal: &Journal, at: Position) -> Outcome<(u64, ReadOn)> {
    let mut events = 0;
    let on = journal.read_in_place(at, CHUNK_BYTES, |item| {
        if let ItemInPlace::Record(record) = &item {
            std::hint::black_box(record);
            events += 1;
        }
    })?;
    Ok((events, on))
}

/// Decoded where it lies: what the forwarder is given.
fn events_in_place(journal: &Journal, at: Position) -> Outcome<(u64, ReadOn)> {
    let (mut events, mut count) = (Vec::with_capacity(CHUNK_BYTES / 200), 0);
    let on = journal.read_in_place(at, CHUNK_BYTES, |item| {
        if let ItemInPlace::Record(record) = item {
            events.push(decode_event(record.topic, record.stored()));
            count += 1;
        }
    })?;
    std::hint::black_box(events);
    Ok((count, on))
}

/// Decoded from records that were kept first.
fn events_once_kept(journal: &Journal, at: Position) -> Outcome<(u64, ReadOn)> {
    let ReadChunk { items, next, caught_up } = journal.read(at, CHUNK_BYTES)?;
    let decoded = items.into_iter().filter_map(|item| match item {
        ReadItem::Record(read) => Some(decode_event(&read.topic, read.record.clone())),
        ReadItem::Gap(_) => None,
    });
    let events: Vec<_> = decoded.collect();
    let count = events.len() as u64;
    std::hint::black_box(events);
    Ok((count, ReadOn { next, caught_up }))
}
