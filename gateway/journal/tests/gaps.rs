//! Offsets that are not there any more are told, wherever a reader begins and however often the journal is opened; and they cost
//! nothing that is still there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Cursor, Gap, Offset, Partition, Topic, TopicPartition};
use lamppost_journal::sim::{SimDisk, Times};
use lamppost_journal::{Hand, Journal, Options, Policy, Priority, ReadItem, TopicOptions, WhenFull};
use world::{FRAMES_AT, HandClock, PAGE, append, at, group, hot, open, read_all, record, small_options, texts};

fn options(seed: u64) -> Options {
    let mut options = small_options(seed);
    options.quota_bytes = 40 * options.segment_bytes;
    options.required = vec![group()];
    options
}

fn first_of(name: &str) -> TopicPartition {
    TopicPartition { topic: Topic::user(name).unwrap(), partition: Partition(0) }
}

/// Traffic goes after an hour, energy stays.
fn two_topics(seed: u64) -> Options {
    let mut options = small_options(seed);
    let of = |name| TopicOptions { topic: first_of(name).topic, partitions: 1, linger: None };
    options.topics = ["traffic", "energy"].map(of).into();
    let hour = Some(Duration::from_secs(3_600));
    let bulk =
        Policy { priority: Priority::Bulk, when_full: WhenFull::GiveUpOldest, keep_for: hour, ..Policy::default() };
    options.policies = [(first_of("traffic").topic, bulk)].into();
    options.quota_bytes = 20 * options.segment_bytes;
    options.required = vec![group()];
    options
}

fn put(journal: &Journal, name: &str) {
    let at = first_of(name);
    journal.append(&at.topic, at.partition, record(name), None).unwrap();
}

fn commit_cursor(journal: &Journal, name: &str, next: u64) {
    journal.commit_cursors(&group(), &[Cursor { at: first_of(name), next: Offset(next) }]).unwrap();
}

/// Traffic 0..100 was given up for its age, and nothing of it came after; the group has had 10 of it. Energy shares its segments and
/// went on.
fn given_up(disk: &SimDisk) -> (Journal, Hand) {
    let clock = HandClock::new();
    let (journal, hand, _) = Journal::open_by_hand(Arc::new(disk.clone()), two_topics(1), clock.clone()).unwrap();
    hand.keep().unwrap();
    for n in 0..300 {
        if n < 100 {
            put(&journal, "traffic");
        }
        put(&journal, "energy");
        hand.commit().unwrap();
        hand.keep().unwrap();
    }
    commit_cursor(&journal, "traffic", 10);
    commit_cursor(&journal, "energy", 3);
    hand.commit().unwrap();
    clock.turn(4_000_000);
    while hand.keep().unwrap() {}
    assert_eq!(journal.stats().given_up.get(&first_of("traffic").topic), Some(&90), "what the group had not had");
    (journal, hand)
}

fn gaps(items: &[ReadItem]) -> Vec<Gap> {
    let gap = |item: &ReadItem| if let ReadItem::Gap(gap) = item { Some(gap.clone()) } else { None };
    items.iter().filter_map(gap).collect()
}

/// What a group comes upon from where it resumes.
fn resumed(journal: &Journal) -> Vec<ReadItem> {
    let (mut items, mut from) = (Vec::new(), journal.resume(&group()).unwrap().position);
    loop {
        let chunk = journal.read(from, 10_000).unwrap();
        items.extend(chunk.items);
        from = chunk.next;
        if chunk.caught_up {
            return items;
        }
    }
}

/// Partition by partition, each item begins where the one before ended, or below; gives where they end.
fn follow<const N: usize>(items: &[ReadItem], mut next: [u64; N]) -> [u64; N] {
    for item in items {
        let (partition, from, to) = match item {
            ReadItem::Record(record) => (record.partition, record.offset.0, record.offset.0 + 1),
            ReadItem::Gap(gap) => (gap.at.partition, gap.from.0, gap.to.0),
        };
        let next = &mut next[usize::from(partition.0)];
        assert!(from <= *next, "partition {partition} jumps from {next} to {item:?} without a word");
        *next = to.max(*next);
    }
    next
}

