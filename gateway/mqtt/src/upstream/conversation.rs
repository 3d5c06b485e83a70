//! One connection to a broker, from dialing to its end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lamppost_event::{Commit, Intake, JournalStopped};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::book::{Book, Subscriptions};
use super::client::{Granted, Heard, Listener, Login, Speaker, client};
use super::inbox::{Inbox, Offered};
use super::line::{self, Line, LineError};
use super::message::Message;
use super::status::{add, set};
use super::{Broker, BrokerCause, BrokerStatus, tls};

/// How long what was taken may take to become durable and be acknowledged when the source stops.
const STOP_MAX: Duration = Duration::from_secs(8);
/// Before an event that found no room is offered again.
const ROOM_PAUSE: Duration = Duration::from_millis(20);
/// A full journal is asked again at least so often.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// Why a conversation ended without being told to.
#[derive(Debug)]
pub(super) enum Ended {
    Line(LineError),
    Journal(JournalStopped),
}

impl From<LineError> for Ended {
    fn from(error: LineError) -> Self {
        Self::Line(error)
    }
}

impl From<JournalStopped> for Ended {
    fn from(stopped: JournalStopped) -> Self {
        Self::Journal(stopped)
    }
}

/// What a conversation needs of its source.
pub(super) struct Conversation<'a> {
    pub(super) broker: &'a Broker,
    pub(super) intake: &'a dyn Intake,
    pub(super) status: &'a Arc<BrokerStatus>,
    pub(super) subscriptions: &'a Arc<dyn Subscriptions>,
    pub(super) book: &'a mut Book,
    /// The last commit that anything of this source went with.
    pub(super) offered: &'a mut Commit,
    /// Since when the broker has accepted us.
    pub(super) accepted_at: &'a mut Option<Instant>,
    /// A connection that stands for so long is a good one.
    pub(super) good_after: Duration,
}

/// The state of an open connection.
struct Open {
    speaker: Speaker,
    inbox: Inbox,
    /// On disk, as far as we have been told.
    durable: Commit,
    /// Set once told to stop: until when there is time.
    stopping: Option<Instant>,
    /// Our DISCONNECT was said.
    left: bool,
    /// The next word about subscriptions is to be said.
    word_due: bool,
    /// PUBLISH packets that were heard.
    publishes: u64,
}

