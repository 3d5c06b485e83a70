//! The gateway's clock as nodes are told it: what it says, and that it has jumped.

use std::sync::Arc;
use std::time::Duration;

use lamppost_event::{BootId, Clock, ClockQuality, Monotonic, Now, WallTime};
use lamppost_wire::{Millis, Quality, Wall};
use tokio::time::Instant;

/// What a clock may be put right by without being said to jump, ms.
const JUMP_MS: u64 = 1_000;

/// A clock to tell the time by, and when it last jumped.
pub(crate) struct Watch {
    clock: Arc<dyn Clock>,
    /// The wall time at the gateway's boot by the clock as it was told, ms, and whether it was set.
    told: Option<(i64, bool)>,
    /// Another number after each jump.
    epoch: u32,
    /// A jump that the node has not asked about yet.
    pub(crate) news: bool,
}

impl Watch {
    pub(crate) fn new(clock: Arc<dyn Clock>, epoch: u32) -> Self {
        Self { clock, told: None, epoch, news: false }
    }

    /// The gateway's monotonic clock.
    pub(crate) fn monotonic(&self) -> Millis {
        Millis(self.clock.now().monotonic.0)
    }

    /// What to tell a node.
    pub(crate) fn tell(&mut self) -> (Wall, Quality, u32) {
        let now = self.clock.now();
        self.notice(&now);
        let quality = match now.quality {
            ClockQuality::Unset => Quality::Unset,
            ClockQuality::Holdover => Quality::Holdover,
            ClockQuality::Synced => Quality::Synced,
        };
        (Wall(now.wall.0), quality, self.epoch)
    }

    /// Looks whether the clock has jumped, or was set, since it was told.
    pub(crate) fn look(&mut self) {
        let now = self.clock.now();
        self.notice(&now);
    }

    fn notice(&mut self, now: &Now) {
        let began = now.wall.0.saturating_sub_unsigned(now.monotonic.0);
        let is_set = now.quality != ClockQuality::Unset;
        match self.told {
            Some((told, was_set)) if told.abs_diff(began) <= JUMP_MS && was_set == is_set => {}
            before => {
                self.told = Some((began, is_set));
                if before.is_some() {
                    self.epoch = self.epoch.wrapping_add(1);
                    self.news = true;
                }
            }
        }
    }
}

/// A gateway without a wall clock.
pub(crate) struct Unset {
    since: Instant,
}

impl Unset {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now() }
    }
}

impl Clock for Unset {
    fn now(&self) -> Now {
        let since: Duration = self.since.elapsed();
        Now {
            wall: WallTime(0),
            monotonic: Monotonic(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            boot: BootId(0),
            quality: ClockQuality::Unset,
        }
    }
}
