//! `lamppost node`'s part of the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::DEFAULT_PATH;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Node {
    #[command(subcommand)]
    pub(crate) command: NodeCommand,
}

const EXAMPLES: &str = "\
Examples:
  lamppost node ls                                       who is at the serial ports
  lamppost node set-interval node-7 2                    measure every 2 s, until its next reset
  lamppost node set-interval node-7 0.5 --measure pm2_5  one of its measures every half second
  lamppost node identify node-7                          which one is it? it blinks
  lamppost node reset node-7 --json

The gateway is asked over its control socket, which is for its own user and group (lamppost).
Exit status 0: the node has confirmed it; 1: it was not done (refused, not connected); 2: nobody knows, or no gateway could be asked.";

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Show the nodes at the serial ports: device, life, firmware, what it measures, what it keeps and has dropped, when it was last
    /// heard. With --json also all counters of the links.
    Ls(NodeAt),
    /// Have a node measure at another interval, until its next reset.
    SetInterval(SetInterval),
    /// Have a node show which one it is, as by blinking.
    Identify(Identify),
    /// Have a node start anew, and wait until it is back.
    Reset(OfNode),
}

/// Which gateway, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct NodeAt {
    /// The gateway's configuration, for its control socket.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// The gateway's control socket, in place of the configuration's.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print one line of JSON: the gateway's own answer.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OfNode {
    /// The node's device name.
    pub(crate) device: String,
    #[command(flatten)]
    pub(crate) at: NodeAt,
}

#[derive(Debug, Args)]
pub(crate) struct SetInterval {
    #[command(flatten)]
    pub(crate) node: OfNode,
    /// How often it is to measure, in seconds: from 0.001 to 86400.
    #[arg(value_parser = seconds)]
    pub(crate) seconds: Milliseconds,
    /// Which of its measures; all by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) measure: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Identify {
    #[command(flatten)]
    pub(crate) node: OfNode,
    /// For how long, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) seconds: Milliseconds,
}

/// Seconds as they were written, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Milliseconds(pub(crate) u32);

/// A day: the longest that the link carries (`drivers/wire/README.md`, Orders).
const MS_MAX: u32 = 86_400_000;

fn seconds(text: &str) -> Result<Milliseconds, String> {
    let right = || "write seconds from 0.001 to 86400, as in 0.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(right());
    }
    let ms = whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(1_000));
    let part = format!("{part:0<3}").parse::<u32>().map_err(|_| right())?;
    let ms = ms.and_then(|ms| ms.checked_add(part)).filter(|ms| (1..=MS_MAX).contains(ms));
    ms.map(Milliseconds).ok_or_else(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_taken_as_they_are_written() {
        let taken = ["2", "0.5", "0.001", "86400", "1.25"].map(|text| seconds(text).unwrap().0);
        assert_eq!(taken, [2_000, 500, 1, 86_400_000, 1_250]);
        for wrong in ["", "0", "-1", "1e3", "0.0005", "86400.001", ".5", "5.", "99999999999", "1,5"] {
            assert!(seconds(wrong).unwrap_err().contains("0.001 to 86400"), "{wrong}");
        }
    }
}
