//! What the journal tells the clusters of itself: gaps before they are passed, and manifests, of each sink for itself. Both are events of one
//! topic, forwarded like any other; `lamppost audit` reads them there ([`lamppost_event::Notice`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    AUDIT_TRAIL, Address, Clock, Commit, ContentType, DeviceId, Event, EventTime, Extent, Gap, GatewayId, Group,
    Interest, JournalStopped, MAIN_SINK, Notice, Offset, Origin, Partition, SourceKind, StoredRecord, Topic,
    TopicPartition, Waiting, encode_event,
};
use lamppost_forward::AuditTrail;
use lamppost_journal::{AppendError, Journal, Priority};
use tokio::time::{Instant, sleep, timeout};

use super::setup::is_of_users;

/// How long a notice of a gap waits for room.
const TELL_MAX: Duration = Duration::from_secs(60);
/// Before it is offered again.
const TELL_PAUSE: Duration = Duration::from_millis(50);
/// Partitions in one manifest: some 60 bytes each, and the smallest of event sizes still takes a notice.
const EXTENTS_MAX: usize = 16;

/// Manifests are not written more often.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Writes notices.
pub(crate) struct Trail {
    journal: Journal,
    clock: Arc<dyn Clock>,
    gateway: GatewayId,
    /// The clusters that are told how far all has come.
    sinks: Vec<(Group, Interest)>,
    /// What was told last.
    told: Mutex<BTreeMap<(Group, TopicPartition), [u64; 2]>>,
    /// The last notice of a gap found no room: the next one does not wait for it.
    was_full: AtomicBool,
}

/// Why a notice is not in the journal.
enum Untold {
    NoRoom,
    Stopped(JournalStopped),
}

impl Trail {
    pub(crate) fn new(
        journal: Journal,
        clock: Arc<dyn Clock>,
        gateway: GatewayId,
        sinks: Vec<(Group, Interest)>,
    ) -> Self {
        Self { journal, clock, gateway, sinks, told: Mutex::default(), was_full: AtomicBool::new(false) }
    }

    /// Tells whose epoch this is, before anything is stored in it: offsets go on through a journal's epochs.
    pub(crate) fn identify(&self) -> Result<(), JournalStopped> {
        let notice =
            Notice::Manifest { journal: self.identity(), topic: audit_trail(), partitions: Vec::new(), sink: None };
        match self.append(&notice) {
            Ok(_) => Ok(()),
            Err(Untold::NoRoom) => {
                tracing::debug!("no room to tell the audit of a new epoch");
                Ok(())
            }
            Err(Untold::Stopped(stopped)) => Err(stopped),
        }
    }

    /// Tells how far the partitions have come, now and again each `every`, until `stopped`.
    pub(crate) async fn run(
        self: Arc<Self>,
        every: Duration,
        stopped: impl Future<Output = ()> + Send,
    ) -> Result<(), JournalStopped> {
        let mut stopped = pin!(stopped);
        let every = every.max(EVERY_MIN);
        loop {
            self.manifest()?;
            if timeout(every, &mut stopped).await.is_ok() {
                return Ok(());
            }
        }
    }

    /// Tells each cluster of the topics that have come further since the last time. What finds no room is told the next time.
    pub(crate) fn manifest(&self) -> Result<(), JournalStopped> {
        self.sinks.iter().try_for_each(|(sink, interest)| self.manifest_of(sink, interest))
    }

    fn manifest_of(&self, sink: &Group, interest: &Interest) -> Result<(), JournalStopped> {
        let mut topics: BTreeMap<Topic, Vec<Extent>> = BTreeMap::new();
        let cursors = self.journal.resume(sink)?.cursors.into_iter();
        let done: BTreeMap<TopicPartition, Offset> = cursors.map(|cursor| (cursor.at, cursor.next)).collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told_of = |at: &TopicPartition| {
            is_of_users(&at.topic) && at.topic.as_str() != AUDIT_TRAIL && interest.takes(&at.topic)
        };
        for bounds in self.journal.partitions().into_iter().filter(|bounds| bounds.next.0 > 0 && is_told_of(&bounds.at))
        {
            let done = done.get(&bounds.at).copied().unwrap_or_default().min(bounds.next);
            if told.get(&(sink.clone(), bounds.at.clone())) != Some(&[bounds.next.0, done.0]) {
                let extent = Extent { partition: bounds.at.partition, first: bounds.first, next: bounds.next, done };
                topics.entry(bounds.at.topic).or_default().push(extent);
            }
        }
        for (topic, extents) in topics {
            for partitions in extents.chunks(EXTENTS_MAX) {
                let (journal, sink_of) = (self.identity(), name_of(sink));
                let notice =
                    Notice::Manifest { journal, topic: topic.clone(), partitions: partitions.to_vec(), sink: sink_of };
                match self.append(&notice) {
                    Ok(_) => told.extend(partitions.iter().map(|extent| {
                        let at = TopicPartition { topic: topic.clone(), partition: extent.partition };
                        ((sink.clone(), at), [extent.next.0, extent.done.0])
                    })),
                    Err(Untold::NoRoom) => tracing::debug!(%sink, %topic, "no room for a manifest"),
                    Err(Untold::Stopped(stopped)) => return Err(stopped),
                }
            }
        }
        Ok(())
    }

