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

/// Commits of three events, with upkeep; ends where there is no room.
pub fn fill(journal: &Journal, hand: &Hand, events: usize, text: &mut dyn FnMut(usize) -> String) {
    for n in 0..events {
        let partition = Partition((n % usize::from(PARTITIONS)) as u16);
        match journal.append(&topic(), partition, record(&text(n)), None) {
            Ok(_) => {}
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
}

pub fn reading(n: usize) -> String {
    format!("{{\"device\":\"lamp\",\"reading\":{n},\"unit\":\"lux\",\"state\":\"fine\"}}")
}
