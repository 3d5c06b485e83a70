//! The thread that alone sends to the router, and starts another one when it dies.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::exchange::{self, WayOut};
use super::router::{Dead, Living};
use super::transit::Transit;
use super::{Command, Shared, envelope};
use crate::counters::add;
use crate::message::Message;

/// Between two starts of a router that keeps dying. Before the first there is none: what one death costs is the start itself.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
// Subscribers have a router again within a second, also where the first start fails.
const _: () = assert!(RESTART_PAUSE.as_millis() < 500);

struct Feeder {
    router: Living,
    transit: Arc<Transit>,
    ways: mpsc::Sender<WayOut>,
    shared: Arc<Shared>,
}

pub(super) fn start(
    queue: mpsc::Receiver<Command>,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    let dead = |Dead| std::io::Error::other("the router did not start");
    let ways = exchange::start(commands, Arc::clone(&shared))?;
    let (router, transit) = begin(&ways, &shared).map_err(dead)?;
    let mut feeder = Feeder { router, transit, ways, shared };
    std::thread::Builder::new().name("mqtt-feeder".into()).spawn(move || {
        for command in queue {
            match command {
                Command::Publish(message, number) => feeder.publish(&message, number),
                Command::Look if feeder.transit.is_over() => feeder.restart(),
                // Another was started already.
                Command::Look => {}
                Command::Stop => break,
                #[cfg(test)]
                Command::Panic(until_dropped) => {
                    feeder.router.panic();
                    // Nothing is ever sent by it.
                    until_dropped.recv().unwrap_or(());
                }
            }
        }
        feeder.router.end();
    })?;
    Ok(())
}

fn begin(ways: &mpsc::Sender<WayOut>, shared: &Shared) -> Result<(Living, Arc<Transit>), Dead> {
    let (router, link) = Living::start(shared.limits.fanout_bytes_max)?;
    let transit = Arc::new(Transit::default());
    ways.send(WayOut { link, transit: Arc::clone(&transit) }).map_err(|_| Dead)?;
    Ok((router, transit))
}

impl Feeder {
    fn publish(&mut self, message: &Message, number: u64) {
        let (sealed, bytes) = (envelope::seal(message, number), message.bytes());
        let bytes_max = Living::holds_bytes(self.shared.limits.fanout_bytes_max);
        loop {
            let entered = self.transit.enter(bytes, bytes_max).is_ok();
            if entered && self.router.publish(sealed.clone()).is_ok() {
                return;
            }
            if entered {
                // It did not go in: it is not lost with the others.
                self.transit.leave(bytes);
            }
            self.restart();
        }
    }

    fn restart(&mut self) {
        // Its links end with its thread, and the exchange has told the mailboxes when this returns.
        let (messages, bytes) = self.transit.lost();
        self.shared.pool.give(bytes);
        add(&self.shared.counters.fanout_shed, messages);
        add(&self.shared.counters.router_restarts, 1);
        tracing::error!(
            lost = messages,
            "the router died: remembered sessions go on with the next, other subscribers have to connect again, ingest goes on"
        );
        loop {
            match begin(&self.ways, &self.shared) {
                Ok((router, transit)) => {
                    (self.router, self.transit) = (router, transit);
                    return;
                }
                Err(Dead) => std::thread::sleep(RESTART_PAUSE),
            }
        }
    }
}
