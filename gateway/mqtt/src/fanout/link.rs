//! One client's way out of the router.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use rumqttd::Notification;
use rumqttd::local::LinkRx;

use super::{Command, Delivery, Shared, envelope};

/// Which link of which router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) life: u64,
    pub(super) slot: usize,
}

/// The router died. Its subscriptions are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router of this link died")]
pub(crate) struct LinkEnded;

/// A link. Dropping it ends its subscriptions.
pub(crate) struct Link {
    /// Gone first when the link is dropped; see the module's invariants.
    answers: Option<LinkRx>,
    name: Name,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl Link {
    pub(super) fn new(answers: LinkRx, name: Name, commands: mpsc::Sender<Command>, shared: Arc<Shared>) -> Self {
        Self { answers: Some(answers), name, commands, shared }
    }

    /// Subscribes. What is delivered for it carries `id`, which is not 0. What a connection publishes later goes in later.
    pub(crate) fn subscribe(&self, filter: &str, id: usize) -> Result<(), LinkEnded> {
        let filter = filter.to_owned();
        self.commands.send(Command::Subscribe { link: self.name, filter, id }).map_err(|_| LinkEnded)
    }

    pub(crate) fn unsubscribe(&self, filter: &str) -> Result<(), LinkEnded> {
        let filter = filter.to_owned();
        self.commands.send(Command::Unsubscribe { link: self.name, filter }).map_err(|_| LinkEnded)
    }

    /// The next message. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Delivery, LinkEnded> {
        let answers = self.answers.as_mut().ok_or(LinkEnded)?;
        loop {
            match answers.next().await.map_err(|_| LinkEnded)? {
                Some(Notification::Forward(forward)) => {
                    let Some(message) = envelope::unseal(&forward.publish.topic, forward.publish.payload) else {
                        continue;
                    };
                    let ids = forward.properties.map(|properties| properties.subscription_identifiers);
                    let subscription = ids.and_then(|ids| ids.first().copied());
                    return Ok(Delivery { message, subscription });
                }
                // The router has paused this link until it is told that its messages were read. Told at any other time,
                // it panics (scheduler.rs:171). Not awaited: cancelled half-way, the pause would never end.
                Some(Notification::Unschedule) => answers.ready().map_err(|_| LinkEnded)?,
                Some(Notification::Disconnect(..)) => return Err(LinkEnded),
                _ => {}
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.answers = None;
        self.shared.links.fetch_sub(1, Ordering::AcqRel);
        // Without a feeder there is no router either.
        drop(self.commands.send(Command::Close { link: self.name }));
    }
}
