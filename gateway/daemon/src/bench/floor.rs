//! The disk's own floor: what one page costs to write and flush into blocks that exist, with no journal around it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

const PAGE_BYTES: usize = 4096;
const PAGES: u64 = 256;
const ROUNDS: u64 = 400;

/// The median time of one `pwrite` of 4 KiB and one `fdatasync`, in `dir`.
pub(crate) fn measure(dir: &Path) -> anyhow::Result<Duration> {
    let mut file = tempfile::tempfile_in(dir)?;
    for _ in 0..PAGES {
        file.write_all(&[0; PAGE_BYTES])?;
    }
    file.sync_all()?;
    let mut times = (0..ROUNDS).map(|round| once(&file, round)).collect::<std::io::Result<Vec<Duration>>>()?;
    times.sort_unstable();
    times.get(times.len() / 2).copied().ok_or_else(|| anyhow::anyhow!("no round was measured"))
}

fn once(file: &File, round: u64) -> std::io::Result<Duration> {
    let page = [round.to_le_bytes()[0]; PAGE_BYTES];
    let started = Instant::now();
    file.write_all_at(&page, round % PAGES * PAGE_BYTES as u64)?;
    file.sync_data()?;
    Ok(started.elapsed())
}
