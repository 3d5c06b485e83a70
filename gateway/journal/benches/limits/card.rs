//! A card of our own: an ext4 on a loop device on a modelled card, which counts what reaches it and may take its time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::Outcome;

/// How long things take on it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As the machine can.
    None,
    /// A modelled SD card: 5 ms a flush, 0.4 ms a write, 15 MB/s.
    Sd,
}

const SD: [&str; 6] = ["--flush-ms", "5", "--write-ms", "0.4", "--mb-per-s", "15"];

/// A mounted card. Dropping it takes it down.
pub(crate) struct Card {
    child: Child,
    pub(crate) folder: PathBuf,
    stats: PathBuf,
}

/// What has reached the card.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) flushes: u64,
    pub(crate) bytes: u64,
}

impl Card {
    /// Puts up a card with its mount points in `dir`.
    pub(crate) fn put_up(program: &Path, dir: &Path, bytes: u64, pace: Pace) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        let mut command = Command::new(program);
        command.arg("mount").arg("--dir").arg(dir).args(["--bytes", &bytes.to_string()]);
        if matches!(pace, Pace::Sd) {
            command.args(SD);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the card has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            let status = child.wait()?;
            return Err(format!(
                "no card could be put up ({status}; its reasons are above). It needs root, /dev/fuse, a loop device and \
                 mkfs.ext4; `--without device` leaves out what needs it"
            )
            .into());
        }
        let told: Value = serde_json::from_str(&line)?;
        let path = |key: &str| told.get(key).and_then(Value::as_str).map(PathBuf::from).ok_or("the card told no path");
        let (folder, stats) = (path("folder")?, path("stats")?);
        Ok(Self { child, folder, stats })
    }

    /// What has reached it, once all that the file system still has was written.
    pub(crate) fn settled(&self) -> Outcome<Reached> {
        rustix::fs::syncfs(File::open(&self.folder)?)?;
        self.reached()
    }

    /// What has reached it so far.
    pub(crate) fn reached(&self) -> Outcome<Reached> {
        // One read gives the whole line, as of one moment.
        let mut line = [0; 4096];
        let bytes = File::open(&self.stats)?.read(&mut line)?;
        let told: Value = serde_json::from_slice(&line[..bytes])?;
        let number = |key: &str| told.get(key).and_then(Value::as_u64).ok_or("the card told no number");
        Ok(Reached { flushes: number("flushes")?, bytes: number("bytes_written")? })
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // Its stdin closes: it unmounts and goes.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
