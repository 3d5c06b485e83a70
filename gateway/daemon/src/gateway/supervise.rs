//! Keeps the gateway's parts alive, and tells when one has ended for good.

use std::future::Future;

use lamppost_event::JournalStopped;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Tells parts to stop.
pub(crate) struct Stop(watch::Sender<bool>);

impl Stop {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Completes once told to stop, or when nobody is left who could tell.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut told = self.0.subscribe();
        async move { drop(told.wait_for(|stop| *stop).await) }
    }
}

/// Where a part that has ended for good leaves the reason; the first one counts.
pub(crate) type Fail = watch::Sender<Option<String>>;

/// Runs a part. It may end well (told to stop) or because the journal has stopped; a panic ends the gateway too, and the service
/// manager starts it anew: what a part held in memory can't be trusted after one.
pub(crate) fn supervise<T>(name: &'static str, fail: &Fail, part: T) -> JoinHandle<Result<(), JournalStopped>>
where
    T: Future<Output = Result<(), JournalStopped>> + Send + 'static,
{
    let fail = fail.clone();
    tokio::spawn(async move {
        let ended = match tokio::spawn(part).await {
            Ok(ended) => ended,
            Err(error) => Err(JournalStopped { reason: format!("{name} panicked: {error}") }),
        };
        if let Err(error) = &ended {
            tracing::error!(part = name, %error, "a part of the gateway has ended");
            fail.send_if_modified(|reason| {
                let first = reason.is_none();
                reason.get_or_insert_with(|| format!("{name}: {error}"));
                first
            });
        }
        ended
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_part_that_ends_for_good_is_the_reason() {
        let (fail, mut failed) = watch::channel(None);
        let stopped = || JournalStopped { reason: "the flush failed".to_owned() };
        supervise("serial", &fail, async move { Err(stopped()) }).await.unwrap().unwrap_err();
        supervise("mqtt", &fail, async { panic!("a part that panics") }).await.unwrap().unwrap_err();
        let reason = failed.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(reason, "serial: the journal has stopped: the flush failed");
    }

    #[tokio::test]
    async fn a_part_that_was_told_to_stop_is_no_failure() {
        let (fail, failed) = watch::channel(None);
        let stop = Stop::new();
        let stopped = stop.stopped();
        let part = supervise("mqtt", &fail, async move {
            stopped.await;
            Ok(())
        });
        stop.stop();
        part.await.unwrap().unwrap();
        assert_eq!(*failed.borrow(), None);
    }
}
