//! The steps of a [`super::history`]: what is done to the journal, and to the disk below it, while it is open.

use lamppost_event::{Cursor, Offset, Partition};
use lamppost_journal::sim::{Phase, Times};
use lamppost_journal::{AppendError, Hand, Journal, ReadItem};

use super::history::{Trouble, World};
use super::model::{Each, Event, Outcome, Wrong, ensure, fail};
use super::{PARTITIONS, at, group, mark, record, topic};

/// A journal that stays full for so many appends gets its cursors moved.
const REFUSED_MAX: u32 = 12;

impl World<'_> {
    /// Where the power will fail in this life, if it does.
    pub(super) fn arm(&mut self) {
        let phases = [Phase::Append, Phase::Roll, Phase::Recycle, Phase::ColdRewrite, Phase::Checkpoint];
        match self.random.below(8) {
            0 | 1 => self.disk.cut_after(self.random.below(300)),
            2..=6 => {
                let index = self.random.below(phases.len() as u64) as usize;
                self.disk.cut_in(phases[index], self.random.below([60, 12, 4, 30, 10][index]));
            }
            _ => self.disk.stay(),
        }
    }

    pub(super) fn begin_trouble(&mut self) {
        let mut faults = self.disk.faults();
        match self.trouble {
            Trouble::None => return,
            Trouble::Failing => faults.read_error_one_in = if self.random.chance(1, 2) { 30 } else { 0 },
            Trouble::Damaging => {
                (faults.misdirect_one_in, faults.stale_one_in) =
                    [(40, 0), (0, 60), (80, 120)][self.random.below(3) as usize];
            }
        }
        self.disk.set_faults(faults);
    }

    /// The disk refuses something, one of these days.
    fn more_trouble(&mut self) {
        if self.trouble == Trouble::None || !self.random.chance(1, 40) {
            return;
        }
        if self.damaged() {
            return self.bad_place();
        }
        let mut faults = self.disk.faults();
        match self.random.below(5) {
            0 => faults.fail_next_write = true,
            1 => faults.fail_next_flush = true,
            2 => faults.fail_next_dir_flush = true,
            3 => faults.capacity_bytes = Some(self.disk.bytes() + self.random.below(100_000)),
            _ => faults.capacity_bytes = None,
        }
        self.say(|| format!("{faults:?}"));
        self.disk.set_faults(faults);
    }

    /// A place can't be read any more, or not for a while; or all can be read again.
    fn bad_place(&mut self) {
        let names: Vec<String> = self.disk.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
        let name = &names[self.random.below(names.len() as u64) as usize];
        let at = self.random.below(self.options.segment_bytes);
        let times = match self.random.below(4) {
            0 => return self.disk.mend_reads(),
            1 => Times::Always,
            _ => Times::Next(1 + self.random.below(30) as u32),
        };
        self.say(|| format!("{name} can't be read at {at}: {times:?}"));
        self.disk.fail_reads(name, at..at + 1 + self.random.below(6000), times);
    }

    pub(super) fn step(&mut self, open: &(&Journal, &Hand)) -> Outcome {
        let (journal, hand) = *open;
        self.more_trouble();
        match self.random.below(24) {
            0..=8 => self.append(journal)?,
            9..=13 => self.commit(journal, hand)?,
            14..=16 => drop(hand.keep()),
            17 if !self.behind || self.random.chance(1, 6) => self.move_cursor(journal),
            17 | 18 => self.put_state(journal),
            19..=21 => self.read(journal)?,
            22 => self.read_partition(journal)?,
            _ if self.random.chance(1, 3) => drop(hand.checkpoint()),
            _ => {}
        }
        if self.refused >= REFUSED_MAX {
            self.refused = 0;
            (0..PARTITIONS).for_each(|_| self.move_cursor(journal));
        }
        self.clock.turn(7);
        let (bytes, quota) = (self.disk.bytes(), self.options.quota_bytes);
        ensure!(bytes <= quota, "{bytes} bytes are above the quota of {quota}");
        Ok(())
    }

    fn append(&mut self, journal: &Journal) -> Outcome {
        let partition = self.random.below(u64::from(PARTITIONS)) as u16;
        let slot = usize::from(partition);
        for _ in 0..=self.random.below(12) {
            let sequence = self.model.next_sequence[slot];
            let (length, serial) = (self.random.below(900) as usize, self.random.below(1 << 32));
            let text = format!("{}{partition} {serial} {sequence}", "x".repeat(length));
            let mark = mark(partition, sequence);
            match journal.append(&topic(), Partition(partition), record(&text), Some(&mark)) {
                Ok(appended) => {
                    let key = (partition, appended.offset.0);
                    self.model.pending.push((appended.commit, key, Event::of(&text)));
                    self.model.next_sequence[slot] += 1;
                    self.refused = 0;
                }
                Err(AppendError::Full(_)) => {
                    self.refused += 1;
                    break;
                }
                Err(AppendError::Stopped(_)) => break,
                Err(error) => return fail(Wrong::Other, error.to_string()),
            }
        }
        Ok(())
    }

    fn commit(&mut self, journal: &Journal, hand: &Hand) -> Outcome {
        let (cursors, state) = (self.model.cursor_asked, self.model.state_asked);
        if hand.commit() == Ok(true) {
            // A commit takes all cursors along, in histories as small as these.
            (self.model.cursor_durable, self.model.state_durable) = (cursors, state);
        }
        match journal.durable() {
            Ok(durable) => self.model.settle(durable, journal.epoch()),
            Err(_) => Ok(()),
        }
    }

    fn move_cursor(&mut self, journal: &Journal) {
        let partition = self.random.below(u64::from(PARTITIONS)) as u16;
        let Some(bounds) = journal.partitions().into_iter().find(|bounds| bounds.at == at(partition)) else { return };
        let next = bounds.first.0 + self.random.below(bounds.next.0 - bounds.first.0 + 1);
        if journal.commit_cursors(&group(), &[Cursor { at: at(partition), next: Offset(next) }]).is_ok() {
            let asked = &mut self.model.cursor_asked[usize::from(partition)];
            *asked = next.max(*asked);
        }
    }

    fn put_state(&mut self, journal: &Journal) {
        let value = self.model.state_asked + 1;
        if journal.put_state(b"state", Some(value.to_string().into())).is_ok() {
            self.model.state_asked = value;
        }
    }

    /// A reader that goes on where it was: in order, and nothing before it is durable.
    fn read(&mut self, journal: &Journal) -> Outcome {
        let (at, had) = self.reader;
        // What has become cold is read again from the beginning of its run.
        let cold = self.disk.has("cold-");
        let mut next = if cold { Each::default() } else { had };
        let Ok(chunk) = journal.read(at, self.random.below(30_000) as usize) else { return Ok(()) };
        if self.disk.is_cut() {
            // What can't be read for want of power is no gap.
            return Ok(());
        }
        self.say(|| format!("read from {at} to {}: {}", chunk.next, in_short(&chunk.items)));
        for item in chunk.items {
            match item {
                ReadItem::Record(record) => {
                    let (key, event) = self.model.follow(&mut next, &record)?;
                    let stored = self.model.stored.get(&key);
                    ensure!(
                        self.damaged() || stored == Some(&event),
                        "read {event:?} at {key:?}, stored was {stored:?}"
                    );
                }
                ReadItem::Gap(gap) => {
                    let expected = self.damaged() || gap.reason.contains("recycled");
                    ensure!(expected, "a gap without damage: {gap:?}");
                }
            }
        }
        for (next, had) in next.iter_mut().zip(had) {
            *next = had.max(*next);
        }
        self.reader = (chunk.next, next);
        Ok(())
    }

    fn read_partition(&mut self, journal: &Journal) -> Outcome {
        let partition = self.random.below(u64::from(PARTITIONS)) as u16;
        let Some(bounds) = journal.partitions().into_iter().find(|bounds| bounds.at == at(partition)) else {
            return Ok(());
        };
        let from = (bounds.first.0 + self.random.below(bounds.next.0 - bounds.first.0 + 2)).saturating_sub(1);
        if journal.durable().is_err() {
            return Ok(());
        }
        let checked = self.model.check_partition(journal, partition, from, self.damaged());
        if self.disk.is_cut() { Ok(()) } else { checked }
    }
}

/// Partition and offsets of each run of events and of each gap.
fn in_short(items: &[ReadItem]) -> String {
    let mut runs: Vec<(&str, u16, u64, u64)> = Vec::new();
    for item in items {
        let run = match item {
            ReadItem::Record(record) => ("", record.partition.0, record.offset.0, record.offset.0 + 1),
            ReadItem::Gap(gap) => ("gap ", gap.at.partition.0, gap.from.0, gap.to.0),
        };
        match runs.last_mut() {
            Some(last) if (last.0, last.1, last.3) == (run.0, run.1, run.2) => last.3 = run.3,
            _ => runs.push(run),
        }
    }
    runs.iter().map(|(what, partition, from, to)| format!("{what}{partition}:{from}..{to} ")).collect()
}
