//! `lamppost journal verify`: every byte, checked.

use std::io::Write;

use lamppost_journal::{Damage, Verified};
use serde_json::json;

use super::open;
use super::progress::Progress;
use super::shown::gap;
use crate::cli::JournalAt;

/// Reads every byte; true if nothing is wrong.
pub(super) fn verify(args: &JournalAt, out: &mut impl Write) -> anyhow::Result<bool> {
    let inspect = open(&args.dir)?;
    let mut progress = Progress::new("verifying");
    let verified = inspect.verify(&mut |done, whole| progress.at(done, whole))?;
    drop(progress);
    let good = verified.problems.is_empty() && verified.damage.is_empty();
    if args.json {
        writeln!(out, "{}", in_json(&verified, good))?;
        return Ok(good);
    }
    writeln!(out, "{} frames, {} events, {} KiB read", verified.frames, verified.events, verified.bytes / 1024)?;
    for problem in &verified.problems {
        writeln!(out, "{} at byte {} (position {}): {}", problem.name, problem.byte, problem.position, problem.what)?;
    }
    for damage in &verified.damage {
        let Damage { position, from, to } = damage;
        writeln!(out, "damage: commits {from} to {to}, the last not included, can't be read (at position {position})")?;
    }
    for missing in &verified.gaps {
        gap(missing, false, out)?;
    }
    if let Some(tail) = &verified.tail {
        writeln!(out, "at the end: {tail}")?;
    }
    writeln!(out, "{}", if good { "nothing is wrong" } else { "SOMETHING IS WRONG" })?;
    Ok(good)
}

fn in_json(verified: &Verified, good: bool) -> serde_json::Value {
    let problems = verified.problems.iter();
    let problems = problems.map(|p| json!({"file": p.name, "byte": p.byte, "position": p.position, "what": p.what}));
    json!({
        "good": good, "frames": verified.frames, "events": verified.events, "bytes": verified.bytes,
        "problems": problems.collect::<Vec<_>>(), "gaps": verified.gaps.len(), "tail": verified.tail,
    })
}
