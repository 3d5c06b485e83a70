//! The thread that works the bus, when it is asked to and, for a chip that is watched, between. A thread of its own rather than one of the runtime's: one that hangs in the kernel must not
//! hold up the program's end, and the runtime waits for its own.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::chip::PollError;
use crate::payload::Measured;
use crate::station::Station;

type Outcome = Result<Vec<Measured>, PollError>;
/// Where the answer goes, and until when somebody waits for it.
type Request = (oneshot::Sender<Outcome>, Instant);

/// A handle to the thread. Dropped, the thread ends after what it is doing.
#[derive(Debug)]
pub(crate) struct Worker {
    requests: mpsc::SyncSender<Request>,
    /// The answer that did not come in time. While it is out, nothing more is asked.
    late: Option<oneshot::Receiver<Outcome>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Not in time, or one asked for earlier is still out.
    Hangs,
    /// The thread is gone.
    Died,
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start(name: &str, mut station: Station) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::sync_channel::<Request>(1);
        let mut looks = Looks { source: name.to_owned(), at: station.at(), failing_with: None, good_since: None };
        let work = move || {
            loop {
                match next(&inbox, station.due()) {
                    // Nobody waits any more: what was seen between polls is kept for who asks next.
                    Ok((_, until)) if Instant::now() > until => {}
                    // An answer that comes too late is stale, and is dropped.
                    Ok((answer, _)) => drop(answer.send(station.poll())),
                    Err(RecvTimeoutError::Timeout) => looks.tell(Instant::now(), station.look()),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        std::thread::Builder::new().name(format!("i2c {name}")).spawn(work)?;
        Ok(Self { requests, late: None })
    }

    /// Polls the chip once, and waits for `limit`.
    pub(crate) async fn poll(&mut self, limit: Duration) -> Result<Outcome, NoAnswer> {
        if let Some(late) = &mut self.late {
            match late.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return Err(NoAnswer::Hangs),
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => self.late = None,
            }
        }
        let (answer, mut outcome) = oneshot::channel();
        let until = Instant::now() + limit;
        // There is room: one request is out at most.
        self.requests.try_send((answer, until)).map_err(|_| NoAnswer::Died)?;
        match tokio::time::timeout(limit, &mut outcome).await {
            Ok(Ok(outcome)) => Ok(outcome),
            // The thread looked at the request as late as that.
            Ok(Err(_closed)) if Instant::now() >= until => Err(NoAnswer::Hangs),
            Ok(Err(_closed)) => Err(NoAnswer::Died),
            Err(_elapsed) => {
                self.late = Some(outcome);
                Err(NoAnswer::Hangs)
            }
        }
    }
}

/// The next request, waited for until `due`, or for ever.
fn next<T>(inbox: &mpsc::Receiver<T>, due: Option<Instant>) -> Result<T, RecvTimeoutError> {
    match due {
        Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
        None => inbox.recv().map_err(|_closed| RecvTimeoutError::Disconnected),
    }
}

/// A chip that comes and goes is well again after so long a time without a failure: until then nothing more is said of the same one.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// What is said of the looks between polls: once per cause.
struct Looks {
    source: String,
    /// The bus and the address.
    at: String,
    failing_with: Option<String>,
    /// Since when nothing has failed.
    good_since: Option<Instant>,
}

impl Looks {
    fn tell(&mut self, now: Instant, looked: Result<(), PollError>) {
        match looked.map_err(|error| error.to_string()) {
            Ok(()) if self.failing_with.is_some() => {
                if now.saturating_duration_since(*self.good_since.get_or_insert(now)) >= WELL_AFTER {
                    (self.failing_with, self.good_since) = (None, None);
                    tracing::info!(source = %self.source, at = %self.at, "the chip can be watched again");
                }
            }
            Ok(()) => {}
            Err(error) if self.failing_with.as_ref() == Some(&error) => self.good_since = None,
            Err(error) => {
                self.good_since = None;
                tracing::warn!(source = %self.source, %error, "the chip can't be watched; it is tried again");
                self.failing_with = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BusAddress;
    use crate::log_lines::LogLines;

    fn failed(reason: &str) -> Result<(), PollError> {
        let address = BusAddress(0x1e);
        Err(PollError::Chip { bus: "/dev/i2c-1".to_owned(), address, reason: reason.to_owned() })
    }

    #[test]
    fn of_a_chip_that_comes_and_goes_between_polls_each_cause_is_told_once_and_its_return_after_a_minute() {
        let log = LogLines::new();
        let at = "/dev/i2c-1, address 0x1e".to_owned();
        let mut looks = Looks { source: "lane-2".to_owned(), at, failing_with: None, good_since: None };
        let began = Instant::now();
        let mut tell = |second, looked| looks.tell(began + Duration::from_secs(second), looked);
        tell(0, Ok(()));
        for second in 1..4 {
            tell(second, failed("it does not answer"));
        }
        // It comes and goes.
        for second in 4..64 {
            tell(second, if second % 2 == 0 { Ok(()) } else { failed("it does not answer") });
        }
        tell(64, failed("it was reset"));
        // Well only after a whole minute.
        (65..=124).for_each(|second| tell(second, Ok(())));
        assert_eq!(log.lines().len(), 2, "{:?}", log.lines());
        (125..200).for_each(|second| tell(second, Ok(())));
        tell(200, failed("it was reset"));
        let tried = "WARN the chip can't be watched; it is tried again source=lane-2 error=/dev/i2c-1, address 0x1e:";
        assert_eq!(
            log.lines(),
            [
                format!("{tried} it does not answer"),
                format!("{tried} it was reset"),
                "INFO the chip can be watched again source=lane-2 at=/dev/i2c-1, address 0x1e".to_owned(),
                format!("{tried} it was reset"),
            ]
        );
    }
}
