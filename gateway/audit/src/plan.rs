//! Which lines of the ledgers are heard in which pass over the cluster, so that each takes no more memory than it may.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::judge::LedgerIndex;
use crate::ledger::{LedgerEntry, LedgerError, length, read_ledger};
use crate::proof::{GROUP_BYTES, LINE_BYTES, Proof};

/// How finely the lines are divided, by a hash of their key.
const PARTS: usize = 4_096;
/// So many keys are told apart while they are counted; each line beyond is taken for another key's.
const GROUPS_MAX: usize = 4 << 20;

/// The ledgers' passes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// As far as each ledger is heard, in bytes: what is appended meanwhile was acknowledged after the first pass had begun.
    lengths: Vec<u64>,
    /// The pass of each part.
    pass: Vec<u32>,
    /// The lines of each pass.
    lines: Vec<u64>,
    /// What the largest pass takes, in bytes, where that is more than it may.
    pub(crate) too_many: Option<u64>,
}

impl Plan {
    /// Reads the ledgers once, and divides them so that no pass takes more than `bytes_max`.
    pub(crate) fn of(ledgers: &[PathBuf], bytes_max: u64) -> Result<Self, LedgerError> {
        let lengths = ledgers.iter().map(|path| length(path)).collect::<Result<Vec<u64>, _>>()?;
        let (mut lines, mut bytes, mut groups) = (vec![0_u64; PARTS], vec![0_u64; PARTS], HashSet::new());
        let plan = Self { lengths, ..Self::default() };
        plan.read(ledgers, &mut |ledger, _, entry| {
            let part = part_of(ledger, entry);
            let is_new = groups.len() >= GROUPS_MAX || groups.insert(Proof::part(ledger, entry));
            if let (Some(lines), Some(bytes)) = (lines.get_mut(part), bytes.get_mut(part)) {
                *lines += 1;
                *bytes += LINE_BYTES + if is_new { GROUP_BYTES } else { 0 };
            }
        })?;
        Ok(plan.divided(&lines, &bytes, bytes_max))
    }

    /// One part after the other, as many in a pass as go in.
    fn divided(mut self, lines: &[u64], bytes: &[u64], bytes_max: u64) -> Self {
        let mut taken = 0;
        self.lines = vec![0];
        for (lines, bytes) in lines.iter().zip(bytes) {
            if taken > 0 && taken + bytes > bytes_max {
                self.lines.push(0);
                taken = 0;
            }
            taken += bytes;
            if taken > bytes_max {
                self.too_many = self.too_many.max(Some(taken));
            }
            if let Some(of_pass) = self.lines.last_mut() {
                *of_pass += lines;
            }
            self.pass.push(u32::try_from(self.lines.len() - 1).unwrap_or(u32::MAX));
        }
        self
    }

    /// How many passes there are: one at least.
    pub(crate) fn passes(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    /// How many lines a pass has.
    pub(crate) fn lines(&self, pass: u32) -> usize {
        self.lines.get(pass as usize).and_then(|lines| usize::try_from(*lines).ok()).unwrap_or(0)
    }

    /// Whether an entry is heard in a pass.
    pub(crate) fn has(&self, pass: u32, ledger: LedgerIndex, entry: &LedgerEntry) -> bool {
        self.pass.get(part_of(ledger, entry)) == Some(&pass)
    }

    /// Reads the ledgers as far as they went when the plan was made; gives how many end in a broken line.
    pub(crate) fn read(
        &self,
        ledgers: &[PathBuf],
        take: &mut dyn FnMut(LedgerIndex, u32, &LedgerEntry),
    ) -> Result<u64, LedgerError> {
        let mut broken = 0;
        for ((index, path), length) in (0..).zip(ledgers).zip(&self.lengths) {
            let index = LedgerIndex(index);
            broken += u64::from(read_ledger(path, *length, &mut |line, entry| take(index, line, &entry))?);
        }
        Ok(broken)
    }
}

fn part_of(ledger: LedgerIndex, entry: &LedgerEntry) -> usize {
    usize::try_from(Proof::part(ledger, entry) % PARTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ledger, Mark};

    #[test]
    fn every_line_is_heard_in_one_pass_all_of_a_key_in_the_same_and_no_pass_takes_more_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let ledgers = [dir.path().join("ledger")];
        let mut ledger = Ledger::append_to(&ledgers[0]).unwrap();
        for n in 0..2_000 {
            let key = format!("dev-{}", n % 100);
            let mark = Mark::Id { id: format!("{key}:{n}") };
            ledger.note(&LedgerEntry { topic: None, key: Some(key), mark });
        }
        ledger.sync().unwrap();
        let one = Plan::of(&ledgers, 2_000 * LINE_BYTES + 100 * GROUP_BYTES).unwrap();
        assert_eq!((one.passes(), one.lines(0), one.too_many), (1, 2_000, None));
        let bytes_max = 10_000;
        let plan = Plan::of(&ledgers, bytes_max).unwrap();
        assert!((10..=20).contains(&plan.passes()) && plan.too_many.is_none(), "{}", plan.passes());
        let mut heard = vec![HashSet::new(); plan.passes() as usize];
        for pass in 0..plan.passes() {
            let mut lines = 0;
            let broken = plan.read(&ledgers, &mut |index, _, entry| {
                if plan.has(pass, index, entry) {
                    lines += 1;
                    heard[pass as usize].insert(entry.key().unwrap().to_owned());
                }
            });
            assert_eq!((broken.unwrap(), lines), (0, plan.lines(pass)));
            assert!(lines as u64 * LINE_BYTES + heard[pass as usize].len() as u64 * GROUP_BYTES <= bytes_max);
        }
        assert_eq!(heard.iter().map(HashSet::len).sum::<usize>(), 100, "no key in two passes");
        assert!(Plan::of(&ledgers, 500).unwrap().too_many > Some(500), "a key has more than that");

        // What is appended after the plan is another audit's.
        ledger.note(&LedgerEntry { topic: None, key: None, mark: Mark::Id { id: "late".into() } });
        ledger.sync().unwrap();
        let mut lines = 0;
        plan.read(&ledgers, &mut |_, _, _| lines += 1).unwrap();
        assert_eq!(lines, 2_000);
    }
}
