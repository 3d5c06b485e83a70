//! `lamppost journal tail`: the last events, and those to come.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use lamppost_event::{Position, Stored};

use super::progress::{Progress, ahead};
use super::shown::{Fresh, Seen, Times, each, event};
use super::{known, open, right};
use crate::cli::Tail;

/// How often a followed journal is looked at again.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// The last events; with `follow`, also those to come.
pub(super) fn tail(args: &Tail, out: &mut impl Write) -> anyhow::Result<()> {
    let mut inspect = open(&args.at.dir)?;
    if !args.follow {
        known(&inspect, args.topic.as_slice())?;
    }
    let times = Times::of(&inspect);
    let mut seen = Seen::default();
    let mut last = VecDeque::with_capacity(args.lines.min(10_000));
    let mut progress = Progress::new("reading");
    let (start, whole) = (inspect.start(), ahead(&inspect, inspect.start()));
    let mut went = |at: Position| progress.at(at.0 - start.0, whole);
    let mut at = each(&inspect, start, &mut seen, &mut went, &mut |fresh| {
        if let Some(stored) = wanted(args, fresh).filter(|_| args.lines > 0) {
            if last.len() >= args.lines {
                last.pop_front();
            }
            last.push_back(stored);
        }
        Ok(())
    })?;
    drop(progress);
    last.iter().try_for_each(|stored| event(stored, &times, args.at.json, out))?;
    if !args.follow {
        return Ok(());
    }
    loop {
        out.flush()?;
        std::thread::sleep(FOLLOW_INTERVAL);
        // Only what came since is read: the card and the processor are the running gateway's.
        inspect.look_again().with_context(|| right(&args.at.dir))?;
        let times = Times::of(&inspect);
        at = each(&inspect, at, &mut seen, &mut |_| {}, &mut |fresh| {
            wanted(args, fresh).map_or(Ok(()), |stored| event(&stored, &times, args.at.json, out))
        })?;
    }
}

fn wanted(args: &Tail, fresh: Fresh) -> Option<Box<Stored>> {
    match fresh {
        Fresh::Event(stored) if args.topic.as_ref().is_none_or(|topic| stored.event.topic == *topic) => Some(stored),
        Fresh::Event(_) | Fresh::Gap(_) => None,
    }
}
