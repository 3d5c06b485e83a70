//! What survives a reset, beside the ring in RAM.

use lamppost_wire::{Boot, Reading};

/// Where readings are kept so that a reset does not cost them. The ring in RAM holds the same readings and decides what
/// stays; this is written along. Bulk and alarms are two queues here, first in, first out.
///
/// **Contract:** what [`Saved::save`] has said to be saved is restored after any reset, until it was forgotten. What was
/// forgotten may be restored once more after a loss of power: the gateway knows it.
pub trait Saved {
    /// Hands over all that is saved, each queue in its order, with the boots that the readings were saved under; `true`
    /// with those of the queue of alarms.
    fn restore(&mut self, keep: &mut dyn FnMut(Reading, bool));

    /// The number that the gateway has given to a life, if it has.
    fn given(&mut self, boot: Boot) -> Option<Boot>;

    /// Saves a reading; whether it is saved.
    fn save(&mut self, reading: &Reading, alarm: bool) -> bool;

    /// The reading has left the ring; so have all before it in its queue.
    fn forget(&mut self, reading: &Reading, alarm: bool);

    /// This life, so far `from`, is `to` from now on, its saved readings included.
    fn renumber(&mut self, from: Boot, to: Boot);
}

/// Nothing survives.
impl Saved for () {
    fn restore(&mut self, _keep: &mut dyn FnMut(Reading, bool)) {}

    fn given(&mut self, _boot: Boot) -> Option<Boot> {
        None
    }

    fn save(&mut self, _reading: &Reading, _alarm: bool) -> bool {
        true
    }

    fn forget(&mut self, _reading: &Reading, _alarm: bool) {}

    fn renumber(&mut self, _from: Boot, _to: Boot) {}
}
