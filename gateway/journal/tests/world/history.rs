//! One seeded history of a journal on a simulated disk: appends, commits, reads, cursors, state, checkpoints, upkeep, closing and opening,
//! and the power failing anywhere, also while it is opened after that, and again. After each opening everything is compared
//! with what was promised.
//!
//! Seven histories in ten know power cuts alone. In two, the disk also fails now and then: reads, writes, flushes, and no room;
//! still nothing may be lost. In one it does damage (writes that go astray, stale reads, places that can't be read): that may cost events, but each has to
//! be named as missing or lie at the log's end, and nothing may come out of order or have another's name.

use std::sync::Arc;

use lamppost_event::Group;
use lamppost_journal::sim::{Faults, Phase, SimDisk};
use lamppost_journal::{Compression, Entropy, Hand, Journal, OpenError, Options, Recovery, SplitMix64};

use super::clocks::{Clocks, Machine};
use super::cursors::{Follower, Ways};
use super::dense::Dense;
use super::hooked::{Hooked, Hooks};
use super::model::{Failure, Model, Outcome, ensure};
use super::state::State;
use super::steps::{Reader, Reserve};
use super::topics::Topics;
use super::{group, small_options};

/// Which journal it is the history of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journaling {
    /// As it is.
    Sound,
    /// Its flushes do nothing. Power cuts alone.
    WithoutFlushes,
    /// It does not pad its frames. Power cuts alone.
    WithoutPadding,
    /// Nor does it, but no page that is being written ever becomes garbage: then it loses nothing.
    WithoutPaddingOrGarbage,
}

/// What beside power cuts happens to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// It refuses.
    Failing,
    /// It lies.
    Damaging,
}

/// What a history came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub seed: u64,
    pub cuts: u64,
    /// The cuts in each of [`Phase::ALL`].
    pub phases: [u64; Phase::ALL.len()],
    /// Cuts in a recovery that followed a cut in a recovery.
    pub recovery_again: u64,
    pub opened: u64,
    pub acknowledged: u64,
    pub named_lost: u64,
    pub end_lost: u64,
    pub recycled: u64,
    /// Events that made room or grew too old before they were delivered.
    pub given_up: u64,
    /// Cursors that were set by hand.
    pub cursors_set: u64,
    /// Alarms that were offered, and had to be taken, while others had to wait.
    pub alarms_asked: u64,
    /// Lives at whose end the checkpoint's files were more than a checkpoint and the one before it.
    pub layered: u64,
    /// Times that were looked up.
    pub times_asked: u64,
    /// Starts of the machine without the time.
    pub boots_without_time: u64,
    /// Cursors of another group that were moved.
    pub others_moved: u64,
    /// Reads in which the keeper did something.
    pub slow_reads: u64,
    /// Gaps that a topic's bound in bytes made, as often as an opening met them.
    pub beyond_bytes: u64,
    pub failure: Option<Failure>,
    /// Of all files at the end, and of the I/Os.
    pub digest: (u32, u64),
    /// What happened, if that was wanted.
    pub log: Option<Vec<String>>,
}

const LIVES: usize = 8;
/// With a disk that fails now and then.
const OPENINGS_MAX: u32 = 60;

/// Runs a history. What it came to is in the report, also if the journal panics.
pub fn run(journaling: Journaling, report: &mut Report) {
    let mut world = World::new(journaling, report);
    let outcome = world.lives();
    let digest = (world.disk.digest(), world.disk.ios());
    let model = &world.model;
    let (acknowledged, named_lost, end_lost) = (model.acknowledged, model.named_lost, model.end_lost);
    report.beyond_bytes = model.beyond;
    (report.acknowledged, report.named_lost, report.end_lost) = (acknowledged, named_lost, end_lost);
    (report.failure, report.digest) = (outcome.err(), digest);
}

type Open = (Journal, Arc<Hand>);

pub(super) struct World<'a> {
    pub(super) disk: SimDisk,
    /// The disk that takes the padding out.
    pub(super) dense: Option<Dense>,
    pub(super) options: Options,
    pub(super) clock: Arc<Clocks>,
    /// Where readers are met; none where padding is taken out.
    pub(super) hooks: Option<Arc<Hooks>>,
    pub(super) random: SplitMix64,
    pub(super) trouble: Trouble,
    /// The required group's cursors hardly move.
    pub(super) behind: bool,
    pub(super) refused: u32,
    pub(super) model: Model,
    /// This life's reader.
    pub(super) reader: Reader,
    /// What is kept for alarms.
    pub(super) reserve: Reserve,
    /// Events hold noise, that does not compress to nothing.
    pub(super) noise: bool,
    pub(super) opening_ios: u64,
    pub(super) report: &'a mut Report,
}

