//! Many cuts: chains of lives, each life cut at several moments, each cut recovered and judged.
//!
//! ```text
//! new card ─► life 0 ─┬─ cut ─► recovered, judged
//!                     ├─ cut ─► recovered, judged
//!                     └─ cut ─► recovered, judged ─► life 1 goes on writing ─┬─ cut ...
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use lamppost_journal::SplitMix64;
use serde::Serialize;

use crate::card::Card;
use crate::cut::{Damage, cut, moment};
use crate::image::Image;
use crate::ledger::{Heard, Ledger, Verdict};
use crate::life::{End, Life, Plan, live};
use crate::stand::{Format, Stand};
use crate::words::Word;
use crate::writer::Store;

const CARD_BYTES: u64 = 128 << 20;
const CUTS_PER_LIFE: usize = 6;
/// So many chains in a row may end without a cut.
const FRUITLESS_MAX: u32 = 5;

/// What was found, of one store.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// Cuts recovered and judged.
    pub cuts: usize,
    /// Of these, while the store was being opened or recovered.
    pub cuts_while_opening: usize,
    /// Of these, with garbage in pages that were being written.
    pub cuts_with_garbage: usize,
    /// Of these, after which the file system had to be repaired to be mounted.
    pub repaired: usize,
    /// Lives that wrote.
    pub lives: usize,
    /// Acknowledgements received.
    pub acknowledged: u64,
    /// Segments recycled.
    pub recycled: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Writers that panicked.
    pub panics: usize,
    /// Stores that did not open, or gave up.
    pub failed: usize,
    /// Acknowledged events that a store which opened, and was read to its end, did not have.
    pub missed: u64,
    /// Cuts after which anything at all was wrong.
    pub bad_cuts: usize,
    /// What was wrong.
    #[serde(skip)]
    pub verdict: Verdict,
}

/// Where and how a campaign runs.
pub struct Campaign<'a> {
    /// A folder for mount points.
    pub place: &'a Path,
    /// Images of cuts that went badly are left here.
    pub keep: Option<&'a Path>,
    /// Tells how it goes.
    pub say: &'a dyn Fn(&str),
    /// Set when it is to end early.
    pub interrupted: Arc<AtomicBool>,
}

/// A cut, and what its recovery owes.
struct Cut {
    image: Image,
    ledger: Ledger,
    damage: Damage,
    while_opening: bool,
}

impl Campaign<'_> {
    /// Makes `cuts` cuts of a store, in chains of `lives` lives.
    ///
    /// # Errors
    /// The instrument failed, or was interrupted. What is wrong with the store is in the findings.
    pub fn run(&self, store: Store, cuts: usize, lives: u32, random: &mut SplitMix64) -> Result<Findings> {
        let mut findings = Findings::default();
        let fresh = self.format()?;
        gather(cuts, &mut findings, |findings| self.chain(&fresh, store, cuts, lives, random, findings))?;
        Ok(findings)
    }

    fn format(&self) -> Result<Image> {
        let card = Arc::new(Card::new(Image::zeros(CARD_BYTES)));
        Stand::put_up(Arc::clone(&card), self.place, Format::New)?.take_down()?;
        Ok(card.image())
    }

    fn chain(
        &self,
        fresh: &Image,
        store: Store,
        cuts: usize,
        lives: u32,
        random: &mut SplitMix64,
        findings: &mut Findings,
    ) -> Result<()> {
        let (mut image, mut ledger, mut before) = (fresh.clone(), Ledger::default(), None);
        for number in 0..lives {
            let writing = writing_time(store, random);
            let life = self.live(image.clone(), store, number, Some(writing), random)?;
            findings.lives += 1;
            if let Some(cut) = &before {
                // What was lost once would be missing after every later cut as well.
                if !self.judge(cut, &life, findings) {
                    return Ok(());
                }
            } else if life.end != End::Planned {
                self.count_end(&life.end, findings);
            }
            count_written(&life.heard, findings);
            if life.end != End::Planned {
                return Ok(());
            }
            for _ in 1..CUTS_PER_LIFE {
                let cut = take(&life, &ledger, random);
                let recovered = self.live(cut.image.clone(), store, number + 1, None, random)?;
                self.judge(&cut, &recovered, findings);
                if findings.cuts >= cuts {
                    return Ok(());
                }
            }
            let cut = take(&life, &ledger, random);
            (image, ledger) = (cut.image.clone(), cut.ledger.clone());
            before = Some(cut);
        }
        Ok(())
    }

    fn live(
        &self,
        image: Image,
        store: Store,
        life: u32,
        writing: Option<Duration>,
        random: &mut SplitMix64,
    ) -> Result<Life> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        let lived = live(image.clone(), Plan { store, seed: random.next_u64(), life, writing }, self.place);
        if lived.is_err() {
            // Most likely it can't be mounted.
            self.keep(&image, "unmounted.img");
        }
        lived
    }

    /// True if all was well.
    fn judge(&self, cut: &Cut, recovered: &Life, findings: &mut Findings) -> bool {
        findings.cuts += 1;
        findings.cuts_while_opening += usize::from(cut.while_opening);
        findings.cuts_with_garbage += usize::from(cut.damage.garbage_pages > 0);
        findings.repaired += usize::from(recovered.repaired);
        let told_all = recovered.heard.iter().any(|(_, word)| *word == Word::Read);
        let verdict = if told_all {
            cut.ledger.judge(&recovered.heard)
        } else {
            // Nobody can read what does not open.
            Verdict { lost: cut.ledger.owed() as u64, ..Verdict::default() }
        };
        findings.verdict += verdict;
        findings.missed += if told_all { verdict.lost } else { 0 };
        self.count_end(&recovered.end, findings);
        let bad = !verdict.is_clean() || recovered.end != End::Planned || !told_all;
        let what = format!("cut {}: {:?}, {} owed", findings.cuts, cut.damage, cut.ledger.owed());
        if bad {
            findings.bad_cuts += 1;
            (self.say)(&format!("{what}: {verdict:?}, {:?}", recovered.end));
            self.keep(&cut.image, &format!("cut-{}.img", findings.cuts));
        } else {
            (self.say)(&format!("{what}: well"));
        }
        !bad
    }

    fn count_end(&self, end: &End, findings: &mut Findings) {
        match end {
            End::Planned => return,
            End::Panicked(_) => findings.panics += 1,
            End::Failed(_) | End::Hung => findings.failed += 1,
        }
        (self.say)(&format!("a writer ended: {end:?}"));
    }

    fn keep(&self, image: &Image, name: &str) {
        let Some(folder) = self.keep else { return };
        let path = folder.join(name);
        match image.save(&path) {
            Ok(()) => (self.say)(&format!("the card as the cut left it: {}", path.display())),
            Err(error) => (self.say)(&format!("can't keep the card at {}: {error}", path.display())),
        }
    }
}

