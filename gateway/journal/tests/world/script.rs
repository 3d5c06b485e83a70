//! One short history, always the same, in which everything happens that writes: commits, a segment that is gone on to, a checkpoint, a
//! cold rewrite, recycling. The power fails at an I/O of it that is chosen, and maybe at one of the recovery from that; judged is as in
//! [`super::history`].

use lamppost_event::{Cursor, Offset};
use lamppost_journal::{Compression, Hand, Journal};

use super::clocks::{Clocks, Machine};
use super::cursors::Follower;
use super::history::{Journaling, Report, Trouble, World};
use super::model::{Model, Outcome, ensure, must};
use super::{PARTITIONS, group, small_options};

/// Commits at most until everything has happened.
const COMMITS_MAX: u32 = 90;

/// Where the power fails: at which I/O behind the first opening, and at which of the opening that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    pub at: Option<u64>,
    pub again: Option<u64>,
}

/// How many I/Os the history has, and the recovery, as far as no cut ended them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ios {
    pub history: u64,
    pub recovery: u64,
}

/// Plays it. What it came to is in the report, but for the failure.
pub fn play(cuts: Cuts, report: &mut Report) -> Outcome<Ios> {
    let mut world = plain(report);
    let (journal, hand) = world.open(false)?;
    let before = world.disk.ios();
    if let Some(at) = cuts.at {
        world.disk.cut_after(at);
    }
    everything(&mut world, &journal, &hand)?;
    let history = world.disk.ios() - before;
    for (slot, first, _) in world.model.bounds(&journal) {
        world.model.first[slot] = first;
    }
    drop((journal, hand));
    world.power_cut();
    if let Some(again) = cuts.again {
        world.disk.cut_after(again);
    }
    let before = world.disk.ios();
    let (journal, hand) = world.open(false)?;
    let recovery = world.disk.ios() - before;
    // It can be gone on with, and no offset is given again.
    world.append(&journal, 0, 2)?;
    world.commit(&journal, &hand)?;
    drop((journal, hand));
    world.power_cut();
    world.open(false)?;
    Ok(Ios { history, recovery })
}

/// A world without chance but for texts and for what a cut leaves.
fn plain(report: &mut Report) -> World<'_> {
    let mut world = World::new(Journaling::Sound, report);
    world.options = small_options(1);
    world.options.compression = Compression::None;
    world.options.policies.clear();
    world.options.required = vec![group()];
    world.options.quota_bytes += 2 * world.options.segment_bytes;
    let followers = vec![Follower::new(group(), true)];
    world.model = Model { required: true, followers, ..Model::default() };
    (world.clock, world.trouble, world.noise) = (Clocks::new(Machine::Steady), Trouble::None, true);
    world
}

/// Ends early once the power is gone.
fn everything(world: &mut World<'_>, journal: &Journal, hand: &Hand) -> Outcome {
    for number in 0..COMMITS_MAX {
        if world.disk.is_cut() || journal.durable().is_err() {
            return Ok(());
        }
        let taken = world.append(journal, (number % u32::from(PARTITIONS)) as u16, 9)?;
        world.commit(journal, hand)?;
        if number == 6 {
            world.model.state.put(journal, &mut world.random);
            drop(hand.checkpoint());
        }
        drop(hand.keep());
        let (bytes, quota) = (world.disk.bytes(), world.options.quota_bytes);
        ensure!(bytes <= quota, "{bytes} bytes are above the quota of {quota}");
        let stats = journal.stats();
        if stats.recycled > 0 && stats.cooled > 0 {
            return Ok(());
        }
        // All is kept until it had to be made dense; then all that is there may go.
        if (stats.cooled > 0 || !taken) && !world.disk.is_cut() {
            pass_all(world, journal)?;
        }
    }
    ensure!(world.disk.is_cut(), "not everything happened: {:?}", journal.stats());
    Ok(())
}

/// The group has done with all that is durable.
fn pass_all(world: &mut World<'_>, journal: &Journal) -> Outcome {
    for (slot, _, next) in world.model.bounds(journal) {
        let cursor = Cursor { at: world.model.topics.at(slot as u16).clone(), next: Offset(next) };
        if journal.durable().is_ok() {
            must(journal.commit_cursors(&group(), &[cursor]))?;
            world.model.followers[0].cursors[slot].go(next);
        }
    }
    Ok(())
}