#[test]
fn a_resumed_group_is_told_of_what_was_given_up() {
    let disk = SimDisk::new(1);
    let (journal, hand) = given_up(&disk);
    commit_cursor(&journal, "energy", 290);
    hand.commit().unwrap();
    journal.close().unwrap();
    drop((journal, hand));
    let (journal, hand, _) = open(&disk, &two_topics(2));
    let told = |journal: &Journal| {
        let ours = |gap: &Gap| gap.at == first_of("traffic") && gap.from <= Offset(10) && gap.to == Offset(100);
        gaps(&resumed(journal)).iter().any(ours)
    };
    assert!(told(&journal), "at the end of what there is");
    while hand.keep().unwrap() {}
    put(&journal, "traffic");
    hand.commit().unwrap();
    assert!(told(&journal), "before what comes next");
}

#[test]
fn a_group_that_resumes_in_a_cold_segment_is_told_of_damage_before_it() {
    let disk = SimDisk::new(8);
    let (journal, hand, _) = open(&disk, &options(1));
    for n in 0..14 {
        append(&journal, n % 2, "event");
        hand.commit().unwrap();
    }
    // Offset 3 of partition 0.
    disk.flip(&hot(&disk)[0], FRAMES_AT + PAGE * 6 + 120, 0x10);
    cool(&journal, &hand);
    let cursors = [0, 1].map(|partition| Cursor { at: at(partition), next: Offset(3) });
    journal.commit_cursors(&group(), &cursors).unwrap();
    let items = resumed(&journal);
    let next = follow(&items, [3, 3]);
    assert_eq!(next, [journal.partitions()[0].next.0, 7]);
    let told = gaps(&items);
    assert!(told.iter().any(|gap| (&gap.at, gap.from, gap.to) == (&at(0), Offset(3), Offset(4))), "{told:?}");
}

/// Appends until a segment has been made cold.
fn cool(journal: &Journal, hand: &Hand) {
    for _ in 0..400 {
        append(journal, 0, "more");
        hand.commit().unwrap();
        hand.keep().unwrap();
        if journal.stats().cooled > 0 {
            return;
        }
    }
    panic!("no segment was made cold");
}

#[test]
fn a_partition_that_ends_in_a_gap_is_read_to_its_end() {
    let disk = SimDisk::new(1);
    let (journal, hand) = given_up(&disk);
    let at = first_of("traffic");
    let check = |journal: &Journal| {
        let chunk = journal.read_partition(&at.topic, at.partition, Offset(10), usize::MAX).unwrap();
        assert_eq!((chunk.next, chunk.caught_up), (Offset(100), true));
        let told = gaps(&chunk.items);
        assert!(told.iter().any(|gap| gap.from <= Offset(10) && gap.to == Offset(100)), "{told:?}");
    };
    check(&journal);
    journal.close().unwrap();
    drop((journal, hand));
    let (journal, _hand, _) = open(&disk, &two_topics(2));
    check(&journal);
}

#[test]
fn what_was_given_up_before_events_that_were_written_anew_stays_told() {
    let disk = SimDisk::new(1);
    let clock = HandClock::new();
    let open = |seed| Journal::open_by_hand(Arc::new(disk.clone()), two_topics(seed), clock.clone()).unwrap();
    let (journal, hand, _) = open(1);
    hand.keep().unwrap();
    for n in 0..13 {
        if n < 11 {
            put(&journal, "traffic");
        }
        put(&journal, "energy");
        hand.commit().unwrap();
    }
    drop((journal, hand));
    disk.power_cut();
    let (journal, hand, recovery) = open(2);
    assert!(recovery.rewritten > 0);
    clock.turn(4_000_000);
    while hand.keep().unwrap() {}
    let before = gaps(&read_all(&journal));
    assert!(before.iter().any(|gap| gap.at == first_of("traffic") && gap.from == Offset(0)), "{before:?}");
    drop((journal, hand));
    for seed in 3..6 {
        disk.power_cut();
        let (journal, hand, _) = open(seed);
        assert_eq!(gaps(&read_all(&journal)), before);
        drop((journal, hand));
    }
}

