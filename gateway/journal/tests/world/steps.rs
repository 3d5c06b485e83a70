//! The steps of a [`super::history`]: what is done to the journal, and to the disk below it, while it is open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lamppost_event::{Cursor, Offset, Position, TopicPartition};
use lamppost_journal::sim::{Phase, Times};
use lamppost_journal::{AppendError, Hand, Journal, ReadItem};

use super::clocks::{Clocks, Machine};
use super::cursors::Ways;
use super::history::{Trouble, World};
use super::model::{Each, Event, Key, Outcome, Told, Wrong, ensure, fail};
use super::{PARTITIONS, mark, record};

/// A journal that stays full for so many appends gets its cursors moved.
const REFUSED_MAX: u32 = 12;

/// A reader that goes on where it was.
#[derive(Default, Clone, Copy)]
pub(super) struct Reader {
    at: Position,
    /// Of each slot, what is behind the last event it has had.
    had: Each,
    told: Told,
}

/// What is known of the segment that is kept for alarms.
#[derive(Default)]
pub(super) struct Reserve {
    /// Since the journal was opened something else was taken: then it was there.
    was_there: bool,
    /// Since then, so many bytes at most may have been written that only alarms and cursors get room for.
    used: u64,
}

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
            3 => {
                let room = self.random.below(100_000);
                (faults.capacity_bytes, faults.others_take_room) =
                    (Some(self.disk.bytes() + room), room.is_multiple_of(2));
            }
            _ => (faults.capacity_bytes, faults.others_take_room) = (None, false),
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

    pub(super) fn step(&mut self, open: &(&Journal, &Arc<Hand>)) -> Outcome {
        let (journal, hand) = *open;
        self.more_trouble();
        match self.random.below(24) {
            0..=8 => self.append_some(journal, hand)?,
            9..=13 => self.commit(journal, hand)?,
            14..=16 => drop(hand.keep()),
            17 if !self.behind || self.random.chance(1, 6) => self.move_cursor(journal),
            17 if self.random.chance(1, 4) => self.set_cursor(journal),
            17 | 18 => self.model.state.put(journal, &mut self.random),
            19 if self.random.chance(1, 3) => self.read_slowly(journal, hand)?,
            19..=21 => self.read(journal, false)?,
            22 if self.random.chance(1, 3) => self.look_up_time(journal)?,
            22 => self.read_partition(journal)?,
            _ if self.random.chance(1, 3) => drop(hand.checkpoint()),
            _ => {}
        }
        if self.refused >= REFUSED_MAX {
            self.refused = 0;
            (0..PARTITIONS * self.model.followers.len() as u16).for_each(|_| self.move_cursor(journal));
        }
        // Some of what waits, waits for seconds or a minute.
        let leap = self.random.chance(1, 40);
        self.clock.turn(if leap { self.random.below(15_000) } else { 7 });
        let (bytes, quota) = (self.disk.bytes(), self.options.quota_bytes);
        ensure!(bytes <= quota, "{bytes} bytes are above the quota of {quota}");
        Ok(())
    }

    fn append_some(&mut self, journal: &Journal, hand: &Hand) -> Outcome {
        let slot = self.random.below(u64::from(PARTITIONS)) as u16;
        let count = 1 + self.random.below(12);
        if !self.append(journal, slot, count)? && !self.model.topics.is_alarm(slot) {
            self.alarm(journal, hand)?;
        }
        Ok(())
    }

    /// False once there is no room.
    pub(super) fn append(&mut self, journal: &Journal, partition: u16, count: u64) -> Outcome<bool> {
        let slot = usize::from(partition);
        for _ in 0..count {
            let sequence = self.model.next_sequence[slot];
            let text = self.text(partition, sequence);
            let (at, mark) = (self.model.topics.at(partition).clone(), mark(partition, sequence));
            match journal.append(&at.topic, at.partition, record(&text), Some(&mark)) {
                Ok(appended) => {
                    let key = (partition, appended.offset.0);
                    self.model.pending.push((appended.commit, key, Event::of(&text)));
                    self.model.appended(key, text.len(), self.clock.ms());
                    self.model.next_sequence[slot] += 1;
                    self.refused = 0;
                    self.taken(partition, text.len());
                }
                Err(AppendError::Full(_)) => {
                    self.refused += 1;
                    return Ok(false);
                }
                Err(AppendError::Stopped(_)) => return Ok(true),
                Err(error) => return fail(Wrong::Other, error.to_string()),
            }
        }
        Ok(true)
    }

    fn text(&mut self, slot: u16, sequence: u64) -> String {
        let (length, serial) = (self.random.below(900) as usize, self.random.below(1 << 32));
        let stuff = if self.noise {
            (0..length / 16).map(|_| format!("{:016x}", self.random.next_u64())).collect()
        } else {
            "x".repeat(length)
        };
        format!("{stuff}{slot} {serial} {sequence}")
    }

    fn taken(&mut self, slot: u16, bytes: usize) {
        if self.model.topics.is_alarm(slot) {
            self.reserve.used += 2 * bytes as u64 + 512;
        } else {
            self.reserve = Reserve { was_there: true, used: 0 };
        }
    }

    /// Where others have to wait, alarms are taken, unless what is kept for them is used up.
    fn alarm(&mut self, journal: &Journal, hand: &Hand) -> Outcome {
        let Some(alarms) = self.model.topics.alarms() else { return Ok(()) };
        // What has gathered may fill its frame.
        self.commit(journal, hand)?;
        let sound = self.trouble == Trouble::None && journal.durable().is_ok() && !self.disk.is_cut();
        if !sound || !self.reserve.was_there || self.reserve.used > self.options.segment_bytes / 2 {
            return Ok(());
        }
        self.report.alarms_asked += 1;
        let taken = self.append(journal, alarms, 1)?;
        ensure!(taken, "an alarm has to wait, after {} bytes of what is kept for alarms", self.reserve.used);
        Ok(())
    }

    pub(super) fn commit(&mut self, journal: &Journal, hand: &Hand) -> Outcome {
        // The least that a commit takes.
        self.reserve.used += 4096;
        let reserved = self.model.pending.iter().any(|(_, key, _)| self.model.topics.has_reserve(key.0));
        if hand.commit() == Ok(true) {
            // A commit takes all cursors along, in histories as small as these; but what is kept for some is for those alone.
            if !reserved {
                self.model.followers.iter_mut().flat_map(|follower| &mut follower.cursors).for_each(Ways::settle);
            }
            self.model.state.settle();
        }
        match journal.durable() {
            Ok(durable) => self.model.settle(durable, journal.epoch(), self.clock.ms()),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn move_cursor(&mut self, journal: &Journal) {
        let Some((slot, first, end)) = self.some_bounds(journal) else { return };
        let next = first + self.random.below(end - first + 1);
        let cursor = Cursor { at: self.model.topics.at(slot as u16).clone(), next: Offset(next) };
        let index = self.some_follower();
        let follower = &mut self.model.followers[index];
        if journal.commit_cursors(&follower.group, &[cursor]).is_ok() {
            follower.cursors[slot].go(next);
            self.report.others_moved += u64::from(index > 0);
            self.say(|| format!("cursor {index} of {slot} goes to {next}"));
        }
    }

    /// An operator sets the group back, or forth, maybe to where there is nothing.
    fn set_cursor(&mut self, journal: &Journal) {
        let Some((slot, first, end)) = self.some_bounds(journal) else { return };
        let index = self.some_follower();
        // One that hardly moves is not set forth either, or there would be no full journals.
        let most = if self.behind { self.model.followers[index].cursors[slot].most().min(end) } else { end + 5 };
        let next = (first + self.random.below(most.saturating_sub(first) + 1)).saturating_sub(self.random.below(4));
        let cursor = Cursor { at: self.model.topics.at(slot as u16).clone(), next: Offset(next) };
        let follower = &mut self.model.followers[index];
        if journal.reset_cursors(&follower.group, &[cursor]).is_ok() {
            follower.cursors[slot].set(next.clamp(first, end));
            self.report.cursors_set += 1;
            self.say(|| format!("cursor {index} of {slot} is set to {next}, of {first}..{end}"));
        }
    }

    fn some_follower(&mut self) -> usize {
        self.random.below(self.model.followers.len() as u64) as usize
    }

    /// Of some slot.
    fn some_bounds(&mut self, journal: &Journal) -> Option<(usize, u64, u64)> {
        let slot = self.random.below(u64::from(PARTITIONS)) as usize;
        self.model.bounds(journal).into_iter().find(|bounds| bounds.0 == slot)
    }

    /// Whoever begins at a time gets all that is of that time.
    fn look_up_time(&mut self, journal: &Journal) -> Outcome {
        let some = self
            .some_bounds(journal)
            .map(|(slot, first, end)| (slot as u16, first + self.random.below(end - first + 1)));
        // At the time of an event, or one ms later: that is where it matters.
        let of_event = some.and_then(|key| self.model.appended_ms.get(&key)).map(|ms| ms + self.random.below(2));
        let ms = of_event.unwrap_or_else(|| self.random.below(self.clock.ms() + 20));
        let Ok(cursors) = journal.offsets_at(Clocks::wall(ms)) else { return Ok(()) };
        let machine = self.clock.machine();
        if self.trouble != Trouble::None || self.disk.is_cut() || machine == Machine::Confused {
            return Ok(());
        }
        self.report.times_asked += 1;
        let (model, exact) = (&self.model, machine == Machine::Steady && !self.disk.has("cold-"));
        for (slot, first, end) in model.bounds(journal) {
            let at = model.topics.at(slot as u16);
            let next = cursors.iter().find(|cursor| cursor.at == *at).map_or(0, |cursor| cursor.next.0);
            let of = |offset: &u64, times: &HashMap<Key, u64>| times.get(&(slot as u16, *offset)).copied();
            let is_late = |offset: &u64| of(offset, &model.appended_ms).is_some_and(|at| at >= ms);
            let mut passed = (first..next.min(end)).find(is_late);
            if let Some(from) = passed.filter(|_| model.topics.may_go(slot as u16)) {
                // It may be gone.
                let chunk = journal.read_partition(&at.topic, at.partition, Offset(from), 1);
                let there = |item: &ReadItem| match item {
                    ReadItem::Record(record) => Some(record.offset.0),
                    ReadItem::Gap(_) => None,
                };
                let there = chunk.ok().and_then(|chunk| chunk.items.iter().find_map(there));
                passed = there.filter(|offset| *offset < next && !self.disk.is_cut());
            }
            ensure!(passed.is_none(), "what begins at {ms} ms begins at {next} in {slot}, and passes over {passed:?}");
            let early = of(&next, &model.written_ms).filter(|at| *at < ms);
            ensure!(!exact || early.is_none(), "what begins at {ms} ms begins at {next} in {slot}, of {early:?}");
        }
        Ok(())
    }

    /// The keeper comes by while the reader holds on to a segment.
    fn read_slowly(&mut self, journal: &Journal, hand: &Arc<Hand>) -> Outcome {
        let Some(hooks) = self.hooks.clone() else { return self.read(journal, false) };
        let (keeper, mut times, met) = (Arc::clone(hand), 1 + self.random.below(4), Arc::new(AtomicBool::new(false)));
        let meets = Arc::clone(&met);
        *hooks.on_read.lock().unwrap() = Some(Box::new(move |_, _, _| {
            for _ in 0..std::mem::take(&mut times) {
                // What becomes of a journal that stops is seen at the next step.
                meets.fetch_or(keeper.keep() == Ok(true), Ordering::Relaxed);
            }
            Ok(())
        }));
        let read = self.read(journal, true);
        *hooks.on_read.lock().unwrap() = None;
        self.report.slow_reads += u64::from(met.load(Ordering::Relaxed));
        read
    }

    /// A reader that goes on where it was: in order, and nothing before it is durable.
    fn read(&mut self, journal: &Journal, slowly: bool) -> Outcome {
        let Reader { at, had, mut told } = self.reader;
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
                    // A segment that was made denser meanwhile is read again from the beginning of a run.
                    let at = TopicPartition { topic: record.topic.clone(), partition: record.partition };
                    let slot = self.model.topics.slot(&at).filter(|_| slowly).map(usize::from);
                    slot.into_iter().for_each(|slot| next[slot] = next[slot].min(record.offset.0));
                    let (key, event) = self.model.follow(&mut next, &record)?;
                    let whole = told.event(key) || self.damaged();
                    ensure!(whole, "{key:?} was read, and nothing told of what is missing before it");
                    let stored = self.model.stored.get(&key);
                    ensure!(
                        self.damaged() || stored == Some(&event),
                        "read {event:?} at {key:?}, stored was {stored:?}"
                    );
                }
                ReadItem::Gap(gap) => {
                    let expected = self.damaged() || self.model.topics.explains(&gap);
                    ensure!(expected, "a gap without damage: {gap:?}");
                    self.model.topics.slot(&gap.at).into_iter().for_each(|slot| told.gap(slot, &gap));
                }
            }
        }
        for (next, had) in next.iter_mut().zip(had) {
            *next = had.max(*next);
        }
        self.reader = Reader { at: chunk.next, had: next, told };
        Ok(())
    }

    fn read_partition(&mut self, journal: &Journal) -> Outcome {
        let Some((slot, first, end)) = self.some_bounds(journal) else { return Ok(()) };
        let from = (first + self.random.below(end - first + 2)).saturating_sub(1);
        if journal.durable().is_err() {
            return Ok(());
        }
        let checked = self.model.check_partition(journal, slot as u16, from, self.damaged());
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
