//! The view of the devices, kept in sled: who reported when, and how far each sender's sequence has come. It answers
//! fast and is never evidence: where it is missing, broken or behind, the journal is asked.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{PoisonError, RwLock};

use lamppost_event::{
    BootId, Commit, DeviceId, Epoch, JournalStopped, Position, StoredRecord, Topic, WallTime, device_of,
};
use lamppost_journal::{ItemInPlace, Journal, Mark, Marked, RecordInPlace, StateChange, StateError};
use lamppost_views::{Change, PAYLOAD_BYTES_MAX, Recovered, ViewError, Views};

use super::outlet::event;

/// How much is read from the journal at once, bytes.
const READ_BYTES: usize = 256 << 10;
/// Devices that one feeding takes up beside the marks; others are taken up when they report again.
const SEEN_MAX: usize = 8_192;
/// Marks that may wait between the journal's scan and the view while all of them are read.
const REBUILD_QUEUE: usize = 1_024;

/// The view, or none where it could not be opened or has broken.
pub(crate) struct Devices {
    views: RwLock<Option<Views>>,
    forgotten: AtomicU64,
}

/// How far the view has been fed.
pub(crate) struct Fed {
    position: Position,
    applied: Commit,
}

impl Devices {
    /// Opens the view beside the journal, and rebuilds it from the journal's state where it does not fit. `continued`: the epoch that the
    /// journal's goes on from ([`lamppost_journal::Recovery::continued`]). Blocks.
    pub(crate) fn open(
        dir: &Path,
        journal: &Journal,
        continued: Option<Epoch>,
        boot: BootId,
    ) -> Result<(Self, Fed), JournalStopped> {
        let end = journal.durable()?;
        let recovered = Recovered { epoch: journal.epoch(), continued, from: journal.known_since(), end, boot };
        let nothing = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "going on without the view of the devices; the journal answers instead");
            Self { views: RwLock::new(None), forgotten: AtomicU64::new(0) }
        };
        let fed = |applied| Fed { position: Position(0), applied };
        let opened = match Views::open(dir, recovered) {
            Ok(opened) => opened,
            Err(error) => return Ok((nothing(&error), fed(end))),
        };
        if let Some(reason) = opened.discarded {
            tracing::info!(?reason, "the view of the devices is built anew from the journal");
        }
        let applied = match opened.applied {
            Some(applied) => applied,
            None => match rebuild(&opened.views, journal)? {
                Ok(applied) => applied,
                Err(error) => return Ok((nothing(&error), fed(end))),
            },
        };
        Ok((Self { views: RwLock::new(Some(opened.views)), forgotten: AtomicU64::new(0) }, fed(applied)))
    }

    /// The highest sequence taken of that device and boot, and the commit that it is durable with.
    pub(crate) fn marked(
        &self,
        journal: &Journal,
        device: &DeviceId,
        boot: u64,
    ) -> Result<Option<Marked>, JournalStopped> {
        if let Some(recent) = journal.marked_recently(device, boot) {
            return Ok(Some(recent));
        }
        if let Some(answer) = self.ask(journal, device, boot) {
            return Ok(answer);
        }
        journal
            .marked(device, boot)
            .map_err(|error| JournalStopped { reason: format!("a mark can't be read: {error}") })
    }

    /// What the view knows; `None` if it can't be trusted. It can if it has applied all that the journal has no recent memory of:
    /// asked *after* the look, since the journal may forget in between.
    fn ask(&self, journal: &Journal, device: &DeviceId, boot: u64) -> Option<Option<Marked>> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let views = views.as_ref()?;
        let applied = views.applied().ok()??;
        let sequence = views.high_water(device, boot).ok()?;
        let answer = sequence.map(|sequence| Marked { sequence, commit: applied });
        (applied >= journal.known_since()).then_some(answer)
    }

    /// Brings the view up to the journal's durable end. Blocks.
    pub(crate) fn feed(&self, journal: &Journal, fed: &mut Fed) -> Result<(), JournalStopped> {
        let seen = read_seen(journal, fed)?;
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let Some(views) = views.as_ref() else { return Ok(()) };
        let (applied, upto) = match journal.state_since(fed.applied) {
            Ok(changes) => {
                let marks = changes.changes.into_iter().filter_map(|change| match change {
                    StateChange::Mark(mark) => Some(mark_change(mark)),
                    StateChange::Value { .. } => None,
                });
                let marks_and_seen: Vec<Change> = marks.chain(seen).collect();
                (views.apply(changes.upto, &marks_and_seen), changes.upto)
            }
            // It was not fed for longer than the journal remembers changes: all marks are read.
            Err(StateError::TooOld { .. }) => {
                // Marks that become durable during the scan are applied again after it.
                let upto = journal.durable()?;
                (
                    all_marks(journal, |marks| views.catch_up(upto, marks.into_iter().chain(seen.into_iter().map(Ok)))),
                    upto,
                )
            }
            // The view stays behind, and is not trusted meanwhile; that the journal has stopped shows elsewhere.
            Err(error) => {
                tracing::warn!(%error, "the view of the devices can't be brought up to date");
                return Ok(());
            }
        };
        if let Err(error) = applied {
            tracing::warn!(%error, "the view of the devices has broken; the journal answers until the next start");
            return Ok(());
        }
        fed.applied = upto;
        self.count(views);
        Ok(())
    }

    /// Devices forgotten since the start, because there were too many.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn count(&self, views: &Views) {
        if let Ok(forgotten) = views.devices_forgotten() {
            self.forgotten.store(forgotten, Ordering::Relaxed);
        }
    }

    /// Writes what was gathered to the card.
    pub(crate) fn settle(&self) {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        let Some(views) = views.as_ref() else { return };
        if let Err(error) = views.settle() {
            tracing::warn!(%error, "the view of the devices can't be written");
        }
        self.count(views);
    }

    /// Lets go of the folder, so that the next start can use the view.
    pub(crate) fn close(&self) {
        let views = self.views.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = views.map(Views::close) {
            tracing::warn!(%error, "the view of the devices was not closed; the next start builds it anew");
        }
    }
}

