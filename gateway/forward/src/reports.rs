//! What delivery reports say of the window, and of the cluster.

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use crate::engine::{Engine, Failures};
use crate::failure::{Class, classify};
use crate::kafka::Report;
use crate::window::Slot;

impl Engine {
    /// Applies delivery reports. What the cluster refused comes back.
    pub(crate) fn apply(&mut self, reports: &[Report], failures: &mut Failures) {
        let mut delivered = false;
        for report in reports {
            let Some(code) = report.error else {
                delivered |= self.acknowledge(report.slot);
                continue;
            };
            if code == Code::Inconsistent {
                let why = "something counted as delivered that no broker has acknowledged: all that is in flight is sent again";
                failures.client = Some((code, why.to_owned()));
            }
            if report.slot == Slot::CURSOR && classify(code) != Class::Echo {
                failures.client = Some((code, format!("a cursor was refused: {code}")));
            }
            if let Some((at, offset)) = self.window.place(report.slot) {
                failures.refused.push((at.clone(), offset, code));
            }
        }
        if delivered {
            self.delivered();
        }
    }

    /// The cluster has taken something for good: nothing keeps us out.
    pub(crate) fn delivered(&mut self) {
        self.backoff.reset();
        self.backoff_denied.reset();
        self.denied.clear();
        self.delivered_at = Some(Instant::now());
        if let Some(split) = &mut self.split {
            split.delivered = true;
        }
        self.counters.set_reached();
        self.counters.set_last_delivery(self.clock.now().monotonic);
    }
}
