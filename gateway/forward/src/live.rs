//! Live first: when the live lane begins, who runs it, and when it ends. What is split, and where: [`crate::split`].
//!
//! The live lane is a forwarder of its own beside the one that catches up: with its own producer, window and cursors. Neither waits
//! for the other. It begins while nothing is in flight, so that what went without the backfill's mark is in the cluster before anything that
//! came later; it ends before the other one goes on where it stopped.
//!
//! Invariants:
//! - The live lane sends nothing before the horizon is on disk: no restart sends what lies below without the mark.
//! - While something is split, the backfill never passes a horizon, and no second split begins.
//! - What is in flight on both lanes together is within the bound of one.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lamppost_event::{
    Chunk, Cursor, Group, Interest, Item, JournalStopped, Offset, Outlet, Position, Resume, Topic, TopicPartition,
    TopicShape, Waiting, header,
};
use tokio::sync::oneshot;

use crate::Undelivered;
use crate::config::ForwardConfig;
use crate::counters::Counters;
use crate::doubt::{self, Jump, place};
use crate::engine::{Done, Engine};
use crate::forwarder::{ForwardError, Forwarder};
use crate::keyring::Keyring;
use crate::split::{Horizon, LaneGroups, Lanes};
use crate::window::Admission;

/// How far it is with going live first.
#[derive(Debug)]
enum State {
    /// All goes in one lane.
    Whole,
    /// It is far behind: what is in flight is waited for.
    Emptying,
    /// Nothing is in flight; the horizon is being noted.
    Opening,
    /// Two lanes.
    Open(Lanes),
    /// The backfill has come to the horizon: the live lane is being stopped.
    Ending(Lanes),
}

/// What the engine keeps for it.
#[derive(Debug)]
pub(crate) struct Split {
    groups: LaneGroups,
    state: State,
    /// Something was delivered since it was last looked: the cluster is there.
    pub(crate) delivered: bool,
    /// Dropped, it stops the live lane.
    stop: Option<oneshot::Sender<()>>,
    /// A live lane was started, and has not been heard to have ended.
    is_running: bool,
    /// What the last one left in flight.
    left: Option<Undelivered>,
    /// Of all live lanes, one after the other.
    live: Arc<Counters>,
    /// How many of their bytes on the wire the ceiling knows of.
    live_wire: u64,
}

impl Split {
    fn new(groups: LaneGroups, counters: &Counters) -> Self {
        let live = Arc::clone(counters.live.get_or_init(Arc::default));
        let live_wire = live.wire_bytes.load(Relaxed);
        Self {
            groups,
            state: State::Whole,
            delivered: false,
            stop: None,
            is_running: false,
            left: None,
            live,
            live_wire,
        }
    }

    const fn lanes(&self) -> Option<&Lanes> {
        match &self.state {
            State::Open(lanes) | State::Ending(lanes) => Some(lanes),
            State::Whole | State::Emptying | State::Opening => None,
        }
    }

    /// What the live lane has written since this was last asked.
    pub(crate) fn live_wrote(&mut self) -> u64 {
        let all = self.live.wire_bytes.load(Relaxed);
        all.saturating_sub(mem::replace(&mut self.live_wire, all))
    }
}

/// What a split leaves of an item for the backfill.
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart as soon as it is made: a box would be one more allocation for each event"
)]
pub(crate) enum Backfill {
    /// It, or the part below the horizon.
    Item(Item),
    /// Nothing. Offsets below the horizon may be missing before it.
    Nothing(Option<Jump>),
}

impl Engine {
    /// Prepares for going live first, and goes on with what was split when the last process ended. Costs nothing where neither is so.
    pub(crate) fn prepare_split(&mut self, cursors: &[Cursor]) {
        let Ok(groups) = LaneGroups::of(&self.config.group) else { return };
        if self.only.is_some() {
            return;
        }
        let (horizon, live) = (self.outlet.cursors(&groups.horizon), self.outlet.cursors(&groups.live));
        let found = Lanes::found(cursors, &horizon, &live);
        if self.exactly_once.is_some() {
            if found.is_some() {
                tracing::warn!(
                    "topics were split for live-first delivery: with exactly-once they go on at the backlog, and what went live goes again"
                );
            }
            return;
        }
        if found.is_some() || self.config.live_first.is_some() {
            self.split = Some(Box::new(Split::new(groups, &self.counters)));
        }
        if let Some(lanes) = found {
            tracing::info!("a backlog was being delivered beside what is live: both go on");
            self.launch(lanes);
        }
    }