#[test]
fn a_gap_that_falls_out_with_its_segment_counts_as_recycled() {
    let disk = SimDisk::new(1);
    let (journal, hand) = given_up(&disk);
    let is_traffic = |gap: &Gap| gap.at == first_of("traffic");
    let told: Vec<Gap> = gaps(&read_all(&journal)).into_iter().filter(is_traffic).collect();
    let (from, to) = (told[0].from, told[told.len() - 1].to);
    assert_eq!((from, to), (Offset(0), Offset(100)));
    journal.close().unwrap();
    drop((journal, hand));
    let (journal, hand, _) = open(&disk, &two_topics(2));
    let bounds = |name| journal.partitions().into_iter().find(|bounds| bounds.at == first_of(name)).unwrap();
    assert_eq!(bounds("traffic").first, from, "the gap is there, and tells of it");
    for _ in 0..400 {
        put(&journal, "energy");
        hand.commit().unwrap();
        commit_cursor(&journal, "traffic", 100);
        commit_cursor(&journal, "energy", bounds("energy").next.0);
        hand.keep().unwrap();
    }
    assert!(bounds("energy").first > Offset(300), "what carried the gap was not recycled: {:?}", bounds("energy"));
    assert!(bounds("traffic").first >= to, "{:?}", bounds("traffic"));
    let place = first_of("traffic");
    let from_partition = journal.read_partition(&place.topic, place.partition, Offset(0), usize::MAX).unwrap().items;
    for items in [read_all(&journal), from_partition] {
        let lapped = gaps(&items).into_iter().filter(is_traffic).map(|gap| (gap.from, gap.to, gap.reason));
        assert_eq!(lapped.collect::<Vec<_>>(), [(from, to, "recycled before it was read".to_owned())]);
    }
}