impl<'a> World<'a> {
    pub(super) fn new(journaling: Journaling, report: &'a mut Report) -> Self {
        let seed = report.seed;
        let (disk, mut random) = (SimDisk::new(seed), SplitMix64::new(seed ^ 0xabcd));
        let faults = Faults {
            ignore_flushes: journaling == Journaling::WithoutFlushes,
            no_garbage: journaling == Journaling::WithoutPaddingOrGarbage,
            ..Faults::default()
        };
        disk.set_faults(faults);
        let without_padding = [Journaling::WithoutPadding, Journaling::WithoutPaddingOrGarbage].contains(&journaling);
        let trouble = match seed % 10 {
            _ if journaling != Journaling::Sound => Trouble::None,
            7 | 8 => Trouble::Failing,
            9 => Trouble::Damaging,
            _ => Trouble::None,
        };
        let mut options = small_options(seed);
        let mut topics = Topics::default();
        let mut noise = false;
        // The controls have to lose what is simple.
        if journaling == Journaling::Sound {
            let kinds = [Compression::None, Compression::None, Compression::Lz4, Compression::Zstd];
            options.compression = kinds[random.below(4) as usize];
            noise = random.chance(1, 2);
        }
        let several = journaling == Journaling::Sound && random.chance(1, 2);
        if several {
            topics = Topics::draw(&mut random);
            topics.set(&mut options);
        }
        let required = if several { random.chance(7, 8) } else { random.chance(1, 2) };
        options.required = if required { vec![group()] } else { Vec::new() };
        let mut followers = vec![Follower::new(group(), required)];
        let mut machine = Machine::Steady;
        if journaling == Journaling::Sound {
            machine =
                [Machine::Steady, Machine::Steady, Machine::Forgetful, Machine::Confused][random.below(4) as usize];
            if random.chance(1, 3) {
                let (other, required) = (Group::new("other").unwrap(), required && random.chance(1, 2));
                options.required.extend(required.then(|| other.clone()));
                followers.push(Follower::new(other, required));
            }
        }
        options.quota_bytes += random.below(6) * options.segment_bytes;
        let state = State::new(journaling == Journaling::Sound && random.chance(1, 3));
        Self {
            noise,
            dense: without_padding.then(|| Dense::new(&disk)),
            disk,
            options,
            clock: Clocks::new(machine),
            hooks: None,
            trouble,
            behind: random.chance(1, 2),
            random,
            refused: 0,
            model: Model { topics, required, followers, state, ..Model::default() },
            reader: Reader::default(),
            reserve: Reserve::default(),
            opening_ios: 40,
            report,
        }
    }

