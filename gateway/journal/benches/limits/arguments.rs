//! The command line.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// What may be left out by name, and what that leaves out.
pub(crate) const LEAVABLE: [(&str, &str); 2] =
    [("device", "all that needs a card of our own, the other engines too"), ("peers", "the other engines")];

/// How to call it.
pub(crate) const USAGE: &str = "\
cargo bench -p lamppost-journal -- [--quick] [--only PART,...] [--without device,peers] [--dir DIR] [--seed N]
    [--to-the-end] [--detail]

  --quick      few and small rounds, without peers: a look whether all of it works, two minutes
  --only       only these parts: floor, device, peers, reading, stored, devices, cold
  --without    leaves out what this machine can't measure: device (needs root, /dev/fuse, a loop device), peers
  --dir        a folder on the disk to be measured (otherwise the build's own)
  --seed       of the telemetry
  --to-the-end fill the whole quota of the offline row (4 minutes more); otherwise its last part is reckoned from the bytes of the first
  --detail     where the writer's time goes";

/// The command line, understood.
pub(crate) struct Arguments {
    /// Few and small rounds.
    pub(crate) quick: bool,
    /// Fill the whole quota.
    pub(crate) to_the_end: bool,
    /// Print where the writer's time goes.
    pub(crate) detail: bool,
    /// Where to measure.
    pub(crate) dir: PathBuf,
    /// Of the telemetry.
    pub(crate) seed: u64,
    only: BTreeSet<String>,
    without: BTreeSet<String>,
}

impl Arguments {
    /// Reads the command line; `Err` is what to print.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("limits");
        let (only, without) = (BTreeSet::new(), BTreeSet::new());
        let mut all = Self { quick: false, to_the_end: false, detail: false, dir, seed: 1, only, without };
        let mut by_cargo_bench = false;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} takes a value\n\n{USAGE}"));
            match word.as_str() {
                "--bench" => by_cargo_bench = true,
                "--quick" => all.quick = true,
                "--to-the-end" => all.to_the_end = true,
                "--detail" => all.detail = true,
                "--dir" => all.dir = PathBuf::from(value()?),
                "--seed" => all.seed = value()?.parse().map_err(|_| "--seed takes a number".to_owned())?,
                "--only" => all.only = names(&value()?, &crate::PARTS)?,
                "--without" => all.without = names(&value()?, &LEAVABLE.map(|(name, _)| name))?,
                "--help" => return Err(USAGE.to_owned()),
                other => return Err(format!("unknown option {other}\n\n{USAGE}")),
            }
        }
        // `cargo test --benches` wants to know whether it works, not how fast it is.
        all.quick |= !by_cargo_bench;
        Ok(all)
    }

    /// Whether this part is to be measured.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.contains(part)
    }

    /// What a run leaves out, in words.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let named = LEAVABLE.iter().filter(|(name, _)| self.is_without(name));
        let mut all: Vec<String> = named.map(|(name, what)| format!("{name}: {what}")).collect();
        if self.quick && !self.is_without("peers") {
            all.push("peers: a quick run is without them".to_owned());
        }
        all
    }

    /// Whether this was left out by name.
    pub(crate) fn is_without(&self, name: &str) -> bool {
        self.without.contains(name)
    }
}

fn names(list: &str, known: &[&str]) -> Result<BTreeSet<String>, String> {
    let unknown = list.split(',').find(|name| !known.contains(name));
    match unknown {
        Some(name) => Err(format!("there is no {name:?}; there is {}", known.join(", "))),
        None => Ok(list.split(',').map(str::to_owned).collect()),
    }
}
