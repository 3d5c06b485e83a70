//! The thread that takes messages out of the router and puts them into the mailboxes of those who want them.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use rumqttd::Notification;
use rumqttd::local::LinkRx;

use super::mailbox::Carried;
use super::transit::Transit;
use super::{Command, Shared, envelope};
use crate::counters::add;
use crate::message::Message;

/// The way out of one router.
pub(super) struct WayOut {
    pub(super) link: LinkRx,
    pub(super) transit: Arc<Transit>,
}

/// Starts the thread. It ends with the feeder's last word.
pub(super) fn start(commands: mpsc::Sender<Command>, shared: Arc<Shared>) -> std::io::Result<mpsc::Sender<WayOut>> {
    let (next, ways) = mpsc::channel::<WayOut>();
    std::thread::Builder::new().name("mqtt-exchange".into()).spawn(move || {
        for WayOut { mut link, transit } in ways {
            while let Some(sealed) = take(&mut link) {
                // What is not a message is the feeder's last word.
                let Some((message, number)) = envelope::unseal(sealed) else { return };
                carry(message, number, &transit, &shared);
            }
            // First nothing more goes into the dead one; then those who were served by it know, and only then is another started: who
            // subscribes from then on is not concerned, and misses nothing.
            transit.end();
            shared.reseat(|seats| seats.clear(&mut |seat| seat.mailbox.end()));
            transit.told();
            // A feeder that is gone needs no other router.
            drop(commands.send(Command::Look));
        }
    })?;
    Ok(next)
}

/// The next envelope; `None`: the router died.
fn take(link: &mut LinkRx) -> Option<Bytes> {
    loop {
        match link.recv().ok()? {
            Some(Notification::Forward(forward)) => return Some(forward.publish.payload),
            // The router has paused this link until it is told that its messages were read. Told at any other time,
            // it panics (scheduler.rs:171).
            Some(Notification::Unschedule) => link.ready().ok()?,
            Some(Notification::Disconnect(..)) => return None,
            _ => {}
        }
    }
}

fn carry(message: Message, number: u64, transit: &Transit, shared: &Shared) {
    let bytes = message.bytes();
    transit.leave(bytes);
    let topic = message.topic.clone();
    let carried = Carried::new(message, bytes, &shared.pool);
    let mut shed = 0;
    shared.seats().visit(topic.as_str(), &mut |seat| {
        if seat.since < number && !seat.mailbox.put(&carried, seat.id) {
            shed += 1;
        }
    });
    add(&shared.counters.fanout_shed, shed);
}