fn mark_change(Mark { device, boot, sequence }: Mark) -> Change {
    Change::Mark { device, boot, sequence }
}

/// Fills an empty view with all marks.
fn rebuild(views: &Views, journal: &Journal) -> Result<Result<Commit, ViewError>, JournalStopped> {
    // Marks that become durable during the scan are applied again after it.
    let upto = journal.durable()?;
    Ok(all_marks(journal, |marks| views.try_rebuild(upto, marks)).map(|()| upto))
}

/// Streams all marks: never more than a queue of them is held, since whoever makes devices up makes marks.
fn all_marks<T>(journal: &Journal, take: impl FnOnce(Receiver<Result<Change, String>>) -> T) -> T {
    let (send, receive) = sync_channel(REBUILD_QUEUE);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A view that breaks stops listening; what it says then is what counts.
            let scanned = journal.marks(&mut |mark| drop(send.send(Ok(mark_change(mark)))));
            if let Err(error) = scanned {
                // The view must not believe that it has everything.
                drop(send.send(Err(error.to_string())));
            }
        });
        take(receive)
    })
}

/// The last report of each device since the last feeding.
fn read_seen(journal: &Journal, fed: &mut Fed) -> Result<Vec<Change>, JournalStopped> {
    let mut last: HashMap<Box<str>, Report> = HashMap::new();
    loop {
        let read = journal.read_in_place(fed.position, READ_BYTES, |item| {
            let ItemInPlace::Record(record) = item else { return };
            // What can't be decoded is shown by its key.
            let device = device_of(record.key, record.header).ok().or_else(|| std::str::from_utf8(record.key).ok());
            let device = device.unwrap_or_default();
            if let Some(report) = last.get_mut(device) {
                report.replace(&record);
            } else if last.len() < SEEN_MAX {
                last.insert(device.into(), Report::new(&record));
            }
        })?;
        fed.position = read.next;
        if read.caught_up {
            return Ok(last.into_values().map(|report| report.change()).collect());
        }
    }
}

/// A device's report, copied: most are replaced by a later one before anybody decodes them.
struct Report {
    topic: Topic,
    timestamp: WallTime,
    key: Vec<u8>,
    header: Vec<u8>,
    payload: Vec<u8>,
    payload_bytes: u32,
}

impl Report {
    fn new(record: &RecordInPlace<'_>) -> Self {
        let (topic, timestamp) = (record.topic.clone(), record.timestamp);
        let mut report =
            Self { topic, timestamp, key: Vec::new(), header: Vec::new(), payload: Vec::new(), payload_bytes: 0 };
        report.replace(record);
        report
    }

    fn replace(&mut self, record: &RecordInPlace<'_>) {
        if self.topic != *record.topic {
            self.topic = record.topic.clone();
        }
        self.timestamp = record.timestamp;
        let payload = record.value.unwrap_or_default();
        self.payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        // More would not be kept.
        let payload = payload.get(..PAYLOAD_BYTES_MAX).unwrap_or(payload);
        for (kept, piece) in
            [(&mut self.key, record.key), (&mut self.header, record.header), (&mut self.payload, payload)]
        {
            kept.clear();
            kept.extend_from_slice(piece);
        }
    }

    fn change(self) -> Change {
        let Self { topic, timestamp, key, header, payload, payload_bytes } = self;
        let record = StoredRecord { timestamp, key: key.into(), value: Some(payload.into()), header: header.into() };
        Change::seen(event(&topic, record), payload_bytes)
    }
}
