//! `lamppost bench link`: what a reading costs the gateway that a node hands over by the link, beside the same readings as lines of JSON in
//! the same run. Each measurement has a fresh gateway, a process of its own with a journal on disk; the node (the firmware's brain) and the
//! writer of lines are in this one, at the other end of a pseudo-terminal.

mod judge;
mod lines;
mod node;
mod rounds;
mod shown;

use std::io::Write;

use super::process::{Scratch, disk_of};
use super::progress::Progress;
use crate::cli::LinkBench;

/// Measures and prints.
pub(crate) async fn run(args: &LinkBench, out: &mut impl Write) -> anyhow::Result<()> {
    let scratch = Scratch::within(args.common.dir.as_deref())?;
    let measured = {
        let mut progress = Progress::new(args.rounds.saturating_mul(u32::try_from(rounds::CASES.len())?));
        rounds::run(args, scratch.path(), &mut progress).await?
    };
    let disk = disk_of(scratch.path());
    if args.common.json {
        writeln!(out, "{}", shown::json(args, &measured, &disk))?;
    } else {
        shown::table(args, &measured, &disk, out)?;
    }
    Ok(())
}
