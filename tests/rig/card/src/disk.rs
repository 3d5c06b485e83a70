//! `disk`: a card as a file, for a machine that somebody else emulates; its power goes and comes as stdin says.

use std::io::{Write, stdin, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lamppost_card::card::{Card, Record, Step};
use lamppost_card::cut::{Fate, cut_open};
use lamppost_card::image::Image;
use lamppost_card::loss::loss;
use lamppost_card::serve::{DISK, serve};
use lamppost_card::stand::unmount;
use lamppost_journal::SplitMix64;
use serde_json::{Value, json};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The folder where the file is served; made if it is missing
    #[arg(long)]
    dir: PathBuf,
    /// The size of the card in bytes; what is written to it is kept in memory
    #[arg(long, value_parser = clap::value_parser!(u64).range((16 << 20)..=(64 << 30)))]
    bytes: u64,
}

/// Serves until stdin ends. One line in, one line of JSON out: the README has them.
pub(crate) fn disk(arguments: &Arguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.dir).with_context(|| format!("can't make {}", arguments.dir.display()))?;
    let dir = std::path::absolute(&arguments.dir)?;
    let disk = Disk { card: Arc::new(Card::new(Image::zeros(arguments.bytes))) };
    let session = serve(Arc::clone(&disk.card), &dir).context("can't mount FUSE (root and /dev/fuse are needed)")?;
    say(&json!({"disk": dir.join(DISK)}))?;
    for line in stdin().lines() {
        let answer = match disk.obey(&line.context("can't read stdin")?) {
            Ok(answer) => answer,
            Err(error) => json!({"error": format!("{error:#}")}),
        };
        say(&answer)?;
    }
    unmount(&dir)?;
    session.join().context("the FUSE session failed")
}

fn say(line: &Value) -> Result<()> {
    writeln!(stdout(), "{line}").and_then(|()| stdout().flush()).context("can't print an answer")
}

struct Disk {
    card: Arc<Card>,
}

impl Disk {
    fn obey(&self, line: &str) -> Result<Value> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["look"] => {
                let figures = self.card.figures();
                return Ok(json!({"off": self.card.is_off(), "flushes": figures.flushes, "writes": figures.writes,
                    "bytes_written": figures.bytes_written}));
            }
            ["follow"] => self.card.follow(),
            ["deaf"] => self.card.be_deaf(),
            ["fail", writes, open] => self.card.fail_after(writes.parse()?, open.parse()?),
            ["off"] => self.card.switch_off(),
            ["cut", seed, fate, garbled] => return self.cut(seed.parse()?, named(fate)?, garbled.parse()?),
            _ => bail!("not a command: {line:?}"),
        }
        Ok(json!({}))
    }

    fn cut(&self, seed: u64, fate: Fate, garbled: bool) -> Result<Value> {
        ensure!(self.card.is_off(), "the power is on");
        let mut record = self.card.take_record().context("nothing is followed")?;
        only_writes(&mut record);
        let (image, damage) = cut_open(&record, fate, garbled, &mut SplitMix64::new(seed));
        let loss = loss(&record, &image);
        self.card.switch_on(image);
        Ok(json!({"unflushed_writes": damage.unflushed, "garbage_pages": damage.garbage_pages, "loss": loss}))
    }
}

/// The flushes of a card that was deaf to them count for nothing.
fn only_writes(record: &mut Record) {
    record.steps.retain(|step| *step != Step::Flush);
}

fn named(fate: &str) -> Result<Fate> {
    Ok(match fate {
        "dropped" => Fate::Dropped,
        "kept" => Fate::Kept,
        "torn" => Fate::Torn,
        "scattered" => Fate::Scattered,
        _ => bail!("no fate: {fate:?}"),
    })
}
