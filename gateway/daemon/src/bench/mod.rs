//! `lamppost bench`: what this gateway does on this machine and this disk.
//!
//! - `whole`: from the devices to a cluster; the command itself.
//! - `mqtt`: the MQTT front at several numbers of connections, beside other brokers.
//! - `forward`: from the journal to a cluster, beside a bare producer.
//! - `link`: from a node's serial line to the journal, beside lines of JSON.

mod figures;
mod floor;
mod forward;
mod link;
mod load;
mod mqtt;
mod process;
mod progress;
mod whole;

use std::io::Write;

use crate::cli::{Bench, BenchCommand};

/// Measures and prints.
pub(crate) fn run(args: &Bench, out: &mut impl Write) -> anyhow::Result<()> {
    match &args.command {
        None => crate::runtime()?.block_on(whole::run(&args.whole, out)),
        Some(BenchCommand::Mqtt(args)) => crate::runtime()?.block_on(mqtt::run(args, out)),
        Some(BenchCommand::Forward(args)) => crate::runtime()?.block_on(forward::run(args, out)),
        Some(BenchCommand::Link(args)) => crate::runtime()?.block_on(link::run(args, out)),
        Some(BenchCommand::Bare) => forward::bare(out),
        Some(BenchCommand::Load) => mqtt::load(out),
        Some(BenchCommand::Rumqttd { listen }) => mqtt::rumqttd(*listen),
    }
}
