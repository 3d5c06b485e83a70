//! What is said to one node and what is made of its answers: the session of `lamppost-wire` between a port and the
//! journal. No I/O of its own; it lives as long as the port is open.

use std::collections::VecDeque;
use std::sync::Arc;

use lamppost_event::{Arrival, Clock, Commit, DeviceId, Intake, JournalStopped, Monotonic, Refusal};
use lamppost_wire::{
    Boot, Command, FrameBuffer, GatewayCounters, GatewayEvent, GatewaySession, Hello, LinkCounters, Millis, Reading,
    Sequence, TimeAsked, VERSION,
};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::ages::Ages;
use crate::orders::{CommandError, Outcome, PATIENCE_MS, Request};
use crate::roster::{Node, shown};
use crate::watch::Watch;
use crate::{LinkOptions, LinkStatus};

/// Between two tellings that the clock has jumped, until the node asks.
const NEWS_INTERVAL_MS: u32 = 1_000;

/// Why a conversation can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConversationError {
    #[error(transparent)]
    Stopped(#[from] JournalStopped),
    #[error("a reading could not be taken: {0}")]
    Reading(String),
}

/// Offered and not yet known to be on disk. One entry a commit.
#[derive(Debug)]
struct Pending {
    commit: Commit,
    boot: Boot,
    sequence: Sequence,
}

/// A command under way.
struct Ordered {
    command: Command,
    until: Millis,
    reply: oneshot::Sender<Outcome>,
}

/// What outlives a conversation: the next one on that port goes on with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered {
    /// The latest commit that anything from this port went with.
    pub(crate) latest: Commit,
    pub(crate) ages: Ages,
    /// The device that the ages are of.
    device: Option<DeviceId>,
}

pub(crate) struct Conversation {
    name: Arc<str>,
    intake: Arc<dyn Intake>,
    options: LinkOptions,
    status: Arc<LinkStatus>,
    session: GatewaySession,
    node: Option<Node>,
    /// A hello that waits until everything offered is on disk.
    waiting: Option<Hello>,
    /// Of this conversation, in the order of offering.
    pending: VecDeque<Pending>,
    remembered: Remembered,
    watch: Watch,
    /// When the node was last told of a jump of the clock.
    told_at: Millis,
    ordered: Option<Ordered>,
    /// What the journal had no room for. As it was read: by the time there is room it has grown older.
    refused: Option<Reading>,
    counted: (LinkCounters, GatewayCounters),
}

impl Conversation {
    /// A conversation on a port just opened, with what the one before it has remembered.
    pub(crate) fn new(
        name: Arc<str>,
        intake: Arc<dyn Intake>,
        options: LinkOptions,
        status: Arc<LinkStatus>,
        clock: Arc<dyn Clock>,
        remembered: Remembered,
    ) -> Self {
        Self {
            name,
            intake,
            options,
            status,
            session: GatewaySession::seeded((options.draw)()),
            node: None,
            waiting: None,
            pending: VecDeque::new(),
            remembered,
            watch: Watch::new(clock, (options.draw)()),
            told_at: Millis(0),
            ordered: None,
            refused: None,
            counted: Default::default(),
        }
    }

    /// What the next conversation on this port goes on with.
    pub(crate) fn into_remembered(self) -> Remembered {
        self.remembered
    }

    /// Nothing may be read until there is room.
    pub(crate) fn is_full(&self) -> bool {
        self.refused.is_some()
    }

    /// Something waits for a commit.
    pub(crate) fn waits_for_durable(&self) -> bool {
        !self.pending.is_empty() || self.waiting.is_some()
    }

    /// A good frame has come since the port was opened.
    pub(crate) fn has_understood(&self) -> bool {
        self.counted.0.frames_ok > 0
    }

    /// Takes bytes off the front of `bytes`; all of them, unless the journal has no room.
    pub(crate) fn receive(&mut self, bytes: &mut &[u8]) -> Result<(), ConversationError> {
        let outcome = self.receive_until_full(bytes);
        let now = (self.session.link_counters(), self.session.counters());
        self.status.add_link(self.counted.0, now.0);
        self.status.add_session(self.counted.1, now.1);
        if now.0.frames_ok != self.counted.0.frames_ok {
            self.status.set_heard(Monotonic(self.watch.monotonic().0));
        }
        if now.1.recounted != self.counted.1.recounted {
            self.note_recount();
        }
        self.counted = now;
        outcome
    }

    /// A node that breaks the rule of numbers gets on, and its operator is told once.
    fn note_recount(&self) {
        let device = self.node.as_ref().map_or("", |node| node.device.as_str());
        let told =
            format!("node {device} has lost its count of lives, and counts anew through numbers that it has used");
        if self.status.set_error(&told) {
            warn!(
                link = &*self.name,
                "{told}; readings that it has numbered twice may be lost: let it begin at a number drawn at random"
            );
        }
    }

