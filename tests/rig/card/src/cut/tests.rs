use bytes::Bytes;

use super::*;

const PAGES: u64 = 64;

fn write(page: u64, byte: u8, bytes: usize) -> Step {
    Step::Write { at: page * PAGE as u64, bytes: Bytes::from(vec![byte; bytes]) }
}

/// Two writes that are flushed, one of them over the other in part, and two that are not.
fn record() -> Record {
    let steps =
        vec![write(1, 1, 3 * PAGE), write(2, 2, PAGE), Step::Flush, write(3, 3, 2 * PAGE), write(8, 4, 8 * PAGE)];
    Record { start: Image::zeros(PAGES * PAGE as u64), steps }
}

fn bytes(image: &Image) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(image.bytes()).unwrap()];
    image.read(&mut bytes, 0).unwrap();
    bytes
}

fn after(seed: u64, steps: usize) -> (Vec<u8>, Damage) {
    let (image, damage) = cut(&record(), steps, &mut SplitMix64::new(seed));
    (bytes(&image), damage)
}

fn page(bytes: &[u8], number: usize) -> &[u8] {
    &bytes[number * PAGE..(number + 1) * PAGE]
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_other_seeds_give_others() {
    for seed in 0..50 {
        assert_eq!(after(seed, 5), after(seed, 5));
    }
    let different: std::collections::HashSet<Vec<u8>> = (0..50).map(|seed| after(seed, 5).0).collect();
    assert!(different.len() > 30, "{}", different.len());
}

#[test]
fn flushed_bytes_survive_every_cut() {
    for seed in 0..300 {
        let (bytes, _) = after(seed, 5);
        assert!(page(&bytes, 1).iter().all(|byte| *byte == 1), "seed {seed}");
        assert!(page(&bytes, 2).iter().all(|byte| *byte == 2), "seed {seed}");
    }
}

#[test]
fn what_was_not_written_to_is_as_it_was() {
    for seed in 0..300 {
        let (bytes, _) = after(seed, 5);
        for number in [0, 5, 6, 7, 16, 63] {
            assert!(page(&bytes, number).iter().all(|byte| *byte == 0), "seed {seed}, page {number}");
        }
    }
}

#[test]
fn a_write_that_was_not_flushed_can_be_there_or_lost_or_torn_or_garbled() {
    let (mut kept, mut lost, mut torn, mut later_without_earlier, mut garbled) = (0, 0, 0, 0, 0);
    for seed in 0..300 {
        let (bytes, damage) = after(seed, 5);
        assert_eq!(damage.unflushed, 2);
        let new = |at: usize, byte: u8| bytes[at * PAGE..].chunks(SECTOR).take(8).filter(|s| s[0] == byte).count();
        let (third, eighth) = (new(3, 3), new(8, 4));
        match third {
            0 => lost += 1,
            8 => kept += 1,
            _ => torn += 1,
        }
        later_without_earlier += u32::from(third == 0 && damage.fate == Fate::Scattered || eighth > third);
        garbled += u32::from(damage.garbage_pages > 0);
    }
    for count in [kept, lost, torn, later_without_earlier, garbled] {
        assert!(count > 10, "{kept} {lost} {torn} {later_without_earlier} {garbled}");
    }
}

#[test]
fn a_cut_whose_fate_is_chosen_has_it_and_holds_garbage_if_and_only_if_it_is_asked_for() {
    let mut record = record();
    record.steps.retain(|step| *step != Step::Flush);
    for seed in 0..50 {
        let made = |fate, garbled| cut_open(&record, fate, garbled, &mut SplitMix64::new(seed));
        let (image, damage) = made(Fate::Dropped, false);
        assert_eq!((bytes(&image), damage.unflushed), (bytes(&record.start), 4));
        assert_eq!(damage.garbage_pages, 0);
        let (kept, _) = made(Fate::Kept, false);
        assert!(page(&bytes(&kept), 3).iter().all(|byte| *byte == 3), "seed {seed}");
        let (garbled, damage) = made(Fate::Kept, true);
        assert!(damage.garbage_pages > 0 && bytes(&garbled) != bytes(&kept), "seed {seed}");
    }
}

#[test]
fn a_cut_before_a_write_knows_nothing_of_it_and_a_cut_before_the_flush_can_lose_what_the_flush_made_safe() {
    let mut lost = 0;
    for seed in 0..100 {
        let (bytes, damage) = after(seed, 2);
        assert_eq!(damage.unflushed, 2);
        assert!(page(&bytes, 8).iter().all(|byte| *byte == 0), "seed {seed}");
        lost += u32::from(page(&bytes, 1).iter().any(|byte| *byte != 1));
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn what_ext4_needs_to_find_its_journal_is_there_or_not_and_nothing_between() {
    let (mut start, page_at) = (Image::zeros(PAGES * PAGE as u64), |page: u64| page * PAGE as u64);
    // Ext4's magic, and in the first group descriptor the inode table's place.
    start.write(&[0x53, 0xef], 1024 + 0x38).unwrap();
    start.write(&21_u32.to_le_bytes(), page_at(1) + 8).unwrap();
    let mut journal = vec![5; PAGE];
    journal[..8].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4]);
    let journal_write = Step::Write { at: page_at(9), bytes: Bytes::from(journal.clone()) };
    let steps = vec![write(0, 6, 2 * PAGE), journal_write, write(20, 7, 3 * PAGE)];
    let before = bytes(&start);
    let record = Record { start, steps };
    let (mut seen, mut torn_beside) = (std::collections::HashSet::new(), 0);
    for seed in 0..600 {
        let bytes = bytes(&cut(&record, 3, &mut SplitMix64::new(seed)).0);
        let whole = |number: usize, content: &[u8]| {
            let (found, old) = (page(&bytes, number), page(&before, number));
            assert!(found == content || found == old, "seed {seed}, page {number}");
            found == content
        };
        seen.insert((whole(0, &[6; PAGE]), whole(1, &[6; PAGE]), whole(9, &journal), whole(21, &[7; PAGE])));
        torn_beside += usize::from(page(&bytes, 20) != [7; PAGE] && page(&bytes, 20) != [0; PAGE]);
    }
    assert!(seen.len() == 16 && torn_beside > 100, "{} {torn_beside}", seen.len());
}

#[test]
fn moments_fall_everywhere_in_their_range_and_often_where_more_than_one_write_is_open() {
    let lone = (0..50).flat_map(|_| [write(1, 1, PAGE), Step::Flush]);
    let steps: Vec<Step> = lone.chain(record().steps).chain([Step::Flush]).collect();
    let mut random = SplitMix64::new(1);
    let mut hits = vec![0; steps.len() + 1];
    for _ in 0..4000 {
        hits[moment(&steps, 20..steps.len(), &mut random)] += 1;
    }
    assert!(hits[..20].iter().all(|hits| *hits == 0));
    // Behind a lone write, behind a flush, and behind the second of two writes.
    assert!(hits[21] > 10 && hits[22] > 0 && hits[102] > 500 && hits[105] > 500, "{hits:?}");
    assert!(hits[21] > 3 * hits[22]);
}

#[test]
fn an_empty_range_has_one_moment_or_that_before_the_next_flush() {
    let steps = record().steps;
    let moments: std::collections::BTreeSet<usize> =
        (0..50).map(|seed| moment(&steps, 3..3, &mut SplitMix64::new(seed))).collect();
    assert_eq!(moments.into_iter().collect::<Vec<_>>(), [3, 5]);
    assert_eq!(moment(&[], 0..0, &mut SplitMix64::new(1)), 0);
}