/// Makes chains until there are `cuts` cuts. One may end before its first cut, where its first writer did not live to the end: not several
/// in a row, or there would never be enough.
fn gather(cuts: usize, findings: &mut Findings, mut chain: impl FnMut(&mut Findings) -> Result<()>) -> Result<()> {
    let mut fruitless = 0;
    while findings.cuts < cuts {
        let before = findings.cuts;
        chain(findings)?;
        fruitless = if findings.cuts == before { fruitless + 1 } else { 0 };
        ensure!(
            fruitless < FRUITLESS_MAX,
            "{FRUITLESS_MAX} writers in a row ended before a cut could be made: {} panicked and {} failed of {} that wrote",
            findings.panics,
            findings.failed,
            findings.lives
        );
    }
    Ok(())
}

fn take(life: &Life, ledger: &Ledger, random: &mut SplitMix64) -> Cut {
    let opened = life.heard.iter().find(|(_, word)| *word == Word::Read).map_or(0, |(steps, _)| *steps);
    // A store that held nothing has little to lose while it is opened.
    let opening_share = if ledger.owed() > 0 { 4 } else { 20 };
    let while_opening = random.chance(1, opening_share);
    let range = if while_opening { 0..opened } else { opened..life.record.steps.len() };
    let steps = moment(&life.record.steps, range, random);
    let (image, damage) = cut(&life.record, steps, random);
    Cut { image, ledger: ledger.at_cut(&life.heard, steps), damage, while_opening: steps < opened }
}

/// Sled's own thread flushes for good every half second: it gets the time for that.
fn writing_time(store: Store, random: &mut SplitMix64) -> Duration {
    Duration::from_millis(match store {
        Store::Journal => 100 + random.below(400),
        Store::Sled => 300 + random.below(1000),
    })
}

fn count_written(heard: &[Heard], findings: &mut Findings) {
    let mut turned = (0, 0);
    for (_, word) in heard {
        match word {
            Word::Acknowledged(..) => findings.acknowledged += 1,
            Word::Turned(recycled, checkpoints) => turned = (*recycled, *checkpoints),
            _ => {}
        }
    }
    findings.recycled += turned.0;
    findings.checkpoints += turned.1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_whose_writers_never_live_to_a_cut_ends_with_an_error() {
        let mut chains = 0;
        let ended = gather(3, &mut Findings::default(), |findings| {
            chains += 1;
            findings.lives += 1;
            findings.failed += 1;
            ensure!(chains < 1000, "it would go on for ever");
            Ok(())
        });
        let error = ended.unwrap_err().to_string();
        assert_eq!(
            error,
            "5 writers in a row ended before a cut could be made: 0 panicked and 5 failed of 5 that wrote"
        );
    }

    #[test]
    fn chains_without_a_cut_between_others_are_borne_with() {
        let (mut chains, mut findings) = (0, Findings::default());
        let ended = gather(4, &mut findings, |findings| {
            chains += 1;
            findings.cuts += usize::from(chains % 5 == 0);
            Ok(())
        });
        assert!(ended.is_ok() && findings.cuts == 4 && chains == 20);
    }
}