#[test]
fn doubt_about_an_idle_partition_does_not_grow_with_each_opening() {
    let disk = SimDisk::new(9);
    let (journal, hand, _) = open(&disk, &options(1));
    append(&journal, 2, "alone");
    let go_on = |journal: &Journal, hand: &Hand, events| {
        for _ in 0..events {
            append(journal, 0, "event");
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
        journal.close().unwrap();
    };
    go_on(&journal, &hand, 60);
    drop((journal, hand));
    // Both heads of the second segment.
    let second = hot(&disk)[1].clone();
    disk.flip(&second, 20, 0x10);
    disk.flip(&second, PAGE + 20, 0x10);
    let nexts = [0; 4].map(|_| {
        let (journal, hand, _) = open(&disk, &options(1));
        let next = journal.partitions()[2].next;
        go_on(&journal, &hand, 30);
        next
    });
    assert!(nexts[0] > Offset(1), "the lost segment may have had events of it: {nexts:?}");
    assert!(nexts.iter().all(|next| *next == nexts[0]), "{nexts:?}");
}

/// The last segment is gone through, whatever a footer says.
#[test]
fn a_segment_that_is_lost_just_before_the_last_may_have_held_more_than_one_event_of_an_idle_partition() {
    let disk = SimDisk::new(13);
    let (journal, hand, _) = open(&disk, &options(1));
    let go_on = |journal: &Journal| {
        append(journal, 0, "event");
        hand.commit().unwrap();
        while hand.keep().unwrap() {}
    };
    let to_the_next_segment = |journal: &Journal| {
        let begun = hot(&disk).len();
        while hot(&disk).len() == begun {
            go_on(journal);
        }
    };
    append(&journal, 2, "alone");
    to_the_next_segment(&journal);
    for _ in 0..5 {
        append(&journal, 2, "lost");
    }
    // The frame behind one that is lost still tells of it.
    go_on(&journal);
    go_on(&journal);
    to_the_next_segment(&journal);
    journal.close().unwrap();
    let lost = hot(&disk).into_iter().rev().nth(1).unwrap();
    assert!(disk.contents()[&lost].windows(4).any(|part| part == b"lost"));
    drop((journal, hand));
    // Both its heads.
    disk.flip(&lost, 20, 0x10);
    disk.flip(&lost, PAGE + 20, 0x10);
    let (journal, _hand, _) = open(&disk, &options(2));
    let next = journal.partitions()[2].next;
    assert!(next >= Offset(6), "of 1 to 5, which were acknowledged, {next} is the first to be given again");
    assert_eq!(follow(&read_all(&journal), [0; 3])[2], next.0, "and none goes without a word");
}

/// As above, where nothing of the idle partition is kept before the damage: only the checkpoint knows of it.
#[test]
fn a_lost_segment_may_have_held_events_of_a_partition_that_only_the_checkpoint_knows() {
    let disk = SimDisk::new(12);
    let (journal, hand, _) = open(&disk, &options(1));
    let go_on = |journal: &Journal, hand: &Hand, events| {
        for _ in 0..events {
            append(journal, 0, "event");
            hand.commit().unwrap();
            while hand.keep().unwrap() {}
        }
    };
    append(&journal, 2, "gone");
    // The first segment is done with, and no other.
    go_on(&journal, &hand, 20);
    let done = [(0, 20), (2, 1)].map(|(partition, next)| Cursor { at: at(partition), next: Offset(next) });
    journal.commit_cursors(&group(), &done).unwrap();
    for _ in 0..100 {
        go_on(&journal, &hand, 1);
        if journal.partitions()[2].first == Offset(1) {
            break;
        }
    }
    assert_eq!(journal.partitions()[2].first, Offset(1), "it is recycled, behind a checkpoint");
    // Into a segment of its own, behind that checkpoint.
    go_on(&journal, &hand, 20);
    append(&journal, 2, "lost");
    go_on(&journal, &hand, 40);
    journal.close().unwrap();
    drop((journal, hand));
    let holds =
        |(name, bytes): &(String, Vec<u8>)| name.starts_with("hot-") && bytes.windows(4).any(|part| part == b"lost");
    let (lost, _) = disk.contents().into_iter().find(holds).unwrap();
    // Both its heads.
    disk.flip(&lost, 20, 0x10);
    disk.flip(&lost, PAGE + 20, 0x10);
    let nexts = [2, 3, 4].map(|seed| {
        let (journal, hand, _) = open(&disk, &options(seed));
        let missed = gaps(&read_all(&journal)).into_iter().any(|gap| gap.at == at(2) && gap.to > Offset(1));
        assert!(missed, "what was lost is told");
        let next = journal.partitions()[2].next;
        go_on(&journal, &hand, 3);
        journal.close().unwrap();
        next
    });
    assert!(nexts[0] > Offset(1), "offset 1 is given again: {nexts:?}");
    assert!(nexts.iter().all(|next| *next == nexts[0]), "doubt grows with each opening: {nexts:?}");
}

/// All events of a partition were delivered and are gone, and with the checkpoints how far it had come; the cursor is still in the log.
#[test]
fn an_offset_that_a_group_has_done_with_is_not_given_again_though_the_checkpoints_are_lost() {
    let disk = SimDisk::new(11);
    let (journal, hand, _) = open(&disk, &options(1));
    for _ in 0..5 {
        append(&journal, 2, "idle");
    }
    let mut sent = 0;
    let mut go_on = || {
        append(&journal, 0, "event");
        hand.commit().unwrap();
        sent += 1;
        journal.commit_cursors(&group(), &[Cursor { at: at(0), next: Offset(sent) }]).unwrap();
        while hand.keep().unwrap() {}
    };
    // The cursor comes to lie some segments behind the events.
    (0..40).for_each(|_| go_on());
    journal.commit_cursors(&group(), &[Cursor { at: at(2), next: Offset(5) }]).unwrap();
    for _ in 0..100 {
        go_on();
        if journal.partitions()[2].first == Offset(5) {
            break;
        }
    }
    assert_eq!(journal.partitions()[2].first, Offset(5), "they are recycled");
    drop((journal, hand));
    disk.process_killed();
    for name in disk.contents().into_keys().filter(|name| name.starts_with("checkpoint-")) {
        disk.flip(&name, 60, 1);
    }
    let (journal, _hand, recovery) = open(&disk, &options(2));
    assert!(!recovery.checkpoints_refused.is_empty());
    let cursors = journal.resume(&group()).unwrap().cursors;
    let done = cursors.iter().find(|cursor| cursor.at == at(2)).map(|cursor| cursor.next);
    assert_eq!(done, Some(Offset(5)), "the log tells of it");
    let given = append(&journal, 2, "new").offset;
    assert!(given >= Offset(5), "the group takes {given} for delivered");
}

#[test]
fn an_event_that_is_refused_for_a_while_is_read_or_set_aside() {
    let disk = SimDisk::new(7);
    let (journal, hand, _) = open(&disk, &options(1));
    for n in 0..20 {
        append(&journal, 0, if n == 3 { "refused" } else { "event" });
        hand.commit().unwrap();
        hand.keep().unwrap();
    }
    let page = (FRAMES_AT + PAGE * 3) as u64;
    disk.fail_reads(&hot(&disk)[0], page..page + PAGE as u64, Times::Next(8));
    cool(&journal, &hand);
    let items = read_all(&journal);
    assert_eq!(follow(&items, [0]), [journal.partitions()[0].next.0]);
    let aside = disk.contents().into_iter().filter(|(name, _)| name.starts_with("damaged-"));
    let is_aside = aside.map(|(_, bytes)| bytes).any(|bytes| bytes.windows(7).any(|part| part == b"refused"));
    assert!(is_aside || texts(&items).contains(&"refused".to_owned()), "gone for good: {:?}", gaps(&items));
}

/// Makes the first batch of a frame unreadable, in a frame that stays sound.
fn spoil_batch(disk: &SimDisk, file: &str, frame_at: usize) {
    let bytes = disk.contents()[file].clone();
    let (salt, frame) = (&bytes[40..48], &bytes[frame_at..]);
    let number = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().unwrap()) as usize;
    let (length, magic_at) = (number(16), number(72) + 16);
    let mut frame = frame[..length].to_vec();
    let crc = |frame: &[u8]| {
        let crc = crc32c::crc32c_append(crc32c::crc32c(salt), &frame[..20]);
        crc32c::crc32c_append(crc, &frame[24..]).to_le_bytes()
    };
    let old = crc(&frame);
    assert_eq!(old, frame[20..24]);
    frame[magic_at] ^= 1;
    disk.flip(file, frame_at + magic_at, 1);
    for (n, (old, new)) in old.into_iter().zip(crc(&frame)).enumerate().filter(|(_, (old, new))| old != new) {
        disk.flip(file, frame_at + 20 + n, old ^ new);
    }
}

