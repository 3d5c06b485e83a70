//! What a cut took, counted sector by sector.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::card::{Record, Step};
use crate::cut::SECTOR;
use crate::image::Image;

/// What became of the sectors that were written and not flushed. A sector whose new bytes are its old ones can't be lost, and is not
/// counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Bytes of sectors with what was written last.
    pub bytes_kept: u64,
    /// Bytes of sectors with what was there before any of it was written.
    pub bytes_dropped: u64,
    /// Bytes of sectors with anything else: garbage, or what was written before the last time.
    pub bytes_garbled: u64,
    /// Writes of which some sectors have what they wrote, and some have not.
    pub writes_torn: u64,
}

/// Compares a card after a cut with a record that has no flush in it.
#[must_use]
pub fn loss(record: &Record, after: &Image) -> Loss {
    let mut wanted = record.start.clone();
    let mut sectors = BTreeSet::new();
    for (at, bytes) in writes(record) {
        // It fitted when it was recorded.
        let fitted = wanted.write(bytes, at).is_ok();
        assert!(fitted, "a recorded write lies beyond the end of the card");
        sectors.extend((at / SECTOR as u64)..(at + bytes.len() as u64).div_ceil(SECTOR as u64));
    }
    let mut loss = Loss::default();
    for number in sectors {
        let [before, wanted, after] = [&record.start, &wanted, after].map(|image| sector(image, number));
        let count = match () {
            () if before == wanted && after == wanted => continue,
            () if after == wanted => &mut loss.bytes_kept,
            () if after == before => &mut loss.bytes_dropped,
            () => &mut loss.bytes_garbled,
        };
        *count += SECTOR as u64;
    }
    loss.writes_torn = writes(record).filter(|(at, bytes)| is_torn(*at, bytes, &record.start, after)).count() as u64;
    loss
}

fn is_torn(at: u64, bytes: &[u8], before: &Image, after: &Image) -> bool {
    let (mut there, mut missing) = (false, false);
    for (number, piece) in (at / SECTOR as u64..).zip(bytes.chunks(SECTOR)) {
        if sector(before, number).get(..piece.len()) == Some(piece) {
            continue;
        }
        let is_there = sector(after, number).get(..piece.len()) == Some(piece);
        (there, missing) = (there || is_there, missing || !is_there);
    }
    there && missing
}

fn writes(record: &Record) -> impl Iterator<Item = (u64, &[u8])> {
    record.steps.iter().filter_map(|step| match step {
        Step::Write { at, bytes } => Some((*at, &**bytes)),
        Step::Flush => None,
    })
}

fn sector(image: &Image, number: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    let read = image.read(&mut bytes, number * SECTOR as u64);
    assert!(read.is_ok(), "a recorded write lies beyond the end of the card");
    bytes
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn kept_dropped_garbled_and_torn_are_told_apart_and_what_did_not_change_is_not_counted() {
        let mut start = Image::zeros(1 << 16);
        start.write(&[7; SECTOR], 0).unwrap();
        let step = |at: u64, byte: u8, bytes: usize| Step::Write { at, bytes: Bytes::from(vec![byte; bytes]) };
        let record = Record {
            start: start.clone(),
            steps: vec![step(0, 7, SECTOR), step(4096, 1, 2048), step(8192, 2, SECTOR)],
        };
        let mut after = start;
        after.write(&[1; 512], 4096).unwrap();
        after.write(&[9; 512], 4096 + 1024).unwrap();
        after.write(&[2; 512], 8192).unwrap();
        let expected = Loss { bytes_kept: 1024, bytes_dropped: 1024, bytes_garbled: 512, writes_torn: 1 };
        assert_eq!(loss(&record, &after), expected);
        let all = Loss { bytes_dropped: 2560, ..Loss::default() };
        assert_eq!(loss(&record, &record.start), all);
    }

    #[test]
    fn garbage_in_a_sector_that_was_written_as_it_was_is_garbled() {
        let record =
            Record { start: Image::zeros(8192), steps: vec![Step::Write { at: 0, bytes: Bytes::from(vec![0; 512]) }] };
        let mut after = record.start.clone();
        after.write(&[1; 512], 0).unwrap();
        assert_eq!(loss(&record, &after).bytes_garbled, 512);
    }
}