impl Conversation<'_> {
    /// Reads the broker until `stopped` completes, or it can't.
    pub(super) async fn run(mut self, mut stopped: Pin<&mut impl Future<Output = ()>>) -> Result<(), Ended> {
        let opening = async { Ok::<_, LineError>((self.login().await?, self.open().await?)) };
        let (login, mut line) = tokio::select! {
            opened = opening => opened?,
            () = &mut stopped => return Ok(()),
        };
        let (speaker, mut listener) = client(self.broker, login, &line.local_name);
        let durable = self.intake.durable()?;
        let inbox = Inbox::after(*self.offered);
        let mut open = Open { speaker, inbox, durable, stopping: None, left: false, word_due: false, publishes: 0 };
        let ended = self.talk(&mut open, &line, &mut listener, stopped).await;
        *self.offered = open.inbox.last();
        self.status.connected_now.store(false, Ordering::Relaxed);
        for gauge in [&self.status.unacknowledged_now, &self.status.left_now, &self.status.filters_refused_now] {
            set(gauge, 0);
        }
        // rumqttc closes its end: what it said last (acknowledgements, a DISCONNECT) is carried to the broker.
        drop(listener);
        let word = line.last_word().await.filter(|word| word.cause != BrokerCause::Client);
        match ended {
            Err(Ended::Line(error)) => {
                // It knows why a connection ended, and nothing of what was said.
                let knows_more = matches!(error.cause, BrokerCause::Closed | BrokerCause::Protocol);
                Err(word.filter(|_| knows_more).unwrap_or(error).into())
            }
            ended => ended,
        }
    }

    async fn login(&self) -> Result<Option<Login>, LineError> {
        let Some(login) = &self.broker.login else { return Ok(None) };
        let password = match &login.password {
            None => String::new(),
            Some(path) => {
                let text = String::from_utf8(tls::read(path).await?);
                let text = text.map_err(|_| {
                    LineError::new(BrokerCause::Files, format!("{}: the password is not UTF-8", path.display()))
                })?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        Ok(Some(Login { user: login.user.clone(), password }))
    }

    async fn open(&self) -> Result<Line, LineError> {
        line::open(self.broker, Arc::clone(self.status)).await
    }

    /// Hears one thing after the other, and between them does what else there is to do.
    async fn talk(
        &mut self,
        open: &mut Open,
        line: &Line,
        listener: &mut Listener,
        mut stopped: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Ended> {
        loop {
            let deaf = self.turn(open, line);
            // Not dropped before it completes: rumqttc may be in the middle of writing.
            let mut heard = pin!(listener.hear(deaf));
            let heard = loop {
                let deadline = open.stopping.unwrap_or_else(Instant::now);
                let steady = self.steady_at();
                tokio::select! {
                    heard = &mut heard => break heard,
                    durable = self.intake.durable_after(open.durable), if open.inbox.waits_for_durable() => {
                        open.durable = durable?;
                    }
                    () = sleep_until(steady.unwrap_or(deadline)), if steady.is_some() => {
                        self.status.unsteady_now.store(false, Ordering::Relaxed);
                    }
                    () = self.room(), if open.inbox.is_stalled() => self.offer_waiting(open)?,
                    () = &mut stopped, if open.stopping.is_none() => {
                        open.stopping = Some(Instant::now() + STOP_MAX);
                        // Not offered, so not acknowledged: it stays with the broker.
                        open.inbox.forget_waiting();
                    }
                    () = sleep_until(deadline), if open.stopping.is_some() => return Ok(()),
                }
                self.turn(open, line);
            };
            match heard {
                Ok(Heard::Left) => return Ok(()),
                // Whatever ends it now: what is not acknowledged stays with the broker.
                Err(_) if open.stopping.is_some() => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok(heard) => self.hear(open, line, heard).await?,
            }
        }
    }

    /// When this connection will have stood for long enough to be a good one, if that is not known yet.
    fn steady_at(&self) -> Option<Instant> {
        let unsteady = self.status.unsteady_now.load(Ordering::Relaxed);
        self.accepted_at.filter(|_| unsteady).map(|at| at + self.good_after)
    }

    /// Completes some time after there may be room: there may be room for a small event and none for the one that waits. And now and then
    /// without a sign: an alarm may find room where there is none for all.
    async fn room(&self) {
        drop(timeout(ROOM_PATIENCE, self.intake.room()).await);
        sleep(ROOM_PAUSE).await;
    }

    /// Says what there is to say, and opens or closes the gate. Returns whether rumqttc can't hear a broker that is there: it is closed, or what
    /// comes is left out.
    fn turn(&self, open: &mut Open, line: &Line) -> bool {
        open.word_due = open.word_due && !self.say(&open.speaker);
        let speaker = &open.speaker;
        // What has nothing to wait for would wait for the next commit.
        open.inbox.durable(open.durable);
        add(&self.status.pubacks, open.inbox.acknowledge(|packet_id| speaker.acknowledge(packet_id)));
        set(&self.status.unacknowledged_now, open.inbox.unacknowledged());
        if open.stopping.is_some() && !open.left && open.inbox.unacknowledged() == 0 {
            open.left = open.speaker.leave();
        }
        let read = open.stopping.is_none() && open.inbox.has_room(self.broker.window, self.broker.window_bytes_max);
        line.set_gate(read);
        !read || line.leaves_out()
    }

    async fn hear(&mut self, open: &mut Open, line: &Line, heard: Heard) -> Result<(), Ended> {
        match heard {
            Heard::Accepted { session_present } => self.accepted(open, session_present),
            Heard::Subscribed(granted) => self.subscribed(&granted),
            Heard::Unsubscribed => {
                open.word_due |= self.book.next_to_leave().is_some();
                self.book.unsubscribed();
            }
            Heard::Alive if self.owes_nothing(open) => self.book.answered(),
            Heard::Message(message) if open.stopping.is_none() => {
                open.publishes += 1;
                self.take(open, message, line.cut(open.publishes))?;
            }
            // While stopping it is not taken, so that it stays with the broker.
            Heard::Message(_) | Heard::Alive | Heard::Left | Heard::Nothing => {}
        }
        if let Some(kept) = self.book.unsaved() {
            let subscriptions = Arc::clone(self.subscriptions);
            drop(spawn_blocking(move || subscriptions.keep(&kept)).await);
        }
        Ok(())
    }

    /// All that came is on disk, with QoS 0 as well, and acknowledged.
    fn owes_nothing(&self, open: &Open) -> bool {
        let on_disk = self.intake.durable().is_ok_and(|durable| open.inbox.last() <= durable);
        on_disk && open.inbox.unacknowledged() == 0 && self.status.left_now.load(Ordering::Relaxed) == 0
    }

    fn accepted(&mut self, open: &mut Open, session_present: bool) {
        let status = self.status;
        status.connected_now.store(true, Ordering::Relaxed);
        add(&status.connects, 1);
        add(&status.sessions_resumed, u64::from(session_present));
        *self.accepted_at = Some(Instant::now());
        tracing::info!(broker = %self.broker.name, session_present, "connected");
        self.book.accepted(session_present);
        open.word_due = true;
    }

    /// Says the next word about subscriptions: one once the one before was answered, so that none has a packet id that another has still
    /// [MQTT-2.2.1-3] (rumqttc gives all of them the same), nor finds rumqttc's queue full of the others. `false`: that is full now.
    fn say(&self, speaker: &Speaker) -> bool {
        let Some(filter) = self.book.next_to_leave() else { return speaker.subscribe(&self.broker.filters) };
        let said = speaker.unsubscribe(filter);
        if said {
            tracing::info!(broker = %self.broker.name, filter, "unsubscribing from what is no longer configured");
        }
        said
    }

    fn subscribed(&mut self, granted: &[Granted]) {
        let name = &self.broker.name;
        let holds: Vec<bool> = granted.iter().map(|granted| *granted != Granted::Refused).collect();
        self.book.subscribed(&holds);
        let mut short = 0;
        for (at, filter) in self.broker.filters.iter().enumerate() {
            let filter_text = filter.as_str();
            match granted.get(at) {
                Some(Granted::AtLeastOnce) => {}
                Some(Granted::AtMostOnce) if !filter.is_at_least_once() => {}
                Some(Granted::AtMostOnce) => {
                    short += 1;
                    tracing::error!(broker = %name, filter = filter_text, "the broker grants QoS 0 only: what is under way when a connection ends is lost");
                }
                Some(Granted::Refused) | None => {
                    short += 1;
                    tracing::error!(broker = %name, filter = filter_text, "the broker refuses this subscription; it is asked again at the next connecting");
                }
            }
        }
        set(&self.status.filters_refused_now, short);
    }

    /// `cut`: of a packet of so many bytes it is the beginning.
    fn take(&mut self, open: &mut Open, message: Message, cut: Option<usize>) -> Result<(), Ended> {
        let (status, bytes, packet_id) = (self.status, message.bytes(), message.packet_id);
        let count = if packet_id.is_some() { &status.messages_qos1 } else { &status.messages_qos0 };
        add(count, 1);
        add(&status.delivered_again, u64::from(message.duplicate));
        // Two that differ may begin alike.
        if self.book.is_repetition(&message) && cut.is_none() {
            add(&status.retained_again, 1);
            open.inbox.offer(self.intake, None, packet_id, bytes)?;
            return Ok(());
        }
        let (topic, content) = (message.topic.clone(), self.book.content(&message).filter(|_| cut.is_none()));
        let offer = match message.offer(self.broker, cut) {
            Ok(offer) => offer,
            Err(error) => {
                self.leave(&topic, packet_id, &error);
                return Ok(());
            }
        };
        let was_stalled = open.inbox.is_stalled();
        let offered = open.inbox.offer(self.intake, Some(offer), packet_id, bytes)?;
        match &offered {
            Offered::Taken | Offered::Buried { .. } => self.book.stored(content),
            Offered::Waits => add(&status.stalls, u64::from(!was_stalled)),
            Offered::TooLarge { .. } => {}
        }
        self.tell(&topic, packet_id, offered);
        Ok(())
    }

    fn offer_waiting(&self, open: &mut Open) -> Result<(), Ended> {
        while open.inbox.is_stalled() {
            let (topic, packet_id) = open.inbox.first_waiting().unwrap_or_default();
            match open.inbox.offer_first(self.intake)? {
                Offered::Waits => break,
                offered => self.tell(&topic, packet_id, offered),
            }
        }
        Ok(())
    }

    /// Counts and says what became no event.
    fn tell(&self, topic: &str, packet_id: Option<u16>, offered: Offered) {
        match offered {
            Offered::Taken | Offered::Waits => {}
            Offered::Buried { address, reason } => {
                let broker = &self.broker.name;
                if self.status.buried.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(%broker, address, reason, "a message is stored as a dead letter and acknowledged; further ones are only counted");
                } else {
                    tracing::debug!(%broker, address, reason, "a message is stored as a dead letter");
                }
            }
            Offered::TooLarge { bytes, bytes_max } => {
                let why =
                    format!("a dead letter of {bytes} bytes without a payload; [journal] event_max allows {bytes_max}");
                self.leave(topic, packet_id, &why);
            }
        }
    }

    /// What can't be stored even as a dead letter stays with the broker, unacknowledged; of QoS 0 there is nothing that could stay.
    fn leave(&self, topic: &str, packet_id: Option<u16>, why: &dyn std::fmt::Display) {
        let broker = &self.broker.name;
        let counter = if packet_id.is_some() { &self.status.left_now } else { &self.status.dropped_qos0 };
        if counter.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                %broker, topic, reason = %why, qos = u8::from(packet_id.is_some()),
                "a message can't be stored: with QoS 1 it stays with the broker, with QoS 0 it is gone; further ones are only counted"
            );
        }
    }
}
