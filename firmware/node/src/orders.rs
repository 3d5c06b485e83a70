//! What a node does when it is told to.

use lamppost_wire::{Capabilities, Command, INTERVAL_MS_MAX, Millis, Order, Refusal};

use crate::brain::Board;
use crate::channel::Schedule;

/// The answer to a reset has so long to leave the board.
const RESET_DELAY_MS: u32 = 250;

/// Obeys an order, or says why not. A reset is to be done at the time that `reset_at` gets.
pub(crate) fn obey(
    order: &Order,
    can: Capabilities,
    schedules: &mut [Schedule],
    now: Millis,
    reset_at: &mut Option<Millis>,
    board: &mut impl Board,
) -> Result<(), Refusal> {
    let command = Command::of(order).filter(|command| can.include(command.needs())).ok_or(Refusal::Unsupported)?;
    match command {
        Command::SetInterval { measure, interval_ms } => {
            let schedule = schedules.get_mut(usize::from(measure.0)).ok_or(Refusal::NoSuchMeasure)?;
            if !(1..=INTERVAL_MS_MAX).contains(&interval_ms) {
                return Err(Refusal::OutOfRange);
            }
            if schedule.is_never() {
                return Err(Refusal::Unsupported);
            }
            schedule.set_interval(now, interval_ms);
            Ok(())
        }
        Command::Identify { for_ms } => board.identify(for_ms),
        Command::Reset => {
            *reset_at = Some(now.plus_ms(RESET_DELAY_MS));
            Ok(())
        }
    }
}