    /// There may be room again: offers what was refused.
    pub(crate) fn retry(&mut self) -> Result<(), ConversationError> {
        match self.refused.take() {
            Some(reading) => self.offer(&reading, true),
            None => Ok(()),
        }
    }

    /// Everything up to `durable` is on disk: acknowledges it, and answers a hello that waited.
    pub(crate) fn settle(&mut self, durable: Commit) {
        while self.pending.front().is_some_and(|pending| pending.commit <= durable) {
            let Some(settled) = self.pending.pop_front() else { break };
            self.session.acknowledge(settled.boot, settled.sequence);
            self.status.acknowledgements.add(1);
        }
        if self.remembered.latest <= durable
            && self.refused.is_none()
            && let Some(hello) = self.waiting.take()
        {
            self.welcome(&hello);
        }
    }

    /// The next frame to send, if any: its length in `out`, else 0.
    pub(crate) fn transmit(&mut self, out: &mut FrameBuffer) -> usize {
        self.session.transmit(self.watch.monotonic(), out)
    }

    /// Has the node obey.
    pub(crate) fn order(&mut self, request: Request) {
        let Request { device, command, reply } = request;
        if reply.is_closed() {
            // It waited for the port longer than whoever gave it has.
            return;
        }
        let refused = match &self.node {
            Some(node) if node.device.as_str() == device && self.status.node().is_some() => {
                let busy = self.ordered.is_some().then_some(CommandError::Busy);
                busy.or((!node.capabilities.include(command.needs())).then_some(CommandError::Unsupported))
            }
            _ => Some(CommandError::Absent),
        };
        let refused = refused.or_else(|| (!self.session.order(command)).then_some(CommandError::Absent));
        let until = self.watch.monotonic().plus_ms(PATIENCE_MS);
        let ordered = Ordered { command, until, reply };
        match refused {
            None => self.ordered = Some(ordered),
            Some(error) => self.conclude(ordered, Err(error)),
        }
    }

    /// Looks at the clock, and after a command that was not answered.
    pub(crate) fn tick(&mut self) {
        self.watch.look();
        let now = self.watch.monotonic();
        if self.watch.news && self.told_at.plus_ms(NEWS_INTERVAL_MS) <= now && self.status.node().is_some() {
            self.told_at = now;
            self.tell_time(None);
            self.status.jumps_told.add(1);
        }
        if let Some(ordered) = self.ordered.take_if(|ordered| ordered.until <= now) {
            self.session.withdraw();
            self.conclude(ordered, Err(CommandError::Unanswered));
        }
    }

    fn conclude(&mut self, ordered: Ordered, outcome: Outcome) {
        let count = if outcome.is_ok() { &self.status.commands_done } else { &self.status.commands_failed };
        count.add(1);
        info!(link = &*self.name, command = ?ordered.command, ?outcome, "a command is done with");
        // Whoever gave it may not wait any more.
        ordered.reply.send(outcome).ok();
    }

    fn tell_time(&mut self, asked: Option<Millis>) {
        let (wall, quality, epoch) = self.watch.tell();
        self.session.tell_time(asked, wall, quality, epoch);
    }

    fn be_asked(&mut self, asked: TimeAsked, answers: Option<Millis>) {
        if let Some(sent) = answers {
            self.remembered.ages.learn(asked.boot, asked.uptime, sent, self.watch.monotonic());
            // Only a node that answers has heard of it: any other question may be an echo of one.
            self.watch.news = false;
        }
        self.tell_time(Some(asked.uptime));
    }

    fn receive_until_full(&mut self, bytes: &mut &[u8]) -> Result<(), ConversationError> {
        while self.refused.is_none() {
            match self.session.take(bytes) {
                None => return Ok(()),
                Some(GatewayEvent::Hello(hello)) => self.meet(hello)?,
                Some(GatewayEvent::Boot(boot)) => {
                    let durable = self.node.as_ref().map_or(Sequence::NONE, |node| self.mark(&node.device, boot));
                    self.session.open(boot, durable);
                }
                Some(GatewayEvent::Reading { reading, passed_over }) => self.read(&reading, passed_over)?,
                Some(GatewayEvent::TimeAsked { asked, answers }) => self.be_asked(asked, answers),
                Some(GatewayEvent::Answer(answer)) => {
                    if let Some(ordered) = self.ordered.take() {
                        self.conclude(ordered, answer.outcome().map_err(CommandError::Refused));
                    }
                }
                Some(GatewayEvent::Heartbeat(heartbeat)) => {
                    self.status.node_kept.set(u64::from(heartbeat.kept));
                    self.status.node_dropped.set(heartbeat.dropped);
                    self.status.node_faults.set(heartbeat.faults);
                }
            }
        }
        Ok(())
    }