#[test]
fn an_unreadable_batch_in_a_sound_frame_costs_itself_alone() {
    for last in [false, true] {
        let disk = SimDisk::new(11);
        let (journal, hand, _) = open(&disk, &options(1));
        while hot(&disk).len() < 2 {
            append(&journal, 0, "event");
            append(&journal, 1, "event");
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
        let first = hot(&disk)[0].clone();
        let bytes = disk.contents()[&first].clone();
        let is_data = |at: &usize| &bytes[*at..at + 8] == b"LMPFRAME" && bytes[at + 10] == 0;
        let frames: Vec<usize> = (FRAMES_AT..bytes.len()).step_by(PAGE).filter(is_data).collect();
        let victim = if last { frames.len() - 1 } else { 6 };
        spoil_batch(&disk, &first, frames[victim]);
        cool(&journal, &hand);
        let items = read_all(&journal);
        assert_eq!(follow(&items, [0, 0]), [0, 1].map(|partition: usize| journal.partitions()[partition].next.0));
        let told: Vec<_> = gaps(&items).into_iter().map(|gap| (gap.at, gap.from.0, gap.to.0)).collect();
        assert_eq!(told, [(at(0), victim as u64, victim as u64 + 1)]);
        let events = journal.partitions().iter().map(|bounds| bounds.next.0).sum::<u64>();
        assert_eq!(items.len() as u64, events, "one gap, and all the others");
    }
}