    /// What of an item is the backfill's; all of it where nothing is split.
    pub(crate) fn backfill(&mut self, item: Item) -> Backfill {
        let Some(horizon) = self.horizon(place(&item).0) else { return Backfill::Item(item) };
        let (topic, partition, _) = place(&item);
        let at = TopicPartition { topic: topic.clone(), partition };
        let to = horizon.of(partition);
        if let Some(item) = horizon.below(item) {
            return Backfill::Item(item);
        }
        let track = self.window.track(&at.topic, at.partition);
        match self.window.admit(track, to) {
            Admission::Jump { from } => Backfill::Nothing(Some(Jump { at, from, to })),
            Admission::Seen | Admission::Next => Backfill::Nothing(None),
        }
    }

    /// Where the backfill of a topic ends; `None`: it goes in one lane.
    pub(crate) fn horizon(&self, topic: &Topic) -> Option<&Horizon> {
        self.split.as_ref()?.lanes()?.horizon(topic)
    }

    /// What says in which lane the events of a topic go.
    pub(crate) fn mark(&self, topic: &Topic) -> Option<&'static str> {
        if self.only.is_some() { Some(header::LIVE) } else { self.horizon(topic).map(|_| header::BACKFILL) }
    }

    /// Whether nothing may be handed over until the lanes are there.
    pub(crate) fn is_splitting(&self) -> bool {
        self.split.as_ref().is_some_and(|split| matches!(split.state, State::Emptying | State::Opening))
    }

    /// Whether there are two lanes.
    pub(crate) fn is_split(&self) -> bool {
        self.split.as_ref().is_some_and(|split| split.lanes().is_some())
    }

    /// What may be in flight here: with two lanes half of it.
    pub(crate) fn in_flight_max(&self) -> usize {
        if self.is_split() { self.config.in_flight_bytes_max / 2 } else { self.config.in_flight_bytes_max }
    }

    /// Takes the next step, if it is time for one.
    pub(crate) fn tend_split(&mut self) -> Result<(), JournalStopped> {
        let is_empty = self.is_splitting() && self.has_no_records_in_flight();
        let Some(split) = &mut self.split else { return Ok(()) };
        match &split.state {
            State::Whole => {
                if mem::take(&mut split.delivered) && self.is_far_behind() {
                    self.set_state(State::Emptying);
                }
            }
            State::Emptying if is_empty => self.open()?,
            State::Open(lanes) => {
                let window = &mut self.window;
                let passed = |(at, horizon): (TopicPartition, Offset)| {
                    let track = window.track(&at.topic, at.partition);
                    horizon.0 == 0 || window.has_passed(track, horizon)
                };
                // A topic apart is read by itself, below the horizon; the common reader has left out what lies behind.
                let is_apart = self.lanes.keys().any(|topic| lanes.holds(topic));
                if !is_apart && lanes.ends_of_backfill().all(passed) {
                    self.end();
                }
            }
            State::Emptying | State::Opening | State::Ending(_) => {}
        }
        Ok(())
    }

    /// Whether all that was handed to librdkafka has been reported. What is being buried or told is in flight as well: the cluster sees nothing
    /// of it, and it may wait for the very room that only goes on being forwarded makes.
    fn has_no_records_in_flight(&self) -> bool {
        self.window.events() == self.burials.in_flight(self.session) + self.tellings.in_flight(self.session)
    }

    fn set_state(&mut self, state: State) {
        if let Some(split) = &mut self.split {
            split.state = state;
        }
        self.counters.split.store(self.is_split(), Relaxed);
        let in_flight_max = self.in_flight_max();
        self.window.set_bytes_max(self.pace.as_ref().map_or(in_flight_max, |pace| pace.in_flight_max(in_flight_max)));
    }

    /// The producer is gone: what was in flight may still come to be in the cluster, so nothing is split before the next one has delivered.
    pub(crate) fn put_off_split(&mut self) {
        if let Some(split) = &mut self.split {
            split.delivered = false;
        }
        if self.split.as_ref().is_some_and(|split| matches!(split.state, State::Emptying)) {
            self.set_state(State::Whole);
        }
    }

    /// Whether a topic that goes live first has waited too long, and more waits than is in flight.
    fn is_far_behind(&self) -> bool {
        let Some(live_first) = &self.config.live_first else { return false };
        let goes = |topic: &Topic| live_first.takes(topic) && self.interest.takes(topic);
        // Of a topic apart nobody knows what is in the cluster.
        if self.reading.caught_up && self.reading.is_used_up() || self.lanes.keys().any(goes) {
            return false;
        }
        let (now, best) = (self.clock.now(), self.clock.best());
        // What was in flight may all have been delivered just now.
        let next = || match self.reading.front()? {
            Item::Event(stored) if goes(&stored.event.topic) => stored.event.time.corrected(best),
            Item::Event(_) | Item::Gap(_) => None,
        };
        self.window.oldest_of(goes).or_else(next).is_some_and(|oldest| {
            u128::try_from(now.wall.0.saturating_sub(oldest.0)).is_ok_and(|age| age > live_first.after.as_millis())
        })
    }

    /// Notes the horizon, in the background.
    fn open(&mut self) -> Result<(), JournalStopped> {
        if !self.is_still_wanted() {
            self.set_state(State::Whole);
            return Ok(());
        }
        self.commit(true)?;
        let Some((split, live_first)) = self.split.as_mut().zip(self.config.live_first.clone()) else { return Ok(()) };
        split.state = State::Opening;
        let (outlet, groups, interest) = (Arc::clone(&self.outlet), split.groups.clone(), self.interest.clone());
        let goes = move |topic: &Topic| live_first.takes(topic) && interest.takes(topic);
        self.work.spawn_blocking(move || {
            let ends = outlet.ends();
            let lanes = Lanes::at(&ends, goes);
            let noted =
                outlet.commit(&groups.live, &ends).and_then(|()| outlet.commit(&groups.horizon, &horizons(&lanes)));
            Done::Opened { lanes: noted.map(|()| lanes) }
        });
        Ok(())
    }

    /// A topic may have been set apart meanwhile.
    fn is_still_wanted(&self) -> bool {
        let Some(live_first) = &self.config.live_first else { return false };
        !self.lanes.keys().any(|topic| live_first.takes(topic))
    }

    /// The horizon is noted.
    pub(crate) fn opened(&mut self, lanes: Lanes) {
        if lanes.topics().next().is_none() {
            tracing::error!("the journal does not say where it ends: all goes in one lane");
            self.split = None;
            return;
        }
        let topics: Vec<&str> = lanes.topics().map(Topic::as_str).collect();
        tracing::info!(?topics, "far behind: what comes in now goes first, and the backlog beside it with a mark");
        self.launch(lanes);
    }

    fn launch(&mut self, lanes: Lanes) {
        let Some(split) = &mut self.split else { return };
        let (stop, mut stopped) = oneshot::channel::<()>();
        (split.stop, split.is_running) = (Some(stop), true);
        let (outlet, groups) = (Arc::clone(&self.outlet), split.groups.clone());
        let from = horizons(&lanes);
        let lane: Arc<dyn Outlet> =
            Arc::new(LiveOutlet { outlet: Arc::clone(&outlet), live: groups.live.clone(), from });
        let config = config_of_live_lane(&self.config);
        let group = config.group.clone();
        let forwarder = Forwarder {
            config: Arc::new(config),
            outlet: Arc::clone(&lane),
            clock: Arc::clone(&self.clock),
            dead_letters: self.dead_letters.clone(),
            trail: self.trail.clone(),
            interest: Interest::all(),
            only: Some(Arc::new(
                lanes.topics().filter(|it| self.interest.takes(it)).cloned().collect::<HashSet<Topic>>(),
            )),
            counters: Arc::clone(&split.live),
        };
        let live = async move {
            tokio::select! {
                _ = &mut stopped => return Ok((doubt::resume(lane, group).await?, None)),
                settled = async {
                    outlet.settled(&groups.horizon).await?;
                    outlet.settled(&groups.live).await
                } => settled?,
            }
            let ended = forwarder.run_boxed(Box::pin(async move { drop(stopped.await) })).await;
            let left = ended.map_err(|ForwardError::Stopped(stopped)| stopped)?;
            Ok((doubt::resume(lane, group).await?, Some(left)))
        };
        self.work.spawn(async move { Done::LiveEnded { result: live.await } });
        self.set_state(State::Open(lanes));
    }

    /// The backfill is done: the live lane is stopped, and takes what is in flight with it.
    fn end(&mut self) {
        let Some(split) = &mut self.split else { return };
        split.stop = None;
        if let State::Open(lanes) = mem::replace(&mut split.state, State::Whole) {
            split.state = State::Ending(lanes);
        }
    }

    /// The live lane has ended. Where the backfill is done, all goes on in one lane from there.
    pub(crate) fn live_ended(
        &mut self,
        result: Result<(Resume, Option<Undelivered>), JournalStopped>,
    ) -> Result<(), JournalStopped> {
        let (resume, left) = result?;
        let Some(split) = &mut self.split else { return Ok(()) };
        (split.is_running, split.left) = (false, left);
        let (groups, state) = (split.groups.clone(), mem::replace(&mut split.state, State::Whole));
        match state {
            State::Ending(lanes) => {
                for cursor in resume.cursors.iter().filter(|cursor| lanes.holds(&cursor.at.topic)) {
                    let track = self.window.track(&cursor.at.topic, cursor.at.partition);
                    self.window.advance(track, cursor.next);
                }
                self.rewind(resume.position);
                self.set_state(State::Whole);
                self.commit(true)?;
                self.outlet.forget(&groups.horizon)?;
                self.outlet.forget(&groups.live)?;
                tracing::info!("the backlog is delivered: all goes in one lane again");
                Ok(())
            }
            // It was told to stop with everything else.
            state if self.split.as_ref().is_some_and(|split| split.stop.is_none()) => {
                self.set_state(state);
                Ok(())
            }
            _ => Err(JournalStopped { reason: "the live lane has ended by itself".into() }),
        }
    }

    /// Tells the live lane to stop, if there is one.
    pub(crate) fn stop_live(&mut self) {
        if let Some(split) = &mut self.split {
            split.stop = None;
        }
    }

    /// Waits until it has. Gives what both lanes have left, with `left` of this one.
    pub(crate) async fn end_live(&mut self, mut left: Undelivered) -> Result<Undelivered, JournalStopped> {
        self.stop_live();
        while self.split.as_ref().is_some_and(|split| split.is_running) {
            let Some(done) = self.work.join_next().await else { break };
            self.joined(done)?;
        }
        if let Some(live) = self.split.as_mut().and_then(|split| split.left.take()) {
            left.events += live.events;
            left.bytes += live.bytes;
        }
        Ok(left)
    }
}

