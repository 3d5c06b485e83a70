//! One life of a writer on a card: from power on to power off.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::card::{Card, Record};
use crate::image::Image;
use crate::ledger::Heard;
use crate::stand::{Format, Stand};
use crate::words::Word;
use crate::writer::Store;

/// Opening and reading must be done within this.
const OPENING_MAX: Duration = Duration::from_secs(30);
/// The most of what a writer says on stderr that is kept, in bytes.
const STDERR_MAX: u64 = 16 << 10;

/// What a life is for.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// On what.
    pub store: Store,
    /// The writer's seed.
    pub seed: u64,
    /// Higher than that of any life before.
    pub life: u32,
    /// How long it writes after it has told what it holds; `None` to tell only.
    pub writing: Option<Duration>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// As planned.
    Planned,
    /// The store did not open, or gave up.
    Failed(String),
    /// The writer panicked or was killed by the system: what it said last.
    Panicked(String),
    /// It did not get to the end of reading in time.
    Hung,
}

/// What is left of a life.
pub struct Life {
    /// What the writer told.
    pub heard: Vec<Heard>,
    /// What reached the card, from before the file system was mounted until the power went.
    pub record: Record,
    /// How it ended.
    pub end: End,
    /// The file system had to be repaired before it could be mounted.
    pub repaired: bool,
}

/// Lives.
///
/// # Errors
/// The instrument failed, not the store.
pub fn live(image: Image, plan: Plan, place: &Path) -> Result<Life> {
    let card = Arc::new(Card::new(image));
    card.record();
    let stand = Stand::put_up(Arc::clone(&card), place, Format::Keep)?;
    let mut writer = Writer::start(&card, stand.folder(), plan)?;
    let read = writer.listen_until(OPENING_MAX, &|word| *word == Word::Read);
    if let (true, Some(writing)) = (read, plan.writing) {
        writer.listen_until(writing, &|_| false);
    } else if read {
        writer.listen_until(OPENING_MAX, &|_| false);
    }
    // The power goes here; whatever is heard from now on rests on steps behind the record's end.
    let record = card.take_record().context("nothing was recorded")?;
    let cut_short = !writer.closed;
    let (heard, mut end) = writer.stop()?;
    if cut_short && !matches!(end, End::Failed(_)) {
        end = if read && plan.writing.is_some() { End::Planned } else { End::Hung };
    }
    let repaired = stand.is_repaired();
    stand.take_down()?;
    Ok(Life { heard, record, end, repaired })
}

struct Writer {
    process: Child,
    words: Receiver<Heard>,
    listener: JoinHandle<()>,
    stderr: JoinHandle<String>,
    heard: Vec<Heard>,
    /// It tells no more.
    closed: bool,
}

impl Writer {
    fn start(card: &Arc<Card>, folder: &Path, plan: Plan) -> Result<Self> {
        let program = std::env::current_exe().context("can't find this program")?;
        let mut command = Command::new(program);
        command.args(["writer", "--store", plan.store.name(), "--dir"]).arg(folder);
        command.args(["--seed", &plan.seed.to_string(), "--life", &plan.life.to_string()]);
        if plan.writing.is_none() {
            command.arg("--read-only");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("RUST_BACKTRACE", "0");
        let mut process = command.spawn().context("can't start the writer")?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { anyhow::bail!("the writer has no pipes") };
        let (tell, words) = channel();
        let card = Arc::clone(card);
        let listener = spawn(move || hear(stdout, stdin, &card, &tell));
        let stderr = spawn(move || first_of(stderr));
        Ok(Self { process, words, listener, stderr, heard: Vec::new(), closed: false })
    }

    /// Listens for so long, or until a word, or until it tells no more. True if the word came.
    fn listen_until(&mut self, time: Duration, wanted: &dyn Fn(&Word) -> bool) -> bool {
        let begun = now();
        loop {
            match self.words.recv_timeout(time.saturating_sub(begun.elapsed())) {
                Ok(heard) => {
                    let last = wanted(&heard.1);
                    self.heard.push(heard);
                    if last {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {
                    self.closed = true;
                    return false;
                }
            }
        }
    }

    /// Ends it, if it has not ended, and gives what it told and how it ended by itself.
    fn stop(mut self) -> Result<(Vec<Heard>, End)> {
        if !self.closed {
            self.process.kill().context("can't kill the writer")?;
        }
        let status = self.process.wait().context("can't wait for the writer")?;
        let joined = |_| anyhow::anyhow!("a thread that listens to the writer panicked");
        self.listener.join().map_err(joined)?;
        self.heard.extend(self.words.try_iter());
        let said = self.stderr.join().map_err(joined)?;
        let failed = self.heard.iter().find_map(|(_, word)| match word {
            Word::Failed(text) => Some(text.clone()),
            _ => None,
        });
        let end = match failed {
            Some(text) => End::Failed(text),
            None if status.success() => End::Planned,
            None => End::Panicked(format!("{status}: {}", said.trim())),
        };
        Ok((self.heard, end))
    }
}

/// Notes every word with the number of steps recorded by then. A line that is no word ends it: the writer is not what it should
/// be, and its end says so.
fn hear(stdout: impl Read, mut stdin: impl Write, card: &Card, tell: &Sender<Heard>) {
    let mut lines = BufReader::new(stdout);
    loop {
        let mut line = String::new();
        let got = lines.read_line(&mut line);
        // A killed writer may leave half a line.
        let Some(line) = line.strip_suffix('\n').filter(|_| got.is_ok()) else { return };
        let word = line.parse().unwrap_or_else(|_| Word::Failed(format!("told {line:?}")));
        let asking = matches!(word, Word::Asking(..));
        if tell.send((card.steps(), word)).is_err() {
            return;
        }
        if asking && stdin.write_all(b"\n").is_err() {
            return;
        }
    }
}

/// The first bytes are kept; the rest is read and dropped, so that the writer never waits.
fn first_of(mut pipe: impl Read) -> String {
    let mut kept = Vec::new();
    if pipe.by_ref().take(STDERR_MAX).read_to_end(&mut kept).is_ok() {
        std::io::copy(&mut pipe, &mut std::io::sink()).ok();
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[expect(clippy::disallowed_methods, reason = "real threads on a real file system run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
