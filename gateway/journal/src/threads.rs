//! The journal's two threads: the writer commits, the keeper prepares and recycles. And the hand that stands in for both.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lamppost_event::JournalStopped;

use crate::shared::Shared;
use crate::sync::{Builder, JoinHandle, moment, sleep};
use crate::waiting::hold;

/// The keeper looks for work at least this often.
const KEEP_PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn start(shared: &Arc<Shared>) -> std::io::Result<Vec<JoinHandle<()>>> {
    let (writer, keeper) = (Arc::clone(shared), Arc::clone(shared));
    Ok(vec![
        Builder::new().name("journal-writer".to_owned()).spawn(move || write(&writer))?,
        Builder::new().name("journal-keeper".to_owned()).spawn(move || keep(&keeper))?,
    ])
}

/// Stops the journal if the thread that holds it panics: nobody is left who could commit, and who waits must know.
pub(crate) struct Alarm<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) of: &'static str,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.stop(format!("{} panicked", self.of));
        }
    }
}

fn write(shared: &Shared) {
    let _alarm = Alarm { shared, of: "the writer" };
    let (mut slept, mut unannounced) = (Duration::ZERO, false);
    loop {
        // All is looked at under the lock that is slept on: who changes something takes it before waking.
        let gather = hold(&shared.gather);
        if shared.stopped.get().is_some() || shared.closing.load(Ordering::Acquire) {
            drop(gather);
            // Whoever closes may wait for the keeper first.
            shared.announce(&mut hold(&shared.writer));
            return;
        }
        let cursors_since = hold(&shared.book).cursors_since;
        if let Some(wait) = shared.until_due(&gather, cursors_since) {
            if std::mem::take(&mut unannounced) {
                drop(gather);
                shared.announce(&mut hold(&shared.writer));
                continue;
            }
            // Woken early or late: looked at again either way.
            let since = moment();
            drop(shared.wake_writer.wait_timeout(gather, wait));
            slept += since.elapsed();
            continue;
        }
        drop(gather);
        match shared.commit_step(Some(std::mem::take(&mut slept))) {
            Ok(true) => unannounced = true,
            // Cursors that no room is left for: a checkpoint will take them.
            Ok(false) => sleep(Duration::from_millis(20)),
            Err(stopped) => {
                tracing::error!(reason = stopped.reason, "the journal has stopped");
                return;
            }
        }
    }
}

fn keep(shared: &Shared) {
    let _alarm = Alarm { shared, of: "the keeper" };
    loop {
        let signal = hold(&shared.keeper);
        let waited = shared.wake_keeper.wait_timeout_while(signal, KEEP_PAUSE, |signal| !signal.wanted && !signal.stop);
        let Ok((mut signal, _)) = waited else { return };
        if signal.stop || shared.stopped.get().is_some() {
            return;
        }
        signal.wanted = false;
        drop(signal);
        if let Err(stopped) = shared.keep_step() {
            tracing::error!(reason = stopped.reason, "the journal has stopped");
            return;
        }
    }
}

/// Does by hand what the threads do.
pub struct Hand {
    shared: Arc<Shared>,
}

impl Hand {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Writes and flushes what has gathered. False if there was nothing.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn commit(&self) -> Result<bool, JournalStopped> {
        let committed = self.shared.commit_step(None);
        self.shared.announce(&mut hold(&self.shared.writer));
        committed
    }

    /// Does the upkeep that is due: checkpoint, recycling, growing. False if nothing was.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn keep(&self) -> Result<bool, JournalStopped> {
        self.shared.keep_step()
    }

    /// Writes a checkpoint now. False if there is no room for one.
    ///
    /// # Errors
    /// [`JournalStopped`].
    pub fn checkpoint(&self) -> Result<bool, JournalStopped> {
        self.shared.running()?;
        let _one_at_a_time = hold(&self.shared.keeping);
        self.shared.checkpoint().map_err(|error| self.shared.stop(error.to_string()))
    }
}