    fn meet(&mut self, hello: Hello) -> Result<(), ConversationError> {
        self.status.hellos.add(1);
        self.note_version(&hello);
        if let Some(ordered) = self.ordered.take() {
            let reborn = self.node.as_ref().is_some_and(|node| node.boot != hello.boot);
            let reset = ordered.command == Command::Reset && reborn;
            self.conclude(ordered, if reset { Ok(()) } else { Err(CommandError::Interrupted) });
        }
        match Node::parse(&hello) {
            Err(error) => {
                self.status.hellos_refused.add(1);
                if self.status.set_error(&error.to_string()) {
                    warn!(link = &*self.name, %error, "the node is not welcome; it must be given a valid name");
                }
            }
            Ok(node) => {
                if self.remembered.device.as_ref() != Some(&node.device) {
                    self.remembered.ages = Ages::default();
                    self.remembered.device = Some(node.device.clone());
                }
                self.node = Some(node);
                self.waiting = Some(hello);
                // How far the node has come can be told, and a boot number seen to be used, only when nothing of it is
                // still on its way to the disk.
                self.settle(self.intake.durable()?);
            }
        }
        Ok(())
    }

    /// A newer node is answered with our version, and its operator told once.
    fn note_version(&self, hello: &Hello) {
        if hello.version > VERSION {
            self.status.hellos_newer.add(1);
            let (device, theirs) = (hello.device.as_str(), hello.version);
            let told = format!("node {device} speaks version {theirs} of the link, this gateway {VERSION}");
            if self.status.set_error(&told) {
                warn!(link = &*self.name, "{told}, which both will use; update the gateway for what is new");
            }
        }
    }

    fn welcome(&mut self, hello: &Hello) {
        let Some(node) = &self.node else { return };
        let mark = self.mark(&node.device, hello.boot);
        let used = mark > hello.sent;
        let boot = if hello.boot == Boot::UNNUMBERED || used { self.fresh_boot(&node.device) } else { hello.boot };
        if boot == hello.boot {
            info!(
                link = &*self.name, device = %node.device, boot = boot.0, resume_after = mark.0,
                firmware = hello.firmware.as_str(), version = hello.version, "a node is welcome"
            );
            self.status.welcome(shown(hello));
        } else {
            self.status.boots_given.add(1);
            info!(link = &*self.name, device = %node.device, said = hello.boot.0, given = boot.0, used, "a life is numbered");
        }
        let durable = self.mark(&node.device, boot);
        self.session.settle(boot.settled(|life| self.mark(&node.device, life)));
        self.session.welcome(boot, durable, self.options.window, self.options.patience_ms);
        self.tell_time(None);
    }

    fn mark(&self, device: &DeviceId, boot: Boot) -> Sequence {
        Sequence(self.intake.high_water(device, u64::from(boot.0)).unwrap_or(0))
    }

    /// A number that no life of this device has: drawn at random, so that none comes twice even for a gateway whose
    /// journal was wiped.
    fn fresh_boot(&self, device: &DeviceId) -> Boot {
        let drawn = (self.options.draw)() % (u32::MAX - Boot::GIVEN_MIN.0);
        let mut boot = Boot(Boot::GIVEN_MIN.0 + drawn);
        while self.mark(device, boot) > Sequence::NONE {
            boot = Boot(boot.0.wrapping_add(1).max(Boot::GIVEN_MIN.0));
        }
        boot
    }

    fn read(&mut self, reading: &Reading, passed_over: u64) -> Result<(), ConversationError> {
        if let Some(node) = self.node.as_ref().filter(|_| passed_over > 0) {
            self.status.passed_over.add(passed_over);
            warn!(
                link = &*self.name, device = %node.device, boot = reading.boot.0, before = reading.sequence.0,
                passed_over, "the node has dropped readings for want of room"
            );
        }
        self.offer(reading, false)
    }

    /// Offers a reading, with its age now: the journal adds that to the time of this offer. `refused`: there was no room for it before.
    fn offer(&mut self, reading: &Reading, refused: bool) -> Result<(), ConversationError> {
        let Some(node) = &self.node else { return Ok(()) };
        let age = self.remembered.ages.age(reading.boot, reading.uptime, self.watch.monotonic());
        let arrival = node.arrival(reading, age).map_err(|error| ConversationError::Reading(error.to_string()))?;
        match self.intake.offer(Arrival { refused, ..arrival }) {
            Ok(commit) => {
                self.status.readings.add(1);
                self.remembered.latest = self.remembered.latest.max(commit);
                self.pend(Pending { commit: self.remembered.latest, boot: reading.boot, sequence: reading.sequence });
                Ok(())
            }
            Err(Refusal::Full(_)) => {
                self.status.stalls.add(u64::from(!refused));
                self.refused = Some(*reading);
                Ok(())
            }
            Err(Refusal::Stopped(stopped)) => Err(stopped.into()),
            Err(refusal @ Refusal::TooLarge { .. }) => Err(ConversationError::Reading(refusal.to_string())),
        }
    }

    fn pend(&mut self, pending: Pending) {
        match self.pending.back_mut() {
            Some(last) if last.commit == pending.commit && last.boot == pending.boot => *last = pending,
            _ => self.pending.push_back(pending),
        }
    }
}
