//! `mount`: a card for another program to write to, and its figures.

use std::io::{Read, Write, stdin, stdout};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;

use anyhow::{Context, Result};
use clap::Args;
use lamppost_card::card::{Card, Pace};
use lamppost_card::image::Image;
use lamppost_card::say;
use lamppost_card::stand::{Format, Stand, check_machine};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    /// A folder for the mount points; made if it is missing
    #[arg(long)]
    dir: PathBuf,
    /// The size of the card in bytes; what is written to it is kept in memory
    #[arg(long, value_parser = clap::value_parser!(u64).range((16 << 20)..=(64 << 30)))]
    bytes: u64,
    /// How long a flush takes, in milliseconds
    #[arg(long, default_value_t = 0.0)]
    flush_ms: f64,
    /// How long a write takes, besides its transfer, in milliseconds
    #[arg(long, default_value_t = 0.0)]
    write_ms: f64,
    /// How many megabytes of writes are transferred in a second; 0 for no limit
    #[arg(long, default_value_t = 0.0)]
    mb_per_s: f64,
}

pub(crate) fn mount(arguments: &Arguments) -> Result<()> {
    check_machine()?;
    let (tell, told) = channel();
    // Before anything is mounted: a signal must never leave a mount behind.
    on_signal(tell.clone())?;
    // The thread that serves the card inherits it: 0.4 ms must not become 0.45.
    rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN)).context("can't set the timer slack")?;
    let dir = std::path::absolute(&arguments.dir)?;
    let card = Arc::new(Card::new(Image::zeros(arguments.bytes)));
    let stand = Stand::put_up(Arc::clone(&card), &dir, Format::New)?;
    card.begin(Pace { flush_ms: arguments.flush_ms, write_ms: arguments.write_ms, mb_per_s: arguments.mb_per_s });
    let line = json!({"folder": stand.folder(), "stats": stand.stats(), "device": stand.device()});
    writeln!(stdout(), "{line}").and_then(|()| stdout().flush()).context("can't print where it is")?;
    on_stdin_closed(tell)?;
    let why = told.recv().context("nobody is left to say when to stop")?;
    say(&format!("{why}: taking the card down"));
    // What is still to be written need not take its time.
    card.begin(Pace::default());
    stand.take_down()
}

fn on_signal(tell: Sender<&'static str>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("can't wait for signals")?;
    let watch = move || {
        for _ in signals.forever() {
            tell.send("a signal came").ok();
        }
    };
    Builder::new().name("signals".to_owned()).spawn(watch).context("can't start a thread")?;
    Ok(())
}

fn on_stdin_closed(tell: Sender<&'static str>) -> Result<()> {
    let watch = move || {
        let mut buffer = [0; 4096];
        while stdin().read(&mut buffer).is_ok_and(|got| got > 0) {}
        tell.send("stdin closed").ok();
    };
    Builder::new().name("stdin".to_owned()).spawn(watch).context("can't start a thread")?;
    Ok(())
}
