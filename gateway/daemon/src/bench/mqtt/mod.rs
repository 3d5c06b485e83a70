//! `lamppost bench mqtt`: the MQTT front at several numbers of connections on this machine and this disk, beside other brokers in the
//! same run. Load and broker are processes of their own; the gateway has no cluster, so nothing is forwarded meanwhile.

mod broker;
mod holding;
mod load;
mod order;
mod rounds;
mod shown;

use std::io::Write;

pub(crate) use broker::rumqttd;

use super::process::{Scratch, disk_of};
use super::progress::Progress;
use crate::cli::MqttBench;
use crate::descriptors;

/// The phases after the rounds.
const PHASES: u32 = 5;

/// Measures and prints.
pub(crate) async fn run(args: &MqttBench, out: &mut impl Write) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.connections.contains(&args.compare_at),
        "--compare-at {} is not one of --connections {:?}",
        args.compare_at,
        args.connections
    );
    if let Some(reason) = descriptors::too_few(descriptors::raise(), u64::from(args.most())) {
        anyhow::bail!("{reason}; or measure fewer: --connections 1,50,1000");
    }
    let scratch = Scratch::within(args.common.dir.as_deref())?;
    let measured = {
        let steps = rounds::cases(args).len() * args.rounds as usize;
        let mut progress = Progress::new(u32::try_from(steps)? + PHASES);
        let rounds = rounds::run(args, scratch.path(), &mut progress).await?;
        let holding = holding::hold(args, scratch.path(), &mut progress).await?;
        let pressed = holding::press(args, scratch.path(), &mut progress).await?;
        shown::Measured { rounds, holding, pressed, disk: disk_of(scratch.path()) }
    };
    if args.common.json {
        writeln!(out, "{}", shown::json(args, &measured))?;
    } else {
        shown::table(args, &measured, out)?;
    }
    Ok(())
}

/// The load process.
pub(crate) fn load(out: &mut impl Write) -> anyhow::Result<()> {
    descriptors::raise();
    load::serve(std::io::stdin().lock(), out)
}
