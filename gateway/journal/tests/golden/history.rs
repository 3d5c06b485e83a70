//! How the golden journals came to be: two histories on a simulated disk, with seeds and a clock that is turned by hand. The ledger is
//! written as events are taken, not from what is read back.
//!
//! *closed*: a gateway's life with a required group that is far behind. Its oldest segments have been recycled, others went cold, small cold
//! ones were put together, a frame was damaged before it went cold, old traffic was given up, the power failed twice, the journal was
//! opened with each kind of compression, and closed. Its last checkpoint lies in three layers.
//!
//! *cut*: a short one, of one segment, as it lay there after a power cut: a damaged frame in the middle, and a torn one at the end.
#![allow(unreachable_pub, reason = "a module of a test")]

use std::collections::BTreeMap;

use lamppost_event::{ClockQuality, Partition};
use lamppost_journal::Compression;
use lamppost_journal::sim::SimDisk;

use super::gateway::{Gateway, Made, at, lost, topic};
use super::ledger::Missing;

/// Both, by name.
pub fn all() -> BTreeMap<String, Made> {
    [("closed".to_owned(), closed()), ("cut".to_owned(), cut())].into()
}

/// A long life.
pub fn closed() -> Made {
    let mut gateway = Gateway::new(SimDisk::new(1), 1);
    gateway.put("retained/street", Some("on"));
    gateway.put("retained/park", Some("off"));
    gateway.put("session/ann", Some("3 messages"));
    gateway.work(10, &["air"]);
    gateway.set_clock(ClockQuality::Synced);
    gateway.work(40, &["air", "alarms"]);
    gateway.put("session/ann", None);
    // What the cluster has had by now is recycled in time.
    gateway.pass("cluster");
    gateway.work(40, &["air", "traffic", "alarms"]);
    gateway.damaged_commit(Some("damaged on the disk"));
    gateway.work(170, &["air", "traffic", "air", "alarms"]);
    give_traffic_up(&mut gateway);
    gateway.work(60, &["air", "traffic", "air"]);
    gateway.pass("tail");
    gateway.cursor("audit", at("air", 0), 40, false);
    gateway.commit();
    gateway.cursor("audit", at("air", 0), 25, true);
    gateway.put("retained/park", Some("dimmed"));
    gateway.commit();
    // Taken, and not acknowledged: it is gone with the power.
    gateway.journal.append(&topic("air"), Partition(0), lost(), None).unwrap();
    gateway.disk.power_cut();
    let mut gateway = gateway.again(2, Compression::Lz4);
    gateway.big(2);
    gateway.disk.power_cut();
    let mut gateway = gateway.again(3, Compression::Zstd);
    gateway.set_clock(ClockQuality::Synced);
    gateway.big(2);
    gateway.hand.checkpoint().unwrap();
    gateway.journal.close().unwrap();
    let mut gateway = gateway.again(4, Compression::None);
    gateway.work(4, &["alarms", "traffic"]);
    checkpoint_in_layers(&mut gateway);
    // Behind the last checkpoint, in the log alone.
    gateway.put("retained/street", None);
    gateway.put("retained/square", Some("on"));
    gateway.cursor("audit", at("air", 1), 40, false);
    gateway.commit();
    gateway.cursor("audit", at("air", 1), 30, true);
    gateway.work(2, &["air"]);
    gateway.closed()
}

/// A checkpoint of much, and two of a little that changed since.
fn checkpoint_in_layers(gateway: &mut Gateway) {
    for number in 0..60 {
        gateway.put(&format!("session/{number:02}"), Some(&format!("{number} ").repeat(80)));
        if number % 30 == 29 {
            gateway.commit();
        }
    }
    gateway.hand.checkpoint().unwrap();
    gateway.put("session/07", None);
    gateway.put("session/08", Some("none"));
    gateway.put("session/09", Some("one"));
    gateway.commit();
    gateway.hand.checkpoint().unwrap();
    gateway.put("session/09", None);
    gateway.put("session/10", Some("two"));
    gateway.commit();
    gateway.hand.checkpoint().unwrap();
}

/// Hours pass. Of the traffic, all that lies in finished segments goes.
fn give_traffic_up(gateway: &mut Gateway) {
    gateway.clock.turn(2 * 3_600_000);
    while gateway.hand.keep().unwrap() {}
    let gone = gateway.journal.stats().given_up[&topic("traffic")];
    let kept = gateway.ledger.partitions.get_mut("traffic/0").unwrap();
    assert!(gone > 30, "{gone} were given up");
    kept.events.retain(|offset, _| *offset >= gone);
    let reason = Some("given up: older than the topic keeps its events".to_owned());
    kept.gaps.push(Missing { from: 0, to: gone, reason });
}

/// A short one.
pub fn cut() -> Made {
    let mut gateway = Gateway::new(SimDisk::new(2), 11);
    gateway.put("retained/street", Some("on"));
    gateway.work(4, &["air"]);
    gateway.pass("cluster");
    gateway.work(1, &["air"]);
    gateway.hand.checkpoint().unwrap();
    gateway.work(2, &["alarms"]);
    gateway.damaged_commit(None);
    gateway.put("retained/street", None);
    gateway.work(3, &["air", "traffic"]);
    gateway.torn()
}
