//! A journal of readings that nobody has taken away.

use lamppost_event::Partition;
use lamppost_journal::{AppendError, Hand, Journal, Options};

use super::{PARTITIONS, group, record, small_options, topic};

/// Room for more than the hot tier, and a group that has not passed anything.
pub fn options(seed: u64) -> Options {
    let mut options = small_options(seed);
    options.quota_bytes = 14 * options.segment_bytes;
    options.required = vec![group()];
    options
}

/// Commits of three events, with upkeep as the keeper would; ends where there is no room. Gives what was taken, by partition.
pub fn fill(journal: &Journal, hand: &Hand, events: usize, text: &mut dyn FnMut(usize) -> String) -> Vec<Vec<String>> {
    let mut taken = vec![Vec::new(); usize::from(PARTITIONS)];
    for n in 0..events {
        let (partition, text) = (n % usize::from(PARTITIONS), text(n));
        match journal.append(&topic(), Partition(partition as u16), record(&text), None) {
            Ok(_) => taken[partition].push(text),
            Err(AppendError::Full(_)) => break,
            Err(error) => panic!("{error}"),
        }
        if n % 3 == 0 {
            hand.commit().unwrap();
            hand.keep().unwrap();
        }
    }
    hand.commit().unwrap();
    hand.keep().unwrap();
    taken
}

pub fn reading(n: usize) -> String {
    format!("{{\"device\":\"lamp\",\"reading\":{n},\"unit\":\"lux\",\"state\":\"fine\"}}")
}
