//! The thread that alone sends to the router, and starts another one when it dies.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::link::Name;
use super::router::{Dead, Living};
use super::{Command, Link, OpenError, Shared};
use crate::counters::add;
use crate::message::Message;

/// The router remembers each topic that a link publishes to: a fresh link from time to time.
const TOPICS_PER_FEED: usize = 10_000;
/// Between two starts of a router that keeps dying.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

struct Feeder {
    router: Option<Living>,
    /// Which router this is; links of earlier ones are dead.
    life: u64,
    slots: Vec<bool>,
    /// Hashes of the topics that the router has seen.
    topics: HashSet<u64>,
    topics_of_feed: usize,
    hasher: RandomState,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

pub(super) fn start(
    queue: mpsc::Receiver<Command>,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    let router = Living::start(&shared.limits).map_err(|Dead| std::io::Error::other("the router did not start"))?;
    let mut feeder = Feeder {
        router: Some(router),
        life: 0,
        slots: vec![false; shared.limits.subscribers_max],
        topics: HashSet::new(),
        topics_of_feed: 0,
        hasher: RandomState::new(),
        commands,
        shared,
    };
    std::thread::Builder::new().name("mqtt-feeder".into()).spawn(move || {
        for command in queue {
            if matches!(command, Command::Stop) {
                return;
            }
            if feeder.obey(command) == Err(Dead) {
                feeder.restart();
            }
        }
    })?;
    Ok(())
}

impl Feeder {
    fn obey(&mut self, command: Command) -> Result<(), Dead> {
        match command {
            Command::Publish(message) => {
                self.shared.queued_bytes.fetch_sub(message.bytes(), Ordering::AcqRel);
                self.publish(&message)
            }
            Command::Open(answer) => {
                let (opened, result) = match self.open() {
                    Ok(opened) => (opened, Ok(())),
                    Err(Dead) => (Err(OpenError::Router), Err(Dead)),
                };
                // A client that no longer waits drops its link, which closes it.
                drop(answer.send(opened));
                result
            }
            Command::Subscribe { link, filter, id } => {
                self.of(link).map_or(Ok(()), |router| router.subscribe(link.slot, &filter, id))
            }
            Command::Unsubscribe { link, filter } => {
                self.of(link).map_or(Ok(()), |router| router.unsubscribe(link.slot, &filter))
            }
            Command::Close { link } => {
                let Some(router) = self.of(link) else { return Ok(()) };
                let result = router.close(link.slot);
                if let Some(taken) = self.slots.get_mut(link.slot) {
                    *taken = false;
                }
                result
            }
            Command::Stop => Ok(()),
            #[cfg(test)]
            Command::Panic => {
                self.living()?.panic();
                Ok(())
            }
        }
    }

    fn living(&mut self) -> Result<&mut Living, Dead> {
        self.router.as_mut().ok_or(Dead)
    }

    /// The router that the link belongs to, if it lives.
    fn of(&mut self, link: Name) -> Option<&mut Living> {
        if link.life == self.life { self.router.as_mut() } else { None }
    }

    fn open(&mut self) -> Result<Result<Link, OpenError>, Dead> {
        let Some(slot) = self.slots.iter().position(|taken| !taken) else {
            return Ok(Err(OpenError::Full));
        };
        let answers = self.living()?.open(slot)?;
        if let Some(taken) = self.slots.get_mut(slot) {
            *taken = true;
        }
        let name = Name { life: self.life, slot };
        Ok(Ok(Link::new(answers, name, self.commands.clone(), Arc::clone(&self.shared))))
    }

    fn publish(&mut self, message: &Message) -> Result<(), Dead> {
        let topic = message.topic.as_str();
        if !self.shared.covered(topic) {
            return Ok(());
        }
        if !self.knows(topic)? {
            add(&self.shared.counters.fanout_shed, 1);
            return Ok(());
        }
        self.living()?.publish(message)
    }

    /// Whether the topic may go in, seen before or not.
    fn knows(&mut self, topic: &str) -> Result<bool, Dead> {
        let hash = self.hasher.hash_one(topic);
        if self.topics.contains(&hash) {
            return Ok(true);
        }
        if self.topics.len() >= self.shared.limits.fanout_topics_max {
            return Ok(false);
        }
        self.topics.insert(hash);
        self.topics_of_feed += 1;
        if self.topics_of_feed > TOPICS_PER_FEED {
            self.topics_of_feed = 0;
            self.living()?.renew_feed()?;
        }
        Ok(true)
    }

    fn restart(&mut self) {
        // The old router's links end when its threads' ends of them are dropped.
        self.router = None;
        self.life += 1;
        self.slots.fill(false);
        self.topics.clear();
        self.topics_of_feed = 0;
        self.shared.forget_filters();
        add(&self.shared.counters.router_restarts, 1);
        tracing::error!(
            "the router died: remembered sessions go on with the next, other subscribers have to connect again, ingest goes on"
        );
        loop {
            match Living::start(&self.shared.limits) {
                Ok(router) => {
                    self.router = Some(router);
                    return;
                }
                Err(Dead) => std::thread::sleep(RESTART_PAUSE),
            }
        }
    }
}