    /// Where that sink's gaps are told.
    pub(crate) fn of(self: &Arc<Self>, sink: Group) -> Arc<SinkTrail> {
        Arc::new(SinkTrail { trail: Arc::clone(self), sink })
    }

    fn identity(&self) -> String {
        format!("{:032x}", self.journal.identity())
    }

    fn append(&self, notice: &Notice) -> Result<Commit, Untold> {
        let (topic, record) = self.record(notice);
        match self.journal.append(&topic, Partition(0), record, None) {
            Ok(appended) => Ok(appended.commit),
            Err(AppendError::Full(_)) => Err(Untold::NoRoom),
            Err(AppendError::Stopped(stopped)) => Err(Untold::Stopped(stopped)),
            Err(error) => {
                tracing::error!(%error, "a notice for the audit was refused");
                Err(Untold::NoRoom)
            }
        }
    }

    fn record(&self, notice: &Notice) -> (Topic, StoredRecord) {
        let kind = match notice {
            Notice::Gap { .. } => "gap",
            Notice::Manifest { .. } => "manifest",
        };
        // Texts and numbers: it can't fail.
        let payload = serde_json::to_vec(notice).unwrap_or_default();
        #[expect(
            clippy::unwrap_used,
            reason = "literals that are legal, and a gateway's name is as narrow as a device's"
        )]
        let event = Event {
            source: SourceKind::Gateway,
            device: DeviceId::new(self.gateway.as_str()).unwrap(),
            address: Address::new(&format!("{AUDIT_TRAIL}/{kind}")).unwrap(),
            topic: audit_trail(),
            key: Bytes::copy_from_slice(self.gateway.as_str().as_bytes()),
            origin: Origin::Unmarked,
            time: EventTime::received(self.clock.now(), None),
            content_type: Some(ContentType::new("application/json").unwrap()),
            reason: None,
            payload: payload.into(),
        };
        (event.topic.clone(), encode_event(&event))
    }
}

/// The sink's name in its notices: the main one's have none.
fn name_of(sink: &Group) -> Option<Group> {
    (sink.as_str() != MAIN_SINK).then(|| sink.clone())
}

/// The trail, as one sink tells its gaps there.
pub(crate) struct SinkTrail {
    trail: Arc<Trail>,
    sink: Group,
}

impl AuditTrail for SinkTrail {
    fn tell(&self, gap: Gap) -> Waiting<'_, Result<bool, JournalStopped>> {
        self.trail.tell(gap, &self.sink)
    }
}

impl Trail {
    fn tell<'a>(&'a self, gap: Gap, sink: &'a Group) -> Waiting<'a, Result<bool, JournalStopped>> {
        Box::pin(async move {
            let Gap { at, from, to, reason } = gap;
            let (topic, partition, journal) = (at.topic, at.partition, self.identity());
            let notice = Notice::Gap { journal, topic, partition, from, to, reason, sink: name_of(sink) };
            let patience = if self.was_full.load(Ordering::Relaxed) { Duration::ZERO } else { TELL_MAX };
            let give_up = Instant::now() + patience;
            let commit = loop {
                match self.append(&notice) {
                    Ok(commit) => break commit,
                    Err(Untold::Stopped(stopped)) => return Err(stopped),
                    Err(Untold::NoRoom) if Instant::now() >= give_up => {
                        self.was_full.store(true, Ordering::Relaxed);
                        return Ok(false);
                    }
                    Err(Untold::NoRoom) => {
                        drop(timeout(Duration::from_secs(1), self.journal.room_for(Priority::DeadLetter)).await);
                        sleep(TELL_PAUSE).await;
                    }
                }
            };
            self.was_full.store(false, Ordering::Relaxed);
            let mut durable = self.journal.durable()?;
            while durable < commit {
                durable = self.journal.durable_after(durable).await?;
            }
            Ok(true)
        })
    }
}

/// The topic of notices.
pub(crate) fn audit_trail() -> Topic {
    #[expect(clippy::unwrap_used, reason = "a literal that is legal")]
    Topic::new(AUDIT_TRAIL).unwrap()
}

#[cfg(test)]
mod tests;