    fn lives(&mut self) -> Outcome {
        let (policies, required) = (self.options.policies.clone(), self.options.required.clone());
        let machine = self.clock.machine();
        self.say(|| format!("{machine:?} machine, required {required:?}, {policies:?}"));
        for life in 0..LIVES {
            self.life(life)?;
        }
        self.disk.set_faults(Faults { no_garbage: true, ..Faults::default() });
        self.say(|| "the end".to_owned());
        self.open(false).map(drop)
    }

    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.report.log {
            log.push(what());
        }
    }

    pub(super) const fn damaged(&self) -> bool {
        matches!(self.trouble, Trouble::Damaging)
    }

    /// The power fails now, unless it did in some I/O.
    pub(super) fn power_cut(&mut self) {
        let phase = self.disk.cut_phase();
        self.say(|| phase.map_or("power cut".to_owned(), |phase| format!("power cut in {phase:?}")));
        self.report.cuts += 1;
        if let Some(slot) = phase.and_then(|phase| Phase::ALL.iter().position(|other| *other == phase)) {
            self.report.phases[slot] += 1;
        }
        self.disk.power_cut();
        self.report.boots_without_time += u64::from(self.clock.reboot(&mut self.random));
    }

    /// Opens, with the power failing now and then while it does, and compares.
    pub(super) fn open(&mut self, cuts: bool) -> Outcome<Open> {
        let (mut again, mut refusals) = (0, 0);
        loop {
            self.disk.set_opening(true);
            if cuts && again < 4 && self.random.chance(2, 5) {
                self.disk.cut_after(self.random.below(self.opening_ios + 4));
            }
            self.options.entropy = Entropy::Seed(self.random.next_u64());
            let before = self.disk.ios();
            let opened = match &self.dense {
                Some(dense) => Journal::open_by_hand(Arc::new(dense.clone()), self.options.clone(), self.clock.clone()),
                None => {
                    let (hooked, hooks) = Hooked::new(&self.disk);
                    self.hooks = Some(hooks);
                    Journal::open_by_hand(hooked, self.options.clone(), self.clock.clone())
                }
            };
            if self.disk.is_cut() {
                // It may even have opened: what failed may have been something that can be left.
                drop(opened);
                self.report.recovery_again += u64::from(again > 0);
                again += 1;
                self.power_cut();
                continue;
            }
            self.disk.stay();
            match opened {
                Ok((journal, hand, recovery)) => {
                    self.disk.set_opening(false);
                    self.opening_ios = self.disk.ios() - before;
                    self.report.opened += 1;
                    self.compare(&journal, &recovery)?;
                    return Ok((journal, Arc::new(hand)));
                }
                Err(error) => self.refused_to_open(error, &mut refusals)?,
            }
        }
    }

    /// Only a disk in trouble may be a reason not to open.
    fn refused_to_open(&mut self, error: OpenError, refusals: &mut u32) -> Outcome {
        *refusals += 1;
        self.say(|| format!("refused to open: {error}"));
        let passing = matches!(error, OpenError::Disk(_) | OpenError::NoRoom { .. } | OpenError::Refused { .. });
        ensure!(self.trouble != Trouble::None && passing && *refusals < OPENINGS_MAX, "does not open: {error}");
        let mut faults = self.disk.faults();
        (faults.capacity_bytes, faults.others_take_room) = (None, false);
        self.disk.set_faults(faults);
        self.disk.process_killed();
        Ok(())
    }

    /// Everything that must hold after a recovery.
    fn compare(&mut self, journal: &Journal, recovery: &Recovery) -> Outcome {
        let damaged = self.damaged();
        self.say(|| format!("{recovery:?}"));
        let (model, now_ms) = (&mut self.model, self.clock.ms());
        let found = model.find(journal, damaged)?;
        model.check_events(&found, now_ms, damaged)?;
        if !damaged {
            let causes = (&recovery.damage, &found.damage, &recovery.checkpoints_refused, &recovery.set_aside);
            let none = found.damage.is_empty() && recovery.damage.is_empty();
            ensure!(
                none && recovery.checkpoints_refused.is_empty() && recovery.set_aside.is_empty(),
                "damage: {causes:?}"
            );
        }
        model.check_marks(journal, &found, damaged)?;
        model.check_cursors(journal, &found, damaged)?;
        model.state.check(journal, damaged)?;
        for (slot, first) in found.first.into_iter().enumerate() {
            let free = !model.required || damaged || model.topics.may_go(slot as u16);
            let passed = free || first <= model.passed(slot);
            ensure!(passed, "{slot} was recycled up to {first}, beyond the required cursor");
        }
        model.pending.clear();
        let count = found.events.len();
        // What was served is on the disk.
        (model.stored, model.first) = (found.events.clone(), found.first);
        (self.reader, self.reserve) = (Reader::default(), Reserve::default());
        self.say(|| format!("opened with {count} events, gaps {:?}", found.gaps));
        Ok(())
    }

    fn life(&mut self, life: usize) -> Outcome {
        let (journal, hand) = self.open(true)?;
        self.begin_trouble();
        self.arm();
        let steps = 20 + self.random.below(150);
        let now_ms = self.clock.ms();
        self.say(|| format!("life {life}: {steps} steps, from {now_ms} ms on"));
        for _ in 0..steps {
            self.step(&(&journal, &hand))?;
            if journal.durable().is_err() || self.disk.is_cut() {
                break;
            }
        }
        let stats = journal.stats();
        self.report.recycled += stats.recycled;
        let checkpoints = self.disk.names().into_iter().filter(|name| name.starts_with("checkpoint-"));
        self.report.layered += u64::from(checkpoints.count() > 2);
        self.report.given_up += stats.given_up.values().sum::<u64>();
        let end = self.random.below(8);
        if end > 4 && !self.disk.is_cut() {
            self.close(&journal)?;
        }
        for (slot, first, _) in self.model.bounds(&journal) {
            self.model.first[slot] = first;
        }
        drop((journal, hand));
        if self.disk.is_cut() || end.is_multiple_of(2) {
            self.power_cut();
        } else {
            self.say(|| "killed".to_owned());
            self.disk.process_killed();
        }
        Ok(())
    }

    /// Closes; the power may fail in it.
    pub(super) fn close(&mut self, journal: &Journal) -> Outcome {
        if self.random.chance(1, 3) {
            self.disk.cut_after(self.random.below(6));
        }
        let last = self.model.pending.last().map(|entry| entry.0);
        let closed = journal.close();
        self.say(|| format!("closed: {closed:?}"));
        if closed.is_ok() && !self.disk.is_cut() {
            if let Some(last) = last {
                self.model.settle(last, journal.epoch(), self.clock.ms())?;
            }
            self.model.state.settle();
            // Cursors that found no room in the log go into a checkpoint; on a full disk they are not kept, and a little comes again.
            if self.disk.faults().capacity_bytes.is_none() {
                self.model.followers.iter_mut().flat_map(|follower| &mut follower.cursors).for_each(Ways::settle);
            }
        }
        Ok(())
    }
}
