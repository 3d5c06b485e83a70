//! One task asks the journal how far it is on disk; all connections watch its answer.

use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{Commit, Intake};
use tokio::sync::watch;

use crate::waiters::Waiters;

/// How often a stopped journal is asked whether it was opened again.
const REOPENED_POLL: Duration = Duration::from_millis(500);

/// How far the journal is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Reached(Commit),
    /// It takes nothing, and nothing more becomes durable.
    Stopped,
}

pub(crate) fn now(intake: &dyn Intake) -> Durability {
    intake.durable().map_or(Durability::Stopped, Durability::Reached)
}

/// Follows the journal until all watchers are gone.
pub(crate) async fn follow(intake: Arc<dyn Intake>, watched: watch::Sender<Durability>, waiters: Arc<Waiters>) {
    loop {
        let before = *watched.borrow();
        let after = match before {
            Durability::Reached(seen) => match intake.durable_after(seen).await {
                Ok(commit) => Durability::Reached(commit),
                Err(stopped) => {
                    tracing::error!(%stopped, "nothing is acknowledged any more");
                    Durability::Stopped
                }
            },
            Durability::Stopped => {
                tokio::time::sleep(REOPENED_POLL).await;
                now(&*intake)
            }
        };
        waiters.reach(after);
        watched.send_if_modified(|value| std::mem::replace(value, after) != after);
    }
}
