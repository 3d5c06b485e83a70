//! What became of the readings: the sender's own account beside what lies in the journal.

use std::path::Path;
use std::sync::Arc;

use lamppost_event::{Item, Offset};
use lamppost_journal::{Directory, Inspect};

use super::rounds::TOPIC;
use crate::gateway::event_item;

const READ_BYTES: usize = 1 << 20;

/// The verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Handed over, by the sender's account: acknowledged, or written where nothing is acknowledged.
    pub(super) handed_over: u64,
    /// Of these, not in the journal.
    pub(super) lost: u64,
    /// Stored more often than once: each time too many.
    pub(super) doubled: u64,
    /// Stored behind a later one, or of no reading in the account.
    pub(super) out_of_order: u64,
}

impl Verdict {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            handed_over: self.handed_over + other.handed_over,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            out_of_order: self.out_of_order + other.out_of_order,
        }
    }

    /// Nothing is wrong.
    pub(super) fn holds(&self) -> bool {
        (self.lost, self.doubled, self.out_of_order) == (0, 0, 0)
    }
}

/// Judges what the journal in that folder holds, which a gateway may have open.
pub(super) fn judge(journal: &Path, ledger: &[u64]) -> anyhow::Result<Verdict> {
    let inspect = Inspect::open(Arc::new(Directory::existing(journal)?))?;
    let (mut stored, mut at, mut next) = (Vec::new(), inspect.start(), Offset(0));
    loop {
        let chunk = inspect.read(at, READ_BYTES);
        at = chunk.next;
        for item in chunk.items {
            // A stretch that was made denser comes again, at its old offsets.
            if let Item::Event(event) = event_item(item)
                && event.event.topic.as_str() == TOPIC
                && event.offset >= next
            {
                next = event.offset.next();
                stored.push(number(&event.event.payload)?);
            }
        }
        if chunk.caught_up {
            return Ok(compare(ledger, &stored));
        }
    }
}

/// Which reading a payload is of: its value is so many thousandths.
fn number(payload: &[u8]) -> anyhow::Result<u64> {
    let parsed: serde_json::Value = serde_json::from_slice(payload)?;
    let value = parsed.get("value").and_then(serde_json::Value::as_f64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of thousandths below 2^53")]
    let thousandths = value.map(|value| (value * 1000.0).round() as u64);
    thousandths.ok_or_else(|| anyhow::anyhow!("an event without a value: {}", String::from_utf8_lossy(payload)))
}

fn compare(ledger: &[u64], stored: &[u64]) -> Verdict {
    let mut sorted = stored.to_vec();
    sorted.sort_unstable();
    let all = sorted.len();
    sorted.dedup();
    let lost = ledger.iter().filter(|n| sorted.binary_search(n).is_err()).count();
    let strangers = sorted.len() + lost - ledger.len().min(sorted.len() + lost);
    let steps_back = stored.iter().zip(stored.iter().skip(1)).filter(|(one, next)| next < one).count();
    Verdict {
        handed_over: ledger.len() as u64,
        lost: lost as u64,
        doubled: (all - sorted.len()) as u64,
        out_of_order: (steps_back + strangers) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_out_of_order_or_strange_is_counted_as_such() {
        let ledger = [1, 2, 3, 4];
        let verdict = |stored: &[u64]| {
            let Verdict { handed_over, lost, doubled, out_of_order } = compare(&ledger, stored);
            assert_eq!(handed_over, 4);
            (lost, doubled, out_of_order)
        };
        assert_eq!(verdict(&[1, 2, 3, 4]), (0, 0, 0));
        assert_eq!(verdict(&[1, 2, 4]), (1, 0, 0));
        assert_eq!(verdict(&[1, 2, 2, 2, 3, 4]), (0, 2, 0));
        assert_eq!(verdict(&[1, 3, 2, 4]), (0, 0, 1));
        assert_eq!(verdict(&[1, 2, 3, 4, 9]), (0, 0, 1));
        assert_eq!(verdict(&[]), (4, 0, 0));
        assert!(compare(&ledger, &ledger).holds() && !compare(&ledger, &[1]).holds());
    }

    #[test]
    fn a_payload_tells_its_number() {
        assert_eq!(number(br#"{"measure":"temperature","value":21.5,"unit":"Cel"}"#).unwrap(), 21_500);
        assert!(number(b"{}").is_err() && number(b"no JSON").is_err());
    }
}
