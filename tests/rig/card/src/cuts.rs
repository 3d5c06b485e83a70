//! `cuts`: the journal under power cuts on a real file system, and the control beside it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Write, stdout};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lamppost_card::campaign::{Campaign, Findings};
use lamppost_card::say;
use lamppost_card::stand::check_machine;
use lamppost_card::writer::Store;
use lamppost_journal::SplitMix64;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Lives of one journal, each after the cut that ended the one before.
const LIVES: u32 = 3;
/// Of the journal's cuts, so many are made of the control.
const CONTROL_SHARE: usize = 5;
const CONTROL_MIN: usize = 10;
/// In the environment of the process that has mounts of its own.
const INSIDE: &str = "LAMPPOST_CARD_INSIDE";

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many cuts to make of the journal
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cuts: u32,
    /// Where the cuts fall and what they do follows from this, but for the writers' timing
    #[arg(long)]
    seed: Option<u64>,
    /// Leave the card of each cut that goes badly in this folder
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Print nothing but the last line
    #[arg(long)]
    json: bool,
}

pub(crate) fn cuts(arguments: &Arguments) -> Result<()> {
    check_machine()?;
    if std::env::var_os(INSIDE).is_none() {
        return Err(go_inside());
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("can't wait for signals")?;
    }
    let seed = arguments.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let place = tempfile::Builder::new().prefix("lamppost-card-").tempdir().context("no temporary folder")?;
    let tell = |line: &str| {
        if !arguments.json {
            say(line)
        }
    };
    tell(&format!("seed {seed}"));
    let campaign = Campaign { place: place.path(), keep: arguments.keep.as_deref(), say: &tell, interrupted };
    let mut random = SplitMix64::new(seed);
    let cuts = usize::try_from(arguments.cuts)?;
    let journal = campaign.run(Store::Journal, cuts, LIVES, &mut random)?;
    tell("the control: sled, whose flush does not flush");
    // The control's losses are as they should be.
    let campaign = Campaign { keep: None, ..campaign };
    let control = campaign.run(Store::Sled, CONTROL_MIN.max(cuts / CONTROL_SHARE), 1, &mut random)?;
    report(&journal, &control, seed)?;
    judge(&journal, &control, cuts)
}

/// Runs this command again with mounts of its own: they go with it, whatever ends it.
fn go_inside() -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return anyhow::Error::new(error).context("can't find this program"),
    };
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(program).args(std::env::args_os().skip(1));
    let error = command.env(INSIDE, "1").exec();
    anyhow::Error::new(error).context("can't run unshare (Debian's package util-linux)")
}

fn report(journal: &Findings, control: &Findings, seed: u64) -> Result<()> {
    let verdict = &journal.verdict;
    let line = json!({
        "cuts": journal.cuts,
        "cuts_while_opening": journal.cuts_while_opening,
        "cuts_with_garbage": journal.cuts_with_garbage,
        "file_systems_repaired": journal.repaired,
        "lives": journal.lives,
        "recycled": journal.recycled,
        "checkpoints": journal.checkpoints,
        "acknowledged": journal.acknowledged,
        "acknowledged_lost": verdict.lost,
        "out_of_order": verdict.out_of_order,
        "offset_reused": verdict.offset_reused,
        "garbled": verdict.garbled,
        "false_damage": verdict.false_damage,
        "marks_wrong": verdict.marks_wrong,
        "panics": journal.panics,
        "failed": journal.failed,
        "control_cuts": control.cuts,
        "control_lost": control.bad_cuts,
        "control_events_lost": control.verdict.lost,
        "control_panics": control.panics,
        "seed": seed,
    });
    writeln!(stdout(), "{line}").and_then(|()| stdout().flush()).context("can't print the result")
}

fn judge(journal: &Findings, control: &Findings, cuts: usize) -> Result<()> {
    // A control that only fails to open, or that never acknowledged anything, does not show that a loss is seen.
    ensure!(control.acknowledged > 0, "nothing was acknowledged by the control: its cuts prove nothing");
    ensure!(
        control.missed > 0,
        "the control was not caught losing events in {} cuts ({} of its stores failed): the instrument is broken",
        control.cuts,
        control.failed
    );
    ensure!(journal.cuts >= cuts, "only {} cuts of {cuts}", journal.cuts);
    for (count, what) in [
        (journal.acknowledged, "nothing was acknowledged"),
        (journal.recycled, "no segment was recycled"),
        (journal.checkpoints, "no checkpoint was written"),
    ] {
        ensure!(count > 0, "{what}: the cuts prove nothing");
    }
    if journal.bad_cuts > 0 || journal.failed > 0 || journal.panics > 0 {
        bail!("{} of {} cuts went badly: {:?}", journal.bad_cuts, journal.cuts, journal.verdict);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lamppost_card::ledger::Verdict;

    use super::*;

    /// Of `bad_cuts` bad cuts, events `missed` by who could read what was left.
    fn findings(missed: u64, bad_cuts: usize) -> Findings {
        // What does not open counts as lost, too.
        let verdict = Verdict { lost: 9 * bad_cuts as u64, ..Verdict::default() };
        Findings {
            cuts: 10,
            acknowledged: 9,
            recycled: 1,
            checkpoints: 1,
            bad_cuts,
            missed,
            verdict,
            ..Findings::default()
        }
    }

    #[test]
    fn a_control_that_fails_without_losing_what_it_acknowledged_proves_nothing() {
        let judged = |control: &Findings| judge(&findings(0, 0), control, 10).map_err(|error| error.to_string());
        assert_eq!(judged(&findings(3, 2)), Ok(()));
        let broken = judged(&Findings { failed: 10, ..findings(0, 10) }).unwrap_err();
        assert!(broken.contains("the instrument is broken"), "{broken}");
        let silent = judged(&Findings { acknowledged: 0, ..findings(3, 2) }).unwrap_err();
        assert!(silent.contains("nothing was acknowledged by the control"), "{silent}");
    }
}