fn config_of_live_lane(config: &ForwardConfig) -> ForwardConfig {
    ForwardConfig {
        client_id: format!("{}-live", config.client_id),
        in_flight_bytes_max: config.in_flight_bytes_max / 2,
        live_first: None,
        // Each lane finds out for itself that the files have changed.
        keyring: Arc::new(Keyring::new(config.keyring.security().clone())),
        ..config.clone()
    }
}

fn horizons(lanes: &Lanes) -> Vec<Cursor> {
    lanes.ends_of_backfill().map(|(at, next)| Cursor { at, next }).collect()
}

/// The journal as the live lane sees it: from the horizon on, with cursors of its own.
struct LiveOutlet {
    outlet: Arc<dyn Outlet>,
    live: Group,
    from: Vec<Cursor>,
}

impl Outlet for LiveOutlet {
    fn topics(&self) -> Vec<TopicShape> {
        self.outlet.topics()
    }

    fn resume(&self, _: &Group) -> Result<Resume, JournalStopped> {
        // A crash may have kept the horizon and not the cursor that stood at it.
        self.outlet.commit(&self.live, &self.from)?;
        self.outlet.resume(&self.live)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        self.outlet.read(from, bytes_max)
    }

    fn commit(&self, _: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.outlet.commit(&self.live, cursors)
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        self.outlet.grown(position)
    }
}

#[cfg(test)]
mod tests {
    use lamppost_event::GatewayId;

    use super::*;
    use crate::security::{Login, Mechanism, Security};

    #[test]
    fn each_lane_finds_out_for_itself_that_the_credentials_have_changed() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        #[expect(clippy::disallowed_methods, reason = "a test's file")]
        let write = |text: &str| std::fs::write(&password, text).unwrap();
        write("one");
        let login = Login { mechanism: Mechanism::ScramSha256, user: "post".into(), password: password.clone() };
        let mut config = ForwardConfig::new(GatewayId::new("post").unwrap(), "localhost:9");
        config.keyring = Arc::new(Keyring::new(Security { tls: None, sasl: Some(login) }));
        let live = config_of_live_lane(&config);
        let both = || [&config, &live].map(|lane| lane.keyring.refresh().unwrap());
        assert_eq!((both(), both()), ([true; 2], [false; 2]));
        write("another");
        assert_eq!(both(), [true; 2], "one lane goes on with what is not taken any more");
        assert!(live.keyring.properties().contains(&("sasl.password", "another".to_owned())));
    }
}
